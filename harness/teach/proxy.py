"""`harness record`: passes the requests of a client on to a model's server and logs each with its answer."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from harness.models.passthrough import API, Front, Tap, Upstream, refusal
from harness.secrets import in_url, of_proxies, usable
from harness.teach.request_log import MOST_BYTES, READABLE, LoggedExchange, RequestLog

LOGGED = re.compile(r"/(chat/)?completions$")
"""What is logged: requests for a completion. Others are passed on and counted."""
TAGS = "op-tags"
"""The header with tags of a request, as OpenPipe's clients send it: a JSON object."""
_SECRET = re.compile(r"key|token|secret|auth|cookie|password|credential", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:bearer|basic|token)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What a user asks of `harness record`. `port` 0 is any that is free."""

    upstream: str
    out: Path
    tags: Mapping[str, str]
    port: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded: lines written and lost, and requests that are not logged, by method and kind."""

    path: Path
    written: int
    lost: int
    unlogged: Mapping[str, int]


async def record(options: RecordOptions, say: Callable[[str], None], stop: asyncio.Event | None = None) -> Recorded:
    """Pass requests on and log them until `stop` is set, by default by SIGINT or SIGTERM.

    Raises:
        UserError: the upstream's URL, the port or the folder cannot be used.
    """
    stop = stop or stopped_by_signals()
    async with RequestLog(options.out) as log, Upstream(options.upstream) as upstream:
        recorder = _Recorder(upstream, log, options.tags)
        async with Front(recorder.answer, options.port) as front:
            say(f"{front.url} passes requests on to {options.upstream} and logs them in {log.path}; Ctrl-C stops it")
            await stop.wait()
    return Recorded(log.path, log.written, log.lost, recorder.unlogged)


def stopped_by_signals() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


class _Recorder:
    def __init__(self, upstream: Upstream, log: RequestLog, tags: Mapping[str, str]) -> None:
        self._upstream, self._log, self._tags = upstream, log, tags
        self.unlogged: Counter[str] = Counter()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request with what the upstream says to it."""
        path = request.path
        if not path.startswith(f"{API}/"):
            return refusal(404, f"there is no {path} here: paths begin with {API}/")
        if request.method == "POST" and LOGGED.search(path):
            logged = Logged(request, self._log, self._tags)
            return await self._upstream.forward(request, logged, offered=READABLE)
        self.unlogged[f"{request.method} {API}/{path.split('/')[2]}"] += 1
        return await self._upstream.forward(request)


class Logged(Tap):
    """Keeps what passes of one exchange, and hands it to the log at the end."""

    def __init__(self, request: web.BaseRequest, log: RequestLog, tags: Mapping[str, str]) -> None:
        self._log = log
        self._headers = request.headers
        self._tags = {**tags, **_tags(request.headers.get(TAGS))}
        self._secrets = _secrets(request)
        self._at, self._started = datetime.now(UTC), time.monotonic()
        self._request, self._answer = bytearray(), bytearray()
        self._parts: list[tuple[int, float]] = []
        self._status: int | None = None
        self._packed = ""
        self._too_long = False

    def sent(self, part: bytes) -> None:
        """Keep a part of the request."""
        self._keep(self._request, part)

    def begun(self, status: int, headers: Mapping[str, str]) -> None:
        """Keep the status, and how the answer is packed."""
        self._status, self._packed = status, headers.get("Content-Encoding", "")

    def received(self, part: bytes) -> None:
        """Keep a part of the answer."""
        if self._keep(self._answer, part):
            self._parts.append((len(part), round(time.monotonic() - self._started, 6)))

    def ended(self, error: str | None) -> None:
        """Hand the exchange to the log."""
        if self._too_long:
            error = f"the request or the answer is longer than {MOST_BYTES / 1e6:g} MB"
        exchange = LoggedExchange(
            tags=self._tags,
            status=self._status,
            at=self._at.isoformat(timespec="milliseconds"),
            latency_s=round(time.monotonic() - self._started, 6),
            packed=(self._headers.get("Content-Encoding", ""), self._packed),
            parts=self._parts,
            secrets=self._secrets,
            error=error,
        )
        self._log.hand_over(exchange, bytes(self._request), bytes(self._answer))

    def _keep(self, kept: bytearray, part: bytes) -> bool:
        self._too_long = self._too_long or len(kept) + len(part) > MOST_BYTES
        if not self._too_long:
            kept += part
        return not self._too_long


def _tags(header: str | None) -> dict[str, Any]:
    """The tags in a header; one that is not a JSON object is a tag of the header's own name."""
    if header is None:
        return {}
    try:
        found = json.loads(header)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {TAGS: header}


def _secrets(request: web.BaseRequest) -> tuple[str, ...]:
    """What of a request must not be logged: its keys, cookies and passwords, in headers and in the URL."""
    found = [str(cookie) for cookie in request.cookies.values()]
    found += [_SCHEME.sub("", value) for name, value in request.headers.items() if _SECRET.search(name)]
    return usable([*found, *in_url(str(request.url)), *of_proxies()])
