"""HTTP: httpx's requests and responses, carried by aiohttp. What goes wrong is one of the errors of `harness.errors`.

A request goes straight to the transport. httpx's own client in front of it takes half as much CPU again
(`benchmarks/transports.py` measures them side by side) and adds what is not wanted here: cookies, redirects, proxies
that are fixed when it is opened.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import re
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from harness.errors import AskError, BadReply, ModelRejected, NotUnderstood, Unavailable, UserError
from harness.models.backend import Reply
from harness.models.entry import BAD_URL
from harness.models.events import DONE, Body, Event
from harness.models.http_errors import PROXY_REFUSES, clean, failure, quotas

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
_IDLE_CLOSE_S = 1.0
"""Seconds within which a request fails that is sent on a kept connection which the server has closed, being idle."""
_reused: ContextVar[bool] = ContextVar("_reused", default=False)
_FOR_WORDS_S = 5.0
"""Seconds that an error's body may take."""
MOST_WORDS = 1_000_000
"""Bytes of an error's body that are read."""
LONGEST_LINE = 1 << 17
"""Bytes of a line in the head of an answer."""
LONGEST_NUMBER = 40


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a server may take, in seconds, and how long its answer may be; None where there is no limit.

    To accept a connection (`connect`), to begin the answer, the connection included (`first_byte`), between two parts
    of it (`silence`); `size` is in bytes, unpacked.
    """

    connect: float | None = 10.0
    first_byte: float | None = None
    silence: float | None = None
    size: int = 64_000_000


USUAL = Bounds()


class Transport(httpx.AsyncBaseTransport):
    """Carries the requests of any number of models, directly or through the proxy that the environment names.

    It opens as many connections as there are requests in flight and keeps them alive. With `direct` no proxy is used,
    whatever the environment names: for a server of this process.
    """

    def __init__(self, *, direct: bool = False) -> None:
        self._routes: dict[tuple[str, str | None], AiohttpTransport] = {}
        self._direct = direct

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer, whose body is still to be read."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        route = url.scheme, None if self._direct else proxy_of(url.scheme, url.host, port)
        if route not in self._routes:
            self._routes[route] = _carrier(*route)
        try:
            return await self._routes[route].handle_async_request(request)
        except httpx.ProxyError as error:
            if isinstance(cause := error.__cause__, aiohttp.ClientHttpProxyError):
                if cause.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                    raise ModelRejected(PROXY_REFUSES) from None
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
            kind = f"a {proxy.url.scheme} proxy, which is not supported" if proxy else "not a valid URL"
            raise ModelRejected(f"the environment's proxy for {scheme} is {kind}: expected http://HOST:PORT")
        # The transport passes a password on through a class of aiohttp's that is deprecated; aiohttp reads the URL's.
        proxy.url, proxy.auth = httpx.URL(proxy_url), None
    secure = scheme == "https" or (proxy is not None and proxy.url.scheme == "https")
    session = open_session(secure=secure)
    return AiohttpTransport(verify=_context(secure), proxy=proxy, client=session)


def open_session(*, secure: bool, unpack: bool = True) -> aiohttp.ClientSession:
    """Open the connections to a server, `secure` where TLS is spoken; bodies are decompressed where `unpack` is set."""
    # limit 0 is "no limit". keepalive_timeout: uvicorn, under vLLM and others, closes an idle connection after 5 s; one
    # reused in that instant would be a request lost.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0, ttl_dns_cache=60, ssl=_context(secure))
    # Not trust_env, which looks the proxy up in a thread for every request, and sends what ~/.netrc holds.
    traces = aiohttp.TraceConfig()
    traces.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        trace_configs=[traces],
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=unpack,
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )


async def _note_reuse(session: aiohttp.ClientSession, context: object, params: object) -> None:
    _reused.set(True)


def _context(secure: bool) -> ssl.SSLContext:
    """The authorities that are trusted; without TLS nobody, since to read the certificates takes as long as some runs.

    Raises:
        ModelRejected: a file of them cannot be read.
    """
    return _certificates() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Readers(NamedTuple):
    """What makes a reply of an answer that came whole, as a JSON object, or in parts, as server-sent events.

    `begun` is given the body when the answer begins; it grows as the answer arrives.
    """

    whole: Callable[[dict[str, Any]], Reply]
    parts: Callable[[list[Event]], Reply]
    begun: Callable[[Body], None] = lambda body: None


async def post(
    transport: httpx.AsyncBaseTransport,
    url: httpx.URL,
    body: Mapping[str, Any],
    read: Readers,
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    bounds: Bounds = USUAL,
    *,
    streamed: bool = False,
) -> Reply:
    """Post a JSON object and return what is read in the answer, whole or in parts, whichever way the server sends it.

    The deadline of the first byte is that of the first event where the answer is to be `streamed`; comments that keep
    the connection open are no event. No message of an error ever holds one of `secrets`, even where the server echoes
    it. What the answer's headers say of rate limits is in the reply, or in the error.

    Raises:
        Throttled: 429, or 503 or 529 with Retry-After.
        Unavailable: another 5xx, 408, 409, 424, 425; a connection refused, dropped or silent for too long.
        BadReply: the answer is neither a JSON object nor events of such, breaks the limit of its size, or its JSON.
        Filtered: the server's content filter refuses the prompt.
        Rejected: another 4xx; Doubtful: 401, 403 or 404 without a reason.
        ModelRejected: 402, a redirect, or a code that says that no request can succeed, such as OpenAI's 429 with
            `insufficient_quota`; the certificate or the proxy is wrong.
        AskError: what `read` raises.
    """
    started = time.monotonic()
    data = json.dumps(body).encode()
    sent = {**_JSON, **({"Accept": "text/event-stream"} if streamed else {}), **(headers or {})}
    async with _exchange(transport, "POST", url, sent, secrets, bounds, content=data) as (response, begun):
        found = Body()
        read.begun(found)
        try:
            async for part in _unpacked(response, bounds.size):
                found.take(part, time.monotonic() - started)
                if found.events or not streamed or found.is_json:
                    begun.reschedule(None)
        except (httpx.TransportError, aiohttp.ClientError):
            if not found.is_whole:  # else only the end of the connection is missing, and the answer is paid for
                raise
        found.end(time.monotonic() - started)
        begun.reschedule(None)
        try:
            reply = _read(found, read, secrets)
        except BadReply as error:
            error.charged = True
            raise
        rest = quotas(response.headers)
        return replace(reply, quota=rest) if rest else reply


def _read(found: Body, read: Readers, secrets: Sequence[str]) -> Reply:
    if not found.events:
        return read.whole(json_object(found.text, secrets))
    events = events_of(found, secrets)
    if len(events) < len(found.events):
        events.append(Event(found.events[-1][0], {}, done=True))
    return read.parts(events)


def events_of(body: Body, secrets: Sequence[str] = ()) -> list[Event]:
    """Return the events of a body that have arrived, without the one that only says that all was sent.

    Raises:
        BadReply: one is not a JSON object.
    """
    return [Event(at, one) for at, data in body.events if data.strip() != DONE for one in _objects(data, secrets)]


def _objects(data: bytes, secrets: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects in the data of an event: one, or several that a server has run together."""
    try:
        return [json_object(data, secrets)]
    except BadReply as error:
        found, text = [], data.decode(errors="replace").strip()
        while text:
            try:
                end = json.JSONDecoder().raw_decode(text)[1]
            except (ValueError, RecursionError):
                raise error from None
            found.append(json_object(text[:end].encode(), secrets))
            text = text[end:].lstrip().removeprefix("data:").lstrip()
        return found


