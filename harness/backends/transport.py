"""The wire: one HTTP client for all servers, and every way a request can fail put into its place in `harness.errors`.

The client is httpx over aiohttp: httpx's own connection pool looks at every connection for every request and falls to
some hundred requests a second at concurrency 200 (`benchmarks/transports.py` measures it beside the alternatives).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import HttpxAiohttpClient

from harness.backends.base import HEAR
from harness.errors import AskError, BadReply, ModelRejected, Rejected, Throttled, Unavailable, UserError

LONGEST_TEXT = 300
SHORTEST_SECRET = 4

# The encodings that httpx decodes without optional packages; aiohttp would offer more when it finds such packages.
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "lora-leaderboard",
}
_JSON = {"Content-Type": "application/json"}
# Failures that waiting does not mend, whatever the status they come with.
_HOPELESS_CODES = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "invalid_api_key",
    "model_not_found",
    "unsupported_parameter",
    "unsupported_value",
}
_FILTER_CODES = {"content_filter", "content_policy_violation", "data_inspection_failed", "flagged_input"}
# 424 is how LoRAX and TGI report a failure while generating.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.FAILED_DEPENDENCY, HTTPStatus.TOO_EARLY}
# 529 is Anthropic's word for 503.
_OVERLOADED = {HTTPStatus.SERVICE_UNAVAILABLE, 529}
_MODEL = {HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
_UNREACHABLE = (httpx.TransportError, aiohttp.ClientError, OSError)


class Filtered(Rejected):
    """The server's content filter refuses this prompt: the model's refusal, so to speak, not an error of ours."""


def client(timeout: float | None = None, connect: float = 10.0) -> httpx.AsyncClient:
    """Open a client that any number of models share.

    It opens as many connections as there are requests in flight, keeps them alive, and goes through the proxies
    of the environment.

    Args:
        timeout: Longest silence of a server in seconds; None when the caller keeps the time of the whole attempt.
        connect: Longest time to open a connection, in seconds.
    """
    # max_connections: 0 is aiohttp's "no limit"; None would leave its default of 100. keepalive_expiry: uvicorn, under
    # vLLM and others, closes an idle connection after 5 s; one reused in that instant would be a request lost.
    limits = httpx.Limits(max_connections=0, keepalive_expiry=4.0)
    return HttpxAiohttpClient(limits=limits, timeout=httpx.Timeout(timeout, connect=connect))


async def post(
    client: httpx.AsyncClient,
    url: httpx.URL | str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
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
    content = json.dumps(body).encode()
    response = await send(client, "POST", url, {**_JSON, **(headers or {})}, secrets, content=content)
    return json_object(response, secrets)


async def send(
    client: httpx.AsyncClient,
    method: str,
    url: httpx.URL | str,
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    timeout: httpx.Timeout | None = None,
    **content: Any,
) -> httpx.Response:
    """Send a request and return the answer to it, of status 2xx, whole.

    Args:
        client: How to send it.
        method: Of HTTP.
        url: Where to.
        headers: Beside those that every request has.
        secrets: What no message of an error may hold.
        timeout: Instead of the client's.
        content: `content`, or `data` and `files`, as httpx knows them.

    Raises:
        AskError: as for `post`, without the BadReply.
    """
    try:
        # Built here and not by client.request(), whose merging of headers, cookies and addresses takes as long as the
        # rest of the request.
        request = httpx.Request(
            method,
            url,
            headers={**_HEADERS, **(headers or {})},
            extensions={"timeout": (timeout or client.timeout).as_dict()},
            **content,
        )
        response = await client.send(request)
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ModelRejected(f"the address is no URL that can be asked: {_clean(error, secrets)}") from error
    except httpx.DecodingError as error:
        raise BadReply(f"the answer's compression is broken: {_clean(error, secrets)}") from error
    except _UNREACHABLE as error:
        raise Unavailable(_clean(_reason(error), secrets)) from error
    if any(b"ratelimit" in name.lower() for name, _ in response.headers.raw):
        HEAR.get()(response.headers)
    if response.is_success:
        return response
    raise failure(response.status_code, response.text, response.headers, secrets)


def failure(status: int, text: str, headers: Mapping[str, str] | None = None, secrets: Sequence[str] = ()) -> AskError:
    """Return the error that a status other than 2xx means, with the server's own words for it.

    Args:
        status: HTTP status.
        text: Body of the answer.
        headers: Headers of the answer.
        secrets: What the message must not hold.
    """
    headers = httpx.Headers(headers or {})
    said, codes = _explanation(text)
    message = f"HTTP {status}: {_clean(said, secrets) or _phrase(status)}"
    wait = retry_after(headers)
    if codes & _FILTER_CODES:
        return Filtered(message)
    if codes & _HOPELESS_CODES or status in _MODEL:
        return ModelRejected(message)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status in _OVERLOADED and wait is not None):
        return Throttled(message, wait)
    if status >= 500 or status in _PASSING:
        return Unavailable(message, overloaded=status in _OVERLOADED)
    if 300 <= status < 400:
        return ModelRejected(f"HTTP {status}: the server redirects to {_clean(headers.get('location', '?'), secrets)}")
    return Rejected(message) if status >= 400 else BadReply(message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait that a server names, at least 0; None when it names none that can be read.

    Reads `retry-after-ms`, then `Retry-After` in seconds or as an HTTP date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


@lru_cache(256)
def secrets_of(url: httpx.URL, *values: str | None) -> tuple[str, ...]:
    """Return what messages must not hold: keys, and the password and query values of an address.

    Values too short to be a secret are left out, because to blot out "1" would spoil every message.
    """
    found = [*values, url.password, *(value for value in url.params.values() if len(value) >= 2 * SHORTEST_SECRET)]
    return tuple(value for value in found if value and len(value) >= SHORTEST_SECRET)


def address(base_url: str, path: str) -> httpx.URL:
    """Return the address of a server's method; a query of `base_url` (Azure's `?api-version=`) is kept.

    Raises:
        UserError: `base_url` is not an HTTP address.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise UserError(f"the base_url is no address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UserError(f"the base_url '{public(url)}' is no address; it must begin with http:// or https://")
    return url.copy_with(path=url.path.rstrip("/") + path)


def public(url: httpx.URL) -> str:
    """Return an address without its user, password and query, which may hold keys."""
    return str(url.copy_with(userinfo=b"", query=None))


def json_object(response: httpx.Response, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON object that an answer holds.

    Raises:
        BadReply: it holds something else.
    """
    try:
        reply = json.loads(response.content)
    except ValueError as error:
        text = _clean(response.text, secrets) or "an empty body"
        raise BadReply(f"the answer is not JSON: {text}") from error
    if not isinstance(reply, dict):
        raise BadReply(f"the answer is not a JSON object: {_clean(response.text, secrets)}")
    return reply


def _explanation(text: str) -> tuple[str, set[str]]:
    """Return what an error's body says, and the codes in it; servers differ in where they put both."""
    try:
        body = json.loads(text)
    except ValueError:
        return text, set()
    if not isinstance(body, dict):
        return text, set()
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    said = error if isinstance(error, str) else inner.get("message") or inner.get("detail")
    codes = {str(inner.get(key)) for key in ("code", "type", "error_type")}
    metadata = inner.get("metadata")
    if isinstance(metadata, dict) and "flagged_input" in metadata:  # OpenRouter's 403 for a moderated prompt
        codes.add("flagged_input")
    return said if isinstance(said, str) and said else text, codes


def _reason(error: Exception) -> str:
    """Say why there was no answer; some exceptions have only a name to say it."""
    text = str(error)
    if isinstance(error, httpx.ReadTimeout):
        return f"the server was silent for too long ({text or 'read timeout'})"
    return f"no answer: {text or type(error).__name__}"


def _clean(text: object, secrets: Sequence[str]) -> str:
    """Blot out secrets, as they are and as JSON writes them, fold white space, and cut to `LONGEST_TEXT`."""
    cleaned = str(text)
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, json.dumps(secret)[1:-1]):
            cleaned = cleaned.replace(form, "***")
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= LONGEST_TEXT else cleaned[: LONGEST_TEXT - 1] + "…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
