"""From HTTP failures to the errors of `harness.errors`, without secrets; and what headers say of waits and limits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal

import httpx

from harness.errors import AskError, BadReply, ModelRejected, Quota, Rejected, Throttled, Unavailable

LONGEST_TEXT = 300
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
# Anthropic names its errors without their numbers where they come in the middle of a stream.
_STATUSES = {"overloaded_error": 529, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?)(ms|[dhms])")
# Of each rate limit the headers for what is left and when it is full again: OpenAI's names, which other servers use,
# too, then Anthropic's.
_QUOTAS: tuple[tuple[Literal["requests", "tokens"], str, str], ...] = (
    ("requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("requests", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("tokens", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
)


class Filtered(Rejected):
    """The server's content filter refuses this prompt; counts as a refusal of the model."""


def failure(status: int, text: str, headers: Mapping[str, str] | None = None, secrets: Sequence[str] = ()) -> AskError:
    """Return the error that a status other than 2xx means, with the message of the server.

    Args:
        status: HTTP status.
        text: Body of the answer.
        headers: Headers of the answer.
        secrets: What the message must not hold.
    """
    headers = httpx.Headers(headers)
    said, codes = _explanation(text)
    message = f"HTTP {status}: {clean(said, secrets) or _phrase(status)}"
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
        return ModelRejected(f"HTTP {status}: the server redirects to {clean(headers.get('location', '?'), secrets)}")
    return Rejected(message) if status >= 400 else BadReply(message)


def late_failure(reply: Mapping[str, Any], secrets: Sequence[str] = ()) -> AskError:
    """Return the error that a reply, or a part of a stream, means that holds one in spite of its status 200."""
    error = reply.get("error")
    error = error if isinstance(error, dict) else {}
    status = _STATUSES.get(str(error.get("type")), error.get("code"))
    status = status if isinstance(status, int) and 400 <= status < 600 else 200
    return failure(status, json.dumps(reply), secrets=secrets)


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


def quotas(headers: httpx.Headers) -> tuple[Quota, ...]:
    """Return what the headers of an answer say of rate limits; those that cannot be read are left out."""
    if not any(b"ratelimit" in name.lower() for name, _ in headers.raw):
        return ()
    found = []
    for unit, remaining, reset in _QUOTAS:
        left, seconds = headers.get(remaining, ""), until_reset(headers.get(reset, ""))
        if left.isdecimal() and seconds is not None:
            found.append(Quota(unit, int(left), seconds))
    return tuple(found)


def until_reset(text: str) -> float | None:
    """Return the seconds that a rate limit's reset header names, None when it cannot be read.

    Reads `1s`, `6m0s`, `20ms`, `1h2m3.5s`, a plain number of seconds, and a date as in ISO 8601.
    """
    text = text.strip()
    if text and not _DURATION.sub("", text):
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    try:
        seconds = float(text)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def clean(text: object, secrets: Sequence[str]) -> str:
    """Mask secrets, as they are and as JSON writes them, fold white space, and cut to `LONGEST_TEXT` characters."""
    cleaned = str(text)
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, json.dumps(secret)[1:-1]):
            cleaned = cleaned.replace(form, "***")
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= LONGEST_TEXT else cleaned[: LONGEST_TEXT - 1] + "…"


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


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
