"""docs/security.md: what a stranger's results folder or task file can do, by the commands that read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.loopback import Loopback
from tests.runs import TASK, Small

ROOT = Path(__file__).parents[1]
SCRIPT = "from pathlib import Path\nPath({mark!r}).touch()\nraise SystemExit('the script ran')\n"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def recorded(tmp_path: Path, loopback: Loopback) -> Small:
    """Two models' answers to one task."""
    small = Small(tmp_path)
    loopback.answer = lambda prompt: ("yes", "no")[int(prompt.split()[2]) % 2]
    for name in "ab":
        small.model(name, loopback.openai_url)
    small.bench()
    return small


@pytest.fixture
def harness(recorded: Small) -> Run:
    """Runs a command in a process of its own, in the project's folder."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "harness", *map(str, arguments)]
        return subprocess.run(
            command, cwd=recorded.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest of a run as its sender could."""
    path = folder / "run.json"
    document = json.loads(path.read_bytes())
    change(document["sample"])
    path.write_text(json.dumps(document))


READERS = [
    ("report", "--out", "out"),
    ("compare", "a", "b"),
    ("gate", "a", "--against", "b"),
    ("export", "--out", "rows.parquet"),
]


class TestResultsOfOthers:
    @pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
    def test_name_a_script_that_no_command_runs(self, recorded: Small, harness: Run, command: tuple[str, ...]) -> None:
        mark, script = recorded.folder / "ran", recorded.folder / "x.py"
        script.write_text(SCRIPT.format(mark=str(mark)))
        (recorded.folder / "tasks" / "small.yaml").unlink()  # so that the rule is that of the results
        for model in "ab":
            edit(
                recorded.results / "small" / model, lambda run: run["spec"].update(metrics=[{"evaluate": str(script)}])
            )
        done = harness(*command)
        assert not mark.exists()
        assert "Traceback" not in done.stderr
        assert "allow it with --allow-code" in done.stderr
        if command[0] == "compare":
            harness(*command, "--allow-code")
            assert mark.exists()

    @pytest.mark.parametrize(
        "command",
        [("check", "small", "--data", "sample"), ("score", "small", "--predictions", "p.jsonl")],
        ids=lambda command: command[0],
    )
    def test_neither_does_a_command_that_reads_a_task_file(
        self, recorded: Small, harness: Run, command: tuple[str, ...]
    ) -> None:
        mark, script = recorded.folder / "ran", recorded.folder / "x.py"
        script.write_text(SCRIPT.format(mark=str(mark)))
        recorded.task(text=TASK.replace("[accuracy, macro_f1]", "[{evaluate: ./x.py}]"))
        (recorded.folder / "p.jsonl").write_text('{"prediction": "yes", "reference": "yes"}\n')
        done = harness(*command, "--tasks", "tasks")
        assert (done.returncode, mark.exists()) == (2, False)
        assert "allow it with --allow-code" in done.stderr
        if command[0] == "check":
            harness(*command, "--tasks", "tasks", "--allow-code")
            assert mark.exists()

    def test_of_which_one_line_and_one_manifest_are_damaged_are_reported_without_them(
        self, recorded: Small, harness: Run, loopback: Loopback
    ) -> None:
        recorded.model("c", loopback.openai_url)
        recorded.bench()
        answers = recorded.results / "small" / "a" / "responses.jsonl"
        lines = answers.read_bytes().splitlines(keepends=True)
        lines[6] = lines[6].replace(b'"completion": "', b'"completion": 5, "was": "')
        answers.write_bytes(b"".join(lines))
        cut = recorded.results / "small" / "c" / "run.json"
        cut.write_bytes(cut.read_bytes()[:200])
        done = harness("report", "--out", "out")
        assert done.returncode == 0, done.stderr
        assert f"{Path('results/small/a/responses.jsonl')}:7: completion: Input should be a valid string" in done.stderr
        assert f"warning: {Path('results/small/c/run.json')}: left out: not valid JSON" in done.stderr
        table = (recorded.folder / "out" / "leaderboard.md").read_text()
        assert ("0.975" in table, "1.000" in table) == (True, True)  # one of 40 rows of a has no answer, b is whole

    def test_with_fewer_rows_than_were_asked_are_not_scored(self, recorded: Small, harness: Run) -> None:
        (path,) = (recorded.results / "small" / "_rows").iterdir()
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:19]))
        for cache in recorded.results.glob("*/*/scores-*.npz"):
            cache.unlink()
        done = harness("compare", "a", "b")
        assert done.returncode == 2
        assert f"{Path('results/small/_rows', path.name)}: its 19 lines are not the rows that were asked" in done.stderr
