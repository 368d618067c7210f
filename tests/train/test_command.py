"""`harness train` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.commands.output import how_to_ask
from harness.models.proof import read_fingerprint
from harness.train.train import base_name
from tests.models.engines.engine import END, tokenizer
from tests.train import tiny

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def train(tmp_path: Path) -> Run:
    """Runs `harness train glue_sst2` in a folder of its own, with the project's tasks and their sample rows."""

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        environment["OMP_NUM_THREADS"] = "1"
        command = [sys.executable, "-m", "harness", "train", "glue_sst2", "--tasks", str(ROOT / "tasks")]
        return subprocess.run(
            [*command, "--data", "sample", *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return run


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """As much of a base as the configuration needs."""
    folder = tmp_path / "my-base"
    folder.mkdir()
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": END, "max_position_embeddings": 4096}))
    return folder


def test_a_dry_run_prints_ludwigs_configuration_and_writes_nothing(train: Run, base: Path, tmp_path: Path) -> None:
    done = train("--base", base, "--steps", 10, "--rank", 4, "--dry-run")
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    assert config["model_type"] == "llm"
    assert config["base_model"] == str(base)
    assert (config["adapter"]["r"], config["adapter"]["alpha"]) == (4, 8)
    assert config["trainer"]["train_steps"] == 160
    assert "glue_sst2: " in done.stderr
    assert " training rows (sample" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"my-base"}


def test_a_small_base_has_its_own_recipe_with_ludwig_too(train: Run, base: Path) -> None:
    (base / "model.safetensors").write_bytes(b"weights")
    done = train("--base", base, "--dry-run")
    assert done.returncode == 0, done.stderr
    trainer = json.loads(done.stdout)["trainer"]
    assert (trainer["learning_rate"], trainer["gradient_accumulation_steps"]) == (1e-3, 16)


def test_a_dry_run_of_the_other_engine_prints_its_recipe(train: Run) -> None:
    done = train("--base", "some/base", "--engine", "peft", "--target", "q_proj", "--dry-run")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["out"], found["target_modules"], found["alpha"]) == ("adapters/base/glue_sst2", ["q_proj"], 16)
    assert found["rows"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--base", "absent/folder", "--dry-run"), "error: the base 'absent/folder' cannot be read"),
        (("--base", "x", "--tasks", "/nowhere"), "/nowhere: no task files"),
        (("--base", "x", "--bits", "3"), "'3' is not one of '4', '8'"),
        ((), "Missing option '--base'"),
    ],
)
def test_a_mistake_is_one_message(train: Run, arguments: tuple[str, ...], message: str) -> None:
    done = train(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("base", "name"), [("mistralai/Mistral-7B-v0.1", "Mistral-7B-v0.1"), ("./models/own/", "own"), ("a b", "a-b")]
)
def test_a_base_gives_its_name_to_the_folder_of_its_adapters(base: str, name: str) -> None:
    assert base_name(base) == name


@pytest.mark.local
class TestPeft:
    def test_it_trains_and_writes_adapter_and_card(self, train: Run, tmp_path: Path) -> None:
        tiny.base(tmp_path / "tiny", context=2048)
        done = train("--base", "tiny", "--engine", "peft", "--steps", 4, "--batch", 4, "--no-score", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["engine"], found["steps"], found["curve"]["steps"]) == ("peft", 4, [0, 1, 2, 3, 4])
        folder = tmp_path / "adapters" / "tiny" / "glue_sst2"
        assert {path.name for path in folder.iterdir()} == {
            "README.md", "adapter_config.json", "adapter_model.safetensors", "card.json", "fingerprint.json",
            "losses.svg",
        }  # fmt: skip
        print_ = read_fingerprint(folder)
        assert print_.base == "tiny"
        assert len({probe.prompt for probe in print_.prompts}) == 8
        assert all("sentiment" in probe.prompt.lower() for probe in print_.prompts)

    def test_without_a_fingerprint_none_is_left_of_an_earlier_training(self, train: Run, tmp_path: Path) -> None:
        tiny.base(tmp_path / "tiny", context=2048)
        folder = tmp_path / "adapters" / "tiny" / "glue_sst2"
        folder.mkdir(parents=True)
        (folder / "fingerprint.json").write_text("{}")
        given = ("--base", "tiny", "--engine", "peft", "--steps", 1, "--no-score", "--no-fingerprint")
        assert train(*given).returncode == 0
        assert not (folder / "fingerprint.json").exists()

    def test_it_says_how_to_score_the_adapter(self, train: Run, tmp_path: Path) -> None:
        tiny.base(tmp_path / "tiny", context=2048)
        done = train("--base", "tiny", "--engine", "peft", "--steps", 1)
        assert " that it did not learn, none of them evaluated; always the most frequent answer: " in done.stdout
        assert "    model: tiny\n    adapter: adapters/tiny/{task}\n" in done.stdout
        assert "harness bench --task glue_sst2 --model tuned" in done.stdout

    def test_a_base_that_is_nowhere_is_one_message(self, train: Run) -> None:
        done = train("--base", "absent/base", "--engine", "peft")
        assert done.returncode == 2
        assert "error: the base 'absent/base' cannot be loaded" in done.stderr
        assert "Traceback" not in done.stderr


