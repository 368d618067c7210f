"""What `harness bench` prints at the end of a run."""

from __future__ import annotations

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
