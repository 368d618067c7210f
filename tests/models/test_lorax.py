"""LoRAX: what is sent validates against the types of its own client package, and replies are read like theirs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lorax.types import Parameters, Response  # type: ignore[import-untyped]
from lorax.types import Request as LoraxRequest

from harness.errors import AskError, BadReply, ModelRejected, Unavailable
from harness.models.backend import Reply
from harness.models.entry import LoraxModel
from harness.models.lorax import LoraxBackend, parse
from tests.loopback import Fault, Loopback, always
from tests.models.asking import ERRORS, NO_NETWORK, ask, request

TOKEN = "hf_planted_0123456789"
KEY = "sk-planted-0123456789"


def model(server: Loopback | None = None, **changes: Any) -> LoraxModel:
    """An entry for a LoRAX server."""
    return LoraxModel(**{"backend": "lorax", "base_url": server.url if server else "http://127.0.0.1:9", **changes})


def body(entry: LoraxModel, **changes: Any) -> dict[str, Any]:
    return dict(LoraxBackend(entry, NO_NETWORK).body(request(**changes)))


def adapter_model(server: Loopback | None = None, **changes: Any) -> LoraxModel:
    """An entry for a private adapter per task."""
    private = {"adapter": "predibase/{task}", "adapter_source": "hub", "api_token": TOKEN, "api_key": KEY}
    return model(server, **{**private, **changes})


def test_an_adapter_is_asked_for_through_generate(loopback: Loopback) -> None:
    asked = request("Is it toxic?", stop=("\n",))
    reply = ask(lambda connection: LoraxBackend(adapter_model(loopback), connection), asked)
    assert reply == Reply("yes", "stop", input_tokens=3, output_tokens=1)
    sent = loopback.received[0]
    assert sent.path == "/generate"
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.body == {
        "inputs": "Is it toxic?",
        "parameters": {
            "adapter_id": "predibase/jigsaw",
            "adapter_source": "hub",
            "api_token": TOKEN,
            "max_new_tokens": 4,
            "stop": ["\n"],
            "details": True,
            "do_sample": False,
            "return_full_text": False,
        },
    }


def test_the_base_model_is_asked_without_adapter_settings() -> None:
    parameters = body(model(adapter_source="hub"))["parameters"]
    assert not {"adapter_id", "adapter_source", "api_token"} & set(parameters)


@settings(max_examples=50)
@given(
    prompt=st.text(min_size=1),
    stop=st.lists(st.text(min_size=1), max_size=4),
    max_tokens=st.integers(1, 10_000),
    temperature=st.floats(0, 2),
    source=st.sampled_from([None, "hub", "local", "s3", "pbase"]),
)
def test_every_payload_validates_against_the_lorax_clients_types(
    prompt: str, stop: list[str], max_tokens: int, temperature: float, source: Any
) -> None:
    entry = adapter_model(adapter_source=source, temperature=temperature)
    sent = body(entry, prompt=prompt, stop=tuple(stop), max_tokens=max_tokens)
    validated = LoraxRequest.model_validate(sent, strict=True)
    assert validated.parameters is not None
    assert set(sent["parameters"]) <= set(Parameters.model_fields), "a key that LoRAX does not know"
    assert validated.parameters.adapter_id == "predibase/jigsaw"
    assert validated.parameters.max_new_tokens == max_tokens
    assert validated.parameters.temperature != 0, "LoRAX rejects a temperature of 0"
    assert validated.parameters.do_sample == (temperature > 0)


def test_what_is_sent_with_the_token_validates_too(loopback: Loopback) -> None:
    ask(lambda connection: LoraxBackend(adapter_model(loopback), connection))
    sent = LoraxRequest.model_validate(loopback.received[0].body, strict=True)
    assert sent.parameters is not None
    assert sent.parameters.api_token == TOKEN


@pytest.mark.parametrize(
    ("finish", "expected"), [("eos_token", "stop"), ("stop_sequence", "stop"), ("length", "length"), ("new", "unknown")]
)
def test_a_reply_of_the_lorax_clients_type_is_read(finish: str, expected: str) -> None:
    details = {"prompt_tokens": 12, "generated_tokens": 2, "prefill": [], "tokens": []}
    if finish != "new":
        reply = Response.model_validate({"generated_text": "yes", "details": {**details, "finish_reason": finish}})
        raw = reply.model_dump(mode="json")
    else:
        raw = {"generated_text": "yes", "details": {**details, "finish_reason": finish}}
    assert parse(raw) == Reply("yes", expected, 12, 2)  # type: ignore[arg-type]


def test_a_reply_without_details_is_read() -> None:
    assert parse(Response(generated_text="yes").model_dump(mode="json")) == Reply("yes", "unknown")


@pytest.mark.parametrize("raw", [{}, {"generated_text": None}, {"generated_text": ["yes"]}])
def test_a_reply_without_text_is_a_bad_reply(raw: dict[str, Any]) -> None:
    with pytest.raises(BadReply, match="holds no answer"):
        parse(raw)


@pytest.mark.parametrize("api", ["generate", "completions", "chat"])
def test_the_stop_string_that_lorax_leaves_at_the_end_is_taken_off(loopback: Loopback, api: str) -> None:
    loopback.answer = lambda prompt: "one\ntwo###"
    for stop, left in ((("#", "###"), "one\ntwo"), (("#", "\n"), "one"), (("nine",), "one\ntwo###")):
        reply = ask(lambda connection: LoraxBackend(model(loopback, api=api), connection), request(stop=stop))
        assert reply.completion == left, "as a server that honours the stop strings would have ended"


@pytest.mark.parametrize("slash", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_the_adapter_is_the_model_on_the_openai_compatible_address(loopback: Loopback, api: str, slash: str) -> None:
    entry = adapter_model(loopback, api=api, base_url=loopback.url + slash)
    reply = ask(lambda connection: LoraxBackend(entry, connection))
    assert reply.completion == "yes"
    sent = loopback.received[0]
    assert sent.path == {"chat": "/v1/chat/completions", "completions": "/v1/completions"}[api]
    assert (sent.body["model"], sent.body["adapter_source"], sent.body["api_token"]) == (
        "predibase/jigsaw",
        "hub",
        TOKEN,
    )


def test_the_base_model_has_no_name_on_the_openai_compatible_address() -> None:
    assert body(model(api="completions"))["model"] == ""


def test_greedy_is_asked_for_in_the_way_of_each_address() -> None:
    assert body(model(api="chat"))["temperature"] == 0, "without it, LoRAX samples in chat"
    assert not {"temperature", "n"} & set(body(model(api="completions"))), "LoRAX rejects 0 in completions"
    sampled = body(model(api="completions", temperature=0.5))
    assert (sampled["temperature"], sampled["n"]) == (0.5, 1)


@pytest.mark.parametrize("api", ["generate", "completions", "chat"])
@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_tokens_are_in_no_message_and_in_nothing_shown(loopback: Loopback, api: str, status: int) -> None:
    loopback.plan = lambda prompt, attempt: Fault(status, f"got {TOKEN} and {KEY}")
    entry = adapter_model(loopback, api=api)
    with pytest.raises(AskError) as caught:
        ask(lambda connection: LoraxBackend(entry, connection))
    assert "got *** and ***" in str(caught.value)
    shown = LoraxBackend(entry, NO_NETWORK)
    assert "planted" not in repr([shown.body(request()), shown.identity])


@pytest.mark.parametrize(
    ("fault", "expected"),
    ERRORS,
)
def test_each_fault_of_the_server_has_its_error(loopback: Loopback, fault: str, expected: type[AskError]) -> None:
    loopback.plan = always(fault)
    with pytest.raises(AskError) as caught:
        ask(lambda connection: LoraxBackend(model(loopback), connection))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Request failed during generation: Server error: Adapter 'predibase/jigsaw' not found", ModelRejected),
        ("Request failed during generation: 404 Client Error. Repository Not Found for url", ModelRejected),
        ("Request failed during generation: Server error: CUDA out of memory", Unavailable),
    ],
)
def test_an_adapter_that_cannot_be_loaded_stops_the_model(
    loopback: Loopback, said: str, expected: type[AskError]
) -> None:
    loopback.plan = lambda prompt, attempt: Fault(424, f'{{"error": "{said}", "error_type": "generation"}}')
    with pytest.raises(AskError) as caught:
        ask(lambda connection: LoraxBackend(adapter_model(loopback), connection))
    assert type(caught.value) is expected
