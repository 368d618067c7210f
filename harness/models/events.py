"""The body of an answer as it arrives: a JSON text, or server-sent events with the time of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DONE = b"[DONE]"
"""What ends a stream of OpenAI's kind."""


@dataclass(frozen=True, slots=True)
class Event:
    """A part of a streamed answer, and the seconds from the request to it; `done` if it only says that all was sent."""

    seconds: float
    data: dict[str, Any]
    done: bool = False


class Body:
    """The body of an answer as it arrives: a JSON text, or the data of events with the seconds until each.

    A line of events ends at a line feed, with or without a carriage return before it, and at no other character.
    """

    def __init__(self) -> None:
        self.events: list[tuple[float, bytes]] = []
        self.is_json = False
        self._parts: list[bytes] = []
        self._line = bytearray()
        self._data: list[bytes] = []

    def take(self, part: bytes, seconds: float) -> None:
        """Add a part that came this many seconds after the request."""
        if not self.is_json and not self.events and not self._data:
            self.is_json = bytes(self._line + part).lstrip()[:1] in (b"{", b"[")
        if self.is_json:
            self._parts += [bytes(self._line), part]
            self._line.clear()
            return
        *whole, rest = part.split(b"\n")
        for end in whole:
            self._end_line(bytes(self._line + end).rstrip(b"\r"), seconds)
            self._line.clear()
        self._line += rest

    @property
    def text(self) -> bytes:
        """What is no event: a JSON text, or a line that has not ended."""
        return b"".join(self._parts) + bytes(self._line)

    def _end_line(self, line: bytes, seconds: float) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            self.events.append((seconds, b"\n".join(self._data)))
            self._data = []
        elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")) and not self.events:
            self._parts.append(line)
