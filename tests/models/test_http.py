"""HTTP: every way a request can fail has its own error, and no error reveals a secret."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.errors import AskError, BadReply, ModelRejected, Quota, Rejected, Throttled, Unavailable, UserError
from harness.models import http
from harness.models.backend import Reply
from harness.models.entry import OpenAIModel
from harness.models.http import USUAL, Bounds, Readers, Transport, address, public
from harness.models.openai import OpenAIBackend
from harness.secrets import in_url, usable
from tests.loopback import Fault, Loopback, always
from tests.models.asking import listen, request, run

KEY = "sk-planted-0123456789"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def chat(server: Loopback) -> httpx.URL:
    return httpx.URL(f"{server.openai_url}/chat/completions")


async def post(
    transport: httpx.AsyncBaseTransport, url: httpx.URL, body: dict[str, Any], *settings: Any, **more: Any
) -> Reply:
    """Post, and return the whole JSON object as the completion."""
    read = Readers(
        lambda reply: Reply(json.dumps(reply)), lambda parts: Reply(json.dumps([part.data for part in parts]))
    )
    return await http.post(transport, url, body, read, *settings, **more)


def ask(server: Loopback, secrets: tuple[str, ...] = (), bounds: Bounds = USUAL) -> Reply:
    """Post BODY to the server's chat method with a fresh transport."""

    async def asking() -> Reply:
        async with Transport() as transport:
            return await post(transport, chat(server), BODY, secrets=secrets, bounds=bounds)

    return run(asking())


def test_a_good_answer_is_the_json_object(loopback: Loopback) -> None:
    assert json.loads(ask(loopback).completion)["object"] == "chat.completion"
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
def test_each_fault_of_a_server_has_its_error(loopback: Loopback, fault: str, expected: type[AskError]) -> None:
    loopback.plan = always(fault)
    with pytest.raises(AskError) as caught:
        ask(loopback, bounds=Bounds(silence=0.3))
    assert type(caught.value) is expected
    assert loopback.asked["hello"] == 1, "a request must never be sent twice"


def test_a_refused_connection_is_reported_as_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connecting is refused
        server = Loopback()
        server.port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=r"^no answer: nothing listens there: is the server run") as caught:
            ask(server)
    assert "timeout" not in str(caught.value).lower()


def test_an_unknown_host_is_unavailable() -> None:
    async def asking() -> None:
        async with Transport() as transport:
            await post(transport, httpx.URL("http://no-such-host.invalid/v1"), BODY)

    with pytest.raises(Unavailable):
        run(asking())


@pytest.mark.parametrize("body", ["[1, 2]", '"text"', "12", "", "<html>busy</html>"])
def test_an_answer_that_is_not_a_json_object_is_a_bad_reply(loopback: Loopback, body: str) -> None:
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


def test_retry_after_is_in_the_error(loopback: Loopback) -> None:
    loopback.plan = always("throttle")
    with pytest.raises(Throttled) as caught:
        ask(loopback)
    assert caught.value.retry_after == 0.05


@pytest.mark.parametrize(("status", "body"), [(200, "{}"), (200, "no JSON"), (400, "{}"), (429, "{}"), (500, "{}")])
def test_what_is_left_of_a_rate_limit_is_in_the_reply_and_in_every_error(status: int, body: str) -> None:
    headers = {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "2s"}
    transport = httpx.MockTransport(lambda request: httpx.Response(status, headers=headers, text=body))
    try:
        quota = run(post(transport, httpx.URL("http://server.invalid"), BODY)).quota
    except AskError as error:
        quota = error.quota
    assert quota == (Quota("requests", 3, 2.0),)


def test_an_answer_that_cannot_be_read_as_a_reply_keeps_its_rate_limits_too() -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m"}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, json={"choices": []}))
    model = OpenAIModel(backend="openai", model="m", base_url="http://server.invalid/v1")
    with pytest.raises(BadReply) as caught:
        run(OpenAIBackend(model, transport).ask(request()))
    assert caught.value.quota == (Quota("tokens", 0, 60.0),)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 429, 500])
def test_no_message_holds_a_secret_that_the_server_echoes(loopback: Loopback, status: int) -> None:
    echo = f'Authorization: "Bearer {KEY}" is wrong ' * 20
    headers = {"Location": f"http://x.invalid/?key={KEY}"}
    loopback.plan = lambda prompt, attempt: Fault(status, echo, headers)
    with pytest.raises(AskError) as caught:
        ask(loopback, (KEY,))
    assert "planted" not in str(caught.value)
    assert "***" in str(caught.value)


