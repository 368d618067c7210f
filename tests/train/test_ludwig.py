"""Ludwig as it is asked: its configuration, its command, and the adapter out of what it leaves.

A small program stands in for Ludwig. It refuses what the real one would, and writes the files that Ludwig 0.17 writes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.errors import HarnessError, UserError
from harness.rows.training import TrainingExample
from harness.train import ludwig
from harness.train.recipe import Hyperparameters, Trained
from tests.models.engines.engine import END, tokenizer
from tests.train.tiny import pairs

RECIPE = Hyperparameters(steps=8, rows_per_update=4, batch=2, validation=0.2)
PAIRS = pairs(20)
ROWS = ludwig.Fitting(tuple(PAIRS), 56, 7, 1)

LUDWIG = """#!/bin/sh
''''exec "{python}" "$0" "$@" # the kernel takes no space in the path of an interpreter '''
import argparse, json, os, pathlib, signal, sys, time
if sys.argv[1] == "-c":
    print("cpu" if "cuda" in sys.argv[2] else "ludwig=0.17.10 torch=2.11.0")
    sys.exit()
assert sys.argv[1:4] == ["-m", "ludwig.cli", "train"], sys.argv
parser = argparse.ArgumentParser()
for name in ("config", "dataset", "output_directory", "model_resume_path", "random_seed"):
    parser.add_argument("--" + name)
for name in ("skip_save_processed_input", "skip_save_log"):
    parser.add_argument("--" + name, action="store_true")
found = parser.parse_args(sys.argv[4:])
assert pathlib.Path(found.dataset).is_file()
trainer = json.loads(pathlib.Path(found.config).read_text())["trainer"]
run = pathlib.Path(found.model_resume_path or found.output_directory + "/experiment_run")
assert run.is_dir() == bool(found.model_resume_path)
weights = run / "model" / "model_weights"
weights.mkdir(parents=True, exist_ok=True)
state = run / "model" / "training_progress.json"
print("at work, resumed" if found.model_resume_path else "at work", flush=True)

def save(steps):
    points = [[1, step, 4 - step / 10] for step in range(4, steps + 1, 4)]
    losses = {{"completion": {{"loss": points}}}}
    state.write_text(json.dumps({{
        "steps": steps, "best_eval_metric_steps": steps, "train_metrics": losses, "validation_metrics": losses}}))
    (weights / "adapter_model.safetensors").write_text("weights of step %d" % steps)
    (weights / "adapter_config.json").write_text("{{}}")

mode = os.environ.get("MODE", "")
if mode == "memory":
    print("Traceback ...\\ntorch.OutOfMemoryError: CUDA out of memory")
    sys.exit(1)
if mode == "stopped" and not found.model_resume_path:
    save(8)
    sys.exit(1)
if mode == "interrupted" and not found.model_resume_path:
    def stop(*_):
        save(8)
        sys.exit(0)
    signal.signal(signal.SIGINT, stop)
    pathlib.Path("listening").touch()
    time.sleep(60)
save(trainer["train_steps"])
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": END, "max_position_embeddings": 100}))
    return folder


def configuration(folder: Path, recipe: Hyperparameters) -> dict[str, Any]:
    found = ludwig.read_base(str(folder))
    return ludwig.configuration(found, recipe, ludwig.fitting(found, PAIRS), 4)


@pytest.fixture
def config(base: Path) -> dict[str, Any]:
    return configuration(base, RECIPE)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Ludwig's Python, as far as it goes."""
    path = tmp_path / "python"
    path.write_text(LUDWIG.format(python=sys.executable))
    path.chmod(0o755)
    return path


Train = Callable[..., tuple[Trained, list[str]]]


@pytest.fixture
def train(python: Path, config: dict[str, Any], tmp_path: Path) -> Train:
    def training(recipe: Hyperparameters = RECIPE, **changes: Any) -> tuple[Trained, list[str]]:
        lines: list[str] = []
        return ludwig.train(python, {**config, **changes}, ROWS, recipe, tmp_path / "out", lines.append), lines

    return training


