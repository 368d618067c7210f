"""The loopback server itself: as a process of its own, and failing the same way whenever it is asked to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.loopback import FAULTS, shares


def test_it_runs_as_a_process_and_counts_what_it_is_asked() -> None:
    command = [sys.executable, "-m", "tests.loopback", "--latency", "0.01", "--faults", "error=1.0"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            for prompt in ("a", "b", "a"):
                reply = httpx.post(f"{url}/v1/completions", json={"model": "m", "prompt": prompt}, trust_env=False)
                assert reply.status_code == 500
            assert httpx.get(f"{url}/counts", trust_env=False).json() == {"a": 2, "b": 1}
            assert httpx.get(f"{url}/answered", trust_env=False).json() == {}
        finally:
            process.kill()


def test_shares_are_kept_and_are_the_same_each_time() -> None:
    plan = shares({"throttle": 0.05, "error": 0.02}, seed=1)
    drawn = [plan(f"row {n}", 0) for n in range(10_000)]
    assert drawn == [plan(f"row {n}", 0) for n in range(10_000)]
    assert drawn != [plan(f"row {n}", 1) for n in range(10_000)]
    assert drawn.count(FAULTS["throttle"]) == pytest.approx(500, abs=100)
    assert drawn.count(FAULTS["error"]) == pytest.approx(200, abs=60)
    assert drawn.count(None) + drawn.count(FAULTS["throttle"]) + drawn.count(FAULTS["error"]) == len(drawn)