async def _unpacked(response: httpx.Response, most: int) -> AsyncIterator[bytes]:
    """Yield an answer's body, unpacked, in parts.

    Raises:
        NotUnderstood: it is longer than `most` bytes, or packed in a way that was not asked for.
    """
    packed = [name.strip().lower() for name in response.headers.get("content-encoding", "").split(",")]
    if len(packed) > 1 or packed[0] in ("br", "zstd"):  # twice packed, a megabyte becomes a terabyte
        raise _charged(NotUnderstood(f"the answer is packed as {', '.join(packed)}, which was not asked for"))
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > most:
            raise _charged(NotUnderstood(f"the answer is longer than {most / 1e6:g} MB (body_limit)"))
        yield part


def _charged(error: AskError) -> AskError:
    error.charged = True
    return error


async def send(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    bounds: Bounds = USUAL,
    **body: Any,
) -> bytes:
    """Send a request and return the body of the answer to it, of status 2xx.

    `headers` are beside those of every request; `body` is `content`, or `data` and `files`, as `httpx.Request` takes
    them.

    Raises:
        AskError: as for `post`, BadReply only for an answer that is too long.
    """
    async with _exchange(transport, method, url, headers or {}, secrets, bounds, **body) as (response, begun):
        begun.reschedule(None)
        return b"".join([part async for part in _unpacked(response, bounds.size)])


