"""The wire: one HTTP client for all servers. What goes wrong on it is one of the errors of `harness.errors`.

The client is aiohttp's own. httpx in front of it takes three times the CPU for a request, and httpx's own connection
pool looks at every connection for every request (`benchmarks/transports.py` measures them side by side).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from harness.errors import BadReply, ModelRejected, Unavailable, UserError
from harness.models.backend import HEAR
from harness.models.http_errors import clean, failure

SHORTEST_SECRET = 4

# The encodings that aiohttp decodes without optional packages; it would offer more when it finds such packages.
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "lora-leaderboard",
}
_JSON = {"Content-Type": "application/json"}
_STREAM = {**_JSON, "Accept": "text/event-stream"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a server may take, in seconds; None where there is no limit.

    Attributes:
        connect: To take a connection.
        first_byte: From then on, the connection included, to begin its answer.
        silence: Between two parts of it.
    """

    connect: float | None = 10.0
    first_byte: float | None = None
    silence: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of an answer of status 2xx, whole and decompressed."""

    content: bytes

    @property
    def text(self) -> str:
        """As text, as far as it is any."""
        return self.content.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Event:
    """A part of a streamed answer, and the seconds from the request to it."""

    seconds: float
    data: dict[str, Any]


USUAL = Deadlines()


def client() -> aiohttp.ClientSession:
    """Open a client that any number of models share; an event loop must be running.

    It opens as many connections as there are requests in flight and keeps them alive.
    """
    # limit 0 is "no limit". keepalive_timeout: uvicorn, under vLLM and others, closes an idle connection after 5 s; one
    # reused in that instant would be a request lost.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0, ttl_dns_cache=60)
    # Not trust_env, which looks the proxy up in a thread for every request, and sends what ~/.netrc holds.
    return aiohttp.ClientSession(connector=connector, headers=_HEADERS, cookie_jar=aiohttp.DummyCookieJar())


async def post(
    client: aiohttp.ClientSession,
    url: URL,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    deadlines: Deadlines = USUAL,
) -> dict[str, Any]:
    """Post a JSON object and return the JSON object that answers it.

    No message of an error ever holds one of `secrets`, even where the server echoes it.

    Raises:
        Throttled: 429, or 503 or 529 with Retry-After.
        Unavailable: another 5xx, 408, 409, 424, 425; a connection refused, dropped or silent for too long.
        BadReply: the answer is not a JSON object.
        Filtered: the server's content filter refuses the prompt.
        Rejected: another 4xx.
        ModelRejected: 401, 402, 403, 404, a redirect, or a code that says that no request can succeed, such as OpenAI's
            429 with `insufficient_quota`.
    """
    data = json.dumps(body).encode()
    return json_object(await send(client, "POST", url, {**_JSON, **(headers or {})}, secrets, deadlines, data), secrets)


async def stream(
    client: aiohttp.ClientSession,
    url: URL,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    deadlines: Deadlines = USUAL,
) -> list[Event]:
    """Post a JSON object and return the server-sent events that answer it, the last of them arrived.

    Raises:
        AskError: as for `post`; Unavailable when it breaks off, BadReply when an event is not a JSON object.
    """
    started = time.monotonic()

    async def read(response: aiohttp.ClientResponse, begun: asyncio.Timeout) -> list[Event]:
        found: list[tuple[float, bytes]] = []
        lines, rest = [], b""
        async for part in response.content.iter_any():
            begun.reschedule(None)
            *whole, rest = (rest + part).split(b"\n")
            for line in (line.rstrip(b"\r") for line in whole):
                if line.startswith(b"data:"):
                    lines.append(line[5:].removeprefix(b" "))
                elif not line and lines:
                    found.append((time.monotonic() - started, b"\n".join(lines)))
                    lines = []
        if not found:
            raise BadReply(f"the answer is no stream of events: {clean(rest.decode(errors='replace'), secrets)}")
        return [Event(at, json_object(Answer(data), secrets)) for at, data in found if data != b"[DONE]"]

    data = json.dumps(body).encode()
    return await _exchange(client, "POST", url, {**_STREAM, **(headers or {})}, secrets, deadlines, data, read)


async def send(
    client: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    deadlines: Deadlines = USUAL,
    data: bytes | aiohttp.FormData | None = None,
) -> Answer:
    """Send a request and return the answer to it, of status 2xx, whole.

    Raises:
        AskError: as for `post`, without the BadReply.
    """

    async def read(response: aiohttp.ClientResponse, begun: asyncio.Timeout) -> Answer:
        return Answer(await response.read())

    return await _exchange(client, method, url, headers or {}, secrets, deadlines, data, read)


async def _exchange(
    client: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    secrets: Sequence[str],
    deadlines: Deadlines,
    data: bytes | aiohttp.FormData | None,
    read: Callable[[aiohttp.ClientResponse, asyncio.Timeout], Awaitable[T]],
) -> T:
    """Send a request and read the answer, which begins with its head, or for a stream with its first event."""
    with _failing(secrets):
        async with (
            asyncio.timeout(deadlines.first_byte) as begun,
            client.request(
                method,
                # A key given beside a password in the address counts; aiohttp refuses to choose.
                url.with_user(None) if "Authorization" in headers else url,
                headers=headers,
                data=data,
                allow_redirects=False,
                proxy=_proxy(url.scheme, url.host),
                ssl=_certificates() if url.scheme == "https" else True,
                timeout=_timeout(deadlines),
            ) as response,
        ):
            if headers.get("Accept") != _STREAM["Accept"]:
                begun.reschedule(None)
            if any("ratelimit" in name.lower() for name in response.headers):
                HEAR.get()(response.headers)
            if response.ok and response.status < 300:
                return await read(response, begun)
            text = (await response.read()).decode(errors="replace")
            raise failure(response.status, text, response.headers, secrets)


@lru_cache(256)
def secrets_of(url: URL, *values: str | None) -> tuple[str, ...]:
    """Return what messages must not hold: keys, and the password and query values of an address.

    Values too short to be a secret are left out, because to blot out "1" would spoil every message.
    """
    found = [*values, url.password, *(value for value in url.query.values() if len(value) >= 2 * SHORTEST_SECRET)]
    return tuple(value for value in found if value and len(value) >= SHORTEST_SECRET)


def address(base_url: str, path: str) -> URL:
    """Return the address of a server's method; a query of `base_url` (Azure's `?api-version=`) is kept.

    Raises:
        UserError: `base_url` is not an HTTP address.
    """
    try:
        url = URL(base_url)
    except ValueError as error:
        raise UserError(f"the base_url is no address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"the base_url '{public(url)}' is no address; it must begin with http:// or https://")
    return url.with_path(url.raw_path.rstrip("/") + path, encoded=True, keep_query=True)


def public(url: URL) -> str:
    """Return an address without its user, password and query, which may hold keys."""
    return str((url.with_user(None) if url.raw_user or url.raw_password else url).with_query(None).with_fragment(None))


def json_object(answer: Answer, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON object that an answer holds.

    Raises:
        BadReply: it holds something else.
    """
    try:
        reply = json.loads(answer.content)
    except ValueError as error:
        raise BadReply(f"the answer is not JSON: {clean(answer.text, secrets) or 'an empty body'}") from error
    if not isinstance(reply, dict):
        raise BadReply(f"the answer is not a JSON object: {clean(answer.text, secrets)}")
    return reply


