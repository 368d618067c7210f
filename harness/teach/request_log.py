"""The log of recorded requests, written by a process of its own.

The process that passes requests on hands each finished exchange over through a pipe, and reads from another how many
lines have been written. So neither a slow or full disk nor the end of the writing process ever holds up a client, and
what was handed over is written even when the process that passes on is killed. A line:

{"input": request, "output": response, "tags": {…}, "status": 200, "at": time, "latency_s": seconds, "ttft_s": seconds}

`output` is null where the client did not get a whole answer; then `error` says why. `ttft_s` is the time to the first
token of a stream, null for an answer that came whole.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from harness.errors import UserError
from harness.models.events import DONE, Body
from harness.models.whole_reply import says_something, whole_reply
from harness.secrets import SHORTEST, SHORTEST_IN_ANSWERS, masked
from harness.store.atomic import LineFile, utf8

LOG = "requests.jsonl"
LOCK = ".lock"
READABLE = ("gzip", "x-gzip", "deflate", "identity")
"""Encodings in which a body can be read here."""
MOST_BYTES = 64_000_000
"""Of a body, unpacked, and of all that waits to be written; what is longer is lost."""
_READY, _WRITTEN = b"ready\n", b"."
_encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class LoggedExchange:
    """A request and the answer to it.

    `status` is None where the client got none, `packed` has the encodings of request and answer, "" for none, and
    `parts` the length of each part of the answer with the seconds until it came; `secrets` must not be written.
    """

    tags: Mapping[str, Any]
    status: int | None
    at: str
    latency_s: float
    packed: tuple[str, str]
    parts: Sequence[tuple[int, float]]
    secrets: Sequence[str]
    error: str | None


class RequestLog:
    """The log in a folder, from entering the context to leaving it.

    `handed` counts the exchanges, `written` the lines known to be on the disk; after the context they are final.

    Raises:
        UserError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG
        self.handed = self.written = 0
        self._folder = folder

    @property
    def lost(self) -> int:
        """Exchanges that are not in the log."""
        return self.handed - self.written

    async def __aenter__(self) -> Self:
        # A session of its own, so that Ctrl-C does not reach it: it ends when all that was handed over is written.
        self._writer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "harness.teach.request_log", str(self._folder),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._writer.stdin is not None
        assert self._writer.stdout is not None
        self._pipe, self._acknowledged = self._writer.stdin, self._writer.stdout
        said = await self._acknowledged.readline()
        if said != _READY:
            await self._writer.wait()
            raise UserError(said.decode().strip() or f"{self._folder}: the process that writes the log did not start")
        self._counting = asyncio.create_task(self._count())
        return self

    async def __aexit__(self, *problem: object) -> None:
        self._pipe.close()
        await self._counting
        await self._writer.wait()

    def hand_over(self, exchange: LoggedExchange, request: bytes, answer: bytes) -> None:
        """Give an exchange to the log. Never waits and never fails: a log that is dead or too slow loses the line."""
        self.handed += 1
        waiting = self._pipe.transport.get_write_buffer_size()
        if self._pipe.is_closing() or waiting > MOST_BYTES:
            return
        head = {**asdict(exchange), "lengths": [len(request), len(answer)]}
        self._pipe.write(utf8(_encode(head) + "\n") + request + answer)

    async def _count(self) -> None:
        while said := await self._acknowledged.read(1 << 16):
            self.written += len(said)
        if not self._pipe.is_closing():
            self._pipe.close()
            print("the process that writes the log has ended; requests are passed on without it", file=sys.stderr)


def line(exchange: LoggedExchange, request: bytes, answer: bytes) -> dict[str, Any]:
    """Return the line of an exchange, without secrets."""
    asked = _parsed(_unpacked(request, exchange.packed[0]))
    output, ttft, error = _answered(exchange, answer)
    metadata = asked.get("metadata") if isinstance(asked, dict) else None
    tags = {**(metadata if isinstance(metadata, dict) else {}), **exchange.tags}
    found = {
        "input": asked,
        "output": output,
        "tags": tags,
        "status": exchange.status,
        "at": exchange.at,
        "latency_s": exchange.latency_s,
        "ttft_s": ttft,
        **({"error": error} if error else {}),
    }
    # Nobody learns from a refusal, which may repeat the key; in an answer a short key may be a word.
    shortest = SHORTEST_IN_ANSWERS if exchange.status is not None and exchange.status < 400 else SHORTEST
    text = _encode(found)
    return found if masked(text, exchange.secrets, shortest) == text else _without(found, exchange.secrets, shortest)


