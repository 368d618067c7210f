"""Models of other servers behind the front, and backends that reply in one piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from harness.errors import UserError
from tests.loopback import Loopback, always
from tests.serve.front import Running

KEY = "sk-the-key-of-the-entry"


@pytest.fixture
def front(loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("THEIR_KEY", KEY)
    served = {"backend": "openai", "base_url": loopback.openai_url, "api_key": "${THEIR_KEY}"}
    reasoning = {"model": "large-1", "max_tokens_key": "max_completion_tokens", "omit": ["temperature"]}
    entries: dict[str, dict[str, Any]] = {
        "large": {**served, **reasoning, "query": {"api-version": "1"}, "headers": {"api-key": "${THEIR_KEY}"}},
        "vllm": {**served, "model": "{task}-lora"},
        "lorax": {"backend": "lorax", "base_url": loopback.url, "adapter": "org/a", "adapter_source": "hub"},
        "claude": {"backend": "anthropic", "base_url": f"{loopback.url}/absent", "model": "c", "api_key": "k"},
    }
    (tmp_path / "models.yaml").write_text(json.dumps(entries))
    with Running(tmp_path / "models.yaml", models=tuple(entries), tasks=("jigsaw", "ag_news")) as running:
        yield running


def chat(client: openai.OpenAI, model: str, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Is it?"}], **more)


def test_a_request_is_passed_on_with_the_name_and_the_key_of_the_entry(front: Running, loopback: Loopback) -> None:
    with front.client("what the client has") as client:
        found = chat(client, "large", max_tokens=7, temperature=0)
    assert found.choices[0].message.content == "yes"
    (sent,) = loopback.received
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.headers["api-key"] == KEY
    assert "what the client has" not in str(sent)
    message = {"role": "user", "content": "Is it?"}
    assert sent.body == {"model": "large-1", "messages": [message], "max_completion_tokens": 7}


def test_a_stream_is_passed_on_as_it_comes(front: Running, loopback: Loopback) -> None:
    loopback.answer = lambda prompt: "yes it is"
    with front.client() as client:
        parts = list(chat(client, "vllm/ag_news", stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == "yes it is"
    assert loopback.received[-1].body["model"] == "ag_news-lora"


def test_an_entry_for_tasks_has_a_name_for_each(front: Running) -> None:
    with front.client() as client:
        names = [model.id for model in client.models.list()]
    assert names == ["large", "vllm/ag_news", "vllm/jigsaw", "lorax", "claude"]


def test_a_lorax_server_is_asked_for_its_adapter(front: Running, loopback: Loopback) -> None:
    with front.client() as client:
        assert client.completions.create(model="lorax", prompt="Is it?").choices[0].text == "yes"
    assert loopback.received[-1].path == "/v1/completions"
    assert loopback.received[-1].body == {"model": "org/a", "adapter_source": "hub", "prompt": "Is it?"}


def test_errors_are_passed_on_but_for_those_of_the_key(front: Running, loopback: Loopback) -> None:
    with front.client() as client:
        loopback.plan = always("throttle")
        with pytest.raises(openai.RateLimitError, match="slow down"):
            chat(client, "large")
        loopback.plan = always("unauthorized")
        with pytest.raises(openai.InternalServerError, match="refuses the key of its entry") as caught:
            chat(client, "large")
        assert caught.value.status_code == 502
    assert front.metric("harness_requests_total") == 2


def test_a_backend_says_what_it_cannot_do_and_why_it_does_not_answer(front: Running) -> None:
    with front.client() as client:
        tools = [{"type": "function", "function": {"name": "f"}}]
        cannot: list[dict[str, Any]] = [{"temperature": 1.0}, {"n": 2}, {"logprobs": True}, {"tools": tools}]
        for more in (*cannot, {"response_format": {"type": "json_object"}}):
            with pytest.raises(openai.BadRequestError, match=f"'{next(iter(more))}' is not known to this model"):
                chat(client, "claude", **more)
        with pytest.raises(openai.APIStatusError) as caught:
            chat(client, "claude")
        assert caught.value.status_code in (400, 502)


def test_recorded_answers_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text('{"old": {"backend": "recorded", "path": "a.jsonl"}}')
    with (
        pytest.raises(UserError, match="'old' has no model behind it: `backend: recorded` answers known rows only"),
        Running(tmp_path / "models.yaml", models=("old",)),
    ):
        pass


@pytest.mark.local
def test_a_model_of_transformers_replies_in_one_piece(tmp_path: Path) -> None:
    from tests.train import tiny

    base = tiny.base(tmp_path / "tiny")
    (tmp_path / "models.yaml").write_text(json.dumps({"tiny": {"backend": "local", "model": str(base)}}))
    with Running(tmp_path / "models.yaml", models=("tiny",)) as running, running.client() as client:
        whole = client.completions.create(model="tiny", prompt="1 2 3", max_tokens=4, temperature=0)
        parts = list(client.completions.create(model="tiny", prompt="1 2 3", max_tokens=4, stream=True))
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 4
