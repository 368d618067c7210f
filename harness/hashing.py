"""Hashes: short ones of texts, by which rows, prompts and settings are known, and those of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_CONTENT = json.JSONEncoder(ensure_ascii=False, sort_keys=True, default=str)


def digest(*parts: str) -> str:
    """Return 16 hex digits that stand for these texts and their order."""
    # JSON can carry half a surrogate pair, which UTF-8 cannot.
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def row_id(row: Mapping[str, Any], columns: Iterable[str]) -> str:
    """Return the hash of a row's content in these columns."""
    return digest(_CONTENT.encode({name: row.get(name) for name in sorted(columns)}))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, which is read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Digest:
    """The `digest` of texts that are added one by one and never held together."""

    def __init__(self) -> None:
        self._running, self._between = hashlib.blake2b(digest_size=8), b""

    def add(self, part: str) -> None:
        """Add the next text."""
        self._running.update(self._between + part.encode("utf-8", "surrogatepass"))
        self._between = b"\x1f"

    def __str__(self) -> str:
        return self._running.hexdigest()


def digest_all(parts: Iterable[str]) -> str:
    """Return the `digest` of these texts, which are read one by one and never held together."""
    running = Digest()
    for part in parts:
        running.add(part)
    return str(running)
