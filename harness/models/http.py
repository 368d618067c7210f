"""HTTP: httpx's requests and responses, carried by aiohttp. What goes wrong is one of the errors of `harness.errors`.

A request goes straight to the transport. httpx's own client in front of it takes half as much CPU again
(`benchmarks/transports.py` measures them side by side) and adds what is not wanted here: cookies, redirects, proxies
that are fixed when it is opened.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from harness.errors import AskError, BadReply, ModelRejected, Unavailable, UserError
from harness.models.backend import Reply
from harness.models.http_errors import clean, failure, quotas

SHORTEST_SECRET = 4
_LAST_PORT = 65535
# httpx percent-encodes what cannot be in the name of a host instead of refusing it.
_HOST = re.compile(rb"[\w.~-]+|[0-9A-Fa-f:.]+")

# httpx would offer more encodings when it finds optional packages to decode them.
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "lora-leaderboard",
}
_JSON = {"Content-Type": "application/json"}
_STREAM = {**_JSON, "Accept": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a server may take, in seconds; None where there is no limit.

    Attributes:
        connect: To accept a connection.
        first_byte: From then on, the connection included, to begin its answer.
        silence: Between two parts of it.
    """

    connect: float | None = 10.0
    first_byte: float | None = None
    silence: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A part of a streamed answer, and the seconds from the request to it."""

    seconds: float
    data: dict[str, Any]


USUAL = Deadlines()


class Transport(httpx.AsyncBaseTransport):
    """Carries the requests of any number of models, directly or through the proxy that the environment names.

    It opens as many connections as there are requests in flight and keeps them alive.
    """

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str | None], AiohttpTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer, whose body is still to be read."""
        route = request.url.scheme, _proxy(request.url.scheme, request.url.host)
        if route not in self._routes:
            self._routes[route] = _carrier(*route)
        try:
            return await self._routes[route].handle_async_request(request)
        except httpx.ProxyError as error:
            if isinstance(cause := error.__cause__, aiohttp.ClientHttpProxyError):
                # The error's own text holds the proxy's URL with its password.
                raise httpx.ProxyError(f"the proxy answers {cause.status} {cause.message}") from None
            raise

    async def aclose(self) -> None:
        """Close all connections."""
        for carrier in self._routes.values():
            await carrier.aclose()


def _carrier(scheme: str, proxy_url: str | None) -> AiohttpTransport:
    """Open the connections to all servers of a scheme, or to the proxy in front of them.

    Raises:
        ModelRejected: the proxy's URL is not that of an HTTP proxy.
    """
    proxy = None
    if proxy_url:
        try:
            proxy = httpx.Proxy(proxy_url)
        except (httpx.InvalidURL, ValueError):
            proxy = None
        if proxy is None or not proxy.url.host or proxy.url.scheme not in ("http", "https"):
            raise ModelRejected(f"the environment's proxy for {scheme} is not a valid URL: expected http://HOST:PORT")
        # The transport passes a password on through a class of aiohttp's that is deprecated; aiohttp reads the URL's.
        proxy.url, proxy.auth = httpx.URL(proxy_url), None
    secure = scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
    # Without TLS, a context that trusts nobody: to read the certificates takes as long as some runs.
    context = _certificates() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # limit 0 is "no limit". keepalive_timeout: uvicorn, under vLLM and others, closes an idle connection after 5 s; one
    # reused in that instant would be a request lost.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0, ttl_dns_cache=60, ssl=context)
    # Not trust_env, which looks the proxy up in a thread for every request, and sends what ~/.netrc holds.
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    return AiohttpTransport(verify=context, proxy=proxy, client=session)


