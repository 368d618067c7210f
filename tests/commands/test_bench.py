"""What `harness bench` prints at the end of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.runs import ROWS, TASK, Small

NEXT = "Next: `harness report` builds the page"


def asked(small: Small, loopback: Loopback, tasks: int) -> list[str]:
    for name in ("a", "b"):
        small.model(name, loopback.openai_url, price={"input": 1, "output": 2})
    for number in range(1, tasks):
        small.task(f"small{number}", TASK)
    return ["bench", *small.arguments()]


def test_after_one_task_come_its_table_its_verdict_and_the_next_command(
    harness: Command, small: Small, loopback: Loopback
) -> None:
    code, out, _ = harness(*asked(small, loopback, tasks=1))
    assert code == 0
    lines = out.splitlines()
    title = next(place for place, line in enumerate(lines) if line.startswith("small: "))
    assert f"sample (n={ROWS})" in lines[title]
    assert [line.split()[0] for line in lines[title + 1 : title + 4]] == ["model", "a", "b"]
    assert lines[-1].startswith(NEXT)
    assert "tasks (sample rows):" not in out


def test_after_several_tasks_come_standings_one_verdict_with_its_cost_and_the_next_command(
    harness: Command, small: Small, loopback: Loopback
) -> None:
    _, out, _ = harness(*asked(small, loopback, tasks=2))
    for name in ("small", "small1"):
        assert f"{name}: " in out
    assert "2 tasks (sample rows):" in out
    assert "USD" in out.split("2 tasks (sample rows):")[1]
    assert out.splitlines()[-1].startswith(NEXT)


def test_quiet_prints_the_table_alone_and_of_several_tasks_standings_and_verdict(
    harness: Command, small: Small, loopback: Loopback
) -> None:
    arguments = asked(small, loopback, tasks=1)
    _, out, _ = harness(*arguments, "--quiet")
    assert out.startswith("small: ")
    assert NEXT not in out
    _, out, _ = harness(*asked(small, loopback, tasks=2), "--quiet")
    assert out.startswith("2 tasks (sample rows):")
    assert "small: " not in out


def test_beside_one_model_stand_those_asked_the_same_rows_earlier(
    harness: Command, small: Small, loopback: Loopback
) -> None:
    arguments = asked(small, loopback, tasks=1)
    harness(*arguments, "--model", "a")
    _, out, _ = harness(*arguments, "--model", "b", "--quiet")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["model", "a", "b"]
    assert "Asked the same rows earlier: a." in out


def test_quiet_says_which_model_was_not_asked(harness: Command, small: Small, loopback: Loopback) -> None:
    arguments = asked(small, loopback, tasks=1)
    entry = {"backend": "llamacpp", "model": "smollm2-135m", "adapter": "nowhere/{task}"}
    (small.folder / "models.yaml").write_text(json.dumps({**small.models, "without": entry}))
    _, out, err = harness(*arguments, "--quiet")
    assert out.startswith("small: ")
    assert "skipped without on small: there is no adapter in nowhere/small" in err


@pytest.mark.parametrize("on_path", [True, False])
def test_the_next_command_is_one_that_the_users_shell_finds(tmp_path: Path, on_path: bool) -> None:
    """`make bench` runs a program of an environment that is not activated."""
    started = Path(sys.executable).with_name("harness")
    there = os.path.relpath(started, tmp_path)
    folders = os.environ["PATH"].split(os.pathsep)
    others = [folder for folder in folders if not shutil.which("harness", path=folder)]
    path = os.pathsep.join([str(started.parent), *others] if on_path else others)
    command = [there, "bench", "--task", "jigsaw", "--data", "sample", "--model", "majority"]
    out = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert out.splitlines()[-1].startswith(f"Next: `{'harness' if on_path else there} report` builds the page")