@contextlib.contextmanager
def _failing(secrets: Sequence[str]) -> Iterator[None]:
    """Turn what aiohttp raises into an AskError."""
    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise ModelRejected(f"the address is no URL that can be asked: {clean(error, secrets)}") from error
    except (aiohttp.ClientError, OSError) as error:  # asyncio's TimeoutError is an OSError
        if isinstance(error, aiohttp.ClientPayloadError) and isinstance(error.__cause__, ContentEncodingError):
            raise BadReply(f"the answer's compression is broken: {clean(error, secrets)}") from error
        raise Unavailable(clean(_reason(error), secrets)) from error


def _reason(error: Exception) -> str:
    """Say why there was no answer; some exceptions have only a name to say it."""
    text = str(error)
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"the server was silent for too long ({text or 'no first byte'})"
    return f"no answer: {text or type(error).__name__}"


@lru_cache(64)
def _timeout(deadlines: Deadlines) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=deadlines.connect, sock_read=deadlines.silence)


@lru_cache(64)
def _proxy(scheme: str, host: str) -> str | None:
    """Return the environment's proxy for a host."""
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")


@lru_cache(1)
def _certificates() -> ssl.SSLContext:
    """Return the authorities that are trusted: certifi's, because Python on macOS comes without any, or the user's."""
    if folder := os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"), capath=folder)
    import certifi

    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
