"""The small trainer: it learns, can be stopped, and writes what PEFT loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.models.engines.decoding import DecodedAnswer, Query, answer
from harness.train import checkpoint
from harness.train.recipe import ALL_LINEAR, Hyperparameters
from tests.train import tiny

# What the libraries say to each other of their next versions is not for us.
pytestmark = [pytest.mark.local, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]


PAIRS = tiny.pairs()
RECIPE = Hyperparameters(
    steps=48, rank=8, alpha=16, dropout=0.1, target_modules=ALL_LINEAR, learning_rate=2e-2, rows_per_update=8,
    validation=0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base"))


def silent(line: str) -> None:
    """Say nothing."""


def train(base: Path, out: Path, recipe: Hyperparameters = RECIPE, say: Any = silent) -> Any:
    from harness.train import peft

    return peft.train(str(base), PAIRS, recipe, out, say)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("adapter")
    return train(base, out), out


class TestATraining:
    def test_the_loss_goes_down(self, trained: tuple[Any, Path]) -> None:
        curve = trained[0].curve
        assert curve.validation[-1] < curve.validation[0] / 2
        assert curve.training[-1] < curve.training[0] / 2
        assert curve.steps == [0, 6, 12, 18, 24, 30, 36, 42, 48]

    def test_the_best_weights_are_kept(self, trained: tuple[Any, Path]) -> None:
        curve = trained[0].curve
        assert trained[0].step == curve.steps[curve.validation.index(min(curve.validation))]

    def test_nothing_is_left_but_the_adapter(self, trained: tuple[Any, Path]) -> None:
        names = {path.name for path in trained[1].iterdir()}
        assert names == {"adapter_config.json", "adapter_model.safetensors", "README.md"}

    def test_plain_peft_loads_the_adapter_and_it_has_learned_the_task(
        self, base: Path, trained: tuple[Any, Path]
    ) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        words = AutoTokenizer.from_pretrained(base)
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), trained[1]).eval()
        right = 0
        for pair in PAIRS[:24]:
            read = words(pair.prompt, return_tensors="pt", return_token_type_ids=False)
            written = model.generate(**read, max_new_tokens=8, do_sample=False, pad_token_id=0)
            right += (
                words.decode(written[0, read["input_ids"].shape[1] :], skip_special_tokens=True) == " " + pair.target
            )
        assert right > 20

    def test_the_harness_answers_with_it(self, base: Path, trained: tuple[Any, Path]) -> None:
        from harness.models.engines.transformers import TransformersEngine

        found = answer(TransformersEngine(str(base)), str(trained[1]), [Query(pair.prompt, 8) for pair in PAIRS[:24]])
        right = [
            isinstance(each, DecodedAnswer) and each.text == " " + pair.target and each.finish == "stop"
            for each, pair in zip(found, PAIRS, strict=False)
        ]
        assert sum(right) > 20

    def test_a_seed_decides_it(self, base: Path, tmp_path: Path) -> None:
        short = replace(RECIPE, steps=6)
        same = [train(base, tmp_path / name, short).curve for name in ("a", "b")]
        assert same[0] == same[1]
        assert train(base, tmp_path / "c", replace(short, seed=1)).curve != same[0]


class TestTheRowsOfAnUpdate:
    @pytest.fixture(scope="class", autouse=True)
    def _exact(self) -> Iterator[None]:
        """In float32: bf16 rounds each size of a batch differently."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.train.loss.fast_bf16", lambda: False)
            patch.setattr("harness.train.peft.fast_bf16", lambda: False)
            yield

    @pytest.fixture(scope="class")
    def whole(self, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
        return train(base, tmp_path_factory.mktemp("whole"), replace(RECIPE, steps=6, dropout=0.0)).curve

    @pytest.mark.parametrize("batch", [1, 3, 8])
    def test_are_the_same_however_many_pass_the_model_at_once(
        self, base: Path, tmp_path: Path, whole: Any, batch: int
    ) -> None:
        curve = train(base, tmp_path, replace(RECIPE, steps=6, dropout=0.0, batch=batch)).curve
        assert curve.validation == pytest.approx(whole.validation, abs=2e-3)
        assert curve.training == pytest.approx(whole.training, abs=2e-3)

    def test_pass_it_in_half_as_many_at_once_wherever_memory_runs_out(
        self, base: Path, tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        sizes = out_of_memory_above(3, monkeypatch)
        lines: list[str] = []
        curve = train(base, tmp_path, replace(RECIPE, steps=6, dropout=0.0), lines.append).curve
        assert curve.validation == pytest.approx(whole.validation, abs=2e-3)
        told = [line for line in lines if line.startswith("out of memory")]
        assert told == [f"out of memory: going on with at most {size} rows at once" for size in (4, 2)]
        assert max(size for size in sizes if size <= 3) == 2
        assert torch.is_grad_enabled()

    def test_a_base_of_which_not_even_one_fits_is_refused(
        self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out_of_memory_above(0, monkeypatch)
        with pytest.raises(UserError, match=r"does not fit cpu with one row of \d+ tokens at a time: try --bits 4"):
            train(base, tmp_path)


def out_of_memory_above(most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a pass of more rows fail as on a GPU whose memory is full; return the sizes of all passes."""
    import torch

    from harness.train import peft

    sizes: list[int] = []
    loss = peft.answer_loss

    def limited(model: Any, frame: Any, rows: Any, device: str = "cpu") -> Any:
        sizes.append(len(rows))
        if len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(model, frame, rows, device)

    monkeypatch.setattr(peft, "answer_loss", limited)
    return sizes


class Stop(Exception):
    """Something ended the training."""


def stop_at(line: str, error: type[BaseException]) -> Any:
    """A listener that raises when it hears of a step."""

    def say(said: str) -> None:
        if said.startswith(line):
            raise error

    return say


class TestStopping:
    def test_a_stopped_training_goes_on_and_ends_as_if_it_had_not_been(
        self, base: Path, trained: tuple[Any, Path], tmp_path: Path
    ) -> None:
        from safetensors.torch import load_file

        with pytest.raises(Stop):
            train(base, tmp_path, say=stop_at("step 30 ", Stop))
        lines: list[str] = []
        again = train(base, tmp_path, say=lines.append)
        assert lines[0] == "resuming after step 24"
        assert again.curve == trained[0].curve
        left, right = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path, trained[1]))
        assert all((left[name] == right[name]).all() for name in right)

    def test_ctrl_c_keeps_the_best_and_what_is_needed_to_go_on(self, base: Path, tmp_path: Path) -> None:
        found = train(base, tmp_path, say=stop_at("step 18 ", KeyboardInterrupt))
        assert (found.steps, found.step in {6, 12, 18}) == (18, True)
        assert (tmp_path / "adapter_model.safetensors").is_file()
        assert (tmp_path / "checkpoint.pt").is_file()

    def test_ctrl_c_before_there_is_anything_to_keep_keeps_nothing(
        self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: Any) -> float:
            raise KeyboardInterrupt

        monkeypatch.setattr("harness.train.peft._Run._update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(base, tmp_path)
        assert not (tmp_path / "adapter_model.safetensors").exists()

    def test_a_checkpoint_of_another_training_is_not_gone_on_from(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(Stop):
            train(base, tmp_path, say=stop_at("step 12 ", Stop))
        lines: list[str] = []
        train(base, tmp_path, replace(RECIPE, steps=6, learning_rate=1e-3), lines.append)
        assert lines[0] == "the checkpoint is damaged or belongs to another training: starting over"

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
    def test_a_checkpoint_that_was_cut_is_not_gone_on_from(self, tmp_path: Path, share: float) -> None:
        path = tmp_path / checkpoint.CHECKPOINT
        checkpoint.save(path, "one", {"step": 3, "weights": list(range(500))})
        assert checkpoint.load(path, "one") == {"training": "one", "step": 3, "weights": list(range(500))}
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        assert checkpoint.load(path, "one") is None


class TestMistakes:
    def test_bits_need_cuda(self, base: Path, tmp_path: Path) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is CUDA")
        with pytest.raises(UserError, match="--bits 4 needs CUDA, which this machine does not have: leave it out"):
            train(base, tmp_path, replace(RECIPE, bits=4))

    def test_a_base_that_is_nowhere(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"the base '.*absent' cannot be loaded"):
            train(tmp_path / "absent", tmp_path)

    def test_modules_that_the_base_does_not_have(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="has no modules named c_attn"):
            train(base, tmp_path, replace(RECIPE, target_modules=("c_attn",)))

    def test_no_row_fits(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no training row fits the model: the shortest has \d+ tokens"):
            train(tiny.base(tmp_path / "base", context=8), tmp_path)

    def test_a_loss_that_explodes(self, base: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"the loss is no longer a number at step .*: try a lower --learning-rate"):
            train(base, tmp_path, replace(RECIPE, learning_rate=1e30))

    def test_a_base_without_an_end_token(self, base: Path, tmp_path: Path) -> None:
        import shutil

        shutil.copytree(base, tmp_path / "base")
        config = json.loads((base / "tokenizer_config.json").read_text())
        del config["eos_token"]
        (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match="has no end-of-text token"):
            train(tmp_path / "base", tmp_path)


class TestCheckpoints:
    @pytest.fixture(scope="class")
    def kept(self, base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
        out = tmp_path_factory.mktemp("kept")
        return train(base, out, replace(RECIPE, steps=10, checkpoints=3)), out

    def test_so_many_adapters_are_kept_at_equal_distances(self, kept: tuple[Any, Path]) -> None:
        names = sorted(path.name for path in (kept[1] / "checkpoints").iterdir())
        assert names == ["step-000003", "step-000007", "step-000010"]

    def test_each_has_its_validation_loss(self, kept: tuple[Any, Path]) -> None:
        assert {3, 7, 10} <= set(kept[0].curve.steps)

    def test_each_holds_the_weights_of_its_step(self, kept: tuple[Any, Path], base: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file

        def weights(folder: Path) -> Any:
            return load_file(folder / "adapter_model.safetensors")

        trained, out = kept
        best = out / "checkpoints" / f"step-{trained.step:06}"
        at_ends = [weights(out / "checkpoints" / name) for name in ("step-000003", "step-000010")]
        assert any((at_ends[0][name] != at_ends[1][name]).any() for name in at_ends[0])
        if best.is_dir():
            assert all((weights(best)[name] == value).all() for name, value in weights(out).items())

    def test_another_training_leaves_none_of_them(self, kept: tuple[Any, Path], base: Path) -> None:
        train(base, kept[1], replace(RECIPE, steps=4, checkpoints=1))
        assert [path.name for path in (kept[1] / "checkpoints").iterdir()] == ["step-000004"]


def test_plain_text_is_learned(base: Path, tmp_path: Path) -> None:
    from harness.rows.training import TrainingExample
    from harness.train import peft

    texts = [
        TrainingExample("", f"the thing of kind {kind} is {name}") for kind, name in (("fruit", "fig"), ("tool", "saw"))
    ]
    curve = peft.train(str(base), texts * 10, replace(RECIPE, steps=30), tmp_path, silent).curve
    assert curve.validation[-1] < curve.validation[0] / 2
