"""A row that can never be answered ends soon, whatever it is answered with, and nobody waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.ask.limiter import GiveUpAfter
from tests.asking import Pair, ask, openai, prompts
from tests.loopback import FAULTS, Fault, Loopback, error

UNEXPLAINED = error(429, "please be patient")
PATIENT = GiveUpAfter(
    first_wait=0.01, longest_wait=0.05, down=600.0, never_reached=600.0, throttled=600.0, unexplained=0.5
)


def failing(fault: Fault, *numbers: int) -> Loopback:
    """A server that fails these rows always."""
    rows = {f"row {number}" for number in numbers}
    return Loopback(plan=lambda prompt, attempt: fault if prompt in rows else None)


@pytest.mark.parametrize("numbers", [(3,), (39,), (3, 8, 14, 22, 30)])
def test_a_row_that_is_always_asked_to_slow_down_fails_itself(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    with failing(UNEXPLAINED, *numbers) as server:
        pair = Pair(openai(server), prompts(40), concurrency=4)
        for _ in range(2):  # and when the rows that failed are asked again
            asked = ask(tmp_path, [pair], give_up=PATIENT)
            assert asked.jobs[0].stopped is None
            assert asked.watched["failed"] == len(numbers)
        assert {row: found for row, found in server.asked.items() if found == 1}.keys() == (
            set(prompts(40)) - {f"row {number}" for number in numbers}
        )


def test_a_server_that_never_says_more_than_slow_down_is_given_up_sooner(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: UNEXPLAINED
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(2000), concurrency=4)], give_up=PATIENT)
    assert "server has asked to slow down for" in str(asked.jobs[0].stopped)
    assert sum(loopback.asked.values()) < 50, "the longer it has asked for, the longer the pauses"


@pytest.mark.parametrize("name", ["error", "drop"])
def test_rows_that_have_failed_before_fail_again_soon(tmp_path: Path, name: str) -> None:
    """Eight of them, which are as many as could be a server that is down."""
    numbers = range(0, 40, 5)
    with failing(FAULTS[name], *numbers) as server:
        pair = Pair(openai(server), prompts(40), concurrency=4, attempts=3)
        first = ask(tmp_path, [pair], give_up=PATIENT)
        assert first.statuses() == {"ok": 32, "failed": 8}
        again = ask(tmp_path, [pair], give_up=PATIENT)
        assert again.jobs[0].stopped is None
        assert again.watched == {"failed": 8}
        if name == "error":  # a dropped connection that was kept may not have been read, and is no attempt
            assert {server.asked[f"row {number}"] for number in numbers} == {2 * 3}


def test_rows_that_have_failed_before_do_not_hide_that_the_server_is_down(loopback: Loopback, tmp_path: Path) -> None:
    pair = Pair(openai(loopback), prompts(100), concurrency=4, attempts=3)
    loopback.plan = lambda prompt, attempt: None if prompt == "row 0" else FAULTS["invalid"]
    ask(tmp_path, [pair])
    loopback.plan = lambda prompt, attempt: FAULTS["error"]
    asked = ask(tmp_path, [pair], give_up=PATIENT)
    assert "the last" in str(asked.jobs[0].stopped)
    assert PATIENT.first_rows <= asked.watched["failed"] < 40


@pytest.mark.parametrize("name", ["broken", "empty"])
def test_a_server_that_turns_to_answers_that_are_none_ends_the_model(
    loopback: Loopback, tmp_path: Path, name: str
) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS[name] if int(prompt.split()[1]) >= 30 else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(500), concurrency=4, attempts=3)], give_up=PATIENT)
    assert "the last 20 rows all failed" in str(asked.jobs[0].stopped)
    assert asked.statuses()["ok"] == 30
    assert sum(loopback.asked.values()) < 30 + 40 * 3
