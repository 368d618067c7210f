"""The chunks of a stream make the object that the same request gives without `stream`."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from harness.models.content import text_of
from harness.models.whole_reply import says_something, whole_reply
from tests.teach.vendor import HEAD

TEXTS = st.lists(st.text(max_size=5), max_size=4)


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**HEAD, "object": "chat.completion.chunk", "choices": list(choices), **more}


def part(delta: dict[str, Any], index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **more}


@given(data=st.data(), texts=st.lists(TEXTS, min_size=1, max_size=3), usage=st.booleans())
def test_choices_are_put_together_however_their_parts_are_mixed(
    data: st.DataObject, texts: list[list[str]], usage: bool
) -> None:
    parts = [
        [
            part({"role": "assistant", "content": ""}, index),
            *(part({"content": text}, index) for text in words),
            part({}, index, "stop"),
        ]
        for index, words in enumerate(texts)
    ]
    order = data.draw(st.permutations([index for index, own in enumerate(parts) for _ in own]))
    waiting = [iter(own) for own in parts]
    chunks = [chunk(next(waiting[index])) for index in order]
    counts = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    chunks += [chunk(usage=counts)] if usage else []
    found = whole_reply(chunks)
    ChatCompletion.model_validate(found)
    assert found["object"] == "chat.completion"
    assert [choice["index"] for choice in found["choices"]] == list(range(len(texts)))
    assert [choice["message"]["content"] for choice in found["choices"]] == ["".join(words) for words in texts]
    assert {choice["finish_reason"] for choice in found["choices"]} == {"stop"}
    assert found.get("usage") == (counts if usage else None)


def test_tool_calls_are_in_the_order_of_their_indexes() -> None:
    def call(index: int, **more: Any) -> dict[str, Any]:
        return part({"tool_calls": [{"index": index, **more}]})

    chunks = [
        chunk(call(1, id="b", type="function", function={"name": "g", "arguments": ""})),
        chunk(call(0, id="a", type="function", function={"name": "f", "arguments": '{"x"'})),
        chunk(call(1, function={"arguments": "{}"})),
        chunk(call(0, id="a", type="function", function={"arguments": ": 1}"})),  # some servers repeat id and type
        chunk(part({}, finish="tool_calls")),
    ]
    (choice,) = whole_reply(chunks)["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_logprobs_refusals_and_thoughts_are_joined() -> None:
    def token(text: str) -> dict[str, Any]:
        return {"content": [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": []}], "refusal": None}

    chunks = [
        chunk(part({"role": "assistant", "content": "", "reasoning_content": "let"})),
        chunk(part({"role": "assistant", "reasoning_content": " me"})),
        chunk(part({"content": "a"}) | {"logprobs": token("a")}),
        chunk(part({"content": "b", "refusal": "no"}) | {"logprobs": token("b")}),
        chunk(part({"refusal": "!"}, finish="stop")),
    ]
    (choice,) = whole_reply(chunks)["choices"]
    assert choice["message"] == {"role": "assistant", "content": "ab", "reasoning_content": "let me", "refusal": "no!"}
    assert [item["token"] for item in choice["logprobs"]["content"]] == ["a", "b"]


def test_a_text_completion() -> None:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
    logprobs = [{"tokens": [text], "token_logprobs": [-1.0], "text_offset": [at]} for at, text in enumerate("ab")]
    chunks = [
        {**head, "choices": [{"index": 0, "text": text, "logprobs": found, "finish_reason": finish}]}
        for text, found, finish in zip("ab", logprobs, (None, "length"), strict=True)
    ]
    assert whole_reply(chunks) == {
        **head,
        "choices": [
            {
                "index": 0,
                "text": "ab",
                "logprobs": {"tokens": ["a", "b"], "token_logprobs": [-1.0, -1.0], "text_offset": [0, 1]},
                "finish_reason": "length",
            }
        ],
    }


def test_a_first_chunk_of_azure_names_no_model() -> None:
    chunks = [
        {"id": "", "model": "", "object": "", "created": 0, "choices": [], "prompt_filter_results": [{"x": 1}]},
        chunk(part({"content": "a"}, content_filter_results={"hate": {"filtered": False}})),
        chunk(part({}, finish="stop")),
    ]
    found = whole_reply(chunks)
    assert (found["id"], found["model"], found["prompt_filter_results"]) == ("chatcmpl-1", "gpt-test", [{"x": 1}])
    assert found["choices"][0]["content_filter_results"] == {"hate": {"filtered": False}}


def test_a_whole_message_after_its_parts_is_not_said_twice() -> None:
    chunks = [
        chunk(part({"content": "ye"})),
        chunk(part({"content": "s"})),
        chunk({"index": 0, "message": {"content": "yes"}}),
    ]
    (choice,) = whole_reply(chunks)["choices"]
    assert choice["message"]["content"] == "yes"


def test_a_text_after_thoughts_in_parts_is_joined_to_them() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    chunks = [chunk(part({"content": [thought]})), chunk(part({"content": "ye"})), chunk(part({"content": "s"}))]
    (choice,) = whole_reply(chunks)["choices"]
    assert text_of(choice["message"]["content"]) == "yes"


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["choices", "index", "delta", "message", "tool_calls", "content", "function", "usage", "text", "id"]), inner, max_size=4), max_leaves=12).filter(lambda value: isinstance(value, dict)))  # fmt: skip  # noqa: E501
def test_chunks_of_any_shape_are_put_together_somehow(value: dict[str, Any]) -> None:
    assert isinstance(whole_reply([value, value])["choices"], list)
    assert says_something(value) in (True, False)
