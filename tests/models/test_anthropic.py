"""Anthropic's Messages API: what is sent and read is what the vendor's own package publishes as types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, get_type_hints

import pytest
from anthropic import Anthropic
from anthropic.types import Message, MessageCreateParams, StopReason
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from harness.errors import AskError, BadReply, Doubtful, ModelRejected, Rejected, Throttled, Unavailable, UserError
from harness.models.anthropic import AnthropicBackend, parse
from harness.models.backend import Reply
from harness.models.content import cut
from harness.models.entry import AnthropicModel
from harness.models.remote import ANTHROPIC_VERSION
from harness.tasks.messages import Message as Told
from tests.loopback_vendors import KEY, AnthropicServer, Failure, anthropic_error
from tests.models.asking import NO_NETWORK, ask, request

PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
KEYS = get_type_hints(MessageCreateParamsNonStreaming).keys()
STOP_REASONS: tuple[str, ...] = StopReason.__args__  # type: ignore[attr-defined]


@pytest.fixture
def server() -> Iterator[AnthropicServer]:
    """Anthropic's API on 127.0.0.1."""
    with AnthropicServer() as served:
        yield served


def model(server: AnthropicServer | None = None, **changes: Any) -> AnthropicModel:
    """An entry for a model on the server."""
    base_url = server.url if server else "http://127.0.0.1:9"
    return AnthropicModel(
        **{"backend": "anthropic", "model": "claude", "base_url": base_url, "api_key": KEY, **changes}
    )


def answer(server: AnthropicServer, prompt: str = "Is it toxic?", stop: tuple[str, ...] = (), **changes: Any) -> Reply:
    """Ask the server one request."""
    entry = model(server, **changes)
    return ask(lambda connection: AnthropicBackend(entry, connection), request(prompt, stop=stop))


def body(entry: AnthropicModel, **changes: Any) -> dict[str, Any]:
    return dict(AnthropicBackend(entry, NO_NETWORK).body(request(**changes)))


def test_a_system_prompt_is_beside_the_messages() -> None:
    sent = body(
        model(), messages=(Told("system", "Be brief."), Told("user", "a"), Told("assistant", "b"), Told("user", "c"))
    )
    assert sent["system"] == "Be brief."
    assert [(found["role"], found["content"]) for found in sent["messages"]] == [
        ("user", "a"), ("assistant", "b"), ("user", "c"),
    ]  # fmt: skip
    PARAMS.validate_python(sent)
    assert "system" not in body(model())


def message(**changes: Any) -> dict[str, Any]:
    """A message as the anthropic package itself writes it."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1", "stop_reason": "end_turn"}
    usage = {"input_tokens": 7, "output_tokens": 2}
    content = [{"type": "text", "text": "yes"}]
    return Message.model_validate({**head, "usage": usage, "content": content, **changes}).model_dump(mode="json")


def test_a_prompt_is_sent_as_one_user_message_and_its_answer_is_read(server: AnthropicServer) -> None:
    assert answer(server) == Reply("yes", "stop", input_tokens=7, output_tokens=2, model="claude")
    headers, sent = server.received[0]
    assert headers["x-api-key"] == KEY
    assert headers["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in headers
    assert sent == {
        "model": "claude",
        "messages": [{"role": "user", "content": "Is it toxic?"}],
        "max_tokens": 4,
        "temperature": 0,
    }


def test_without_an_address_anthropic_itself_is_asked() -> None:
    entry = AnthropicModel(backend="anthropic", model="claude")
    address = AnthropicBackend(entry, NO_NETWORK).identity["address"]
    assert address == "https://api.anthropic.com/v1/messages"


def test_an_address_may_name_the_version(server: AnthropicServer) -> None:
    assert answer(server, base_url=f"{server.url}/v1/").completion == "yes"


def test_the_types_that_these_tests_check_against_are_those_of_the_version_that_is_sent() -> None:
    """The package's release 1 has types without temperature, its release 2 those of a version that rejects it."""
    assert Anthropic(api_key=KEY).default_headers["anthropic-version"] == ANTHROPIC_VERSION
    assert "temperature" in KEYS


@settings(max_examples=30)
@given(
    prompt=st.text(min_size=1),
    stop=st.lists(st.text(), max_size=4),
    max_tokens=st.integers(1, 10_000),
    temperature=st.floats(0, 1),
    omit=st.lists(st.sampled_from(["temperature", "stop"])),
)
def test_every_body_is_of_anthropics_published_type(
    prompt: str, stop: list[str], max_tokens: int, temperature: float, omit: list[str]
) -> None:
    asked = request(prompt, stop=tuple(stop), max_tokens=max_tokens)
    sent = AnthropicBackend(model(temperature=temperature, omit=omit), NO_NETWORK).sent(asked)
    assert PARAMS.validate_python(sent, strict=True)
    assert sent.keys() <= KEYS
    assert all(text.strip() for text in sent.get("stop_sequences", []))
    assert ("temperature" in sent) == ("temperature" not in omit)


def test_the_length_cannot_be_left_out() -> None:
    with pytest.raises(ValidationError, match="requires max_tokens") as caught:
        model(omit=["max_tokens"])
    assert KEY not in str(caught.value)


def test_the_task_is_filled_into_the_models_name_and_extra_keys_win() -> None:
    sent = body(model(model="claude-{task}", max_tokens=2000, system="Be brief.", extra={"temperature": 1}))
    assert sent["model"] == "claude-jigsaw"
    assert (sent["max_tokens"], sent["temperature"], sent["system"]) == (2000, 1, "Be brief.")