def test_secrets_of_an_address_are_its_password_and_long_query_values() -> None:
    url = "https://me:hunter22@host.invalid/v1?key=abcdefgh&n=1"
    assert usable(["sk-1234", None, "", *in_url(url)]) == ("sk-1234", "hunter22", "abcdefgh")
    assert public(httpx.URL(url)) == "https://host.invalid/v1"


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("HTTPS://API.openai.com:443/v1/", "https://api.openai.com/v1/x"),
        ("http://[::1]:8000", "http://[::1]:8000/x"),
        ("http://me:hunter22@h/a/../b?key=abcdefgh#part", "http://h/b/x"),
        ("http://h/gpt-4%2Fo/ü x", "http://h/gpt-4%2Fo/%C3%BC%20x/x"),
        ("http://bücher.example/v1", "http://xn--bcher-kva.example/v1/x"),
    ],
)
def test_the_public_address_is_that_under_which_recorded_answers_are_kept(base_url: str, expected: str) -> None:
    """It is hashed into the key of every answer, so it must not change."""
    assert public(address(base_url, "/x")) == expected


def test_an_address_keeps_the_servers_path_and_query() -> None:
    assert str(address("http://h/v1/", "/x")) == "http://h/v1/x"
    assert str(address("https://h/openai?api-version=1", "/x")) == "https://h/openai/x?api-version=1"


@pytest.mark.parametrize(
    "wrong",
    [
        "localhost:8000/v1",
        "ftp://h/v1",
        "",
        "http://",
        "http://h:port/",
        "http://h:99999/",
        "http://me:hunter22/x@h",
        "http://me:hunter22@[h/v1",
        "http://a b/",
    ],
)
def test_a_base_url_that_is_not_a_url_is_the_users_mistake(wrong: str) -> None:
    with pytest.raises(UserError, match="base_url is not a valid URL") as caught:
        address(wrong, "/x")
    assert "hunter22" not in str(caught.value)


def test_more_requests_are_in_flight_than_any_pools_default(loopback: Loopback) -> None:
    loopback.latency = 2.0

    async def asking() -> None:
        async with Transport() as transport:
            await asyncio.gather(*(post(transport, chat(loopback), BODY) for _ in range(150)))

    run(asking())
    assert loopback.peak == 150


def test_a_connection_is_used_again(loopback: Loopback) -> None:
    async def asking() -> set[str]:
        async with Transport() as transport:
            for _ in range(3):
                await post(transport, chat(loopback), BODY)
        return {received.peer for received in loopback.received}

    assert len(run(asking())) == 1


GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def test_the_proxy_of_the_environment_is_used_with_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def asking() -> None:
        async with await listen([GOOD], heads) as server, Transport() as transport:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("http_proxy", f"http://me:hunter22@127.0.0.1:{port}")
            monkeypatch.setenv("no_proxy", "direct.invalid")
            await post(transport, httpx.URL("http://far.invalid/v1"), BODY)
            with pytest.raises(Unavailable):
                await post(transport, httpx.URL("http://direct.invalid/v1"), BODY)

    run(asking())
    assert len(heads) == 1
    assert heads[0].startswith(b"POST http://far.invalid/v1 ")
    assert b"Proxy-Authorization: Basic bWU6aHVudGVyMjI=" in heads[0]


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_a_proxy_may_be_named_without_its_scheme(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def asking() -> None:
        async with await listen([GOOD], heads) as server, Transport() as transport:
            monkeypatch.setenv(variable, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await post(transport, httpx.URL(f"http://{variable.replace('_', '-')}.invalid/v1"), BODY)

    run(asking())
    assert heads[0].startswith(b"POST http://")


def test_a_proxy_that_refuses_the_password_does_not_reveal_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []
    refused = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"

    async def asking() -> None:
        async with await listen([refused], heads) as server, Transport() as transport:
            monkeypatch.setenv("https_proxy", f"http://me:hunter%4022@127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await post(transport, httpx.URL("https://behind-a-proxy.invalid/v1"), BODY)

    with pytest.raises(ModelRejected, match="407") as caught:
        run(asking())
    assert heads[0].startswith(b"CONNECT behind-a-proxy.invalid:443 ")
    assert b"Proxy-Authorization: Basic bWU6aHVudGVyQDIy" in heads[0]
    assert "hunter" not in str(caught.value)


def test_a_proxy_of_another_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asking() -> None:
        async with Transport() as transport:
            monkeypatch.setenv("http_proxy", "socks5://me:hunter22@127.0.0.1:1080")
            await post(transport, httpx.URL("http://behind-socks.invalid/v1"), BODY)

    with pytest.raises(
        ModelRejected, match="environment's proxy for http is a socks5 proxy, which is not supported"
    ) as caught:
        run(asking())
    assert "hunter22" not in str(caught.value)


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    heads: list[bytes] = []

    async def asking() -> None:
        async with await listen([GOOD], heads, close=True) as server, Transport() as transport:
            place = httpx.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
            for _ in range(3):
                await post(transport, place, BODY)
                await asyncio.sleep(0.05)

    run(asking())
    assert len(heads) == 3


def test_a_password_in_the_address_is_sent_unless_there_is_a_key(loopback: Loopback) -> None:
    place = chat(loopback).copy_with(username="me", password="hunter 22")

    async def asking() -> None:
        async with Transport() as transport:
            await post(transport, place, BODY)
            await post(transport, place, BODY, {"Authorization": f"Bearer {KEY}"})

    run(asking())
    sent = [received.headers["Authorization"] for received in loopback.received]
    assert sent == ["Basic bWU6aHVudGVyIDIy", f"Bearer {KEY}"]


def test_nothing_of_a_netrc_file_or_of_an_earlier_answer_is_sent(
    loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter22")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    loopback.plan = lambda prompt, attempt: Fault(body="{}", headers={"Set-Cookie": "a=b"})

    async def asking() -> None:
        async with Transport() as transport:
            for _ in range(2):
                await post(transport, chat(loopback), BODY)

    run(asking())
    assert all(not {"Authorization", "Cookie"} & set(received.headers) for received in loopback.received)


@pytest.mark.parametrize(
    ("excepted", "direct"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("127.0.0.1:9000", False),
        ("127.0.0.0/8", True),
        ("10.0.0.0/8", False),
        ("*", True),
        ("example.com, 127.0.0.1", True),
        ("", False),
    ],
)
def test_no_proxy_takes_ports_and_networks(excepted: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", excepted)
    http.proxy_of.cache_clear()
    assert (http.proxy_of("http", "127.0.0.1", 8000) is None) is direct
    http.proxy_of.cache_clear()


@pytest.mark.parametrize(
    ("excepted", "host", "direct"),
    [
        ("corp.example", "models.corp.example", True),
        (".corp.example", "corp.example", True),
        ("orp.example", "corp.example", False),
    ],
)
def test_no_proxy_takes_domains(excepted: str, host: str, direct: bool) -> None:
    assert http._direct(host, 443, excepted) is direct


def test_a_server_without_tls_is_named_at_once(loopback: Loopback) -> None:
    async def asking() -> None:
        async with Transport() as transport:
            await post(transport, httpx.URL(loopback.url.replace("http:", "https:")), BODY)

    with pytest.raises(ModelRejected, match="write http:// in place of https://"):
        run(asking())


def test_certificates_that_are_not_there_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    http._certificates.cache_clear()

    async def asking() -> None:
        async with Transport() as transport:
            await post(transport, httpx.URL("https://127.0.0.1:9/v1"), BODY)

    with pytest.raises(ModelRejected, match=r"/nowhere/ca\.pem, which SSL_CERT_FILE names, cannot be read"):
        run(asking())
    http._certificates.cache_clear()


async def first_reply(answer: bytes, **settings: Any) -> AskError:
    """What becomes of a request that is answered with these bytes, after which the server hangs up."""
    server = await listen([answer], [], close=True)
    port = server.sockets[0].getsockname()[1]
    model = OpenAIModel(backend="openai", model="m", base_url=f"http://127.0.0.1:{port}/v1", **settings)
    async with server, Transport() as connection:
        with pytest.raises(AskError) as caught:
            await OpenAIBackend(model, connection).ask(request())
    return caught.value


@pytest.mark.parametrize(("status", "expected"), [(429, Throttled), (500, Unavailable), (400, Rejected)])
def test_an_error_of_which_the_body_breaks_off_is_what_its_status_says(status: int, expected: type[AskError]) -> None:
    head = b"HTTP/1.1 %d No\r\nContent-Length: 1000\r\n\r\n" % status
    found = run(first_reply(head + b'{"error": "its words'))
    assert type(found) is expected
    assert "its words" in str(found)
    assert not found.charged


def test_a_good_answer_whose_compression_is_broken_may_have_been_charged() -> None:
    found = run(first_reply(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"))
    assert "compression" in str(found)
    assert found.charged


@pytest.mark.parametrize("answer", [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx"])
def test_what_is_not_http_is_named_so_and_not_by_a_status_that_was_not_sent(answer: bytes) -> None:
    assert str(run(first_reply(answer))).startswith("no answer: the answer is not valid HTTP (")
