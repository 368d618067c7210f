"""Files and folders that are written whole or not at all, whatever stops the writing."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError

_BLOCK = 1 << 16


def utf8(text: str) -> bytes:
    """Text as UTF-8; half a surrogate pair, which UTF-8 cannot carry, becomes its JSON escape."""
    return text.encode("utf-8", "backslashreplace")


def replace_file(path: Path, text: str) -> None:
    """Write a whole file or nothing.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_bytes(utf8(text))
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which is `out` once all is written; after an error nothing is left of it.

    `out` is not there or empty.

    Raises:
        UserError: it cannot be written.
    """
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.mkdir(parents=True)
        yield part
        if out.is_dir():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


class LineFile:
    """A file of lines to which one process appends; a half line that a killed one has left is dropped on opening.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, mode: int = 0o644) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode)
        self._mend()

    def append(self, line: bytes) -> None:
        """Write a line so that it survives the end of this process at any moment, or nothing of it.

        Raises:
            OSError: the disk is full or gone.
        """
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the file has been deleted", str(self._path))
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError:
            if written:  # half a line on a full disk would swallow the next one; a device cannot be cut
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _mend(self) -> None:
        end = size = os.fstat(self._descriptor).st_size
        while end:
            start = max(0, end - _BLOCK)
            if (found := os.pread(self._descriptor, _BLOCK, start).rfind(b"\n")) >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._descriptor, end)
