"""The wire: every way a request can fail has its own error, and no error gives a secret away."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.transport import (
    LONGEST_TEXT,
    Filtered,
    address,
    client,
    failure,
    post,
    public,
    retry_after,
    secrets_of,
)
from harness.errors import (
    AskError,
    BadReply,
    ModelRejected,
    Rejected,
    Throttled,
    Unavailable,
    UserError,
)
from tests.backends.asking import run
from tests.loopback import Fault, Loopback, always, error

KEY = "sk-planted-0123456789"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def ask(server: Loopback, secrets: tuple[str, ...] = (), **timeouts: float) -> dict[str, object]:
    """Post BODY to the server's chat method with a fresh client."""

    async def asking() -> dict[str, object]:
        async with client(**timeouts) as connection:
            return await post(connection, f"{server.openai_url}/chat/completions", BODY, secrets=secrets)

    return run(asking())


def test_a_good_answer_is_the_json_object(loopback: Loopback) -> None:
    assert ask(loopback)["object"] == "chat.completion"
    assert loopback.received[0].body == BODY


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("throttle", Throttled),
        ("busy", Throttled),
        ("error", Unavailable),
        ("drop", Unavailable),
        ("reset", Unavailable),
        ("cut", Unavailable),
        ("hang", Unavailable),
        ("broken", BadReply),
        ("invalid", Rejected),
        ("unauthorized", ModelRejected),
        ("missing", ModelRejected),
        ("quota", ModelRejected),
    ],
)
def test_each_fault_on_the_wire_has_its_error(loopback: Loopback, fault: str, expected: type[AskError]) -> None:
    loopback.plan = always(fault)
    with pytest.raises(AskError) as caught:
        ask(loopback, timeout=0.3)
    assert type(caught.value) is expected
    assert loopback.asked["hello"] == 1, "the wire itself must never ask twice"


def test_a_refused_connection_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connecting is refused
        server = Loopback()
        server.port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match="no answer"):
            ask(server)


def test_an_unknown_host_is_unavailable() -> None:
    async def asking() -> None:
        async with client() as connection:
            await post(connection, "http://no-such-host.invalid/v1", BODY)

    with pytest.raises(Unavailable):
        run(asking())


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Rejected),
        (401, ModelRejected),
        (402, ModelRejected),
        (403, ModelRejected),
        (404, ModelRejected),
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
def test_a_code_that_dooms_every_request_stops_the_model_whatever_the_status(code: str) -> None:
    for status in (400, 429):
        assert type(failure(status, error(status, "no", code).body)) is ModelRejected


@pytest.mark.parametrize(
    "body",
    ['{"error": {"code": "content_filter", "message": "m"}}', '{"error": {"metadata": {"flagged_input": "x"}}}'],
)
def test_a_moderated_prompt_is_told_from_a_wrong_key(body: str) -> None:
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


@pytest.mark.parametrize("body", ["[1, 2]", '"text"', "12", "", "<html>busy</html>"])
def test_an_answer_that_is_no_json_object_is_a_bad_reply(loopback: Loopback, body: str) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body=body)
    with pytest.raises(BadReply):
        ask(loopback)


def test_a_body_whose_compression_is_broken_is_a_bad_reply(loopback: Loopback) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body="not gzip", headers={"Content-Encoding": "gzip"})
    with pytest.raises(BadReply):
        ask(loopback)


def test_a_redirect_is_not_followed_but_named(loopback: Loopback) -> None:
    loopback.plan = lambda prompt, attempt: Fault(307, headers={"Location": "https://elsewhere.invalid/v1"})
    with pytest.raises(ModelRejected, match="redirects to https://elsewhere"):
        ask(loopback)


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


def test_the_wait_reaches_the_caller(loopback: Loopback) -> None:
    loopback.plan = always("throttle")
    with pytest.raises(Throttled) as caught:
        ask(loopback)
    assert caught.value.retry_after == 0.05


@pytest.mark.parametrize("status", [200, 302, 400, 401, 429, 500])
def test_no_message_holds_a_secret_that_the_server_echoes(loopback: Loopback, status: int) -> None:
    echo = f'Authorization: "Bearer {KEY}" is wrong ' * 20
    headers = {"Location": f"http://x.invalid/?key={KEY}"}
    loopback.plan = lambda prompt, attempt: Fault(status, echo, headers)
    with pytest.raises(AskError) as caught:
        ask(loopback, (KEY,))
    assert "planted" not in str(caught.value)
    assert "***" in str(caught.value)


@given(st.integers(0, 2 * LONGEST_TEXT))
def test_cutting_a_message_leaves_no_part_of_a_secret(place: int) -> None:
    assert "planted" not in str(failure(500, "x" * place + KEY, secrets=(KEY,)))


def test_a_secret_is_found_as_json_writes_it() -> None:
    assert 'pass"word' not in str(failure(500, r"{broken pass\"word", secrets=('pass"word',)))
    assert "word" not in str(failure(500, r"{broken pass\"word", secrets=('pass"word',)))


def test_secrets_of_an_address_are_its_password_and_long_query_values() -> None:
    url = httpx.URL("https://me:hunter22@host.invalid/v1?key=abcdefgh&n=1")
    assert secrets_of(url, "sk-1234", None, "") == ("sk-1234", "hunter22", "abcdefgh")
    assert public(url) == "https://host.invalid/v1"


def test_an_address_keeps_the_servers_path_and_query() -> None:
    assert str(address("http://h/v1/", "/x")) == "http://h/v1/x"
    assert str(address("https://h/openai?api-version=1", "/x")) == "https://h/openai/x?api-version=1"


@pytest.mark.parametrize("wrong", ["localhost:8000/v1", "ftp://h/v1", "", "http://", "http://h:port/"])
def test_an_address_that_is_none_is_the_users_mistake(wrong: str) -> None:
    with pytest.raises(UserError, match="base_url"):
        address(wrong, "/x")


def test_more_requests_are_in_flight_than_any_pools_default(loopback: Loopback) -> None:
    import asyncio

    loopback.latency = 0.5

    async def asking() -> None:
        async with client() as connection:
            url = f"{loopback.openai_url}/chat/completions"
            await asyncio.gather(*(post(connection, url, BODY) for _ in range(150)))

    run(asking())
    assert loopback.peak == 150


def test_a_connection_is_used_again(loopback: Loopback) -> None:
    async def asking() -> set[str]:
        async with client() as connection:
            for _ in range(3):
                await post(connection, f"{loopback.openai_url}/chat/completions", BODY)
        return {received.peer for received in loopback.received}

    assert len(run(asking())) == 1