async def post(
    transport: httpx.AsyncBaseTransport,
    url: httpx.URL,
    body: Mapping[str, Any],
    read: Callable[[dict[str, Any]], Reply],
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    deadlines: Deadlines = USUAL,
) -> Reply:
    """Post a JSON object and return what `read` makes of the JSON object that answers it.

    No message of an error ever holds one of `secrets`, even where the server echoes it. What the answer's headers say
    of rate limits is in the reply, or in the error.

    Raises:
        Throttled: 429, or 503 or 529 with Retry-After.
        Unavailable: another 5xx, 408, 409, 424, 425; a connection refused, dropped or silent for too long.
        BadReply: the answer is not a JSON object.
        Filtered: the server's content filter refuses the prompt.
        Rejected: another 4xx.
        ModelRejected: 401, 402, 403, 404, a redirect, or a code that says that no request can succeed, such as OpenAI's
            429 with `insufficient_quota`.
        AskError: what `read` raises.
    """
    data, sent = json.dumps(body).encode(), {**_JSON, **(headers or {})}
    async with _exchange(transport, "POST", url, sent, secrets, deadlines, content=data) as (response, begun):
        begun.reschedule(None)
        reply = read(json_object(await response.aread(), secrets))
        return _with_quota(reply, response)


async def stream(
    transport: httpx.AsyncBaseTransport,
    url: httpx.URL,
    body: Mapping[str, Any],
    read: Callable[[list[Event]], Reply],
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    deadlines: Deadlines = USUAL,
) -> Reply:
    """Post a JSON object and return what `read` makes of the server-sent events that answer it, when all have arrived.

    Raises:
        AskError: as for `post`; Unavailable when it breaks off, BadReply when an event is not a JSON object.
    """
    started = time.monotonic()
    found: list[tuple[float, bytes]] = []
    lines: list[bytes] = []
    rest, data = b"", json.dumps(body).encode()
    sent = {**_STREAM, **(headers or {})}
    async with _exchange(transport, "POST", url, sent, secrets, deadlines, content=data) as (response, begun):
        # Not httpx's lines, which end at U+2028, too: a character that JSON may hold as it is.
        async for part in response.aiter_bytes():
            begun.reschedule(None)
            *whole, rest = (rest + part).split(b"\n")
            for line in (line.rstrip(b"\r") for line in whole):
                if line.startswith(b"data:"):
                    lines.append(line[5:].removeprefix(b" "))
                elif not line and lines:
                    found.append((time.monotonic() - started, b"\n".join(lines)))
                    lines = []
        if not found:
            raise BadReply(f"the answer is not a stream of events: {clean(rest.decode(errors='replace'), secrets)}")
        events = [Event(at, json_object(data, secrets)) for at, data in found if data != b"[DONE]"]
        return _with_quota(read(events), response)


def _with_quota(reply: Reply, response: httpx.Response) -> Reply:
    found = quotas(response.headers)
    return replace(reply, quota=found) if found else reply


async def send(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    deadlines: Deadlines = USUAL,
    **body: Any,
) -> httpx.Response:
    """Send a request and return the answer to it, of status 2xx, read to its end.

    Args:
        transport: What carries it.
        method: HTTP method.
        url: Where to.
        headers: Beside those of every request.
        secrets: What no message may hold.
        deadlines: How long the server may take.
        body: `content`, or `data` and `files`, as `httpx.Request` takes them.

    Raises:
        AskError: as for `post`, without the BadReply.
    """
    async with _exchange(transport, method, url, headers or {}, secrets, deadlines, **body) as (response, begun):
        begun.reschedule(None)
        await response.aread()
        return response


