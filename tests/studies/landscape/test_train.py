"""The adapters of a base are trained round by round, can be stopped at any time, and are shipped as they are asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from harness.train import checkpoint
from studies.landscape import recipes
from studies.landscape import train as module
from studies.landscape.train import Study, train_all
from tests.models import tiny_gguf

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.local, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """A study of a tiny base on sample rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path / "cache"))
        patch.setattr(module, "BASE", str(tiny_gguf.write_base(tmp_path / "tiny.gguf")))
        patch.setattr(recipes, "TOKENS", (13_000, 13_000))
        patch.setattr(recipes, "MOST_EPOCHS", 60.0)
        patch.setattr(module, "ENOUGH", -10.0)  # every round is worth another
        yield Study("sample", ROOT / "tasks", tmp_path / "out", tmp_path / "state", 1)


def test_an_adapter_is_shipped_with_its_card_and_fingerprint(study: Study) -> None:
    train_all(study, ["glue_sst2"])
    folder = study.out / "glue_sst2"
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "card.json", "fingerprint.json", "losses.svg",
    }  # fmt: skip
    card = json.loads((folder / "card.json").read_text())
    assert (card["recipe"]["rank"], card["shrunk_to"]) == (8, 2)
    assert 0 < card["energy_lost"] < 1
    assert card["cpu_minutes"] > 0
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2
    assert len(json.loads((folder / "fingerprint.json").read_text())["prompts"]) == 8


def test_what_is_done_is_passed_over_and_a_later_round_goes_on(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    train_all(study, ["glue_sst2"])
    before = (study.out / "glue_sst2" / "fingerprint.json").stat().st_mtime_ns
    capsys.readouterr()
    train_all(study, ["glue_sst2"])
    assert capsys.readouterr().out == ""
    assert (study.out / "glue_sst2" / "fingerprint.json").stat().st_mtime_ns == before
    first = json.loads((study.out / "glue_sst2" / "card.json").read_text())
    train_all(replace(study, rounds=2), ["glue_sst2"])
    second = json.loads((study.out / "glue_sst2" / "card.json").read_text())
    assert (first["recipe"]["start"], second["recipe"]["start"]) == (None, "round-0")
    assert second["cpu_minutes"] >= first["cpu_minutes"]
    assert (study.out / "glue_sst2" / "fingerprint.json").stat().st_mtime_ns > before


def test_a_stopped_round_goes_on_from_its_checkpoint(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = checkpoint.save

    def killed(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise SystemExit("killed")

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(SystemExit):
        train_all(study, ["glue_sst2"])
    monkeypatch.setattr(checkpoint, "save", save)
    capsys.readouterr()
    train_all(study, ["glue_sst2"])
    assert "resuming after step" in capsys.readouterr().out
    assert (study.out / "glue_sst2" / "fingerprint.json").is_file()


def test_a_task_that_another_process_trains_or_that_has_no_rows_does_not_stop_the_others(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.PLANS, "magicoder", recipes.Plan())
    (study.state / "ag_news").mkdir(parents=True)
    with FileLock(study.state / "ag_news" / "lock"):
        train_all(study, ["ag_news", "magicoder", "glue_sst2"])
    assert "magicoder: not trained: " in capsys.readouterr().out
    assert {path.name for path in study.out.iterdir()} == {"glue_sst2"}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_command_finds_the_tasks_of_the_current_folder(tmp_path: Path, jobs: str) -> None:
    (tmp_path / "data").mkdir()
    command = ["train", "--data", str(tmp_path / "data"), "--jobs", jobs, "--task", "glue_wnli"]
    command += ["--out", str(tmp_path / "out"), "--state", str(tmp_path / "state")]
    done = subprocess.run(
        [sys.executable, "-m", "studies.landscape", *command],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "glue_wnli: not trained: " in done.stdout
    assert "no rows of split" in done.stdout  # the data are missing, not the task files
