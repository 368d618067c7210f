"""Models given on the command line, without an entry in the models file."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models.entry import AnthropicModel, ModelEntry, OpenAIModel, load_models
from tests.loopback import Loopback
from tests.runs import ROWS, Small

KEYS = {"OPENAI_API_KEY": "sk-of-openai", "ANTHROPIC_API_KEY": "sk-of-anthropic"}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text("gpt-6-luna: {backend: openai, model: gpt-6-luna}\n", encoding="utf-8")
    return path


def given(file: Path, name: str) -> ModelEntry:
    (entry,) = load_models(file, [name], KEYS)
    return entry


def test_a_model_of_openai(file: Path) -> None:
    entry = given(file, "openai:gpt-4.1-nano")
    assert entry.name == "gpt-4.1-nano"
    assert isinstance(entry.model, OpenAIModel)
    assert (entry.model.model, entry.model.api_key) == ("gpt-4.1-nano", "sk-of-openai")
    assert entry.model.secrets == ("sk-of-openai",)
    assert entry.endpoint == "https://api.openai.com/v1"


@pytest.mark.parametrize("name", ["gpt-5-mini", "o4-mini", "gpt-6.1-sol", "ft:gpt-5-nano:us:1"])
def test_a_reasoning_model_gets_room_and_no_temperature(file: Path, name: str) -> None:
    model = given(file, f"openai:{name}").model
    assert isinstance(model, OpenAIModel)
    assert (model.max_tokens_key, model.max_tokens) == ("max_completion_tokens", 4096)
    assert model.omit == ["temperature", "stop"]


def test_a_model_of_anthropic(file: Path) -> None:
    model = given(file, "anthropic:claude-haiku-4-5").model
    assert isinstance(model, AnthropicModel)
    assert (model.model, model.api_key, model.omit) == ("claude-haiku-4-5", "sk-of-anthropic", [])


def test_a_server_by_its_address_gets_no_providers_key(file: Path) -> None:
    entry = given(file, "http://localhost:8000/v1#meta-llama/My Model")
    assert isinstance(entry.model, OpenAIModel)
    assert (entry.name, entry.model.model) == ("My-Model", "meta-llama/My Model")
    assert (entry.model.base_url, entry.model.api_key) == ("http://localhost:8000/v1", None)


def test_one_entry_and_one_without(file: Path) -> None:
    found = load_models(file, ["openai:gpt-4.1-nano", "gpt-6-luna"], KEYS)
    assert {entry.name for entry in found} == {"gpt-4.1-nano", "gpt-6-luna"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai:", "the model's name is missing; expected openai:MODEL"),
        ("opena:gpt", "'opena' is not a known provider; expected openai:MODEL"),
        ("http://localhost:8000/v1", "the address at localhost names no model; expected http://HOST/v1#MODEL"),
        ("http://[::1", "the address is not a valid URL; expected http://HOST/v1#MODEL"),
        ("openai:gpt-6-luna", "another entry of the name 'gpt-6-luna'"),
        ("gpt-6-lune", r"no model 'gpt-6-lune' .*did you mean 'gpt-6-luna'.*without an entry: openai:MODEL"),
    ],
)
def test_what_is_no_model_says_what_is_expected(file: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        given(file, name)


def test_a_missing_key_is_named(file: Path) -> None:
    with pytest.raises(UserError, match=r"model 'gpt-4\.1-nano' needs OPENAI_API_KEY in the environment"):
        load_models(file, ["openai:gpt-4.1-nano"], {})


def test_a_password_in_an_address_is_a_secret(file: Path) -> None:
    entry = given(file, "http://me:hunter2-hunter2@localhost:8000/v1#m")
    assert "hunter2-hunter2" in entry.model.secrets
    assert "hunter2" not in str(entry.public())


def test_a_server_by_its_address_is_asked_every_row_once(small: Small, loopback: Loopback) -> None:
    small.model("other", loopback.openai_url)
    for _ in range(2):
        (manifest,) = small.bench(models=(f"{loopback.openai_url}#my/model",))
        assert (manifest.model, manifest.n) == ("model", ROWS)
    assert len(loopback.received) == ROWS