@contextlib.asynccontextmanager
async def _exchange(
    transport: httpx.AsyncBaseTransport,
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    secrets: Sequence[str],
    bounds: Bounds,
    **body: Any,
) -> AsyncIterator[tuple[httpx.Response, asyncio.Timeout]]:
    """Send a request; give the answer, of status 2xx and still to be read, and the deadline of its first byte."""
    if url.userinfo:
        # A key given beside a password in the URL takes its place.
        headers = {"Authorization": _basic(url.username, url.password), **headers}
        url = url.copy_with(userinfo=b"")
    timeouts = {"connect": bounds.connect, "read": bounds.silence}
    answering = False
    _reused.set(False)
    sent = time.monotonic()
    try:
        with _translated_errors(secrets):
            extensions = {"timeout": timeouts}
            request = httpx.Request(method, url, headers={**_HEADERS, **headers}, extensions=extensions, **body)
            async with asyncio.timeout(bounds.first_byte) as begun:
                response = await transport.handle_async_request(request)
                answering = response.is_success
                try:
                    if not answering:
                        begun.reschedule(None)
                        words = await _words(response)
                        raise failure(response.status_code, words, response.headers, secrets, url.path)
                    yield response, begun
                except AskError as error:
                    error.quota = quotas(response.headers)
                    raise
                finally:
                    await response.aclose()
    except Unavailable as error:
        # What was begun has been generated, at least in part, whether it arrived or not.
        error.charged = error.charged or (answering and error.__cause__ is not None)
        error.answered = error.answered or answering
        if not (error.answered or answering) and _reused.get() and time.monotonic() - sent <= _IDLE_CLOSE_S:
            error.unread, error.charged = True, False
        raise


async def _words(response: httpx.Response) -> str:
    """The beginning of an error's body, as far as it comes: its status counts, whatever becomes of the rest."""
    found = b""
    with contextlib.suppress(BadReply, TimeoutError, httpx.HTTPError, aiohttp.ClientError):
        async with asyncio.timeout(_FOR_WORDS_S):
            async for part in _unpacked(response, MOST_WORDS):
                found += part
    return found.decode(errors="replace")


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
        raise UserError(BAD_URL)
    # The path as it was written: one that has been decoded may mean another.
    before, mark, query = url.raw_path.partition(b"?")
    return url.copy_with(raw_path=before.rstrip(b"/") + path.encode() + mark + query, fragment=None)


def public(url: httpx.URL) -> str:
    """Return a URL without its user, password and query, which may hold keys."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def json_object(content: bytes, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON object that a body holds.

    Raises:
        BadReply: it holds nothing, or only the beginning of one.
        NotUnderstood: it holds something else.
    """
    try:
        reply = json.loads(content, parse_int=_integer, parse_constant=no_number)
    except RecursionError:
        raise NotUnderstood("the answer's JSON is nested too deeply") from None
    except ValueError as error:
        text = clean(content[:MOST_WORDS].decode(errors="replace"), secrets)
        kind = BadReply if _ends_early(error, content) else NotUnderstood
        raise kind(f"the answer is not JSON: {text or 'an empty body'}") from error
    if isinstance(reply, list) and len(reply) == 1:  # Gemini's errors
        reply = reply[0]
    if not isinstance(reply, dict):
        raise NotUnderstood(f"the answer is not a JSON object: {clean(content.decode(errors='replace'), secrets)}")
    return reply


def _ends_early(error: ValueError, content: bytes) -> bool:
    """Whether JSON could not be read because its end is missing."""
    at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip())
    return not content.strip() or at_end or "Unterminated string" in str(error)


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError("a number of too many digits")
    return int(digits)


