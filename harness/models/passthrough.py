"""A pass-through to a server: what a client sends goes there as it is, what the server sends comes back as it comes.

It changes neither bodies nor their encodings, statuses or headers, except those headers that concern one connection
only. A client that hangs up cancels the request at the server; a server that breaks off has the client's connection
broken off in the same way, so that the client meets the error that it would meet without the pass-through.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from harness.errors import UserError
from harness.models.given import host_of
from harness.models.http import (
    LONGEST_LINE,
    NOT_CONNECTED,
    address,
    open_session,
    proxy_of,
    setting_at_fault,
)
from harness.models.http_errors import clean
from harness.secrets import of_proxies

_SILENT = logging.getLogger("harness.front")
_SILENT.setLevel(logging.CRITICAL)  # what is not HTTP is answered with 400, and is no failure of ours
LOOPBACK = "127.0.0.1"
LOCAL = (LOOPBACK, "localhost", "::1")
API = "/v1"
"""What the paths of an OpenAI-compatible server begin with."""
CONNECT_S = 30.0
HUNG_UP = "the client hung up, or the pass-through was stopped"
# RFC 9110, 7.6.1, and what is of the body's transfer to us: aiohttp answers `Expect` by itself.
_OF_ONE_CONNECTION = frozenset(
    ("connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "expect",
     "proxy-authorization", "proxy-authenticate")
)  # fmt: skip
_OF_THE_BODY = ("Content-Length", "Content-Type", "Content-Encoding")
_WRONG_KEY = (401, 403)
_BROKEN = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)


class Tap:
    """Sees what passes; this one ignores it. What it does must not fail, and must not take long."""

    def sent(self, part: bytes) -> None:
        """Part of the request's body, on its way to the server."""

    def begun(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of the answer."""

    def received(self, part: bytes) -> None:
        """Part of the answer's body, before the client gets it."""

    def ended(self, error: str | None) -> None:
        """The exchange is over; `error` says why, where the client does not get the whole of the server's answer."""


@dataclass(frozen=True, slots=True)
class Instead:
    """What is sent in place of a client's request: with a key that is not the client's, which it must not learn.

    `headers` are beside those of the client, in place of those with the same name.
    """

    url: URL
    headers: Mapping[str, str]
    body: bytes


class Upstream:
    """The server behind a pass-through, with the connections to it; a context manager that closes them.

    Raises:
        UserError: the URL is not that of a server.
    """

    def __init__(self, url: str) -> None:
        parsed = address(url, "")
        if parsed.userinfo or parsed.query or "#" in url:
            raise UserError(
                "the upstream's URL holds a user, a query or a fragment, which the client has to send: expected "
                "http://HOST[:PORT][/PATH] or https://…"
            )
        self._base = URL(str(parsed), encoded=True)
        self._path = parsed.raw_path.decode().rstrip("/")
        self._proxy = proxy_of(parsed.scheme, parsed.host, self._base.port or 0)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        secure = self._base.scheme == "https" or (self._proxy or "").startswith("https:")
        self._session = open_session(secure=secure, unpack=False)
        return self

    async def __aexit__(self, *problem: object) -> None:
        if self._session is not None:
            await self._session.close()

    def target(self, raw_path: str) -> URL:
        """Return where a path of ours leads: to the same one of a server without a path, else to what follows `/v1`.

        >>> str(Upstream("https://host/openai/v1").target("/v1/models?limit=1"))
        'https://host/openai/v1/models?limit=1'
        >>> str(Upstream("http://host:8000").target("/v1/models"))
        'http://host:8000/v1/models'
        """
        path = self._path + raw_path.removeprefix(API) if self._path else raw_path
        return URL(str(self._base.origin()) + path, encoded=True)

    async def forward(
        self,
        request: web.BaseRequest,
        tap: Tap | None = None,
        *,
        offered: Sequence[str] | None = None,
        instead: Instead | None = None,
    ) -> web.StreamResponse:
        """Send a request on, or another in its place, and answer it with what comes back.

        `tap` sees what passes. `offered` are the encodings of which the answer's is to be one, of those that the client
        offers. Where something is sent `instead`, an answer that says that its key is wrong does not reach the client.
        """
        tap = tap or Tap()
        error: str | None = HUNG_UP
        try:
            response, error = await self._exchange(request, tap, offered, instead)
            return response
        finally:
            tap.ended(error)

    async def _exchange(
        self, request: web.BaseRequest, tap: Tap, offered: Sequence[str] | None, instead: Instead | None
    ) -> tuple[web.StreamResponse, str | None]:
        assert self._session is not None, "the upstream is opened as a context manager"
        headers = _passed(request.headers)
        body: Any = _tapped(request, tap) if request.body_exists else None
        if instead is not None:
            for name in (*_OF_THE_BODY, aiohttp.hdrs.AUTHORIZATION, *instead.headers):
                headers.popall(name, None)
            headers.update(instead.headers)
            body = instead.body
        if offered is not None and aiohttp.hdrs.ACCEPT_ENCODING in headers:
            headers[aiohttp.hdrs.ACCEPT_ENCODING] = _only(headers[aiohttp.hdrs.ACCEPT_ENCODING], offered)
        try:
            upstream = await self._session.request(
                request.method, instead.url if instead else self.target(request.raw_path), headers=headers,
                proxy=self._proxy, data=body, allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            )  # fmt: skip
        except NOT_CONNECTED as failed:
            async for _ in _tapped(request, tap):  # what the client asks for is seen all the same
                pass
            return refusal(502, f"the upstream cannot be reached: {_reason(failed)}", tap=tap), None
        except _BROKEN as failed:
            _hang_up(request, failed)
            return web.Response(status=502), f"the upstream broke off before its answer: {_reason(failed)}"
        try:
            if instead is not None and upstream.status in _WRONG_KEY:
                said = f"the model's own server refuses the key of its entry (status {upstream.status})"
                return refusal(502, said, tap=tap), None
            return await _answer(request, upstream, tap)
        finally:
            upstream.close()  # where its end has come, the connection was given back with it


async def _answer(
    request: web.BaseRequest, upstream: aiohttp.ClientResponse, tap: Tap
) -> tuple[web.StreamResponse, str | None]:
    """Pass an answer on to the client as it comes; say why, where its end does not come."""
    response = web.StreamResponse(
        status=upstream.status, reason=upstream.reason or "", headers=_passed(upstream.headers)
    )
    tap.begun(upstream.status, upstream.headers)
    try:
        await response.prepare(request)
    except ConnectionError:
        return response, HUNG_UP
    while True:
        try:
            part = await upstream.content.readany()
        except _BROKEN as failed:
            _hang_up(request, failed)
            return response, f"the upstream broke off in its answer: {_reason(failed)}"
        if not part:
            return response, None
        tap.received(part)
        try:
            await response.write(part)
        except ConnectionError:  # met before this handler is cancelled for it
            return response, HUNG_UP


def refusal(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None, tap: Tap | None = None
) -> web.Response:
    """An answer of ours, in the form of OpenAI's errors, which `tap` sees."""
    body = {"error": {"message": message, "type": "harness", "param": None, "code": code}}
    response = web.json_response(body, status=status, headers=headers)
    if tap is not None:
        tap.begun(status, response.headers)
        tap.received(response.body if isinstance(response.body, bytes) else b"")
    return response


async def _tapped(request: web.BaseRequest, tap: Tap) -> AsyncIterator[bytes]:
    while part := await request.content.readany():
        tap.sent(part)
        yield part


def _passed(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The headers that are meant for the other end."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    left_out = _OF_ONE_CONNECTION | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in left_out)


def _only(accepted: str, names: Iterable[str]) -> str:
    """A header Accept-Encoding without the encodings that are not among the names."""
    kept = [part.strip() for part in accepted.split(",") if part.partition(";")[0].strip().lower() in names]
    return ", ".join(kept) or "identity"


def _reason(failed: Exception) -> str:
    """In a few words why there is no answer, without a password that a proxy's URL may hold."""
    if isinstance(failed, aiohttp.ClientHttpProxyError):
        return f"the proxy answers {failed.status} {failed.message}"
    return setting_at_fault(failed) or clean(failed, of_proxies()) or type(failed).__name__


def _hang_up(request: web.BaseRequest, failed: BaseException) -> None:
    """Break off the client's connection, by a reset where the server reset its own."""
    transport = request.transport
    if transport is None:
        return
    # Of a body that breaks off, aiohttp tells the reason only in its words.
    if isinstance(failed, ConnectionResetError) or ConnectionResetError.__name__ in str(failed):
        # Closing with a linger time of 0 answers with RST.
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.close()


class Front:
    """A server in front of others, from entering the context to leaving it.

    Requests in flight at the end have `patience` seconds to be answered. At loopback only requests are answered that
    name this machine. `port` 0 is any that is free.
    """

    def __init__(self, handler: Any, port: int, patience: float = 10.0, host: str = LOOPBACK) -> None:
        self.port = port
        self._host = host
        self._handler = handler
        self._patience = patience
        self._running: set[asyncio.Task[Any]] = set()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """What clients take as base_url."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}{API}"

    async def __aenter__(self) -> Self:
        server = web.Server(
            self._checked, access_log=None, logger=_SILENT, handler_cancellation=True, auto_decompress=False,
            max_line_size=LONGEST_LINE, max_field_size=LONGEST_LINE,
        )  # fmt: skip
        self._runner = web.ServerRunner(server, shutdown_timeout=self._patience)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port, backlog=1024).start()
        except OSError as error:
            await self._runner.cleanup()
            if isinstance(error, socket.gaierror):
                raise UserError(f"there is no address {self._host}: choose another with --host") from None
            reason = os.strerror(error.errno) if error.errno else str(error)
            where = f"port {self.port}" if self._host == LOOPBACK else f"{self._host}, port {self.port}"
            raise UserError(f"{where}: {reason}; choose another with --port") from None
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *problem: object) -> None:
        if self._runner is None:
            return
        # aiohttp lets what runs go on for as long again before it is cancelled.
        cut_off = asyncio.get_running_loop().call_later(self._patience, self._cut_off)
        await self._runner.cleanup()
        cut_off.cancel()

    def _cut_off(self) -> None:
        for task in self._running:
            task.cancel()

    async def _checked(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer only requests that name this machine, and of no page of another site.

        A web page can have a name of its own resolve to this machine, and may send what needs no leave of the server.
        """
        if self._host in LOCAL:
            if host_of(f"//{request.headers.get('Host', '')}") not in LOCAL:
                return refusal(403, f"ask for {LOOPBACK}")
            origin = request.headers.get("Origin")
            if origin is not None and host_of(origin) not in LOCAL:
                return refusal(403, "pages of other sites are not answered")
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            answer: web.StreamResponse = await self._handler(request)
        finally:
            self._running.discard(task)
        return answer
