"""Streamed answers: the same as whole ones, with the times of their tokens, and never half of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic.types import RawMessageStreamEvent
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter, ValidationError

from harness.errors import AskError, BadReply, Throttled, Unavailable
from harness.models.anthropic import AnthropicBackend
from harness.models.anthropic import parse as parse_message
from harness.models.backend import Reply
from harness.models.entry import AnthropicModel, LoraxModel, OpenAIModel
from harness.models.events import Event
from harness.models.http import Readers, Transport, post
from harness.models.lorax import LoraxBackend
from harness.models.openai import OpenAIBackend, parse
from harness.models.streaming import anthropic_reply, lorax_reply, openai_reply, timed
from tests.asking import Pair, openai, prompts
from tests.asking import ask as ask_all
from tests.loopback import Fault, Loopback, always, at_first, error, events
from tests.models.asking import NO_NETWORK, ask, listen, request, run

ANTHROPIC: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def model(server: Loopback, **changes: Any) -> OpenAIModel:
    return OpenAIModel(**{"backend": "openai", "model": "m", "base_url": server.openai_url, "stream": True, **changes})


def chunks(*deltas: dict[str, Any], finish: str | None = "stop") -> list[Event]:
    """Chunks as the openai package itself writes them, a tenth of a second apart, and one with the counts."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-2026"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    ends = [None] * len(deltas) + [finish]
    choices = [[{"index": 0, "delta": d, "finish_reason": end}] for d, end in zip([*deltas, {}], ends, strict=True)]
    sent = [*({**head, "choices": choice} for choice in choices), {**head, "choices": [], "usage": usage}]
    dumped = [ChatCompletionChunk.model_validate(chunk).model_dump(mode="json") for chunk in sent]
    return [Event((place + 1) / 10, chunk) for place, chunk in enumerate(dumped)]


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_streamed_answer_is_the_whole_one_with_its_times(loopback: Loopback, api: str) -> None:
    loopback.answer = lambda prompt: "yes it is"
    loopback.pause = 0.01
    entries = [model(loopback, api=api, stream=stream) for stream in (False, True)]
    whole, streamed = (ask(lambda connection, entry=entry: OpenAIBackend(entry, connection)) for entry in entries)
    assert (streamed.completion, streamed.finish_reason) == ("yes it is", "stop")
    assert whole == Reply(whole.completion, "stop", streamed.input_tokens, streamed.output_tokens, "m")
    assert whole.output_tokens == 3
    assert streamed.ttft_s is not None
    assert streamed.tpot_s is not None
    assert min(streamed.ttft_s, streamed.tpot_s) > 0
    assert loopback.received[1].body["stream_options"] == {"include_usage": True}


def test_the_stream_of_the_test_server_is_of_openais_published_type() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "1", "created": 1, "model": "m", "usage": usage}
    for key, kind in (("message", ChatCompletionChunk), ("text", Completion)):
        sent = [line.removeprefix(b"data: ") for line in events("a b", {**head, "choices": [{key: "x"}]})[:-1]]
        for chunk in map(json.loads, sent):
            plain = chunk if key == "message" else {**chunk, "choices": []}  # a part's finish_reason is null
            assert kind.model_validate(plain)


def test_lorax_streams_from_an_address_of_its_own(loopback: Loopback) -> None:
    loopback.answer = lambda prompt: "yes it is"
    entry = LoraxModel(backend="lorax", base_url=loopback.url, stream=True)
    reply = ask(lambda connection: LoraxBackend(entry, connection))
    assert (reply.completion, reply.finish_reason, reply.output_tokens) == ("yes it is", "stop", 3)
    assert reply.ttft_s is not None
    assert loopback.received[0].path == "/generate_stream"


def test_streaming_does_not_change_the_key(loopback: Loopback, tmp_path: Path) -> None:
    ask_all(tmp_path, [Pair(openai(loopback), prompts(5))])
    again = ask_all(tmp_path, [Pair(openai(loopback, stream=True), prompts(6))])
    assert again.jobs[0].answered == 1
    assert [response.ttft_s is not None for response in again.responses["m"]] == [False] * 5 + [True]


@pytest.mark.parametrize("fault", ["cut", "drop", "reset", "broken", "error", "empty"])
def test_a_stream_that_fails_half_way_is_asked_again(loopback: Loopback, tmp_path: Path, fault: str) -> None:
    loopback.plan = at_first(fault)
    asked = ask_all(tmp_path, [Pair(openai(loopback, stream=True), prompts(3))])
    assert asked.statuses() == {"ok": 3}
    assert [response.attempts for response in asked.responses["m"]] == [2, 2, 2]


def test_a_stream_that_ends_early_without_an_error_is_not_an_answer(loopback: Loopback) -> None:
    half = b"".join(
        events("yes it is", {"id": "1", "created": 1, "model": "m", "usage": {}, "choices": [{"message": 1}]})[:3]
    )
    loopback.plan = lambda prompt, attempt: Fault(body=half.decode())
    with pytest.raises(BadReply, match="broke off"):
        ask(lambda connection: OpenAIBackend(model(loopback), connection))


def test_a_server_that_does_not_begin_in_time_is_unavailable(loopback: Loopback) -> None:
    loopback.plan = always("hang")
    for streamed in (True, False):
        entry = model(loopback, first_byte_timeout=0.1, stream=streamed)
        with pytest.raises(Unavailable, match="no first byte"):
            ask(lambda transport, entry=entry: OpenAIBackend(entry, transport))


def test_an_answer_that_takes_longer_than_its_first_byte_may_is_whole(loopback: Loopback) -> None:
    loopback.answer = lambda prompt: "a b c d e f g h"
    loopback.pause = 0.06
    reply = ask(lambda connection: OpenAIBackend(model(loopback, first_byte_timeout=0.3), connection))
    assert reply.completion == "a b c d e f g h"


