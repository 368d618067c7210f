"""What failures mean: every status and code has its error, and no message gives a secret away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import AskError, Doubtful, ModelRejected, Quota, Rejected, Throttled, Unavailable
from harness.models.http_errors import LONGEST_TEXT, Filtered, failure, quotas, retry_after, until_reset
from tests.loopback import error

KEY = "sk-planted-0123456789"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Rejected),
        (401, Doubtful),
        (402, ModelRejected),
        (403, Doubtful),
        (404, Doubtful),
        (307, ModelRejected),
        (408, Unavailable),
        (409, Unavailable),
        (413, Rejected),
        (422, Rejected),
        (424, Unavailable),
        (429, Throttled),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (529, Unavailable),
        (599, Unavailable),
    ],
)
def test_each_status_has_its_error(status: int, expected: type[AskError]) -> None:
    assert type(failure(status, "")) is expected
    assert str(status) in str(failure(status, ""))


@pytest.mark.parametrize("code", ["model_not_found", "unsupported_parameter", "insufficient_quota"])
def test_a_code_by_which_every_request_fails_stops_the_model_whatever_the_status(code: str) -> None:
    for status in (400, 429):
        assert type(failure(status, error(status, "no", code).body)) is ModelRejected


@pytest.mark.parametrize(
    ("status", "body", "retired"),
    [
        (
            404,
            error(404, "The model `gpt-4` does not exist or you do not have access to it.", "model_not_found").body,
            True,
        ),
        (400, error(400, "no", "model_not_found").body, True),
        (404, '{"type": "error", "error": {"type": "not_found_error", "message": "model: claude-2"}}', True),
        (404, '{"error": "model \'llama2\' not found"}', True),
        (404, '{"detail": "Not Found"}', False),
        (400, '{"error": {"message": "the model does not exist in this prompt"}}', False),
    ],
)
def test_a_model_that_is_not_there_may_have_been_retired(status: int, body: str, retired: bool) -> None:
    assert ("the model may have been retired" in str(failure(status, body))) is retired


@pytest.mark.parametrize(
    "body",
    ['{"error": {"code": "content_filter", "message": "m"}}', '{"error": {"metadata": {"flagged_input": "x"}}}'],
)
def test_a_moderated_prompt_is_distinguished_from_a_wrong_key(body: str) -> None:
    assert type(failure(403, body)) is Filtered


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "too hot"}}',
        '{"error": "too hot", "error_type": "generation"}',
        '{"object": "error", "message": "too hot"}',
        '{"detail": "too hot"}',
        "too\nhot",
    ],
)
def test_the_servers_own_words_are_in_the_message(body: str) -> None:
    assert str(failure(500, body)) == "HTTP 500: too hot"


@given(st.text())
def test_any_body_of_an_error_makes_a_short_message(body: str) -> None:
    message = str(failure(500, body))
    assert message.startswith("HTTP 500: ")
    assert len(message) <= LONGEST_TEXT + len("HTTP 500: ")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"retry-after-ms": "soon", "Retry-After": "7"}, 7.0),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_the_wait_a_server_names_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx.Headers(headers)) == seconds


def test_a_wait_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = retry_after(httpx.Headers({"Retry-After": date}))
    assert seconds is not None
    assert 50 < seconds <= 60


@given(st.integers(0, 2 * LONGEST_TEXT))
def test_cutting_a_message_leaves_no_part_of_a_secret(place: int) -> None:
    assert "planted" not in str(failure(500, "x" * place + KEY, secrets=(KEY,)))


def test_a_secret_is_found_as_json_writes_it() -> None:
    assert 'pass"word' not in str(failure(500, r"{broken pass\"word", secrets=('pass"word',)))
    assert "word" not in str(failure(500, r"{broken pass\"word", secrets=('pass"word',)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("12.5", 12.5),
        ("0s", 0.0),
        ("-3", 0.0),
        ("", None),
        ("soon", None),
        ("1x", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_reset_times_of_every_format(text: str, seconds: float | None) -> None:
    assert until_reset(text) == seconds


@given(st.integers(-5000, 5000))
def test_a_reset_date_in_the_past_is_now(seconds: int) -> None:
    found = until_reset((datetime.now(UTC) + timedelta(seconds=seconds)).isoformat())
    assert found == pytest.approx(max(0, seconds), abs=5)


@given(st.text(max_size=20))
def test_any_reset_header_is_read_or_ignored(text: str) -> None:
    found = until_reset(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "X-RateLimit-Remaining-Requests": "59", "X-RateLimit-Reset-Requests": "1s",
                "X-RateLimit-Remaining-Tokens": "0", "X-RateLimit-Reset-Tokens": "6m0s",
            },
            (Quota("requests", 59, 1.0), Quota("tokens", 0, 360.0)),
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z",
            },
            (Quota("requests", 0, 0.0),),
        ),
        ({"x-ratelimit-remaining-requests": "0"}, ()),
        ({"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "soon"}, ()),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "1s"}, ()),
        ({"content-type": "application/json"}, ()),
    ],
)  # fmt: skip
def test_what_is_left_of_each_rate_limit_is_read(headers: dict[str, str], expected: tuple[Quota, ...]) -> None:
    assert quotas(httpx.Headers(headers)) == expected


def test_a_date_to_wait_for_is_read_by_the_servers_own_clock() -> None:
    headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after(httpx.Headers(headers)) == 30


@pytest.mark.parametrize("text", ["1445412510", "1445412510.0", "1445412510000"])
def test_a_reset_may_be_a_moment_since_1970(text: str) -> None:
    headers = {
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": text,
    }
    assert quotas(httpx.Headers(headers)) == (Quota("requests", 0, 30.0),)


LARGE = "Rate limit reached on tokens per min (TPM): Limit 6000, Used 0, Requested 7000."
DAY = "Rate limit reached on tokens per day (TPD): Limit 100, Used 99, Requested 30. Please try again in 4m18.5s."
DETAILS = '[{{"quotaId": "GenerateRequestsPer{}"}}, {{"retryDelay": "34.5s"}}]'
GEMINI = f'{{{{"error": {{{{"message": "quota", "details": {DETAILS}}}}}}}}}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (429, error(429, DAY).body, ModelRejected),
        (429, error(429, "Rate limit exceeded: free-models-per-day. Add 10 credits").body, ModelRejected),
        (429, error(429, "Rate limit exceeded: free-models-per-min.").body, Throttled),
        (429, GEMINI.format("DayPerProjectPerModel-FreeTier"), ModelRejected),
        (429, GEMINI.format("MinutePerProjectPerModel-FreeTier"), Throttled),
        (429, '{"message": "You are using a Trial key, which is limited to 1000 API calls / month."}', ModelRejected),
        (429, '{"message": "Too many tokens per day, please wait before trying again."}', ModelRejected),
        (403, error(403, "Out of call volume quota. Quota will be replenished in 10.00:00:00.").body, ModelRejected),
        (429, error(429, LARGE).body, Rejected),
        (429, error(429, LARGE.replace("7000", "5000")).body, Throttled),
        (400, error(400, "The model `llama3` has been decommissioned", "model_decommissioned").body, ModelRejected),
        (400, error(400, "Model Not Exist", "invalid_request_error").body, Doubtful),
        (400, error(400, "foo/bar is not a valid model ID").body, Doubtful),
        (400, error(400, "the answer names a model ID that is not valid").body, Rejected),
        (400, '{"message": "Invalid model: m", "type": "invalid_model", "code": "1500"}', ModelRejected),
        (
            404,
            error(404, "The API deployment for this resource does not exist.", "DeploymentNotFound").body,
            ModelRejected,
        ),
        (410, error(410, "gone").body, Doubtful),
        (401, error(401, "Access denied due to invalid subscription key or wrong API endpoint.").body, ModelRejected),
        (403, error(403, "Country not supported", "unsupported_country_region_territory").body, ModelRejected),
        (500, error(500, "the request exceeds the available context size. try increasing it").body, Rejected),
        (500, error(500, "This model's maximum context length is 4096 tokens").body, Rejected),
        (500, error(500, "out of memory").body, Unavailable),
    ],
)
def test_what_vendors_say_in_words_has_its_scope(status: int, body: str, expected: type[AskError]) -> None:
    assert type(failure(status, body)) is expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m30s", 90), ("30s", 30), ("30 seconds", 30), ("5, 5", 5), ("-5", 0), ("1h", 3600), ("2 minutes", 120)],
)
def test_a_retry_after_in_other_forms_is_read(text: str, seconds: float) -> None:
    assert retry_after({"retry-after": text}) == seconds


def test_a_retry_after_may_be_a_moment() -> None:
    now = datetime.now(UTC)
    date = {"date": format_datetime(now, usegmt=True)}
    for later in (str(int(now.timestamp()) + 90), (now + timedelta(seconds=90)).isoformat()):
        assert retry_after({"retry-after": later, **date}) == pytest.approx(90, abs=1.5)
    assert retry_after({"x-ms-retry-after-ms": "1500"}) == 1.5


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (error(429, "Limit 3, Used 3, Requested 1. Please try again in 20s. Visit us").body, 20),
        (error(429, "Please try again in 250ms.").body, 0.25),
        (error(429, "Please try again in 1m12.5s.").body, 72.5),
        (error(429, "exceeded token rate limit. Please retry after 25 seconds.").body, 25),
        (GEMINI.format("MinutePerProject"), 34.5),
        (error(429, "Please try again later.").body, None),
    ],
)
def test_a_wait_that_is_named_in_words_is_kept(body: str, seconds: float | None) -> None:
    found = failure(429, body)
    assert isinstance(found, Throttled)
    assert found.retry_after == seconds
    assert failure(429, body, {"retry-after": "7"}).retry_after == 7  # type: ignore[attr-defined]
