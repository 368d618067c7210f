"""A merge changes the weights by what was asked, and says how far it is from the weighted sum."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.cli import main
from harness.errors import DataError, HarnessError, UserError
from harness.models.engines.adapter_files import CONFIG, LoraWeights, read_lora, write_lora
from harness.models.local import borrowed_from
from harness.train.card import _before
from harness.train.merge import MergeOptions, merge, merge_models
from tests.models import tiny_gguf
from tests.train import tiny

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "adapters" / "smollm2-135m" / name for name in ("ag_news", "glue_sst2")]
Deltas = dict[str, NDArray[np.float64]]


def changes(lora: LoraWeights) -> Deltas:
    """What each layer's weight is changed by, by PEFT's rules for alpha and rank of the whole adapter."""
    root = math.sqrt(lora.rank) if lora.settings.get("use_rslora") else lora.rank
    return {name: lora.alpha / root * b.astype(np.float64) @ a for name, (a, b) in lora.pairs.items()}


def weighted(folders: list[Path], weights: list[float]) -> Deltas:
    found: Deltas = {}
    for folder, weight in zip(folders, weights, strict=True):
        for name, change in changes(read_lora(folder, any_scale=True)).items():
            found[name] = found.get(name, 0) + weight * change
    return found


def distance(found: Deltas, asked: Deltas) -> float:
    assert found.keys() == asked.keys()
    missing = sum(((found[name] - asked[name]) ** 2).sum() for name in asked)
    return math.sqrt(missing / sum((change**2).sum() for change in asked.values()))


def adapter(folder: Path, rank: int, seed: int, **settings: Any) -> Path:
    made = tiny_gguf.lora(rank=rank, seed=seed, layers=1)
    write_lora(folder, replace(made, settings={**made.settings, **settings}))
    return folder


@given(
    weights=st.tuples(st.floats(-2, 2), st.floats(-2, 2)).filter(any), alpha=st.integers(1, 64), rslora=st.booleans()
)
def test_a_sum_is_the_sum_of_changes_whatever_the_ranks_and_scales(
    tmp_path_factory: pytest.TempPathFactory, weights: tuple[float, float], alpha: int, rslora: bool
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    parents = [adapter(folder / "a", 3, 1, lora_alpha=alpha, use_rslora=rslora), adapter(folder / "b", 5, 2)]
    card = merge(MergeOptions(parents, weights, "sum", folder / "out"))
    made = read_lora(folder / "out")
    assert (card.rank, made.rank, made.alpha) == (8, 8, 8)
    asked = weighted(parents, list(weights))
    if any((np.abs(change) > 1e-9).any() for change in asked.values()):
        assert distance(changes(made), asked) < 1e-5
        assert card.relative_error < 1e-5


def test_ranks_and_alphas_of_single_modules(tmp_path: Path) -> None:
    plain = tiny_gguf.lora(rank=4, layers=1)
    small = {
        name: (weight[:2] if ".lora_A." in name else weight[:, :2]) if "q_proj" in name else weight
        for name, weight in plain.weights.items()
    }
    settings = {**plain.settings, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 6}}
    write_lora(tmp_path / "a", LoraWeights(settings, small), "float32")
    merge(MergeOptions([tmp_path / "a"], [1.0], "sum", tmp_path / "out"))
    made = read_lora(tmp_path / "out")
    name = next(name for name in made.pairs if "q_proj" in name)
    expected = 6 / 2 * small[f"{name}.lora_B.weight"] @ small[f"{name}.lora_A.weight"]
    assert np.abs(changes(made)[name] - expected).max() < 1e-5
    other = next(name for name in made.pairs if "v_proj" in name)
    assert np.abs(changes(made)[other] - changes(plain)[other]).max() < 1e-5


def test_an_adapter_of_other_modules_adds_them(tmp_path: Path) -> None:
    whole = tiny_gguf.lora(rank=2, layers=1)
    part = {name: weight for name, weight in whole.weights.items() if "q_proj" in name}
    write_lora(tmp_path / "part", LoraWeights({**whole.settings, "target_modules": ["q_proj"]}, part))
    adapter(tmp_path / "whole", 2, 5)
    parents = [tmp_path / "part", tmp_path / "whole"]
    merge(MergeOptions(parents, [0.25, 0.75], "sum", tmp_path / "out"))
    made = read_lora(tmp_path / "out")
    assert distance(changes(made), weighted(parents, [0.25, 0.75])) < 1e-5
    assert "v_proj" in made.settings["target_modules"]


def test_linear_is_the_nearest_to_the_sum_of_its_rank(tmp_path: Path) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    card = merge(MergeOptions(parents, [0.4, 0.6], "linear", tmp_path / "out", rank=2))
    asked, best = weighted(parents, [0.4, 0.6]), {}
    for name, change in asked.items():
        u, values, v = np.linalg.svd(change, full_matrices=False)
        best[name] = (u[:, :2] * values[:2]) @ v[:2]
    found = changes(read_lora(tmp_path / "out"))
    assert distance(found, best) < 1e-5
    assert card.relative_error == pytest.approx(distance(found, asked), rel=1e-6)
    assert merge(MergeOptions(parents, [0.4, 0.6], "linear", tmp_path / "default")).rank == 3


def test_the_shipped_adapters_are_summed_exactly(tmp_path: Path) -> None:
    card = merge(MergeOptions(SHIPPED, [0.3, 0.7], "sum", tmp_path / "out"))
    assert distance(changes(read_lora(tmp_path / "out")), weighted(SHIPPED, [0.3, 0.7])) < 1e-5
    assert (card.rank, card.base, card.relative_error < 1e-5) == (4, "smollm2-135m", True)


# What dare keeps is drawn, and PEFT draws the new layers' first values before: compared where all is kept.
@pytest.mark.local
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers for it
@pytest.mark.filterwarnings("ignore:The density:UserWarning")
@pytest.mark.parametrize(("method", "density"), [("linear", 0.4), ("ties", 0.4), ("prune", 0.4), ("dare", 1.0)])
def test_methods_are_those_of_peft_on_the_changes(tmp_path: Path, method: Any, density: float) -> None:
    from peft import PeftModel, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    from harness.train.merge import METHODS

    base = tiny.base(tmp_path / "base")
    parents = [tiny.adapter(base, tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    merge(MergeOptions(parents, [0.5, 0.8], method, tmp_path / "out", rank=4, density=density))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), parents[0], adapter_name="a")
    model.load_adapter(parents[1], "b")
    model.add_weighted_adapter(["a", "b"], [0.5, 0.8], "merged", METHODS[method], svd_rank=4, density=density)
    theirs = {name: weight.numpy() for name, weight in get_peft_model_state_dict(model, adapter_name="merged").items()}
    settings = {"r": 4, "lora_alpha": 4}
    ours = read_lora(tmp_path / "out")
    assert distance(changes(ours), changes(LoraWeights(settings, theirs))) < 1e-4
    assert (ours.rank, ours.alpha) == (4, 4)


@pytest.mark.local
def test_dare_drops_by_its_seed(tmp_path: Path) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    made = {}
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        merge(MergeOptions(parents, [0.5, 0.5], "dare", tmp_path / name, seed=seed))
        made[name] = changes(read_lora(tmp_path / name))
    assert distance(made["one"], made["again"]) == 0
    assert distance(made["one"], made["two"]) > 0.1


def test_the_card_has_parents_weights_and_what_they_learned_from(tmp_path: Path) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    (parents[0] / "card.json").write_text(json.dumps({"task": "drop", "borrowed_from": "this split"}))
    (parents[1] / "card.json").write_text(json.dumps({"task": "ag_news", "borrowed_from": None}))
    merge(MergeOptions(parents, [0.5, 0.25], "linear", tmp_path / "out"))
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert [(parent["adapter"], parent["weight"]) for parent in card["parents"]] == [("a", 0.5), ("b", 0.25)]
    assert 0 < card["relative_error"] < 1
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"differs from the weighted sum of the parents' by {card['relative_error']:.2%}" in text
    assert borrowed_from(tmp_path / "out", "drop") == "this split"
    assert borrowed_from(tmp_path / "out", "ag_news") is None
    assert borrowed_from(tmp_path / "out", "viggo") == "this split"
    assert _before(tmp_path / "out") is None  # a training may begin with a merge


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "is not plain LoRA: it has use_dora"),
        ({"lora_bias": True}, "is not plain LoRA: it has lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "is not plain LoRA: it has modules_to_save"),
        ({"init_lora_weights": "pissa_niter_4"}, "is not plain LoRA: it has init_lora_weights pissa_niter_4"),
        ({"base_model_name_or_path": "other"}, "their base_model_name_or_path is 'other' and 'tiny'"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    settings = json.loads((parents[1] / CONFIG).read_text())
    (parents[1] / CONFIG).write_text(json.dumps(settings | change))
    with pytest.raises(DataError, match=message):
        merge(MergeOptions(parents, [0.5, 0.5], "sum", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_parents_that_learned_pruned_prompts_are_merged_only_with_their_like(tmp_path: Path) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    prune = {"texts": ["Instructions."]}
    (parents[0] / "card.json").write_text(json.dumps({"task": "a", "prune": prune}))
    options = MergeOptions(parents, [0.5, 0.5], "sum", tmp_path / "out")
    with pytest.raises(DataError, match="a and b learned prompts from which different fixed text was taken out"):
        merge(options)
    (parents[1] / "card.json").write_text(json.dumps({"task": "b", "prune": prune}))
    assert merge(options).prune == prune
    assert json.loads((tmp_path / "out" / "card.json").read_text())["prune"] == prune


def test_an_adapter_without_weights_or_with_broken_ones_is_refused(tmp_path: Path) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    options = MergeOptions(parents, [0.5, 0.5], "sum", tmp_path / "out")
    lora = read_lora(parents[1])
    name = next(iter(lora.weights))
    write_lora(parents[1], replace(lora, weights={**lora.weights, name: lora.weights[name] * math.nan}))
    with pytest.raises(DataError, match=f"{name} holds weights that are not finite"):
        merge(options)
    write_lora(parents[1], replace(lora, weights={}))
    with pytest.raises(DataError, match=r"adapter_model.safetensors holds no LoRA weights"):
        merge(options)


def test_layers_of_other_shapes_and_other_tokenizers(tmp_path: Path) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    for place, folder in enumerate(parents):
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": place}}}))
    with pytest.raises(DataError, match="they have different tokenizers"):
        merge(MergeOptions(parents, [0.5, 0.5], "sum", tmp_path / "out"))
    wider = tiny_gguf.lora(rank=3, layers=1)
    weights = {name: np.pad(w, ((0, 0), (0, 8))) if ".lora_A." in name else w for name, w in wider.weights.items()}
    write_lora(tmp_path / "wide", LoraWeights(wider.settings, weights))
    with pytest.raises(DataError, match=r"are of different bases: .* has another shape"):
        merge(MergeOptions([parents[0], tmp_path / "wide"], [0.5, 0.5], "sum", tmp_path / "out"))


@pytest.mark.parametrize(
    ("weights", "more", "message"),
    [
        ([0.5], {}, "--weights has 1 numbers for 2 adapters"),
        ([0.0, 0.0], {}, "expected finite numbers, not all of them 0"),
        ([math.nan, 1.0], {}, "expected finite numbers"),
        ([0.5, 0.5], {"rank": 2}, "leave --rank out, or use --method linear"),
        ([0.5, 0.5], {"method": "linear", "rank": 7}, "has rank 6 at most"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, weights: list[float], more: dict[str, Any], message: str) -> None:
    parents = [adapter(tmp_path / "a", 3, 1), adapter(tmp_path / "b", 3, 2)]
    with pytest.raises(UserError, match=message):
        merge(replace(MergeOptions(parents, weights, "sum", tmp_path / "out"), **more))


def test_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    parent = adapter(tmp_path / "a", 3, 1)
    with pytest.raises(UserError, match="a is not empty: choose a new folder"):
        merge(MergeOptions([parent], [1.0], "sum", parent))
    with pytest.raises(UserError, match="a is not empty"):
        merge_models(tmp_path / "config.yml", parent)


def test_mergekit_is_given_the_configuration_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "mergekit-yaml"
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", str(program.parent))
    config, out = tmp_path / "config.yml", tmp_path / "out"
    config.write_text("merge_method: linear\n")
    with pytest.raises(UserError, match=r"pip install 'lora-leaderboard\[merge\]'"):
        merge_models(config, out)
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n/bin/mkdir -p "$2" && /bin/cp "$1" "$2/seen.yml"\n')
    program.chmod(0o755)
    merge_models(config, out)
    assert (out / "seen.yml").read_text() == config.read_text()
    program.write_text("#!/bin/sh\nexit 5\n")
    with pytest.raises(HarnessError, match="ended with exit code 5"):
        merge_models(config, tmp_path / "other")


def test_the_command_prints_the_error_and_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code or 0)), "".join(capsys.readouterr())

    out, shipped = tmp_path / "merged", [str(folder) for folder in SHIPPED]
    code, said = run("merge", *shipped, "--weights", "0.5,0.5", "--method", "linear", "--out", str(out))
    assert code == 0
    assert f"{out}: rank 2, relative error to the weighted sum 0." in said
    models = tmp_path / "models.yaml"
    models.write_text("\n".join(line[2:] for line in said.splitlines() if line.startswith("  ")))
    code, body = run("preview", "ag_news", "--model", "merged", "--models", str(models), "--data", "sample")
    assert (code, "max_new_tokens" in body) == (0, True)
    assert run("merge", *shipped, "--weights", "0.5,x", "--out", str(out))[0] == 2
    assert run("merge", *shipped, "--out", str(out))[0] == 2
