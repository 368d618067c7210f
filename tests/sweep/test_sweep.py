"""Which cells are started, in which order, and when no more are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.sweep.cell import Work
from harness.sweep.estimate import left_seconds
from harness.sweep.places import Place
from harness.sweep.sweep import Ended, SweepProgress, SweepStopped, found_before, only, run_sweep
from tests.sweep.cells import WORK, finished, tuned, write_finished

WORKS = [tuned(f"cell{seed}", seed=seed) for seed in range(5)]


class Instant:
    """Workers whose cells end when they are waited for, two at a time."""

    def __init__(self, **outcomes: Any) -> None:
        self.started: list[str] = []
        self.stopped = False
        self._outcomes, self._running = outcomes, list[Work]()

    def room(self) -> int:
        return 2

    def start(self, work: Work) -> None:
        self.started.append(work.cell.name)
        self._running.append(work)
        assert len(self._running) <= 2

    def finished(self, seconds: float) -> Iterator[dict[str, Any]]:
        work = self._running.pop(0)
        outcome = self._outcomes.get(work.cell.name, {})
        if isinstance(outcome, BaseException):
            raise outcome
        yield finished(work, **outcome)

    def stop(self) -> None:
        self.stopped = True


def run(workers: Instant, progress: SweepProgress, hours: float | None = None, usd: float | None = None) -> Ended:
    return run_sweep(WORKS, progress, workers, hours, usd, lambda line: None, lambda *_: None)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"cell": "cell1", "scores": []}'],
    ids=["empty", "torn", "list", "nothing", "another"],
)
def test_a_cell_whose_json_does_not_say_what_it_scored_is_not_done(tmp_path: Path, text: str) -> None:
    for work in WORKS[:3]:
        write_finished(work, tmp_path / "cells" / work.cell.name)
    (tmp_path / "cells" / "cell0" / "done.json").write_text(text)
    (tmp_path / "cells" / "cell3").mkdir()
    (tmp_path / "cells" / "cell3" / "failed.json").write_text(text)
    said: list[str] = []
    progress = found_before(Place(str(tmp_path)), WORKS, said.append)
    assert (set(progress.done), progress.failed) == ({"cell1", "cell2"}, {})
    assert [work.cell.name for work in progress.left(WORKS)] == ["cell0", "cell3", "cell4"]
    assert len(said) == 1
    assert said[0].startswith("cell0: done.json ")
    assert said[0].endswith("; it is run again")


@pytest.mark.parametrize(
    "edited",
    [{"scores": []}, {"scores": "0.5"}, {"scores": [{"metric": "accuracy"}]}, {"train": None}, {"seconds": None}],
)
def test_a_done_cell_that_was_edited_by_hand_is_run_again(tmp_path: Path, edited: dict[str, Any]) -> None:
    for work in WORKS[:2]:
        write_finished(work, tmp_path / "cells" / work.cell.name)
    (tmp_path / "cells" / "cell0" / "done.json").write_text(json.dumps({**finished(WORKS[0]), **edited}))
    said: list[str] = []
    assert set(found_before(Place(str(tmp_path)), WORKS, said.append).done) == {"cell1"}
    assert said == ["cell0: done.json does not say what the cell scored; it is run again"]


def test_cells_that_are_done_or_failed_before_are_not_started() -> None:
    progress = SweepProgress(5, done={"cell0": finished(WORKS[0])}, failed={"cell3": {"cell": "cell3", "reason": "it"}})
    workers = Instant()
    ended = run(workers, progress)
    assert workers.started == ["cell1", "cell2", "cell4"]
    assert (set(ended.done), set(ended.failed)) == ({"cell0", "cell1", "cell2", "cell4"}, {"cell3"})
    assert workers.stopped


def test_a_cell_that_fails_stops_no_other() -> None:
    ended = run(Instant(cell1={"reason": "exit code 1"}), SweepProgress(5))
    assert (len(ended.done), list(ended.failed), ended.left) == (4, ["cell1"], 0)


def test_a_limit_lets_running_cells_end_and_starts_no_more() -> None:
    ended = run(Instant(cell0={"usd": 2.0}), SweepProgress(5), usd=1.5)
    assert (list(ended.done), ended.left) == (["cell0", "cell1"], 3)
    assert ended.why == "limit.usd (1.5) is reached"


def test_a_limit_of_time_counts_from_the_start() -> None:
    progress = SweepProgress(5)
    progress.began -= 7200
    ended = run(Instant(), progress, hours=1)
    assert (ended.done, ended.left, ended.why) == ({}, 5, "limit.hours (1) is reached")


def test_ctrl_c_ends_the_cells_that_run() -> None:
    workers = Instant(cell2=KeyboardInterrupt())
    with pytest.raises(SweepStopped, match="2 of 5 cells are done"):
        run(workers, SweepProgress(5))
    assert workers.stopped


def test_only_some_cells_bring_the_bases_that_they_are_compared_with() -> None:
    assert [work.cell.name for work in only([WORK, *WORKS], ["seed=1", "seed=3,rank=2"])] == [
        WORK.cell.name, "cell1", "cell3"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("sed=1", r"--only sed=1: expected axis=value \(did you mean 'seed'\?\)"),
        ("seed=9", r"--only seed=9: no cell has this seed"),
        ("seed", r"--only seed: expected axis=value"),
    ],
)
def test_what_no_cell_has_is_said(wanted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        only(WORKS, [wanted])


def test_the_time_left_follows_from_rows_answers_and_the_rest() -> None:
    """16 rows in 8 s are half a second a row; 10 answers in 5 s half a second each; and 3 s with each cell."""
    done = tuned("done", base="smollm2-135m", rows=16)
    seconds = {"train": 8.0, "bench": 5.0, "rest": 3.0}
    left = tuned("left", base="smollm2-135m", rows=64, bench_rows=20)
    assert left_seconds([left, left], [(done.cell, finished(done, seconds=seconds))]) == 2 * (32 + 10 + 3)
    assert left_seconds([left], []) is None
    base = finished(WORK, seconds={"train": 0.0, "bench": 5.0, "rest": 3.0})
    assert left_seconds([left], [(WORK.cell, base)]) is None, "a base alone says nothing of training"