def test_without_torch_the_other_engine_says_what_to_install(train: Run) -> None:
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
        pytest.skip("torch is installed")
    done = train("--base", "some/base", "--engine", "peft")
    assert done.returncode == 2
    assert "error: --engine peft: it runs" in done.stderr


def test_a_gguf_base_is_trained_by_the_small_trainer_with_a_recipe_of_its_own(train: Run) -> None:
    done = train("--base", "smollm2-135m", "--epochs", 2, "--dry-run")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["out"] == "adapters/smollm2-135m/glue_sst2"
    assert (found["epochs"], found["rows_per_update"], found["learning_rate"]) == (2, 16, 1e-3)
    assert "up_proj" in found["target_modules"]


@pytest.mark.parametrize(
    "arguments", [("--base", "smollm2-135m", "--engine", "ludwig"), ("--base", "x", "--start", "adapter")]
)
def test_what_ludwig_cannot_do_is_said(train: Run, arguments: tuple[str, ...]) -> None:
    done = train(*arguments)
    assert done.returncode == 2
    assert "a GGUF base, --start, --longest and --checkpoints need --engine peft" in done.stderr


def test_an_adapter_is_cut_to_a_lower_rank(train: Run, tmp_path: Path) -> None:
    from tests.models import tiny_gguf

    folder = tiny_gguf.write_adapter(tmp_path / "adapters" / "base" / "glue_sst2", rank=4)
    done = train("--base", "some/base", "--shrink", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("adapters/base/glue_sst2: rank 4 cut to 2, ")
    assert done.stdout.rstrip().endswith("% of the energy lost")
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2
    done = train("--base", "some/base", "--shrink", 2)
    assert done.returncode == 2
    assert "has rank 2: --shrink takes a lower one" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_batch_larger_than_an_update_names_the_option_that_is_meant(train: Run) -> None:
    done = train("--base", "smollm2-135m", "--batch", 32, "--dry-run")
    assert done.returncode == 2
    assert "--batch 32 divides the 16 rows of an update, so it cannot be larger" in done.stderr
    assert "--rows-per-update 32" in done.stderr


class TestHowToAskTheAdapter:
    ENTRY = "  tuned:\n    backend: llamacpp\n    model: smollm2-135m\n    adapter: adapters/smollm2-135m/{task}\n"
    ADAPTER = Path("adapters/smollm2-135m/jigsaw")

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def write(self, text: str) -> None:
        Path("models.yaml").write_text(text)

    def test_is_an_entry_to_add_where_none_covers_it(self) -> None:
        self.write("base: {backend: llamacpp, model: smollm2-135m}\n")
        said = how_to_ask("jigsaw", "smollm2-135m", self.ADAPTER)
        assert said == (
            f"To score it, add to models.yaml:\n{self.ENTRY}and run: harness bench --task jigsaw --model tuned"
        )

    def test_is_the_entry_that_covers_it(self) -> None:
        self.write("mine: {backend: llamacpp, model: smollm2-135m, adapter: './adapters/smollm2-135m/{task}'}\n")
        said = how_to_ask("jigsaw", "smollm2-135m", self.ADAPTER, "--data", "my rows")
        assert said == (
            "To score it (models.yaml has it as 'mine'), run: harness bench --task jigsaw --model mine --data 'my rows'"
        )

    @pytest.mark.parametrize("other", ["adapter: 'other/{task}'", "adapter: adapters/smollm2-135m/ag_news"])
    def test_is_a_second_entry_of_another_name_where_the_first_is_another_adapter(self, other: str) -> None:
        self.write(f"tuned: {{backend: llamacpp, model: smollm2-135m, {other}}}\n")
        said = how_to_ask("jigsaw", "smollm2-135m", self.ADAPTER)
        assert "\n  tuned-2:\n" in said
        assert said.endswith("--model tuned-2")

    def test_is_said_although_the_file_of_models_is_wrong(self) -> None:
        self.write("tuned: [\n")
        assert "add to models.yaml" in how_to_ask("jigsaw", "smollm2-135m", self.ADAPTER)
