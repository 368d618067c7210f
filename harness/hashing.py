"""Hashes: short ones of texts, by which rows, prompts and settings are known, and those of files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(*parts: str) -> str:
    """Return 16 hex digits that stand for these texts and their order."""
    # JSON can carry half a surrogate pair, which UTF-8 cannot.
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, which is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Running:
    """The `digest` of texts that come one by one and are never held together."""

    def __init__(self) -> None:
        self._hash, self._between = hashlib.blake2b(digest_size=8), b""

    def add(self, part: str) -> None:
        """Add a text."""
        self._hash.update(self._between + part.encode("utf-8", "surrogatepass"))
        self._between = b"\x1f"

    @property
    def digest(self) -> str:
        """The `digest` of the texts so far."""
        return self._hash.hexdigest()


def digest_all(parts: Iterable[str]) -> str:
    """Return the `digest` of these texts, which are read one by one and never held together."""
    running = Running()
    for part in parts:
        running.add(part)
    return running.digest
