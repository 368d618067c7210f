"""What a user sees while models are asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from harness.ask.attempts import Job, Limits
from harness.ask.budget import Budget
from harness.ask.progress import Progress
from harness.models.backend import Reply, Request
from harness.store.results import Response


class Nobody:
    """A model that is never asked."""

    identity: ClassVar[dict[str, Any]] = {}

    def body(self, request: Request) -> dict[str, Any]:
        return {}

    async def ask(self, request: Request) -> Reply:
        raise AssertionError

    async def aclose(self) -> None: ...


def job(pending: int) -> Job:
    async def finish() -> None: ...

    nothing: Iterator[tuple[str, Request]] = iter(())
    limits = Limits(1, None, 1, 1)
    return Job("jigsaw", "m", Nobody(), "server", limits, nothing, pending, lambda response: None, finish)


def test_a_line_says_how_far_it_is_what_went_wrong_and_what_it_cost(capsys: pytest.CaptureFixture[str]) -> None:
    asked, budget = job(100), Budget(None)
    with Progress([asked], budget, every=0) as progress:
        progress.watch(asked, Response("k1", "r1", "ok"))
        asked.trouble.update({"throttled": 12, "unavailable": 3})
        budget.spent = 1.239
        progress.watch(asked, Response("k2", "r2", "failed"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("1/100 answers, ")
    assert "failed" not in lines[0]
    assert "attempts" not in lines[0]
    assert "USD" not in lines[0]
    assert lines[-1].startswith("2/100 answers, ")
    assert ", 1 failed, attempts: 12 asked to slow down, 3 unavailable, 1.24 USD, " in lines[-1]
    assert lines[-1].endswith(" s left")


def test_a_short_run_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    asked = job(1)
    with Progress([asked], Budget(None)) as progress:
        progress.watch(asked, Response("k1", "r1", "ok"))
    assert capsys.readouterr() == ("", "")


def test_asking_goes_on_when_nobody_reads_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self) -> None: ...

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stderr", Gone())
    asked = job(2)
    with Progress([asked], Budget(None), every=0) as progress:
        progress.watch(asked, Response("k1", "r1", "ok"))


def test_on_a_terminal_notices_stay_above_the_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    asked = job(2)
    with Progress([asked], Budget(None)) as progress:
        progress.watch(asked, Response("k1", "r1", "ok"))
        progress.notice("server [1] answers again")
    assert "server [1] answers again" in capsys.readouterr().err
