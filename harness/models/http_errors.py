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

from harness.errors import (
    AskError,
    BadReply,
    Doubtful,
    ModelRejected,
    NotUnderstood,
    Quota,
    Rejected,
    Throttled,
    Unavailable,
)
from harness.secrets import masked

LONGEST_TEXT = 300
PROXY_REFUSES = (
    "HTTP 407: the environment's proxy does not accept its user and password; expected http://USER:PASSWORD@HOST:PORT"
)
_NO_MODEL_CODE = "model_not_found"
# Failures that waiting does not mend, whatever the status they come with.
_HOPELESS_CODES = {
    *("insufficient_quota", "insufficient_balance", "billing_hard_limit_reached", "billing_not_active"),
    *("account_deactivated", "invalid_api_key", "invalidapikey", "authentication_error", _NO_MODEL_CODE),
    *("unsupported_parameter", "unsupported_value", "unsupported_country_region_territory"),
    # The words of Groq, Together, Mistral and Azure for a model that is not there, or not any more.
    *("model_decommissioned", "model_not_available", "invalid_model", "deploymentnotfound", "modeldeprecated"),
}

_FILTER_CODES = {
    *("content_filter", "content_policy_violation", "data_inspection_failed", "flagged_input"),
    "invalid_prompt",  # OpenAI's word for a prompt that breaks its usage policy
}
# What some servers say in words only, whatever the status. Anthropic, DeepSeek, MiniMax and OpenRouter: no credit.
_NO_CREDIT = re.compile(
    r"credit balance is too low|insufficient[ _](balance|credits?|funds|quota)|out of (credits|call volume quota)"
    r"|balance is not enough|exceeded your monthly included credits",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"blocked by (the )?content filter|flagged as potentially violating", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"\bmodels?\b.{0,120}(not found|not exist|decommissioned|deprecated|retired|no longer (available|supported)"
    r"|end of its life)|no such model|no endpoints found for|^model: ",
    re.IGNORECASE,
)
# Of a 400, which mostly is about one prompt: DeepSeek, OpenRouter, Bedrock.
_NO_SUCH_NAME = re.compile(r"^model not exist\.?$|is not a valid model ID|model identifier is invalid", re.IGNORECASE)
RETIRED = "; the model may have been retired: compare its name with the vendor's list of models"
_WRONG_KEY = re.compile(
    r"(invalid|incorrect|wrong) api.?key|api.?key (is )?(not valid|invalid)|invalid subscription key", re.IGNORECASE
)
# Of a 429: more than the whole limit of a minute, which no waiting helps; and a limit of nothing (Gemini's free tier).
_TOO_LARGE = re.compile(r"request (is )?too large|(prompt|input) (is )?too (large|long)", re.IGNORECASE)
_OVER_LIMIT = re.compile(r"\blimit:? (\d+)\b.{0,60}\brequested:? (\d+)\b", re.IGNORECASE)
# Some servers say so with a status of 500, or a good one.
_TOO_LONG = re.compile(
    r"maximum context length|context length exceeded|(prompt|input) is too long|available context size"
    r"|exceeds? (the )?context|context the overflows",
    re.IGNORECASE,
)
_LIMIT_OF_NOTHING = re.compile(r"\blimit: 0\b")
# A quota that no waiting of a run helps, unless one of a minute is named beside it: OpenAI, Groq, OpenRouter, Bedrock
# and Cohere say so in words, Gemini in the name of the quota.
_OF_A_DAY = re.compile(r"\bper[ -]?day\b|PerDay|\((TPD|RPD)\)|\bdaily\b|\bmonthly\b|(per|/) ?month\b", re.IGNORECASE)
_OF_A_MINUTE = re.compile(r"\bper[ -]?min|PerMinute|\((TPM|RPM)\)", re.IGNORECASE)
# How long to wait, in words.
_WAIT = re.compile(
    r"(?:try again in|retry (?:after|in)|\"retryDelay\": ?\")\s*"
    r"((?:\d+(?:\.\d*)?\s*(?:milli|ms|sec|s|min|m|hour|h|day|d)[a-z]*(?![a-z])\s*)+)",
    re.IGNORECASE,
)
_LOADING = re.compile(r"\bload(ing|s)\b|not ready|warming up|starting up", re.IGNORECASE)
# 424 is how LoRAX and TGI report a failure while generating.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.FAILED_DEPENDENCY, HTTPStatus.TOO_EARLY}
# 529 is Anthropic's word for 503.
_OVERLOADED = {HTTPStatus.SERVICE_UNAVAILABLE, 529}
# A firewall or a gateway answers so to a single row, too.
_DOUBTFUL = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
# Anthropic names its errors without their numbers where they come in the middle of a stream.
_STATUSES = {"overloaded_error": 529, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504}
# A number of seconds that is no waiting time, but a moment after 2001.
_SINCE_1970 = 1e9
_UNITS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?)\s*(ms|milli|[dhms])[a-z]*\s*")
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


