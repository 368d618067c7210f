"""A GGUF base with torch: it is what llama.cpp computes, it is trained, and its adapters answer alike in both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.models.engines.decoding import DecodedAnswer, Query, answer
from harness.models.engines.gguf import base_folder
from harness.models.engines.llamacpp import LlamaCpp
from harness.rows.training import TrainingExample
from harness.train.recipe import ALL_LINEAR, SMALL_BASE
from tests.models import tiny_gguf
from tests.train.test_peft import silent

pytestmark = [pytest.mark.local, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]

PAIRS = [TrainingExample(f"no ab 12 {'ye' * (n % 3)} {n}:", "yes" if n % 2 else "no") for n in range(64)]
RECIPE = replace(SMALL_BASE, steps=12, rank=4, alpha=8, rows_per_update=8, validation=0.25)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield tiny_gguf.write_base(tmp_path_factory.mktemp("base") / "tiny.gguf")


def train(base: Path, out: Path, recipe: Any = RECIPE) -> Any:
    from harness.train import peft

    return peft.train(str(base), PAIRS, recipe, out, silent)


def first_tokens(logits: Any) -> dict[int, float]:
    values, tokens = logits.log_softmax(-1).topk(5)
    return dict(zip(tokens.tolist(), values.tolist(), strict=True))


@pytest.mark.parametrize("with_adapter", [False, True])
def test_both_compute_the_same(base: Path, tmp_path: Path, with_adapter: bool) -> None:
    """llama.cpp rounds what it multiplies to eight bits, so its log-probabilities differ a little."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = base_folder(str(base), silent)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(folder)
    adapter = None
    if with_adapter:
        # Of this seed no first token is a part of a character, which llama.cpp would keep back.
        adapter = str(tiny_gguf.write_adapter(tmp_path, rank=2, seed=6))
        model = PeftModel.from_pretrained(model, adapter)
    engine = LlamaCpp(str(base), threads=1)
    asyncio.run(engine.ask(adapter, Query("load it", 1)))
    for prompt in ("no abab", "1, 2, 3, 12,", "yes or no? naïve 日本"):
        read = torch.tensor([words.backend_tokenizer.encode(prompt).ids])
        expected = first_tokens(model.eval()(input_ids=read).logits[0, -1].detach())
        lora = [{"id": number, "scale": 1.0} for number in engine._numbers.values()]
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "n_probs": 40, "lora": lora}
        found = engine._server.handle_completions(body)
        assert found["usage"]["prompt_tokens"] == read.shape[1]
        likeliest = {
            each["id"]: each["logprob"] for each in found["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        }
        assert likeliest.keys() >= expected.keys()
        for token, value in expected.items():
            assert likeliest[token] == pytest.approx(value, abs=0.5)
    engine.close()


def test_an_adapter_that_learned_answers_alike_in_both(base: Path, tmp_path: Path) -> None:
    from harness.models.engines.transformers import TransformersEngine

    train(base, tmp_path, replace(RECIPE, steps=60, learning_rate=1e-2))
    queries = [Query(pair.prompt, 4) for pair in PAIRS[:24]]
    here = answer(TransformersEngine(base_folder(str(base), silent)), str(tmp_path), queries)
    engine = LlamaCpp(str(base), threads=1)
    there = [asyncio.run(engine.ask(str(tmp_path), query)) for query in queries]
    engine.close()
    assert (
        sum(isinstance(one, DecodedAnswer) and one.text == other.text for one, other in zip(here, there, strict=True))
        >= 22
    )


class TestTraining:
    def test_the_adapter_names_its_base_as_it_was_given_and_is_half_as_large(self, base: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        train(base, tmp_path)
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(base)
        assert set(config["target_modules"]) == set(ALL_LINEAR)
        assert {str(weight.dtype) for weight in load_file(tmp_path / "adapter_model.safetensors").values()} == {
            "torch.bfloat16"
        }

    def test_no_more_rows_are_evaluated_than_are_trained_on(self, base: Path, tmp_path: Path) -> None:
        assert train(base, tmp_path, replace(RECIPE, steps=5)).curve.steps == [0, 2, 4, 5]  # 16 rows held out, 8 a step

    def test_it_goes_on_from_an_adapter_and_never_ends_worse(self, base: Path, tmp_path: Path) -> None:
        first = train(base, tmp_path / "first", replace(RECIPE, steps=20, learning_rate=1e-2))
        again = replace(RECIPE, steps=4, learning_rate=3.0, start=str(tmp_path / "first"))  # far too high
        second = train(base, tmp_path / "second", again)
        assert second.curve.steps[0] == 0
        assert second.curve.validation[0] == pytest.approx(min(first.curve.validation), rel=0.05)
        assert second.step == 0

    def test_rows_longer_than_asked_for_are_left_out(self, base: Path, tmp_path: Path) -> None:
        whole = train(base, tmp_path / "whole", replace(RECIPE, steps=2))
        cut = train(base, tmp_path / "cut", replace(RECIPE, steps=2, longest=whole.longest - 1))
        assert cut.longest < whole.longest
        assert cut.too_long > 0

    def test_an_adapter_that_is_not_there(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"the adapter '.*absent' cannot be gone on from"):
            train(base, tmp_path, replace(RECIPE, start=str(tmp_path / "absent")))


def test_the_fused_layer_computes_what_pefts_does() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from harness.train.lora_linear import fuse

    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["0", "2"], init_lora_weights=False)
    layers = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4, bias=False))
    model = get_peft_model(layers, config)
    read = torch.randn(2, 7, 6, requires_grad=True)
    results = []
    for fused in (False, True):
        if fused:
            fuse(model)
        out = model(read)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        results.append([out, *torch.autograd.grad(out.square().sum(), [read, *weights])])
    assert len(results[0]) == 6
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in zip(*results, strict=True))


def test_a_fingerprint_shows_the_adapter_beside_its_base(base: Path, tmp_path: Path) -> None:
    import hashlib

    from harness.train.fingerprint import write_fingerprint

    tiny_gguf.write_adapter(tmp_path)
    write_fingerprint(str(base), tmp_path, [pair.prompt for pair in PAIRS], silent)
    found = json.loads((tmp_path / "fingerprint.json").read_text())
    weights = (tmp_path / "adapter_model.safetensors").read_bytes()
    assert found["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert [each["prompt"] for each in found["prompts"]] == [pair.prompt for pair in PAIRS[:8]]
    for each in found["prompts"]:
        assert each["adapter"] != each["base"]
        for side in ("adapter", "base"):
            values = [token["logprob"] for token in each[side]]
            assert len(values) == 5
            assert values == sorted(values, reverse=True)
            assert all(value <= 0 for value in values)
