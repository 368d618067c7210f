"""A line of the log says what was asked and answered, however it travelled, and holds no secret."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from harness.teach.request_log import MOST_BYTES, LoggedExchange, line
from tests.loopback_vendors import KEY
from tests.teach.vendor import chunked, completion

REQUEST = json.dumps({"model": "m", "messages": []}).encode()
EXCHANGE = LoggedExchange({"app": "a"}, 200, "2026-11-30T00:00:00.000+00:00", 1.0, ("", ""), [], (), None)


def logged(answer: bytes, request: bytes = REQUEST, *, size: int = 7, **more: Any) -> dict[str, Any]:
    """The line of an answer that came in parts of this size, a second apart."""
    starts = range(0, len(answer), size)
    parts = [(len(answer[start : start + size]), 1.0 + place) for place, start in enumerate(starts)]
    return line(replace(EXCHANGE, parts=parts, **more), request, answer)


def stream(end: bytes = b"data: [DONE]\n\n", **asked: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunked(asked)) + end


def packed(data: bytes, encoding: str) -> bytes:
    return gzip.compress(data) if encoding == "gzip" else zlib.compress(data)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [1, 1000])
def test_packed_bodies_are_read(encoding: str, size: int) -> None:
    found = logged(packed(stream(), encoding), packed(REQUEST, encoding), size=size, packed=(encoding, encoding))
    assert found["input"] == json.loads(REQUEST)
    assert found["output"]["choices"] == completion({})["choices"]
    assert "error" not in found


def test_the_time_to_the_first_token_is_that_of_the_first_part_with_text() -> None:
    chunks = stream().split(b"\r\n\r\n")
    first = len(b"\r\n\r\n".join(chunks[:1])) + 4  # the role, which is no token
    assert logged(stream(), size=first)["ttft_s"] > 1.0
    assert logged(stream(), size=len(stream()))["ttft_s"] == 1.0
    assert logged(json.dumps(completion({})).encode())["ttft_s"] is None


def test_an_answer_is_whole_when_the_client_hangs_up_after_its_last_word() -> None:
    assert logged(stream(), error="the client hung up")["output"]["choices"][0]["finish_reason"] == "stop"
    assert logged(json.dumps(completion({})).encode(), error="hung up")["output"] == completion({})
    for answer in (stream(end=b""), json.dumps(completion({})).encode()[:-1], b""):
        found = logged(answer, error="the client hung up")
        assert (found["output"], found["error"]) == (None, "the client hung up")


def test_the_last_event_of_a_stream_counts_without_an_empty_line_behind_it() -> None:
    assert logged(stream(end=b"data: [DONE]"), error="the client hung up")["output"] == logged(stream())["output"]
    found = logged(stream(end=b'data: {"error": {"message": "overloaded"}}'))
    assert (found["output"], found["error"]) == (None, 'the stream holds an error: {"message": "overloaded"}')


def test_an_error_in_the_middle_of_a_stream() -> None:
    found = logged(stream(end=b'data: {"error": {"message": "overloaded"}}\n\n'))
    assert (found["output"], found["error"]) == (None, 'the stream holds an error: {"message": "overloaded"}')


@pytest.mark.parametrize(
    ("answer", "encoding", "message"),
    [
        (b"x", "br", "the body is packed as br, which cannot be read here"),
        (b"not gzip", "gzip", "the body's compression is broken"),
        (gzip.compress(b"{" + b" " * (MOST_BYTES + 1)), "gzip", "the answer is longer than 64 MB"),
        (b"x", "gzip, gzip", "the body is packed as gzip, gzip"),
    ],
    ids=["unknown", "broken", "bomb", "twice"],
)
def test_an_answer_that_cannot_be_read_is_null_with_the_reason(answer: bytes, encoding: str, message: str) -> None:
    found = logged(answer, size=1 << 20, packed=("", encoding))
    assert found["output"] is None
    assert found["error"].startswith(message)


def test_a_body_that_is_not_json_is_kept_as_text() -> None:
    found = logged(b"<html>Bad gateway</html>", b"{broken", status=502)
    assert (found["input"], found["output"]) == ("{broken", "<html>Bad gateway</html>")


@pytest.mark.parametrize("value", ["\ud800", "x" * 10, ["[" * 100]])
def test_odd_values_can_be_written(value: Any) -> None:
    from harness.store.atomic import utf8
    from harness.teach.request_log import _encode

    found = logged(json.dumps({"choices": value}).encode())
    assert json.loads(utf8(_encode(found)))["output"] == {"choices": value}


def test_no_secret_is_written_wherever_it_stands() -> None:
    asked = json.dumps({"messages": [{"role": "user", "content": f"my key: {KEY}"}], KEY: 1}).encode()
    answer = json.dumps({"choices": [], "echo": {"headers": [f"Bearer {KEY}", f"quoted \\u{ord('s'):04x}{KEY[1:]}"]}})
    found = logged(answer.encode().replace(b"\\\\u", b"\\u"), asked, secrets=(KEY,), tags={"who": KEY})
    assert KEY not in json.dumps(found)
    assert found["input"]["messages"][0]["content"] == "my key: ***"
    assert found["tags"] == {"who": "***"}


def test_a_short_key_is_masked_in_a_refusal_and_left_in_an_answer() -> None:
    answer = json.dumps({"text": "a test"}).encode()
    assert logged(answer, secrets=("test",), status=401)["output"] == {"text": "a ***"}
    assert logged(answer, secrets=("test",))["output"] == {"text": "a test"}