WITHOUT_VERSION = ("/chat/completions", "/completions", "/models")
"""Paths of OpenAI's interface as they are asked for when an address lacks its version."""


def failure(
    status: int, text: str, headers: Mapping[str, str] | None = None, secrets: Sequence[str] = (), path: str = ""
) -> AskError:
    """Return the error that a status other than 2xx means, with the message of the server.

    `text` and `headers` are the answer's, `path` was asked for; no message holds one of `secrets`.
    """
    headers = httpx.Headers(headers)
    said, codes = _explanation(text)
    message = f"HTTP {status}: {clean(said, secrets) or httpx.codes.get_reason_phrase(status) or 'no reason given'}"
    if status == HTTPStatus.NOT_FOUND and path in WITHOUT_VERSION:
        message += f" (asked for {path}; base_url usually ends with /v1)"
    wait = retry_after(headers)
    if wait is None and (written := _WAIT.search(text)):
        wait = until_reset(written[1])
    known = {code.lower() for code in codes}
    no_model = _says_no_model(status, said)
    if _NO_MODEL_CODE in known or no_model:
        message += RETIRED
    if known & _FILTER_CODES or _FILTERED.search(said):
        return Filtered(message)
    if known & _HOPELESS_CODES or status == HTTPStatus.PAYMENT_REQUIRED or _NO_CREDIT.search(said):
        return ModelRejected(message)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        if _LIMIT_OF_NOTHING.search(said):
            return ModelRejected(message)
        if _TOO_LARGE.search(said) or _over_limit(said):
            return Rejected(message)
        if _OF_A_DAY.search(text) and not _OF_A_MINUTE.search(text):
            return ModelRejected(message if wait is None else f"{message} (come back in {wait:.0f} s)")
        return Throttled(message, wait)
    if status < 500 and _WRONG_KEY.search(said):
        return ModelRejected(message)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return ModelRejected(PROXY_REFUSES)
    if status in _DOUBTFUL or no_model:
        return Doubtful(message)
    if status >= 500 and _TOO_LONG.search(said):
        return Rejected(message)
    if status >= 500 or status in _PASSING:
        overloaded = status in _OVERLOADED
        named = overloaded and wait is not None
        found = Throttled(message, wait) if named else Unavailable(message, overloaded=overloaded)
        found.loading = named or (status == HTTPStatus.SERVICE_UNAVAILABLE and _LOADING.search(said) is not None)
        return found
    if 300 <= status < 400:
        return ModelRejected(f"HTTP {status}: the server redirects to {clean(headers.get('location', '?'), secrets)}")
    if status >= 400 or _TOO_LONG.search(said):
        return Rejected(message)
    return NotUnderstood(message)


def _says_no_model(status: int, said: str) -> bool:
    """Whether a server says, in words, that it does not have the model."""
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return _NO_MODEL.search(said) is not None
    return status == HTTPStatus.BAD_REQUEST and _NO_SUCH_NAME.search(said) is not None


def _over_limit(said: str) -> bool:
    """Whether a request alone is larger than a limit, which no waiting helps."""
    found = _OVER_LIMIT.search(said)
    return found is not None and int(found[2]) > int(found[1])


def late_failure(reply: Mapping[str, Any], secrets: Sequence[str] = ()) -> AskError:
    """Return the error that a reply, or a part of a stream, means that holds one in spite of its status 200.

    A reply that holds neither an error nor an answer is not understood; what it says is in the message.
    """
    status = next((named for level in _levels(reply) if (named := _status_in(level))), 200)
    found: AskError
    if says_error(reply, whole=True) or status != 200:
        found = failure(status, json.dumps(reply), secrets=secrets)
    else:
        found = NotUnderstood(f"the reply holds no answer: {clean(json.dumps(reply), secrets)}")
    if isinstance(found, NotUnderstood):
        if reply.get("error"):
            return BadReply(str(found))
        found.charged = True  # it may be an answer in an unknown form
    return found


def says_error(reply: Mapping[str, Any], *, whole: bool = False) -> bool:
    """Whether a reply, or a part of a stream, is an error: it says so, or it has words in place of an answer."""
    return bool(reply.get("error")) or ((whole or "choices" not in reply) and bool(_words(reply)))