@contextlib.asynccontextmanager
async def _exchange(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    secrets: Sequence[str],
    deadlines: Deadlines,
    **body: Any,
) -> AsyncIterator[tuple[httpx.Response, asyncio.Timeout]]:
    """Send a request; give the answer, of status 2xx and still to be read, and the deadline of its first byte."""
    if url.userinfo:
        # A key given beside a password in the URL takes its place.
        headers = {"Authorization": _basic(url.username, url.password), **headers}
        url = url.copy_with(userinfo=b"")
    timeouts = {"connect": deadlines.connect, "read": deadlines.silence}
    with _translated_errors(secrets):
        request = httpx.Request(method, url, headers={**_HEADERS, **headers}, extensions={"timeout": timeouts}, **body)
        async with asyncio.timeout(deadlines.first_byte) as begun:
            response = await transport.handle_async_request(request)
            try:
                if not response.is_success:
                    begun.reschedule(None)
                    text = (await response.aread()).decode(errors="replace")
                    raise failure(response.status_code, text, response.headers, secrets)
                yield response, begun
            except AskError as error:
                error.quota = quotas(response.headers)
                raise
            finally:
                await response.aclose()


@lru_cache(256)
def secrets_of(url: httpx.URL, *values: str | None) -> tuple[str, ...]:
    """Return what messages must not hold: keys, and the password and query values of a URL.

    Values too short to be a secret are left out, because to blot out "1" would spoil every message.
    """
    query = (value for value in url.params.values() if len(value) >= 2 * SHORTEST_SECRET)
    return tuple(value for value in (*values, url.password, *query) if value and len(value) >= SHORTEST_SECRET)


def address(base_url: str, path: str) -> httpx.URL:
    """Return the URL of a server's method; a query of `base_url` (Azure's `?api-version=`) is kept.

    Raises:
        UserError: `base_url` is not an HTTP URL. The message does not repeat it: it may hold a password.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.raw_host) or (url.port or 0) > _LAST_PORT:
        raise UserError(
            "base_url is not a valid URL: expected http://HOST[:PORT]/PATH or https://…, in which a password's "
            "'@', '/', '?' and '#' are percent-encoded"
        )
    # The path as it was written: one that has been decoded may mean another.
    before, mark, query = url.raw_path.partition(b"?")
    return url.copy_with(raw_path=before.rstrip(b"/") + path.encode() + mark + query, fragment=None)


def public(url: httpx.URL) -> str:
    """Return a URL without its user, password and query, which may hold keys."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def json_object(content: bytes, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON object that a body holds.

    Raises:
        BadReply: it holds something else.
    """
    try:
        reply = json.loads(content)
    except ValueError as error:
        text = clean(content.decode(errors="replace"), secrets)
        raise BadReply(f"the answer is not JSON: {text or 'an empty body'}") from error
    if not isinstance(reply, dict):
        raise BadReply(f"the answer is not a JSON object: {clean(content.decode(errors='replace'), secrets)}")
    return reply


@contextlib.contextmanager
def _translated_errors(secrets: Sequence[str]) -> Iterator[None]:
    """Turn what httpx and aiohttp under it raise into an AskError.

    The words are aiohttp's, because the class that the transport gives them is sometimes wrong: a refused connection
    becomes a ConnectTimeout.
    """
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ModelRejected(f"base_url is not a valid URL: {clean(error, secrets)}") from error
    except httpx.DecodingError as error:
        raise BadReply(f"the answer's compression is broken: {clean(error, secrets)}") from error
    except (httpx.ReadTimeout, TimeoutError) as error:
        raise Unavailable(f"the server was silent for too long ({clean(error, secrets) or 'no first byte'})") from error
    except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"no answer: {clean(error, secrets) or type(error.__cause__ or error).__name__}") from error


@lru_cache(64)
def _proxy(scheme: str, host: str) -> str | None:
    """Return the URL of the environment's proxy for a host; None when it is to be reached directly."""
    proxies = urllib.request.getproxies()
    found = None if urllib.request.proxy_bypass(host) else proxies.get(scheme) or proxies.get("all")
    return f"http://{found}" if found and "://" not in found else found


@lru_cache(64)
def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@lru_cache(1)
def _certificates() -> ssl.SSLContext:
    """Return the authorities that are trusted: certifi's, because Python on macOS comes without any, or the user's."""
    if folder := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"), capath=folder)
    import certifi

    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
