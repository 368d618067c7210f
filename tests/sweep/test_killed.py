"""A sweep that is killed (SIGKILL) at random moments and started again; with real training it is in test_cluster.py."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.cells import ROOT
from tests.sweep.stand_in import PART
from tests.sweep.with_stand_ins import CELLS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands end with their sweep by the kernel of Linux")


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    run = [sys.executable, "-m", "tests.sweep.with_stand_ins", str(folder)]
    return subprocess.Popen(run, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})


def ledger(folder: Path) -> list[str]:
    path = folder / "ledger.txt"
    return path.read_text().splitlines() if path.exists() else []


def done(folder: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/cells/*/done.json")}


def table(folder: Path) -> dict[str, Any]:
    """What must be the same however often a sweep was started."""
    return {cell: (found["scores"], found["adapter_sha256"]) for cell, found in done(folder).items()}


def kill_after(folder: Path, commands: int, seconds: float) -> None:
    """Start the sweep, and kill it some time after so many commands of it began or ended, or when it is done."""
    before = len(ledger(folder))
    running = start(folder)
    while running.poll() is None and len(ledger(folder)) < before + commands:
        time.sleep(0.01)
    time.sleep(seconds)
    running.kill()
    running.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder).wait() == 0
    found = table(folder)
    assert len(found) == CELLS
    assert len({adapter for _, adapter in found.values()}) == CELLS
    return found


def test_a_sweep_killed_at_random_moments_ends_with_the_same_table_and_trains_no_cell_twice(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    draw = random.Random(0)
    for _ in range(3):
        kill_after(tmp_path, draw.randint(1, 5), draw.uniform(0, 4 * PART))
        finished, before = done(tmp_path), len(ledger(tmp_path))
        time.sleep(3 * PART)
        assert len(ledger(tmp_path)) == before, "its commands ended with it"
        kill_after(tmp_path, 1, 0)
        again = {line.split()[0] for line in ledger(tmp_path)[before:]}
        assert again.isdisjoint(finished)
        assert {cell: done(tmp_path)[cell] for cell in finished} == finished
    assert start(tmp_path).wait() == 0
    assert table(tmp_path) == undisturbed
    trained = [line.split()[0] for line in ledger(tmp_path) if line.endswith("train ends")]
    assert len(trained) == len(set(trained)), "a training that came to its end is kept, though its cell was not done"


def test_of_two_sweeps_at_once_one_runs_and_the_other_is_refused(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    ended = [running.wait() for running in [start(tmp_path), start(tmp_path)]]
    assert sorted(ended) == [0, 2]
    assert table(tmp_path) == undisturbed
    assert len(ledger(tmp_path)) == len(set(ledger(tmp_path)))


def test_a_cell_that_lost_its_weights_is_trained_again(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    assert start(tmp_path).wait() == 0
    (tmp_path / "runs/cells/seed0/adapter/adapter_model.safetensors").unlink()
    before = len(ledger(tmp_path))
    assert start(tmp_path).wait() == 0
    assert table(tmp_path) == undisturbed
    steps = ("train begins", "train ends", "bench begins", "bench ends")
    assert ledger(tmp_path)[before:] == [f"seed0 {step}" for step in steps]
