"""OpenAI-compatible servers: what is sent is what their published types say, and what comes back is read by them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion, CompletionCreateParams
from openai.types.chat import ChatCompletion
from openai.types.chat import CompletionCreateParams as ChatCompletionCreateParams
from pydantic import TypeAdapter

from harness.errors import AskError, BadReply, ModelRejected, Throttled, Unavailable, UserError
from harness.models.backend import Reply
from harness.models.entry import OpenAIModel
from harness.models.http import Transport
from harness.models.openai import OpenAIBackend, parse
from harness.models.remote import headers_of
from tests.loopback import Fault, Loopback, always, error
from tests.models.asking import ERRORS, NO_NETWORK, ask, request

KEY = "sk-planted-0123456789"
CHAT_PARAMS: TypeAdapter[Any] = TypeAdapter(ChatCompletionCreateParams)
TEXT_PARAMS: TypeAdapter[Any] = TypeAdapter(CompletionCreateParams)


def model(server: Loopback | None = None, **changes: Any) -> OpenAIModel:
    """An entry for a model on the loopback server."""
    base_url = server.openai_url if server else "http://127.0.0.1:9/v1"
    return OpenAIModel(**{"backend": "openai", "model": "m", "base_url": base_url, "api_key": KEY, **changes})


def backend(entry: OpenAIModel) -> OpenAIBackend:
    """A backend of which only what it would send is looked at."""
    return OpenAIBackend(entry, NO_NETWORK)


def body(entry: OpenAIModel, **changes: Any) -> dict[str, Any]:
    return dict(backend(entry).body(request(**changes)))


def test_a_chat_model_is_sent_one_user_message_and_its_answer_is_read(loopback: Loopback) -> None:
    reply = ask(lambda connection: OpenAIBackend(model(loopback), connection), request("Is it toxic?"))
    assert reply == Reply("yes", "stop", input_tokens=3, output_tokens=1, model="m")
    sent = loopback.received[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Is it toxic?"}],
        "max_tokens": 4,
        "temperature": 0,
    }


def test_a_base_model_is_sent_plain_text(loopback: Loopback) -> None:
    entry = model(loopback, api="completions", api_key=None)
    reply = ask(lambda connection: OpenAIBackend(entry, connection), request("Is it toxic?", stop=("\n",)))
    assert reply == Reply("yes", "stop", input_tokens=3, output_tokens=1, model="m")
    sent = loopback.received[0]
    assert sent.path == "/v1/completions"
    assert "Authorization" not in sent.headers
    assert sent.body == {"model": "m", "prompt": "Is it toxic?", "max_tokens": 4, "temperature": 0, "stop": ["\n"]}


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_what_is_shown_is_what_is_sent(loopback: Loopback, api: str) -> None:
    entry = model(loopback, api=api, extra={"top_p": 0.5, "seed": 1})
    asked = request("naïve “quotes” 😀 {braces} \x00", stop=("\n",))
    ask(lambda connection: OpenAIBackend(entry, connection), asked)
    assert loopback.received[0].body == backend(entry).body(asked)


def test_the_task_is_filled_into_the_models_name() -> None:
    assert body(model(model="lora-{task}"))["model"] == "lora-jigsaw"


def test_a_model_that_thinks_gets_the_names_it_knows() -> None:
    entry = model(max_tokens_key="max_completion_tokens", omit=["temperature", "stop"], max_tokens=2000)
    sent = body(entry, stop=("\n",))
    assert sent == {
        "model": "m",
        "messages": [{"role": "user", "content": "Is it?"}],
        "max_completion_tokens": 2000,
    }
    CHAT_PARAMS.validate_python(sent)


def test_every_setting_can_be_left_out() -> None:
    sent = body(model(api="completions", omit=["temperature", "stop", "max_tokens"]), stop=("\n",))
    assert sent == {"model": "m", "prompt": "Is it?"}


def test_extra_keys_are_sent_as_they_are_and_win() -> None:
    sent = body(model(extra={"temperature": 0.7, "chat_template_kwargs": {"enable_thinking": False}}))
    assert sent["temperature"] == 0.7
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}


@settings(max_examples=30)
@given(
    prompt=st.text(min_size=1),
    stop=st.lists(st.text(min_size=1), max_size=4),
    max_tokens=st.integers(1, 10_000),
    temperature=st.floats(0, 2),
    key=st.sampled_from(["max_tokens", "max_completion_tokens"]),
)
def test_every_body_is_of_openais_published_type(
    prompt: str, stop: list[str], max_tokens: int, temperature: float, key: str
) -> None:
    asked = request(prompt, stop=tuple(stop), max_tokens=max_tokens)
    chat = backend(model(temperature=temperature, max_tokens_key=key))
    assert CHAT_PARAMS.validate_python(chat.body(asked), strict=True)
    text = backend(model(api="completions", temperature=temperature))
    assert TEXT_PARAMS.validate_python(text.body(asked), strict=True)


def chat_reply(**message: Any) -> dict[str, Any]:
    """A chat completion as the openai package itself writes it; `finish_reason` and `usage` may be among the keys."""
    finish = message.pop("finish_reason", "stop")
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m-2026", "usage": usage}
    return ChatCompletion.model_validate({**head, "choices": [choice]}).model_dump(mode="json")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "yes"}, ("yes", "stop")),
        ({"content": ""}, ("", "stop")),
        ({"content": "ye", "finish_reason": "length"}, ("ye", "length")),
        ({"content": None, "finish_reason": "length"}, ("", "length")),
        ({"content": None}, ("", "stop")),
        ({"content": "", "finish_reason": "content_filter"}, ("", "refusal")),
        ({"content": None, "finish_reason": "content_filter"}, ("", "refusal")),
        ({"content": None, "refusal": "I can't help"}, ("I can't help", "refusal")),
        ({"content": "yes", "refusal": None}, ("yes", "stop")),
        ({"content": "yes", "finish_reason": "tool_calls"}, ("yes", "unknown")),
        ({"content": "yes", "reasoning_content": "let me think: no"}, ("yes", "stop")),
    ],
)
def test_a_chat_reply_of_openais_published_type_is_read(message: dict[str, Any], expected: tuple[str, str]) -> None:
    reply = parse(chat_reply(**message))
    assert (reply.completion, reply.finish_reason) == expected
    assert (reply.input_tokens, reply.output_tokens, reply.model) == (7, 2, "m-2026")


def test_a_text_reply_of_openais_published_type_is_read() -> None:
    choice = {"index": 0, "finish_reason": "length", "text": " yes", "logprobs": None}
    head = {"id": "c1", "object": "text_completion", "created": 1, "model": "m"}
    reply = Completion.model_validate({**head, "choices": [choice]}).model_dump(mode="json")
    assert parse(reply) == Reply(" yes", "length", None, None, "m")


def test_text_in_parts_is_joined_without_the_thinking() -> None:
    parts = [{"type": "thinking", "thinking": "no"}, {"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    reply = parse({"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]})
    assert reply == Reply("yes", "stop")


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": ["yes"]},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {}}]},
        {"choices": [{"message": {"content": None}, "finish_reason": None}]},
        {"choices": [{"message": {"content": ""}}]},
        {"choices": [{"message": {"content": 12}, "finish_reason": "stop"}]},
    ],
)
def test_a_reply_without_an_answer_is_a_bad_reply(reply: dict[str, Any]) -> None:
    with pytest.raises(BadReply):
        parse(reply)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "text", "finish_reason", "usage", "error", "code"]), inner
        )
    ),
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "model", "error"]), json_values))
def test_any_reply_is_read_or_a_failed_request(reply: dict[str, Any]) -> None:
    with suppress(AskError):
        assert isinstance(parse(reply).completion, str)


@pytest.mark.parametrize(("code", "expected"), [(502, Unavailable), (429, Throttled), ("odd", BadReply)])
def test_an_error_inside_a_good_status_counts_as_what_it_is(code: Any, expected: type[AskError]) -> None:
    with pytest.raises(AskError) as caught:
        parse({"error": {"message": f"upstream failed for {KEY}", "code": code}}, (KEY,))
    assert type(caught.value) is expected
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [*ERRORS, ("quota", ModelRejected)],
)
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_each_fault_of_the_server_has_its_error(
    loopback: Loopback, api: str, fault: str, expected: type[AskError]
) -> None:
    loopback.plan = always(fault)
    with pytest.raises(AskError) as caught:
        ask(lambda connection: OpenAIBackend(model(loopback, api=api), connection))
    assert type(caught.value) is expected


def test_a_prompt_that_the_content_filter_rejects_is_refused(loopback: Loopback) -> None:
    loopback.plan = lambda prompt, attempt: error(400, "filtered", "content_filter")
    assert ask(lambda connection: OpenAIBackend(model(loopback), connection)) == Reply("", "refusal", 0, 0)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_the_key_is_in_no_message_and_in_nothing_shown(loopback: Loopback, status: int) -> None:
    loopback.plan = lambda prompt, attempt: Fault(status, f"wrong key: {KEY}")
    entry = model(loopback, api_key=f"{KEY}\n")
    with pytest.raises(AskError) as caught:
        ask(lambda connection: OpenAIBackend(entry, connection))
    assert "wrong key: ***" in str(caught.value)
    shown = backend(entry)
    assert KEY not in repr([shown.body(request()), shown.identity])


def test_a_password_in_the_address_is_not_shown() -> None:
    assert backend(model(base_url="https://me:hunter22@h.invalid/v1")).identity == {
        "backend": "openai",
        "address": "https://h.invalid/v1/chat/completions",
    }


def test_a_line_break_at_the_end_of_a_key_is_not_part_of_it() -> None:
    assert headers_of(model(api_key="sk-1\n")) == {"Authorization": "Bearer sk-1"}


@pytest.mark.parametrize("wrong", ["sk-1\nsk-2", "sk-“1”"])
def test_a_key_that_no_header_can_carry_is_the_users_mistake(wrong: str) -> None:
    with pytest.raises(UserError) as caught:
        headers_of(model(api_key=wrong))
    assert "sk-" not in str(caught.value)


def test_many_rows_in_flight_each_get_their_own_answer(loopback: Loopback) -> None:
    loopback.answer = lambda prompt: prompt.upper()

    async def asking() -> list[Reply]:
        async with Transport() as connection:
            opened = OpenAIBackend(model(loopback), connection)
            return list(await asyncio.gather(*(opened.ask(request(f"row {n}")) for n in range(200))))

    assert [reply.completion for reply in asyncio.run(asking())] == [f"ROW {n}" for n in range(200)]
    assert set(loopback.asked.values()) == {1}
