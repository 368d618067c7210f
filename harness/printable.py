"""Texts of strangers on a terminal and in files that are shown on one.

A title, a row or a model's answer may hold codes that a terminal obeys: they overwrite lines, change its title or type
into it. Each is shown as the escape by which JSON writes it, so that a JSON document stays the document it was.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# Control characters but tab and line break, those that turn the direction of the text after them, and lone surrogates,
# which no stream can encode.
_CODES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text with each character that a terminal would obey as its escape, such as \\u001b."""
    return _CODES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class PrintableStream:
    """A text stream that makes all that is written to it printable; `unfiltered` is the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self.unfiltered = stream

    def write(self, text: str) -> int:
        """Write a text. It may begin with a carriage return, as those of progress bars do."""
        start = "\r" if text.startswith("\r") else ""
        return self.unfiltered.write(start + printable(text.removeprefix("\r")))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Within this context everything that is printed is printable."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PrintableStream(sys.stdout), PrintableStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
