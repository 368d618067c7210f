"""The built wheel works without a checkout: in an empty folder, with nothing but what it carries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def harness(unpacked: Path, tmp_path: Path) -> Run:
    """Runs the wheel's `harness` in an empty folder, with the dependencies of this environment."""
    (tmp_path / "empty").mkdir()

    def run(*arguments: str, folder: Path = tmp_path / "empty") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
        environment["PYTHONPATH"] = str(unpacked)
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)

    return run


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_the_wheel_holds_the_package_and_the_files_it_ships_with(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    shipped = tracked("tasks", "results/published", "models.yaml")
    assert tracked("harness") | {f"harness/data/{name}" for name in shipped} <= held
    assert {name.split("/")[0] for name in held} == {"harness"}


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 2_000_000


def test_the_shipped_tasks_are_listed(harness: Run) -> None:
    listed = json.loads(harness("tasks", "--json").stdout)
    assert {task["name"] for task in listed} == {path.stem for path in (ROOT / "tasks").glob("*.yaml")}


def test_the_shipped_models_are_listed_and_those_without_files_are_not_ready(harness: Run) -> None:
    listed = {model["name"]: model for model in json.loads(harness("models", "--json").stdout)}
    assert listed["majority"]["ready"]
    assert listed["smollm2"]["ready"]


def test_bench_asks_the_shipped_rows_and_names_the_models_it_cannot_ask(harness: Run) -> None:
    done = harness("bench", "--task", "jigsaw")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sample (n=24): jigsaw")
    assert "skipped smollm2 on jigsaw: 'smollm2-135m' is not on this machine and cannot be fetched" in done.stdout
    assert "skipped smollm2-lora on jigsaw: there is no adapter in ./adapters/smollm2-135m/jigsaw" in done.stdout
    assert "tfidf beats majority" in done.stdout


def test_a_model_whose_folder_does_not_exist_is_an_error_when_it_is_named(harness: Run, tmp_path: Path) -> None:
    own = tmp_path / "models.yaml"
    own.write_text("own: {backend: local, model: ./models/own}")
    done = harness("bench", "--task", "jigsaw", "--model", "own", "--models", str(own))
    assert done.returncode == 2
    assert "model 'own' needs the folder ./models/own, which does not exist" in done.stderr


def test_the_published_figures_are_found(harness: Run) -> None:
    done = harness("claims")
    assert done.returncode == 0, done.stderr
    assert "recomputed" in done.stdout


def test_a_project_of_ones_own_starts_with_an_example_that_works(harness: Run, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    started = harness("init", folder=own)
    assert started.returncode == 0, started.stderr
    assert harness("check", "example", folder=own).returncode == 0
    done = harness("bench", folder=own)
    assert done.returncode == 0, done.stderr
    assert "example: Urgency of a support message" in done.stdout
    assert "jigsaw" not in done.stdout


@pytest.mark.index
def test_the_wheel_installs_into_an_empty_environment_and_runs(wheel: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert uv, "uv is needed: make installs it"
    # The index and certificates of this machine count; its Python path does not. uv's environment has no pip.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PIP_NO_INDEX"}}
    environment["PATH"] = f"{Path(uv).parent}{os.pathsep}{environment['PATH']}"

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(uv, "venv", "--quiet", "--python", sys.executable, "venv")
    run(uv, "pip", "install", "--quiet", "--python", "venv/bin/python", str(wheel))
    environment["HF_HUB_OFFLINE"] = "1"
    harness = str(tmp_path / "venv" / "bin" / "harness")
    assert "jigsaw" in run(harness, "tasks")
    assert "majority" in run(harness, "models")
    benched = run(harness, "bench", "--task", "jigsaw")
    assert "tfidf beats majority" in benched
    assert re.search(r"^smollm2 +[01]\.\d{3} ", benched, re.MULTILINE), "the base was not fetched and asked"
    run(harness, "report")
    assert (tmp_path / "reports" / "index.html").is_file()
