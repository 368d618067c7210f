"""Commands for vLLM and LoRAX: what they take, and what is said of adapters that they do not."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from harness.errors import UserError
from harness.serve.engines import ENGINES, RANKS, Engine, recipe


def adapters(folder: Path, **settings: dict[str, Any]) -> dict[str, Path]:
    plain = {"r": 8, "base_model_name_or_path": "org/base", "target_modules": ["q_proj"], "peft_type": "LORA"}
    for name, more in settings.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "adapter_config.json").write_text(json.dumps({**plain, **more}))
    return {name: folder / name for name in settings}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.mark.parametrize(("rank", "taken"), [(1, 8), (8, 8), (9, 16), (65, 128), (129, 256), (257, 320), (512, 512)])
def test_the_rank_is_rounded_up_to_one_that_vllm_takes(tmp_path: Path, rank: int, taken: int) -> None:
    words = shlex.split(recipe("vllm", adapters(tmp_path, a={"r": rank}), None, None).text)
    assert option(words, "--max-lora-rank") == str(taken)
    assert taken in RANKS


@given(number=st.integers(1, 40), at_once=st.none() | st.integers(1, 64))
def test_vllm_holds_at_least_as_many_adapters_as_it_has_in_a_batch(number: int, at_once: int | None) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = adapters(Path(folder), **{f"a{place}": {} for place in range(number)})
        words = shlex.split(recipe("vllm", made, None, at_once).text)
    most, held = int(option(words, "--max-loras")), int(option(words, "--max-cpu-loras"))
    assert 1 <= most <= held == number


def test_the_command_names_base_adapters_and_the_variable_for_loading(tmp_path: Path) -> None:
    words = shlex.split(recipe("vllm", adapters(tmp_path / "my adapters", a={}, b={}), None, None).text)
    assert words[:4] == ["VLLM_ALLOW_RUNTIME_LORA_UPDATING=True", "vllm", "serve", "org/base"]
    assert words[words.index("--lora-modules") + 1 :] == [f"{n}={tmp_path}/my adapters/{n}" for n in "ab"]


def test_a_known_base_is_named_by_the_model_that_it_was_made_from(tmp_path: Path) -> None:
    made = recipe("vllm", adapters(tmp_path, a={"base_model_name_or_path": "smollm2-135m"}), None, None)
    assert "vllm serve HuggingFaceTB/SmolLM2-135M-Instruct " in made.text
    assert "vllm serve mine/base " in recipe("vllm", {"a": tmp_path / "a"}, "mine/base", None).text


def test_a_compose_file_has_the_same_arguments(tmp_path: Path) -> None:
    made = adapters(tmp_path, a={"r": 20}, b={})
    service = YAML(typ="safe").load(recipe("compose", made, None, None).text)["services"]["vllm"]
    assert option(service["command"], "--max-lora-rank") == "32"
    assert option(service["command"], "--model") == "org/base"
    assert service["command"][-2:] == ["a=/adapters/a", "b=/adapters/b"]
    assert f"{tmp_path}/a:/adapters/a:ro" in service["volumes"]
    assert service["environment"] == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}


def test_lorax_is_given_the_folders(tmp_path: Path) -> None:
    words = shlex.split(recipe("lorax", adapters(tmp_path, a={}, b={}), None, None).text, comments=True)
    assert option(words, "--model-id") == "org/base"
    assert {f"{tmp_path}/{name}:/adapters/{name}:ro" for name in "ab"} <= set(words)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "bad: left out of the command: DoRA is refused"),
        ({"r": 513}, "bad: left out of the command: its rank 513 is above 512"),
        ({"rank_pattern": {"q_proj": 600}}, "bad: left out of the command: its rank 600"),
        ({"modules_to_save": ["lm_head"]}, "bad: left out of the command: whole modules (lm_head) are refused"),
        ({"modules_to_save": "lm_head"}, "bad: left out of the command: whole modules (lm_head) are refused"),
        ({"peft_type": "IA3"}, "bad: left out of the command: it is no LoRA but IA3"),
    ],
)
def test_what_is_refused_is_said_and_left_out(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    made = recipe("vllm", adapters(tmp_path, good={}, bad=settings), None, None)
    assert any(warning.startswith(said) for warning in made.warnings)
    assert "good=" in made.text
    assert "bad=" not in made.text


@pytest.mark.parametrize("engine", ENGINES)
def test_where_all_is_refused_there_is_no_command(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(UserError, match=r"no adapter is left to serve: a: .* DoRA is refused"):
        recipe(engine, adapters(tmp_path, a={"use_dora": True}), None, None)


@pytest.mark.parametrize(
    "settings", [{"r": "8"}, {"r": 0}, {"r": True}, {"rank_pattern": [3]}, {"rank_pattern": {"q_proj": "x"}}]
)
def test_ranks_that_are_none_are_said(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"a/adapter_config.json: expected an object with the rank `r`"):
        recipe("vllm", adapters(tmp_path, a=settings), None, None)


def test_an_adapter_that_names_no_base_needs_one_named(tmp_path: Path) -> None:
    made = adapters(tmp_path, a={"base_model_name_or_path": None})
    with pytest.raises(UserError, match=r"a: adapter_config.json has no `base_model_name_or_path`"):
        recipe("vllm", made, None, None)
    assert "vllm serve org/base " in recipe("vllm", made, "org/base", None).text


def test_a_name_that_vllm_would_cut_is_given_as_json(tmp_path: Path) -> None:
    words = shlex.split(recipe("vllm", adapters(tmp_path, **{"rank=8,lr=1": {}}), None, None).text)
    assert json.loads(words[-1]) == {"name": "rank=8,lr=1", "path": f"{tmp_path}/rank=8,lr=1"}


def test_adapters_on_embeddings_are_said(tmp_path: Path) -> None:
    made = recipe("vllm", adapters(tmp_path, a={"target_modules": ["q_proj", "embed_tokens"]}), None, None)
    assert made.warnings == ["a: its part on embed_tokens is refused or left out by most versions"]


def test_adapters_of_several_bases_are_refused(tmp_path: Path) -> None:
    made = adapters(tmp_path, a={}, b={"base_model_name_or_path": "org/other"})
    with pytest.raises(UserError, match=r"of 2 bases: org/base \(of a\), org/other \(of b\)"):
        recipe("vllm", made, None, None)
    with pytest.raises(UserError, match="there is no adapter to serve"):
        recipe("vllm", {}, None, None)
