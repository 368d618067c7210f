"""The body of an answer as it arrives: a JSON text, or server-sent events with the time of each."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

DONE = b"[DONE]"
"""What ends a stream of OpenAI's kind."""
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r{0,2}\n|\r")  # twice, where a text file's line ends were translated once too often
_PINGS = (b"ping", b"heartbeat", b"keepalive", b"keep-alive")


@dataclass(frozen=True, slots=True)
class Event:
    """A part of a streamed answer, and the seconds from the request to it; `done` if it only says that all was sent."""

    seconds: float
    data: dict[str, Any]
    done: bool = False


class Body:
    """The body of an answer as it arrives: a JSON text, or the data of events with the seconds until each.

    A line of events ends at a line feed, a carriage return or both, and at no other character. Events without an empty
    line between them are understood, and so are an error that is no data, or is one by the event's name only, and data
    that only keeps the connection open.
    """

    def __init__(self) -> None:
        self.events: list[tuple[float, bytes]] = []
        self.is_json = False
        self._parts: list[bytes] = []
        self._line = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._begun = self._returned = False

    def take(self, part: bytes, seconds: float) -> None:
        """Add a part that came this many seconds after the request."""
        if not self._begun:
            part, self._begun = part.removeprefix(_BOM), True
        if not self.is_json and not self.events and not self._data:
            self.is_json = bytes(self._line + part).lstrip()[:1] in (b"{", b"[")
        if self.is_json:
            self._parts += [bytes(self._line), part]
            self._line.clear()
            return
        if self._returned:  # the line feed may belong to a carriage return that came before
            part = part.removeprefix(b"\n")
        self._returned = part.endswith(b"\r")
        *whole, rest = _LINE_END.split(part)
        for end in whole:
            self._end_line(bytes(self._line + end), seconds)
            self._line.clear()
        self._line += rest

    def end(self, seconds: float) -> None:
        """Say that the body has come to its own end: its last event counts where it is whole, without an empty line."""
        if not self.is_json and self._line.startswith(b"data:"):
            self._end_line(bytes(self._line), seconds)
            self._line.clear()
        if self._data and (_is_json(self._data[-1]) or self._data[-1].strip() == DONE):
            self._end_event(seconds)

    @property
    def is_whole(self) -> bool:
        """Whether what has come is a whole answer, by what it says itself."""
        if self.is_json:
            return _is_json(self.text)
        last = self.events[-1][1] if self.events else b""
        return last.strip() == DONE or b'"message_stop"' in last

    @property
    def text(self) -> bytes:
        """What is no event: a JSON text, or a line that has not ended."""
        return b"".join(self._parts) + bytes(self._line)

    def _end_line(self, line: bytes, seconds: float) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._name = value.strip()
        elif not line:
            self._end_event(seconds)
        elif self.events and line.startswith(b"{"):  # an error, from what stands before the model
            self._data.append(line)
            self._end_event(seconds)
        elif name not in (b"", b"id", b"retry") and not self.events:
            self._parts.append(line)

    def _end_event(self, seconds: float) -> None:
        data, name = b"\n".join(self._data), self._name
        several = len(self._data) > 1 and not _is_json(data)
        for one in self._data if several else [data]:
            is_object = one.lstrip().startswith(b"{")
            if name == b"error" and one and not (is_object and b'"error"' in one):
                said = one if is_object else json.dumps(one.decode(errors="replace")).encode()
                self.events.append((seconds, b'{"error": ' + said + b"}"))
            elif one.strip() not in (b"", b"null") and (is_object or name not in _PINGS):
                self.events.append((seconds, one))
        self._data, self._name = [], b""


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
