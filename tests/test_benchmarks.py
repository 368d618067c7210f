"""Benchmarks run: each that needs no model, no mirror and no other environment, on a few requests."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FEW = [
    "fanout --requests 20 --concurrency 4 --latency 0 --runs 1",
    "transports --requests 20 --concurrency 4 --latency 0 --runs 1",
    "record --alone 11 --rate 20 --seconds 1 --many 50",
    "ordeals memory --rows 200",
    "ordeals kills --rows 100 --times 2",
    "ordeals cuts --rows 20 --times 5",
    "serving front --requests 20",
    "loadtest --seconds 1 --runs 1 --concurrency 2",
    "sweep --cells 5 --runs 1",
    pytest.param(
        "mutation --file harness/score/doubts.py --tests tests/score/test_doubts.py --sample 2",
        marks=pytest.mark.skipif(find_spec("coverage") is None, reason="`coverage` is not installed"),
    ),
]


@pytest.mark.parametrize("command", FEW)
def test_a_benchmark_runs_to_its_end(command: str) -> None:
    module, *arguments = command.split()
    run = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout), "it prints what it measured"


def test_every_benchmark_that_is_named_is_there() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.py"), ROOT / "Makefile"]
    named = {name for path in texts for name in re.findall(r"benchmarks[./]([a-z_]+)", path.read_text("utf-8"))}
    assert len(named) > 5
    assert [name for name in sorted(named) if find_spec(f"benchmarks.{name}") is None] == []