def test_chunks_of_openais_published_type_are_put_together() -> None:
    reply, seconds = openai_reply(chunks({"role": "assistant", "content": ""}, {"content": "ye"}, {"content": "s"}))
    assert timed(parse(reply), seconds) == Reply("yes", "stop", 7, 3, "m-2026", ttft_s=0.2, tpot_s=0.05)


def test_thoughts_are_tokens_but_not_part_of_the_answer() -> None:
    reply, seconds = openai_reply(chunks({"reasoning_content": "hm"}, {"content": "yes"}))
    assert parse(reply).completion == "yes"
    assert seconds == [0.1, 0.2]


@pytest.mark.parametrize("end", [{"finish_reason": "stop"}, {"delta": None, "finish_reason": "stop"}])
def test_an_answer_may_be_nothing_but_its_end(end: dict[str, Any]) -> None:
    reply, seconds = openai_reply([Event(0.1, {"choices": [{"index": 0, **end}]})])
    assert (parse(reply).completion, seconds) == ("", [])


def test_a_streamed_refusal_is_one() -> None:
    reply, _ = openai_reply(chunks({"refusal": "I "}, {"refusal": "can't"}))
    assert parse(reply) == Reply("I can't", "refusal", 7, 3, "m-2026")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "m", "code": 502}}, Unavailable),
        ({"error": {"message": "m", "code": 429}}, Throttled),
        ({"error": {"message": "m"}}, BadReply),
    ],
)
def test_an_error_in_the_middle_counts_as_what_it_is(body: dict[str, Any], expected: type[AskError]) -> None:
    with pytest.raises(AskError) as caught:
        openai_reply([*chunks({"content": "ye"}), Event(1.0, body)])
    assert type(caught.value) is expected


def message_events() -> list[dict[str, Any]]:
    """The events of a message, each of the type that the anthropic package publishes."""
    usage = {"input_tokens": 7, "output_tokens": 1}
    head = {"id": "m", "type": "message", "role": "assistant", "model": "claude-1", "content": [], "stop_reason": None}
    found: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**head, "stop_sequence": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ye"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "s"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 3},
        },
        {"type": "message_stop"},
    ]
    return [json.loads(ANTHROPIC.dump_json(ANTHROPIC.validate_python(event))) for event in found]


def test_events_of_anthropics_published_type_are_put_together() -> None:
    reply, seconds = anthropic_reply([Event(place / 10, event) for place, event in enumerate(message_events())])
    assert timed(parse_message(reply), seconds) == Reply("yes", "stop", 7, 3, "claude-1", ttft_s=0.2, tpot_s=0.05)


def test_a_message_is_streamed_over_the_wire() -> None:
    parts = (f"event: {event['type']}\r\ndata: {json.dumps(event)}\r\n\r\n" for event in message_events())
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    answer = "".join([head, ": a comment\r\n\r\n", *parts]).encode()

    async def asking() -> Reply:
        async with await listen([answer], [], close=True) as server, Transport() as connection:
            place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            entry = AnthropicModel(backend="anthropic", model="claude", base_url=place, stream=True)
            return await AnthropicBackend(entry, connection).ask(request())

    reply = run(asking())
    assert (reply.completion, reply.finish_reason, reply.output_tokens) == ("yes", "stop", 3)
    assert reply.ttft_s is not None


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_ends_at_a_line_feed_or_a_carriage_return_and_at_no_other_character(end: bytes) -> None:
    """JSON may hold U+2028 and U+0085 as they are, and some servers send them so."""
    text = "a\u2028b\x85c"
    body = b"".join(
        [b"data: ", json.dumps({"text": text}, ensure_ascii=False).encode(), end, end, b"data: [DONE]", end, end]
    )
    transport = httpx.MockTransport(lambda asked: httpx.Response(200, content=body))
    read = Readers(lambda whole: Reply(""), lambda found: Reply(repr(found[0].data)))
    reply = run(post(transport, httpx.URL("http://server.invalid/v1"), {}, read, streamed=True))
    assert reply.completion == repr({"text": text})


def test_a_message_without_its_end_is_a_bad_reply_and_an_overloaded_one_is_unavailable() -> None:
    half = [Event(0.1, event) for event in message_events()[:4]]
    with pytest.raises(BadReply, match="broke off"):
        anthropic_reply(half)
    with pytest.raises(Unavailable) as caught:
        anthropic_reply([*half, Event(0.2, {"type": "error", "error": {"type": "overloaded_error", "message": "m"}})])
    assert caught.value.overloaded


def test_a_stream_of_lorax_without_its_end_is_a_bad_reply() -> None:
    with pytest.raises(BadReply, match="broke off"):
        lorax_reply([Event(0.1, {"token": {"text": "y"}, "generated_text": None})])


def test_a_batch_cannot_be_streamed() -> None:
    with pytest.raises(ValidationError, match="leave out batch or stream"):
        OpenAIModel(backend="openai", model="m", stream=True, batch=True)


def test_what_is_shown_does_not_say_that_it_is_streamed(loopback: Loopback) -> None:
    shown = [OpenAIBackend(model(loopback, stream=stream), NO_NETWORK) for stream in (True, False)]
    assert shown[0].body(request()) == shown[1].body(request())


def test_an_error_before_the_stream_is_read_as_any_other(loopback: Loopback) -> None:
    loopback.plan = lambda prompt, attempt: error(429, "slow down", Retry_After="7")
    with pytest.raises(Throttled) as caught:
        ask(lambda connection: OpenAIBackend(model(loopback), connection))
    assert caught.value.retry_after == 7