def no_number(name: str) -> None:
    """Raise ValueError: NaN and infinities, which Python would read, are not JSON."""
    raise ValueError(f"{name} is not JSON")


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
        raise _charged(BadReply(f"the answer's compression is broken: {clean(error, secrets)}")) from error
    except (httpx.ReadTimeout, TimeoutError) as error:
        silent = f"the server was silent for too long ({clean(error, secrets) or 'no first byte'})"
        raise _charged(Unavailable(silent)) from error
    except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
        cause = error.__cause__ or error
        if wrong := setting_at_fault(cause):
            raise ModelRejected(wrong) from error
        why = absence(cause)
        broken = _broken(cause)
        lost = Unavailable(
            f"no answer: {why or clean(broken or error, secrets) or type(cause).__name__}", absent=bool(why)
        )
        # A connection that is lost after it was made may have carried the request, and its answer have been begun.
        lost.charged = not isinstance(cause, (*NOT_CONNECTED, httpx.ProxyError))
        lost.answered = False
        raise lost from error


def _broken(cause: BaseException) -> str | None:
    """Return what is wrong with an answer that is no HTTP; aiohttp's own words name a status that none has sent."""
    if isinstance(cause, aiohttp.ClientPayloadError):
        return "the answer broke off"
    if isinstance(cause, (aiohttp.ClientResponseError, aiohttp.http_exceptions.HttpProcessingError)):
        return f"the answer is not valid HTTP ({cause.message.partition(chr(10))[0].rstrip(':')})"
    return None


NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
"""What is raised where no connection was made, so that the server cannot have read the request."""


def absence(cause: BaseException) -> str | None:
    """Return why there is no server at an address, where that is what a failed connection means."""
    if isinstance(cause, aiohttp.ClientProxyConnectionError):
        return "the environment's proxy cannot be reached"
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return "no host of this name is known: is base_url right?"
    if isinstance(cause, aiohttp.ClientConnectorError) and cause.os_error.errno == errno.ECONNREFUSED:
        return "nothing listens there: is the server running, and is the port of base_url right?"
    return None


def setting_at_fault(cause: BaseException) -> str | None:
    """Return what is wrong with the machine's settings where that is why a connection fails, which no waiting helps."""
    if isinstance(cause, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
        said = getattr(getattr(cause, "certificate_error", cause), "verify_message", "") or "it cannot be verified"
        return (
            f"the server's certificate is not trusted ({said}); name the file of the authority that has signed it "
            "in the environment variable SSL_CERT_FILE"
        )
    if isinstance(cause, aiohttp.ClientConnectorSSLError) and "wrong version number" in str(cause).lower():
        return "the server does not speak TLS at this address: write http:// in place of https://"
    return None


@lru_cache(64)
def proxy_of(scheme: str, host: str, port: int) -> str | None:
    """Return the URL of the environment's proxy for a server; None when it is to be reached directly."""
    proxies = urllib.request.getproxies()
    found = proxies.get(scheme) or proxies.get("all")
    if not found or _direct(host, port, proxies.get("no", "")) or urllib.request.proxy_bypass(host):
        return None
    return found if "://" in found else f"http://{found}"


def _direct(host: str, port: int, excepted: str) -> bool:
    """Whether the list in NO_PROXY excepts a server: by `*`, name, address, domain or network, perhaps with a port."""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        address = None
    for entry in filter(None, (part.strip().lower() for part in excepted.split(","))):
        name, mark, wanted = entry.rpartition(":")
        if not (mark and wanted.isdecimal() and (name.startswith("[") or ":" not in name)):
            name, wanted = entry, str(port)
        name = name.strip("[]").removeprefix("*").removeprefix(".")
        if wanted != str(port):
            continue
        if not name or host.lower() == name or host.lower().endswith("." + name):
            return True
        if address is not None and "/" in name:
            with contextlib.suppress(ValueError):
                if address in ip_network(name, strict=False):
                    return True
    return False


@lru_cache(64)
def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@lru_cache(1)
def _certificates() -> ssl.SSLContext:
    """Return the authorities that are trusted: certifi's, because Python on macOS comes without any, or the user's.

    The user's are those of all files and folders that the environment names.

    Raises:
        ModelRejected: one of them cannot be read.
    """
    named = {name: os.environ[name] for name in _AUTHORITIES if os.environ.get(name)}
    if not named:
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name, place in named.items():
        folder = name == "SSL_CERT_DIR" or Path(place).is_dir()  # requests takes a folder, too
        try:
            context.load_verify_locations(**{"capath" if folder else "cafile": place})
        except OSError as error:
            reason = error.strerror or "it holds no certificate"
            raise ModelRejected(f"the certificates in {place}, which {name} names, cannot be read: {reason}") from None
    return context


_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
