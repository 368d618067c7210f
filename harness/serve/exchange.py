"""One request of a client and the answer to it: read within limits, counted, and logged where there is a log."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from harness.errors import HarnessError
from harness.models.http import no_number
from harness.models.passthrough import HUNG_UP, Tap
from harness.serve.metrics import UNKNOWN, Metrics
from harness.teach.request_log import unpacker

MOST_BYTES = 4_000_000
"""Of the body of a request."""
PATIENCE_S = 30.0
"""How long a client may leave a part of its answer unread."""
HUNG_UP_STATUS = "hung up"
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Refused(HarnessError):
    """A request that is not answered; `status` is that of HTTP, `code` OpenAI's name of the reason."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


class Exchange(Tap):
    """A request and its answer, which is whole or a stream; `tap` sees both.

    `model` is the name of the model that is asked, once it is known to be served.
    """

    def __init__(self, request: web.BaseRequest, metrics: Metrics | None, tap: Tap) -> None:
        self.request, self.model = request, UNKNOWN
        self._metrics, self._tap = metrics, tap
        self._started = time.monotonic()
        self._first: float | None = None
        self._status: int | None = None
        self._stream: web.StreamResponse | None = None
        self._ended = False

    @property
    def began(self) -> bool:
        """Whether a part of the answer was sent."""
        return self._stream is not None

    async def body(self) -> dict[str, Any]:
        """Return the JSON object that the client sent.

        Raises:
            Refused: it is too long, or something else.
        """
        too_long = Refused(413, f"the request is longer than {MOST_BYTES / 1e6:g} MB", "request_too_large")
        if (self.request.content_length or 0) > MOST_BYTES:
            raise too_long
        read = bytearray()
        try:
            unpack = unpacker(self.request.headers.get("Content-Encoding", ""), MOST_BYTES)
            while part := await self.request.content.readany():
                read += unpack(part)
                if len(read) > MOST_BYTES:
                    raise too_long
        except ValueError as error:
            raise Refused(400, str(error)) from None
        self.sent(bytes(read))
        try:
            found = json.loads(read, parse_constant=no_number)
            if b"\\u" in read:
                _dumps(found).encode()  # half a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the request is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise Refused(400, "the request is not a JSON object")
        return found

    def whole(self, payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        """Return an answer in one piece: an object, or bytes or text as they are."""
        if isinstance(payload, bytes | str):
            body = payload.encode() if isinstance(payload, str) else payload
            kind = "text/plain; charset=utf-8"
        else:
            body, kind = utf8(payload), "application/json"
        response = web.Response(status=status, body=body, headers={**(headers or {}), "Content-Type": kind})
        self.begun(status, response.headers)
        self.received(body)
        return response

    async def send(self, payload: Any) -> None:
        """Send an object as the next event of a stream; bytes as they are.

        Raises:
            ConnectionError: the client has hung up, or reads nothing.
        """
        if self._stream is None:
            self._stream = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
            )
            self.begun(200, self._stream.headers)
            await self._stream.prepare(self.request)
            self._first = time.monotonic() - self._started
        part = payload if isinstance(payload, bytes) else b"data: " + utf8(payload) + b"\n\n"
        self.received(part)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._stream.write(part)
        except TimeoutError:
            if self.request.transport is not None:
                self.request.transport.abort()
            raise ConnectionError("the client reads nothing") from None

    @property
    def stream(self) -> web.StreamResponse:
        """The answer that was streamed."""
        assert self._stream is not None
        return self._stream

    def tokens(self, read: int, written: int) -> None:
        """Count the tokens of the answer."""
        if self._metrics is not None:
            self._metrics.tokens(self.model, read, written)

    def sent(self, part: bytes) -> None:
        """Part of the request's body."""
        self._tap.sent(part)

    def begun(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of the answer."""
        self._status = status
        self._tap.begun(status, headers)

    def received(self, part: bytes) -> None:
        """Part of the answer's body."""
        self._tap.received(part)

    def ended(self, error: str | None) -> None:
        """The exchange is over; only the first end counts."""
        if self._ended:
            return
        self._ended = True
        self._tap.ended(error)
        if self._metrics is not None:
            status = HUNG_UP_STATUS if error == HUNG_UP else str(self._status)
            self._metrics.answered(self.model, status, time.monotonic() - self._started, self._first)


def utf8(payload: Any) -> bytes:
    """Return JSON in UTF-8, half surrogate pairs as question marks."""
    return _dumps(payload).encode(errors="replace")