def _answered(exchange: LoggedExchange, answer: bytes) -> tuple[Any, float | None, str | None]:
    """The answer as one object, the seconds to its first token, and why there is none.

    A client may hang up, or a server break off, after the last word: then the answer is whole.
    """
    body = Body()
    try:
        for part, seconds in _timed(exchange, answer):
            body.take(part, seconds)
        if exchange.parts:
            body.end(exchange.parts[-1][1])
    except ValueError as broken:
        return None, None, exchange.error or str(broken)
    if not body.events:
        found = _parsed(body.text)
        whole = exchange.error is None or isinstance(found, dict)
        return (found, None, None) if whole else (None, None, exchange.error)
    events = [(at, _parsed(data)) for at, data in body.events if data.strip() != DONE]
    chunks = [(at, chunk) for at, chunk in events if isinstance(chunk, dict)]
    ttft = next((at for at, chunk in chunks if says_something(chunk)), None)
    failure = next((chunk["error"] for _, chunk in chunks if chunk.get("error")), None)
    if failure:
        return None, ttft, f"the stream holds an error: {_encode(failure)}"
    if exchange.error and len(events) == len(body.events):
        return None, ttft, exchange.error
    return whole_reply(chunk for _, chunk in chunks), ttft, None


def _timed(exchange: LoggedExchange, answer: bytes) -> Iterator[tuple[bytes, float]]:
    """The parts of an answer, unpacked.

    Raises:
        ValueError: they cannot be read.
    """
    unpack = unpacker(exchange.packed[1], MOST_BYTES)
    start = size = 0
    for length, seconds in exchange.parts:
        part = unpack(answer[start : start + length])
        start, size = start + length, size + len(part)
        if size > MOST_BYTES:
            raise ValueError(f"the answer is longer than {MOST_BYTES / 1e6:g} MB")
        yield part, seconds


def unpacker(encoding: str, most: int) -> Any:
    """Return what unpacks the parts of a body, one after another, none to much more than so many bytes.

    Raises:
        ValueError: the encoding is not one that is known here.
    """
    name = encoding.strip().lower() or "identity"
    if name not in READABLE:
        raise ValueError(f"the body is packed as {encoding}, which cannot be read here")
    if name == "identity":
        return lambda part: part
    # 32 + 15: gzip or zlib, whichever its head says.
    stream = zlib.decompressobj(32 + zlib.MAX_WBITS)

    def unpack(part: bytes) -> bytes:
        try:
            return stream.decompress(part, most + 1)
        except zlib.error as error:
            raise ValueError(f"the body's compression is broken: {error}") from None

    return unpack


def _unpacked(body: bytes, encoding: str) -> bytes:
    try:
        found: bytes = unpacker(encoding, MOST_BYTES)(body)
    except ValueError:
        return body
    return found


def _parsed(data: bytes) -> Any:
    """What a body says: its JSON, else its text, None where it is empty."""
    text = data.decode(errors="replace")
    try:
        return json.loads(text, parse_constant=str) if text.strip() else None
    except (ValueError, RecursionError):
        return text


def _without(value: Any, secrets: Sequence[str], shortest: int) -> Any:
    """A JSON value whose texts hold no secret."""
    if isinstance(value, str):
        return masked(value, secrets, shortest)
    if isinstance(value, list):
        return [_without(item, secrets, shortest) for item in value]
    if isinstance(value, dict):
        return {masked(name, secrets, shortest): _without(item, secrets, shortest) for name, item in value.items()}
    return value


def _opened(folder: Path) -> LineFile:
    """The file of the log in a folder that holds nothing else.

    Raises:
        UserError: it does.
    """
    others = sorted({path.name for path in folder.iterdir()} - {LOG, LOCK})
    if others:
        raise UserError(f"{folder} is not empty (it holds {others[0]}): choose a new folder, or one with a {LOG}")
    return LineFile(folder / LOG, 0o600)


def _write_all(source: BinaryIO, file: LineFile, acknowledge: Any) -> None:
    """Write a line for each exchange of the pipe until its end; tell of the first that cannot be written."""
    told = False
    while len(head := source.readline()) and head.endswith(b"\n"):
        found = json.loads(head)
        lengths = found.pop("lengths")
        request, answer = (source.read(length) for length in lengths)
        if [len(request), len(answer)] != lengths:  # who handed it over was killed meanwhile
            return
        try:
            file.append(utf8(_encode(line(LoggedExchange(**found), request, answer)) + "\n"))
        except (OSError, ValueError, RecursionError) as error:
            if not told:
                print(f"a request cannot be logged: {error}; it was passed on", file=sys.stderr, flush=True)
            told = True
        else:
            acknowledge(_WRITTEN)


def main(folder: Path) -> None:
    """Write the log of the exchanges that come on standard input; each line written is a byte on standard output."""
    from filelock import FileLock, Timeout

    def say(said: bytes) -> None:
        try:
            os.write(sys.stdout.fileno(), said)
        except BrokenPipeError:  # who counts is gone; what it has handed over is still written
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, blocking=False):
            file = _opened(folder)
            say(_READY)
            _write_all(sys.stdin.buffer, file, say)
    except Timeout:
        say(f"{folder}: another process is recording into it; choose another folder\n".encode())
    except UserError as error:
        say(f"{error}\n".encode())
    except OSError as error:
        say(f"{folder}: cannot be written: {error.strerror}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
