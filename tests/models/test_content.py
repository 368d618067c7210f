"""A 200 is an answer only when it is understood: what vendors and servers were reported to send, on a real socket."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import BadReply, ModelRejected, Unavailable
from harness.models.backend import Reply
from harness.models.content import same_model
from harness.models.entry import OpenAIModel
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
        *((word, "ok") for word in ("stop", "eos", "eos_token", "stop_sequence", "STOP", "tool_calls", None, "")),
    ],
)
def test_the_finish_reasons_of_all_vendors_have_their_status(
    loopback: Loopback, tmp_path: Path, finish: str | None, status: str
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