def test_a_stop_of_white_space_is_applied_here_because_anthropic_rejects_it(server: AnthropicServer) -> None:
    server.blocks = lambda prompt: [{"type": "text", "text": "yes it is\nbecause\n\nof"}]
    server.stop_reason = "max_tokens"
    assert answer(server, stop=("\n\n", "\n", "END", "")) == Reply("yes it is", "stop", 7, 2, "claude")
    assert server.received[0][1]["stop_sequences"] == ["END"]


def test_a_stop_of_white_space_is_not_applied_when_stops_are_left_out(server: AnthropicServer) -> None:
    server.blocks = lambda prompt: [{"type": "text", "text": "yes\nno"}]
    assert answer(server, stop=("\n",), omit=["stop"]).completion == "yes\nno"
    assert "stop_sequences" not in server.received[0][1]


def test_a_stop_that_is_not_sent_still_distinguishes_two_requests() -> None:
    assert body(model(), stop=("\n",)) != body(model(), stop=())


@given(st.text(alphabet="ab \n"), st.lists(st.sampled_from(["\n", " ", "\n\n"])))
def test_a_cut_answer_is_the_longest_start_without_a_stop(text: str, stops: list[str]) -> None:
    reply = cut(Reply(text, "length"), stops)
    assert text.startswith(reply.completion)
    assert not any(stop in reply.completion for stop in stops)
    if reply.completion == text:
        assert reply.finish_reason == "length"
    else:
        assert any(text[len(reply.completion) :].startswith(stop) for stop in stops)
        assert reply.finish_reason == "stop"


def test_blocks_of_text_are_joined_without_the_thinking(server: AnthropicServer) -> None:
    server.blocks = lambda prompt: [
        {"type": "thinking", "thinking": "no", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "ye"},
        {"type": "text", "text": "s"},
    ]
    assert answer(server).completion == "yes"


@pytest.mark.parametrize("reason", STOP_REASONS)
def test_every_published_stop_reason_has_its_meaning(reason: str) -> None:
    meaning = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "refusal": "refusal",
        # These ask for a next turn, of which there is none here.
        "tool_use": "unknown",
        "pause_turn": "unknown",
    }
    assert parse(message(stop_reason=reason)).finish_reason == meaning[reason]


def test_cached_tokens_are_part_of_the_input() -> None:
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 100,
        "output_tokens": 5,
    }
    reply = parse(message(usage=usage))
    assert (reply.input_tokens, reply.output_tokens) == (113, 5)


@pytest.mark.parametrize(("content", "reason"), [([], "end_turn"), ([], "refusal")])
def test_a_message_without_text_is_an_empty_answer(content: list[Any], reason: str) -> None:
    assert parse(message(content=content, stop_reason=reason)).completion == ""


def test_a_message_of_thinking_alone_was_cut_off() -> None:
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    reply = parse(message(content=thinking, stop_reason="max_tokens"))
    assert (reply.completion, reply.finish_reason) == ("", "length")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["type", "text", "input_tokens", "output_tokens", "thinking"]), inner)
    ),
)


@given(st.dictionaries(st.sampled_from(["content", "usage", "model", "stop_reason"]), json_values))
def test_any_reply_is_read_or_a_failed_request(reply: dict[str, Any]) -> None:
    with suppress(AskError):
        assert isinstance(parse(reply).completion, str)


def test_a_reply_that_is_not_a_message_is_a_bad_reply(server: AnthropicServer) -> None:
    server.failure = Failure(200, {"type": "completion", "completion": "yes"})
    with pytest.raises(BadReply):
        answer(server)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", Rejected),
        (401, "authentication_error", ModelRejected),
        (402, "billing_error", ModelRejected),
        (403, "permission_error", Doubtful),
        (404, "not_found_error", Doubtful),
        (413, "request_too_large", Rejected),
        (429, "rate_limit_error", Throttled),
        (500, "api_error", Unavailable),
        (504, "timeout_error", Unavailable),
        (529, "overloaded_error", Throttled),
    ],
)
def test_each_published_error_has_its_own_error(
    server: AnthropicServer, status: int, kind: str, expected: type[AskError]
) -> None:
    server.failure = anthropic_error(status, kind, "the server's words")
    with pytest.raises(AskError, match="the server's words") as caught:
        answer(server)
    assert type(caught.value) is expected
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "said", ["`temperature` is deprecated for this model.", "temperature: Extra inputs are not permitted"]
)
def test_a_model_without_temperature_is_stopped_and_the_user_told_what_to_do(
    server: AnthropicServer, said: str
) -> None:
    server.failure = anthropic_error(400, "invalid_request_error", said)
    with pytest.raises(ModelRejected, match=r"omit: \[temperature\]"):
        answer(server)


@pytest.mark.parametrize("status", [429, 529])
def test_retry_after_is_in_the_error(server: AnthropicServer, status: int) -> None:
    server.failure = anthropic_error(status, "overloaded_error", Retry_After="7")
    with pytest.raises(Throttled) as caught:
        answer(server)
    assert caught.value.retry_after == 7


def test_the_key_is_in_no_message_and_in_nothing_shown(server: AnthropicServer) -> None:
    key = f"{KEY}-wrong"
    with pytest.raises(ModelRejected, match=r"invalid x-api-key: \*\*\*") as caught:
        answer(server, api_key=key)
    assert KEY not in str(caught.value)
    backend = AnthropicBackend(model(api_key=key), NO_NETWORK)
    assert KEY not in repr([backend.body(request()), backend.identity])


def test_a_key_that_no_header_can_carry_is_the_users_mistake(server: AnthropicServer) -> None:
    with pytest.raises(UserError) as caught:
        answer(server, api_key=f"{KEY}\n{KEY}")
    assert KEY not in str(caught.value)
