"""Which models are served and by which names, and what is wrong with what was chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.serve.choice import Chosen, choose
from tests.models import tiny_gguf
from tests.serve.front import project

TASKS = ("jigsaw", "ag_news")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    fixed = {
        "backend": "llamacpp",
        "model": str(tmp_path / "tiny.gguf"),
        "adapter": str(tmp_path / "adapters/adapter1"),
    }
    served = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    return project(tmp_path, fixed=fixed, served=served, majority={"backend": "baseline", "method": "majority"})


def names(chosen: Chosen) -> list[str]:
    of_bases = [name for base in chosen.bases for name in (*base.names, *base.adapters)]
    return of_bases + [model.name for model in chosen.elsewhere]


def test_by_default_all_of_llama_cpp_is_served(models: Path) -> None:
    assert names(choose(models, (), None, TASKS)) == ["tiny", "adapter1", "adapter2", "fixed"]


def test_named_entries_are_served_and_no_others(models: Path) -> None:
    assert names(choose(models, ("fixed", "served"), None, TASKS)) == ["tiny", "fixed", "served"]


def test_a_folder_of_adapters_takes_the_place_of_those_of_the_file(models: Path, tmp_path: Path) -> None:
    tiny_gguf.write_adapter(tmp_path / "mine" / "support")
    (tmp_path / "mine" / "notes").mkdir()
    assert names(choose(models, (), tmp_path / "mine", TASKS)) == ["tiny", "support"]


def test_an_adapter_of_an_entry_may_be_named_by_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path)
    entries: Any = {"a": {"backend": "llamacpp", "model": "tiny.gguf", "adapter": "./adapters/{task}"}}
    (tmp_path / "models.yaml").write_text(json.dumps(entries))
    assert names(choose(Path("models.yaml"), (), None, TASKS)) == ["tiny", "adapter1", "adapter2"]


def test_a_base_is_asked_by_the_name_of_each_of_its_entries(tmp_path: Path) -> None:
    base = {"backend": "llamacpp", "model": str(tmp_path / "tiny.gguf"), "api": "chat"}
    assert names(choose(project(tmp_path, chatty=base), ("tiny", "chatty"), None, TASKS)) == ["tiny", "chatty"]


def test_an_entry_whose_adapters_are_nowhere_is_said(models: Path, tmp_path: Path) -> None:
    entries = json.loads(models.read_text())
    entries["tuned"]["adapter"] = str(tmp_path / "nowhere" / "{task}")
    models.write_text(json.dumps(entries))
    with pytest.warns(match=r"'tuned': there is no adapter at .*nowhere/\{task\}"):
        assert names(choose(models, ("tiny", "tuned"), None, TASKS)) == ["tiny"]


class TestMistakes:
    def test_an_unknown_model_has_a_nearest(self, models: Path) -> None:
        with pytest.raises(UserError, match=r"no model 'tinny' in .*did you mean 'tiny'"):
            choose(models, ("tinny",), None, TASKS)

    def test_a_baseline_is_no_model(self, models: Path) -> None:
        with pytest.raises(UserError, match="'majority' has no model behind it"):
            choose(models, ("majority",), None, TASKS)

    def test_two_adapters_of_one_name_are_named(self, models: Path, tmp_path: Path) -> None:
        tiny_gguf.write_adapter(tmp_path / "mine" / "adapter1")
        with pytest.raises(UserError, match=r"two adapters have the name 'adapter1': .*/adapters/adapter1 and .*/mine"):
            choose(models, ("tiny", "tuned"), tmp_path / "mine", TASKS)

    def test_an_adapter_named_like_its_base_is_refused(self, models: Path, tmp_path: Path) -> None:
        tiny_gguf.write_adapter(tmp_path / "mine" / "tiny")
        with pytest.raises(UserError, match="have one name"):
            choose(models, (), tmp_path / "mine", TASKS)

    def test_a_folder_without_adapters_or_without_weights_is_named(self, models: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"there is no folder .*absent"):
            choose(models, (), tmp_path / "absent", TASKS)
        (tmp_path / "empty").mkdir()
        with pytest.raises(
            UserError, match=r"holds no adapters: expected folders in it, each with an adapter_config\.json"
        ):
            choose(models, (), tmp_path / "empty", TASKS)
        broken = tiny_gguf.write_adapter(tmp_path / "mine" / "broken")
        (broken / "adapter_model.safetensors").unlink()
        with pytest.raises(UserError, match=r"the adapter in .*broken has no adapter_model.safetensors"):
            choose(models, (), tmp_path / "mine", TASKS)

    def test_a_folder_of_adapters_needs_one_base(self, models: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="and 0 are chosen"):
            choose(models, ("served",), tmp_path / "adapters", TASKS)

    def test_without_a_model_of_llama_cpp_others_have_to_be_named(self, tmp_path: Path) -> None:
        (tmp_path / "models.yaml").write_text('{"m": {"backend": "baseline", "method": "majority"}}')
        with pytest.raises(UserError, match="name others with --models"):
            choose(tmp_path / "models.yaml", (), None, TASKS)