def _status_in(level: Mapping[str, Any]) -> int | None:
    """The HTTP status that an error with status 200 names."""
    names = ("code", "status", "status_code", "statusCode", "error_code")
    named = (str(_STATUSES.get(str(level.get("type")), level.get(name))) for name in names)
    return next((int(text) for text in named if len(text) == 3 and text.isdecimal() and "400" <= text < "600"), None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait that a server names, at least 0; None when it names none that can be read.

    Reads `retry-after-ms`, then `Retry-After` in seconds, as an HTTP date or as `until_reset` does, by the server's own
    clock where its answer tells the time.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (wait := until_reset(headers.get(name, ""))) is not None:
            return wait / 1000
    text = headers.get("retry-after", "")
    first = text.partition(",")[0]  # sent twice
    wait = until_reset(first if first.strip().isdecimal() else text, clock(headers))
    if wait is not None:
        return wait
    date = _date(text)
    return None if date is None else max(0.0, (date - clock(headers)).total_seconds())


def clock(headers: Mapping[str, str]) -> datetime:
    """Return the time of the server that has sent these headers; this machine's where they do not tell."""
    return _date(headers.get("date", "")) or datetime.now(UTC)


def _date(text: str) -> datetime | None:
    """Return an HTTP date, None where the text is none."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def quotas(headers: httpx.Headers) -> tuple[Quota, ...]:
    """Return what the headers of an answer say of rate limits; those that cannot be read are left out."""
    if not any(b"ratelimit" in name.lower() for name, _ in headers.raw):
        return ()
    found = []
    for unit, remaining, reset in _QUOTAS:
        left, seconds = headers.get(remaining, ""), until_reset(headers.get(reset, ""), clock(headers))
        if left.isdecimal() and seconds is not None:
            found.append(Quota(unit, int(left), seconds))
    return tuple(found)


def until_reset(text: str, now: datetime | None = None) -> float | None:
    """Return the seconds from `now` that a rate limit's reset header names, None when it cannot be read.

    Reads `1s`, `6m0s`, `20ms`, `1h2m3.5s`, `25 seconds`, a plain number of seconds, a date as in ISO 8601, and the
    seconds or milliseconds since 1970 of a date.
    """
    now = now or datetime.now(UTC)
    text = text.strip()
    if text and not _DURATION.sub("", text):
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    try:
        seconds = float(text)
        if seconds >= _SINCE_1970 * 1000:
            seconds /= 1000
        if seconds >= _SINCE_1970:
            seconds -= now.timestamp()
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def clean(text: object, secrets: Sequence[str]) -> str:
    """Mask secrets, however they are encoded, fold white space, and cut to `LONGEST_TEXT` characters."""
    cleaned = " ".join(masked(str(text), secrets).split())
    return cleaned if len(cleaned) <= LONGEST_TEXT else cleaned[: LONGEST_TEXT - 1] + "…"


def _explanation(text: str) -> tuple[str, set[str]]:
    """Return what an error's body says, and the codes in it; servers differ in where they put both."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text, set()
    if isinstance(body, list) and body:  # Gemini's errors
        body = body[0]
    if not isinstance(body, dict):
        return text, set()
    levels = _levels(body)
    codes = {str(found.get(key)) for found in levels for key in ("code", "type", "error_type")}
    metadata = levels[0].get("metadata")
    if isinstance(metadata, dict) and "flagged_input" in metadata:  # OpenRouter's 403 for a moderated prompt
        codes.add("flagged_input")
    return _words(body) or text, codes


_NESTED = ("error", "base_resp", "errors")
_SAID = (
    *("message", "detail", "msg", "status_msg", "error_msg", "error_message", "errorMessage", "error_description"),
    *("reason", "title", "exception"),
)


def _levels(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a body that describe the error, the innermost first: `base_resp` is MiniMax's."""
    levels, inner = [body], body
    while len(levels) < 5:
        nested = [found[0] if isinstance(found := inner.get(name), list) and found else found for name in _NESTED]
        found = next((one for one in nested if isinstance(one, dict)), None)
        if found is None:
            break
        levels.insert(0, inner := found)
    return levels


def _words(body: Mapping[str, Any]) -> str:
    """What the body of an error says, "" where it says nothing in words."""
    levels = _levels(body)
    for level in levels:
        said = next((found for name in _SAID if (found := level.get(name))), "")
        said = said or next((found for name in _NESTED if isinstance(found := level.get(name), str)), "")
        if said:
            metadata = level.get("metadata")  # OpenRouter's: the words of the provider behind it
            raw = metadata.get("raw") if isinstance(metadata, dict) else None
            text = said if isinstance(said, str) else json.dumps(said)
            return f"{text}: {raw if isinstance(raw, str) else json.dumps(raw)}" if raw else text
    return ""