class TestConfiguration:
    def test_golden(self, config: dict[str, Any], base: Path) -> None:
        assert config == {
            "model_type": "llm",
            "base_model": str(base),
            "input_features": [{"name": "prompt", "type": "text", "preprocessing": {"max_sequence_length": 56}}],
            "output_features": [{"name": "completion", "type": "text", "preprocessing": {"max_sequence_length": 7}}],
            "prompt": {"template": "{prompt}"},
            "adapter": {
                "type": "lora", "r": 8, "alpha": 16, "dropout": 0.05, "target_modules": ["q_proj", "v_proj"],
            },
            "preprocessing": {"split": {"type": "fixed", "column": "split"}, "global_max_sequence_length": 63},
            "generation": {
                "max_new_tokens": 4, "do_sample": False, "num_beams": 1, "eos_token_id": END, "pad_token_id": END,
            },
            "trainer": {
                "type": "finetune", "train_steps": 16, "steps_per_checkpoint": 2, "batch_size": 2,
                "eval_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 2e-4,
                "learning_rate_scheduler": {"decay": "cosine", "warmup_fraction": 0.03, "t_0": 16},
                "optimizer": {"type": "adamw", "betas": [0.9, 0.98]},
                "gradient_clipping": {"clipglobalnorm": 1.0}, "early_stop": -1,
            },
            "backend": {"type": "local"},
        }  # fmt: skip

    def test_bits_quantise_the_base(self, base: Path) -> None:
        found = configuration(base, replace(RECIPE, bits=4))
        assert found["quantization"] == {"bits": 4}

    def test_epochs_count_the_rows_that_are_learned(self, base: Path) -> None:
        recipe = replace(RECIPE, steps=None, epochs=2)
        found = configuration(base, recipe)
        assert found["trainer"]["train_steps"] == 16, "16 of 20 rows, twice, 2 at a time"

    @pytest.mark.parametrize(
        "long", [TrainingExample("very " * 20 + "long:", "fruit"), TrainingExample("Kind:", "fruit " * 9)]
    )
    def test_a_row_that_ludwig_would_cut_is_left_out(self, base: Path, long: TrainingExample) -> None:
        found = ludwig.fitting(ludwig.read_base(str(base)), [*PAIRS[:10], long, *PAIRS[10:]])
        assert (found.pairs, found.too_long, found.longest) == (tuple(PAIRS), 1, 63)

    def test_rows_longer_than_the_model_are_refused(self, base: Path) -> None:
        (base / "config.json").write_text(json.dumps({"eos_token_id": [END, 7], "max_position_embeddings": 60}))
        with pytest.raises(
            UserError, match="95 % have up to 56 tokens in the prompt and 7 in the answer, and it reads 60"
        ):
            configuration(base, RECIPE)

    @pytest.mark.parametrize("missing", ["tokenizer.json", "config.json"])
    def test_a_base_that_lacks_something_is_a_users_error(self, base: Path, missing: str) -> None:
        (base / missing).unlink()
        with pytest.raises(UserError, match=r"the base '.*' cannot be read"):
            ludwig.read_base(str(base))

    def test_a_base_that_is_nowhere_is_a_users_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(UserError, match="the base 'no/such-model' cannot be read"):
            ludwig.read_base("no/such-model")


