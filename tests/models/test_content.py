"""A 200 is an answer only when it is understood: what vendors and servers were reported to send, on a real socket."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import AskError, BadReply, ModelRejected, Rejected, Throttled, Unavailable
from harness.models.backend import Reply
from harness.models.content import same_model, tokens_of
from harness.models.entry import OpenAIModel
from harness.models.events import Body
from harness.models.http import Transport
from harness.models.openai import OpenAIBackend
from tests.asking import Pair, openai, prompts
from tests.asking import ask as ask_all
from tests.loopback import Fault, Loopback
from tests.models.asking import ask, listen, request, run

THOUGHT = {"completion_tokens_details": {"reasoning_tokens": 300}}
USAGE = {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}


def chat(content: Any, finish: str | None = "stop", usage: Any = USAGE, **choice: Any) -> dict[str, Any]:
    """A chat reply with one choice."""
    message = {"role": "assistant", "content": content}
    return {"model": "m", "choices": [{"message": message, "finish_reason": finish, **choice}], "usage": usage}


def stream(*deltas: dict[str, Any], finish: str | None = "stop", done: bool = True) -> str:
    """A streamed reply of these deltas."""
    choices = [{"delta": delta, "finish_reason": None} for delta in deltas]
    choices += [{"delta": {}, "finish_reason": finish}] if finish else []
    parts = [json.dumps({"model": "m", "choices": [choice], "usage": USAGE}) for choice in choices]
    return "".join(f"data: {part}\n\n" for part in [*parts, *(["[DONE]"] if done else [])])


def answer(loopback: Loopback, body: Any, **settings: Any) -> Reply:
    """The reply of a server that answers with a body, asked once."""
    text = body if isinstance(body, str) else json.dumps(body)
    loopback.plan = lambda prompt, attempt: Fault(body=text)
    stop = settings.pop("stop", ())
    model = OpenAIModel(backend="openai", model="m", base_url=loopback.openai_url, **settings)
    return ask(lambda connection: OpenAIBackend(model, connection), request(stop=stop))


FAILED = [
    chat("", "error", error={"code": 502, "message": "Provider returned error"}),
    chat("ye", "error", {"prompt_tokens": None, "total_tokens": 0}),
    chat("y", "insufficient_system_resource"),
    *(chat("y", reason) for reason in ("USER_CANCEL", "time_limit", {"type": "abort", "message": "no memory"})),
    chat([{"type": "text"}]),
    chat([{}]),
    {**chat("", None), "error": {"code": 429, "message": "rate limited upstream"}},
    chat(None, None),
    chat("", "a_word_of_its_own"),
]


@pytest.mark.parametrize("failed", FAILED)
def test_an_answer_that_says_it_failed_is_asked_for_again(loopback: Loopback, tmp_path: Path, failed: Any) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body=json.dumps(failed)) if attempt == 0 else None
    asked = ask_all(tmp_path, [Pair(openai(loopback), prompts(3))])
    assert [(found.completion, found.attempts) for found in asked.responses["m"]] == [("yes", 2)] * 3


@pytest.mark.parametrize(
    ("finish", "status"),
    [
        *((word, "truncated") for word in ("length", "model_length", "max_tokens", "MAX_TOKENS")),
        *((word, "refused") for word in ("content_filter", "SAFETY", "PROHIBITED_CONTENT", "content_filter: OTHER")),
        ("sensitive", "refused"),
        *((word, "truncated") for word in ("FinishReason.MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "MaxTokens")),
        *((word, "truncated") for word in ({"type": "length", "length": 16}, "ERROR_LIMIT", "max_new_tokens")),
        *((word, "refused") for word in ("ContentFilter", "policy_violation", "LANGUAGE")),
        ({"reason": "endoftext"}, "ok"),
        *((word, "ok") for word in ("stop", "eos", "eos_token", "stop_sequence", "STOP", "tool_calls", None, "")),
    ],
)
def test_the_finish_reasons_of_all_vendors_have_their_status(
    loopback: Loopback, tmp_path: Path, finish: Any, status: str
) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body=json.dumps(chat("I think", finish)))
    asked = ask_all(tmp_path, [Pair(openai(loopback), prompts(1))])
    assert asked.statuses() == {status: 1}
    assert sum(loopback.asked.values()) == 1


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls"])
def test_nothing_is_an_answer_when_the_model_has_ended(loopback: Loopback, tmp_path: Path, finish: str) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body=json.dumps(chat(None, finish)))
    asked = ask_all(tmp_path, [Pair(openai(loopback), prompts(5))])
    assert asked.jobs[0].answered == 5
    assert sum(loopback.asked.values()) == 5, "at temperature 0 it would be the same again, and paid for again"


def test_what_is_whole_and_not_understood_is_asked_twice_and_no_more(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body=json.dumps(chat(12)))
    asked = ask_all(tmp_path, [Pair(openai(loopback), prompts(3), attempts=6)])
    assert asked.statuses() == {"failed": 3}
    assert set(loopback.asked.values()) == {2}


PARTS = [
    [{"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}, {"type": "text", "text": "yes"}],
    [{"type": "reasoning", "text": "no"}, {"type": "output_text", "text": "yes"}],
    [{"text": "no", "thought": True}, {"text": "yes"}],
    ["ye", {"type": "text", "text": {"value": "s"}}],
    {"type": "text", "text": "yes"},
    [{"type": "text", "content": "yes"}, {"type": "image_url", "image_url": {"url": "x"}}],
]


@pytest.mark.parametrize("content", PARTS)
def test_parts_of_every_type_name_are_read_whole_and_streamed(loopback: Loopback, content: Any) -> None:
    assert answer(loopback, chat(content)).completion == "yes"
    parts = content if isinstance(content, list) else [content]
    streamed = answer(loopback, stream(*({"content": [part]} for part in parts)), stream=True)
    assert (streamed.completion, streamed.ttft_s is not None) == ("yes", True)


def test_either_form_is_read_whichever_was_asked_for(loopback: Loopback) -> None:
    assert answer(loopback, chat("yes"), stream=True).completion == "yes"
    assert answer(loopback, stream({"content": "ye"}, {"content": "s"})).completion == "yes"


def test_a_stream_that_says_it_is_done_needs_no_finish_reason(loopback: Loopback) -> None:
    assert answer(loopback, stream({"content": "yes"}, finish=None), stream=True).completion == "yes"
    with pytest.raises(BadReply, match="broke off"):
        answer(loopback, stream({"content": "yes"}, finish=None, done=False), stream=True)


def test_comments_that_keep_a_stream_open_are_not_its_first_byte(loopback: Loopback) -> None:
    loopback.plan = lambda prompt, attempt: Fault(act="comments")
    model = OpenAIModel(backend="openai", model="m", base_url=loopback.openai_url, stream=True, first_byte_timeout=0.2)
    with pytest.raises(Unavailable, match="no first byte"):
        ask(lambda connection: OpenAIBackend(model, connection))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"object": "error", "message": "This model's maximum context length is 2048", "code": 40303},
            "context length",
        ),
        ({"code": "InvalidApiKey", "message": "Invalid API-key provided"}, "Invalid API-key"),
        ({"choices": None, "base_resp": {"status_code": 1, "status_msg": "unknown voice"}}, "unknown voice"),
        ([{"error": {"code": 400, "message": "API key not valid"}}], "API key not valid"),
        ("<html>Open WebUI</html>", "Open WebUI"),
    ],
)
def test_the_servers_own_words_are_said(loopback: Loopback, body: Any, words: str) -> None:
    with pytest.raises(Exception, match=words):
        answer(loopback, body)


@pytest.mark.parametrize("stream_it", [False, True])
def test_a_stop_string_that_a_server_leaves_is_cut(loopback: Loopback, stream_it: bool) -> None:
    body = stream({"content": "yes###no"}) if stream_it else chat("yes###no")
    assert answer(loopback, body, stop=("###",), stream=stream_it).completion == "yes"
    assert answer(loopback, chat("<think>a###b</think>yes###"), stop=("###",)).completion == "<think>a###b</think>yes"
    assert answer(loopback, chat("yes###no"), stop=("###",), omit=["stop"]).completion == "yes###no"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 32, "completion_tokens": 2, "total_tokens": 334}, (32, 302)),
        ({"prompt_tokens": 32, "completion_tokens": 2, **THOUGHT}, (32, 302)),
        ({"prompt_tokens": 32, "completion_tokens": 302, **THOUGHT}, (32, 302)),
        ({"prompt_tokens": 32, "completion_tokens": 2, "total_tokens": 2}, (32, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, (None, None)),
        ({"prompt_tokens": int("9" * 30), "completion_tokens": -1}, (None, None)),
        (None, (None, None)),
    ],
)
def test_tokens_are_those_that_are_billed(
    loopback: Loopback, usage: Any, tokens: tuple[int | None, int | None]
) -> None:
    reply = answer(loopback, chat("yes", usage=usage))
    assert (reply.input_tokens, reply.output_tokens) == tokens


@pytest.mark.parametrize(
    "body",
    [
        '{"choices": ' + "[" * 100_000,
        json.dumps(chat("\ud800")),
        '{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop", "logprobs": NaN}]}',
        '{"choices": [], "created": ' + "9" * 400 + "}",
    ],
    ids=["depth", "surrogate", "NaN", "digits"],
)
def test_json_that_is_none_is_a_malformed_answer_that_may_be_charged(loopback: Loopback, body: str) -> None:
    with pytest.raises(BadReply) as caught:
        answer(loopback, body)
    assert caught.value.charged


def test_an_answer_is_read_up_to_its_limit_packed_or_not(loopback: Loopback) -> None:
    loopback.plan = lambda prompt, attempt: Fault(act="endless")
    model = OpenAIModel(backend="openai", model="m", base_url=loopback.openai_url, body_limit=1)
    with pytest.raises(BadReply, match=r"longer than 1 MB \(body_limit\)") as caught:
        ask(lambda connection: OpenAIBackend(model, connection))
    assert caught.value.charged
    bomb = gzip.compress(b" " * 50_000_000)
    for packing, message in (("gzip", "longer than 1 MB"), ("gzip, gzip", "not asked for")):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {packing}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()

        async def asking(head: bytes = head) -> None:
            from harness.models.http import Transport

            async with await listen([head + bomb], [], close=True) as server, Transport() as connection:
                place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
                await OpenAIBackend(model.model_copy(update={"base_url": place}), connection).ask(request())

        with pytest.raises(BadReply, match=message):
            run(asking())


def test_a_head_of_an_answer_may_be_long(loopback: Loopback) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body=json.dumps(chat("yes")), headers={"X-Trace": "x" * 30_000})
    model = OpenAIModel(backend="openai", model="m", base_url=loopback.openai_url)
    assert ask(lambda connection: OpenAIBackend(model, connection)).completion == "yes"


def test_another_model_is_refused_where_the_entry_is_strict(loopback: Loopback) -> None:
    other = {**chat("yes"), "model": "llama-3-8b-base"}
    assert answer(loopback, other).model == "llama-3-8b-base"
    with pytest.raises(ModelRejected, match=r"asked for the model m, .* llama-3-8b-base"):
        answer(loopback, other, strict_model=True)


@pytest.mark.parametrize(
    ("asked", "named", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("meta-llama/Llama-3-8B", "llama-3-8b", True),
        ("llama3", "llama3:latest", True),
        ("yn-adapter", "llama-3-8b-base", False),
        ("gpt-4", "gpt-4o", False),
        ("${MODEL}", "anything", True),
    ],
)
def test_a_servers_name_for_a_model_may_be_longer_or_shorter(asked: str, named: str, same: bool) -> None:
    assert same_model(asked, named) is same


def part(content: str | None, finish: str | None = None, **more: Any) -> str:
    """A part of a streamed answer."""
    delta = {} if content is None else {"content": content}
    return json.dumps({"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def of(index: int, content: str, finish: str | None = None) -> str:
    """A part of one of several answers."""
    return json.dumps({"choices": [{"index": index, "delta": {"content": content}, "finish_reason": finish}]})


YE, S = part("ye"), part("s", "stop")
GOOD_STREAMS = {
    "no empty line between events": f"data: {YE}\ndata: {S}\n\ndata: [DONE]\n\n",
    "no empty line at all": f"data: {YE}\ndata: {S}\ndata: [DONE]\n",
    "two events in a line": f"data: {YE}{S}\n\ndata: [DONE]\n\n",
    "two events with their names in a line": f"data: {YE} data: {S}\n\n",
    "no empty line at the end": f"data: {YE}\n\ndata: {S}\n",
    "no line feed at the end": f"data: {YE}\n\ndata: {S}",
    "an end without a line feed": f"data: {YE}\n\ndata: {part('s')}\n\ndata: [DONE]",
    "carriage returns": f"data: {YE}\r\n\r\ndata: {S}\r\n\r\n",
    "carriage returns alone": f"data: {YE}\r\rdata: {S}\r\rdata: [DONE]\r\r",
    "two carriage returns": f"data: {YE}\r\r\n\r\r\ndata: {S}\r\r\n\r\r\n",
    "an event in two lines": f"data: {YE[:-1]}\rdata: {YE[-1:]}\r\rdata: {S}\r\r",
    "empty data": f"data: \n\ndata: {YE}\n\ndata:\n\ndata: null\n\ndata: {S}\n\n",
    "pings": f"data: {YE}\n\nevent: ping\ndata: ping\n\ndata: {S}\n\n",
    "a word for no reason yet": f"data: {part('ye', 'null')}\n\ndata: {S}\n\n",
    "several answers": "".join(
        f"data: {one}\n\n" for one in (of(0, "ye"), of(1, "n"), of(0, "s", "stop"), of(1, "o", "length"))
    ),
    "all of it once more": f"data: {YE}\n\ndata: {part('s')}\n\ndata: {json.dumps(chat('yes'))}\n\ndata: [DONE]\n\n",
}


@pytest.mark.parametrize("body", GOOD_STREAMS.values(), ids=GOOD_STREAMS)
def test_a_stream_is_read_however_it_is_framed(loopback: Loopback, body: str) -> None:
    reply = answer(loopback, body, stream=True)
    assert (reply.completion, reply.finish_reason in ("stop", "unknown")) == ("yes", True)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_may_end_anywhere_in_the_parts_that_arrive(end: str) -> None:
    sent = f"event: message{end}data: 1{end}data: 2{end}{end}data: [DONE]{end}{end}".encode()
    for size in range(1, len(sent)):
        body = Body()
        for start in range(0, len(sent), size):
            body.take(sent[start : start + size], 1.0)
        assert [data for _, data in body.events] == [b"1", b"2", b"[DONE]"]


def test_a_mark_of_the_encoding_is_no_part_of_a_stream() -> None:
    body = Body()
    body.take(b"\xef\xbb\xbfdata: {}\n\n", 1.0)
    assert body.events == [(1.0, b"{}")]


def test_the_first_of_several_answers_is_the_one_of_index_0(loopback: Loopback) -> None:
    choices = [
        {"index": index, "message": {"content": text}, "finish_reason": "stop"}
        for index, text in ((1, "no"), (0, "yes"))
    ]
    assert answer(loopback, {"choices": choices}).completion == "yes"


BROKEN_STREAMS = {
    "an error of vLLM": (json.dumps({"object": "error", "message": "engine dead", "code": 500}), "engine dead"),
    "words without a choice": (json.dumps({"detail": "engine dead"}), "engine dead"),
    "a list of errors": (json.dumps({"errors": [{"message": "engine dead"}]}), "engine dead"),
}


@pytest.mark.parametrize("said", [*BROKEN_STREAMS], ids=str)
def test_an_error_after_the_first_words_is_no_end_of_an_answer(loopback: Loopback, said: str) -> None:
    data, words = BROKEN_STREAMS[said]
    with pytest.raises(AskError, match=words) as caught:
        answer(loopback, f"data: {YE}\n\ndata: {data}\n\ndata: [DONE]\n\n", stream=True)
    assert caught.value.charged


@pytest.mark.parametrize(
    "line", ['event: error\ndata: {"message": "engine dead", "code": 500}', "event: error\ndata: engine dead"]
)
def test_an_event_that_is_named_an_error_is_one(loopback: Loopback, line: str) -> None:
    for text in (line, '{"error": {"message": "engine dead"}}'):
        with pytest.raises(AskError, match="engine dead"):
            answer(loopback, f"data: {YE}\n\n{text}\n\ndata: [DONE]\n\n", stream=True)


@pytest.mark.parametrize("place", ["x_groq", "choice"])
def test_counts_in_a_place_of_their_own_are_found(loopback: Loopback, place: str) -> None:
    choice = {"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"}
    data = (
        {"choices": [choice], "x_groq": {"usage": USAGE}}
        if place == "x_groq"
        else {"choices": [{**choice, "usage": USAGE}]}
    )
    zeros = {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
    reply = answer(loopback, f"data: {json.dumps(data)}\n\ndata: {json.dumps(zeros)}\n\ndata: [DONE]\n\n", stream=True)
    assert (reply.input_tokens, reply.output_tokens) == (50, 2)


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "errors": [{"code": 5007, "message": "its own words"}], "result": None},
        {"error_code": 17, "error_msg": "its own words"},
        {"exception": "its own words"},
        {"error": {"error": {"message": "its own words"}}},
        {"error": True, "reason": "its own words"},
        {"error": {"message": "Provider returned error", "metadata": {"raw": "its own words", "provider_name": "P"}}},
        {"Output": {"__type": "its own words"}},
    ],
)
def test_the_servers_own_words_are_in_the_message(loopback: Loopback, body: Any) -> None:
    with pytest.raises(AskError, match="its own words"):
        answer(loopback, body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"code": 429, "message": "slow down", "choices": []}, Throttled),
        ({"status": 503, "message": "busy"}, Unavailable),
        ({"errors": [{"code": "no_model", "message": "no"}], "status_code": 400}, Rejected),
    ],
)
def test_a_status_in_the_body_of_a_good_one_counts(loopback: Loopback, body: Any, expected: type[AskError]) -> None:
    with pytest.raises(AskError) as caught:
        answer(loopback, body)
    assert type(caught.value) is expected
    assert not caught.value.charged


def test_an_answer_that_says_that_it_is_whole_needs_no_end_of_its_connection() -> None:
    """It was paid for, and is not asked for again."""
    parts = [f"data: {YE}\n\n", f"data: {S}\n\n", "data: [DONE]\n\n"]
    for sent in (parts, [json.dumps(chat("yes"))]):
        found = read_without_an_end("".join(sent).encode())
        assert isinstance(found, Reply)
        assert found.completion == "yes"
    cut = read_without_an_end("".join(parts[:2]).encode())
    assert isinstance(cut, Unavailable)
    assert (str(cut), cut.charged, cut.answered) == ("no answer: the answer broke off", True, True)


def read_without_an_end(body: bytes) -> Reply | AskError:
    """What becomes of a body after which the server hangs up, without the chunk that would be the last."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def asking() -> Reply | AskError:
        server = await listen([head + b"%x\r\n" % len(body) + body + b"\r\n"], [], close=True)
        port = server.sockets[0].getsockname()[1]
        model = OpenAIModel(backend="openai", model="m", base_url=f"http://127.0.0.1:{port}/v1", stream=True)
        async with server, Transport() as connection:
            try:
                return await OpenAIBackend(model, connection).ask(request())
            except AskError as error:
                return error

    return run(asking())


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5.0, "completion_tokens": 2.0}, (5, 2)),
        ({"prompt_tokens": "5", "completion_tokens": "2"}, (5, 2)),
        ({"input_tokens": 5, "output_tokens": 2}, (5, 2)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "reasoning_tokens": 300}, (5, 302)),
        ({"prompt_tokens": 5.5, "completion_tokens": "two"}, (None, None)),
        ({"prompt_tokens": float("1e300"), "completion_tokens": "9" * 5000}, (None, None)),
    ],
)
def test_counts_are_read_in_the_forms_of_other_servers(usage: Any, tokens: tuple[int | None, int | None]) -> None:
    assert tokens_of(usage) == tokens