class TestTraining:
    def test_the_adapter_is_put_in_its_folder_and_nothing_else(self, train: Train, tmp_path: Path) -> None:
        train()
        assert (tmp_path / "out" / "adapter_model.safetensors").read_text() == "weights of step 16"
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]

    def test_steps_are_updates_of_the_weights(self, train: Train) -> None:
        trained, _ = train()
        assert (trained.step, trained.steps, trained.rows) == (8, 8, 16)
        assert (trained.too_long, trained.longest) == (1, 63)
        assert trained.curve.steps == [2, 4, 6, 8]
        assert trained.curve.validation == [3.6, 3.2, 2.8, 2.4]
        assert trained.versions == {"ludwig": "0.17.10", "torch": "2.11.0"}

    def test_ludwig_reads_the_very_prompts_and_answers(self, train: Train, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setenv("MODE", "memory")
        with pytest.raises(HarnessError):
            train()
        rows = pd.read_parquet(tmp_path / "out" / "ludwig" / "rows.parquet")
        assert rows.prompt.tolist() == [pair.prompt for pair in PAIRS]
        assert rows.completion.tolist() == [" " + pair.target for pair in PAIRS]
        assert rows.split.tolist() == [1] * 4 + [0] * 16

    def test_a_failure_shows_ludwigs_last_lines(self, train: Train, monkeypatch: Any) -> None:
        monkeypatch.setenv("MODE", "memory")
        with pytest.raises(HarnessError, match=r"(?s)Ludwig failed \(.*log.txt\):.*CUDA out of memory"):
            train()

    def test_a_stopped_training_goes_on(self, train: Train, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setenv("MODE", "stopped")
        with pytest.raises(HarnessError):
            train()
        trained, lines = train()
        assert trained.steps == 8
        assert any("Ludwig resumes" in line for line in lines)
        assert not (tmp_path / "out" / "ludwig").exists()

    def test_another_training_begins_anew(self, train: Train, monkeypatch: Any) -> None:
        monkeypatch.setenv("MODE", "stopped")
        with pytest.raises(HarnessError):
            train()
        monkeypatch.setenv("MODE", "")
        _, lines = train(backend={"type": "other"})
        assert lines[0] == "what Ludwig left belongs to another training: starting over"
        assert any("Ludwig is training" in line for line in lines)

    def test_bits_without_cuda_are_refused_before_anything_is_done(self, train: Train, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="--bits 4 needs CUDA, which this machine does not have: leave it out"):
            train(replace(RECIPE, bits=4))
        assert not (tmp_path / "out").exists()


CTRL_C = """
import json, sys
from pathlib import Path
from harness.train import ludwig
from tests.train.test_ludwig import RECIPE, ROWS
config = json.loads(Path("config.json").read_text())
trained = ludwig.train(Path("python"), config, ROWS, RECIPE, Path("out"), print)
print(trained.steps)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals to a group of processes")
def test_ctrl_c_keeps_the_best_and_what_is_needed_to_go_on(
    python: Path, config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, "MODE": "interrupted", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for _ in range(400):
        if (tmp_path / "out" / "ludwig" / "listening").exists():
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to us and to Ludwig
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped at step 4; the weights of step 4 are kept" in said
    assert (tmp_path / "out" / "adapter_model.safetensors").read_text() == "weights of step 8"
    assert (tmp_path / "out" / "ludwig" / "results").is_dir()


class TestEnvironment:
    def test_it_is_made_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uv = tmp_path / "bin" / "uv"
        uv.parent.mkdir()
        uv.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ $1 = venv ] && mkdir -p {tmp_path}/env || true\n')
        uv.chmod(0o755)
        monkeypatch.setattr("shutil.which", lambda name, path=None: str(uv))
        lines: list[str] = []
        for _ in range(2):
            ludwig.environment(tmp_path / "env", lines.append)
        calls = (tmp_path / "calls").read_text().splitlines()
        assert len(calls) == 2
        assert "--python 3.12" in calls[0]
        assert "ludwig[llm]>=0.17,<0.18" in calls[1]
        assert lines[-1].startswith("Ludwig's environment is ready: ")

    def test_a_failure_shows_what_uv_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uv = tmp_path / "uv"
        uv.write_text("#!/bin/sh\necho no such version >&2\nexit 1\n")
        uv.chmod(0o755)
        monkeypatch.setattr("shutil.which", lambda name, path=None: str(uv))
        with pytest.raises(UserError, match="Ludwig's environment cannot be created: uv venv: no such version"):
            ludwig.environment(tmp_path / "env", print)

    def test_without_uv_it_says_how_to_get_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda name, path=None: None)
        with pytest.raises(UserError, match="pip install uv"):
            ludwig.environment(tmp_path / "env", print)
