"""How long cells will take: from the rates of finished ones, or of a short trial."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.sweep.cell import Processes, Work, run_cell
from harness.sweep.grid import Cell, recipe_of

TRIAL_ROWS, TRIAL_STEPS, TRIAL_ASKED = 40, 2, 10
USUALLY_ASKED = 1_000
"""Evaluation rows of a task, where neither the sweep nor a finished cell says how many."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds of a pass of one training row, of one answer, and of what comes with each cell."""

    row: float
    answer: float
    rest: float


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What is left of a sweep: `hours` of the cells one after another, `wall_hours` with as many at once as run."""

    cells: int
    done: int
    left: int
    hours: float
    wall_hours: float
    usd: float | None
    basis: str


def effort(cell: Cell) -> int:
    """Return how many training rows pass through the model."""
    if cell.rows is None:
        return 0
    recipe = recipe_of(cell.base, cell.train)
    return recipe.updates(cell.rows) * recipe.rows_per_update


def rates(work: Work, finished: Iterable[tuple[Cell, dict[str, Any]]]) -> Rates | None:
    """Return the rates by which a cell is estimated: of its base and task, else of its base, else of all.

    `finished` are cells, each with its `done.json`; None where there are none.
    """
    every = [(cell, found) for cell, found in finished if "rest" in found.get("seconds", {})]
    near = [pair for pair in every if pair[0].base == work.cell.base]
    nearest = [pair for pair in near if pair[0].task == work.cell.task]

    def mean(part: str, unit: Callable[[Cell, dict[str, Any]], int]) -> float | None:
        for group in (nearest, near, every):
            sums = [(found["seconds"][part], unit(cell, found)) for cell, found in group]
            if total := sum(count for _, count in sums):
                return float(sum(seconds for seconds, count in sums if count)) / total
        return None

    answer, rest = mean("bench", lambda _, found: int(found["scores"][0]["n"])), mean("rest", lambda *_: 1)
    row = mean("train", lambda cell, _: effort(cell)) if work.cell.tuned else 0.0
    return None if answer is None or rest is None or row is None else Rates(row, answer, rest)


def seconds(work: Work, known: Rates) -> float:
    """Return how long a cell will take."""
    return known.row * effort(work.cell) + known.answer * (work.cell.bench_rows or USUALLY_ASKED) + known.rest


def left_seconds(left: Sequence[Work], finished: Sequence[tuple[Cell, dict[str, Any]]]) -> float | None:
    """Return how long cells will take one after another, None where nothing is known of any."""
    total = 0.0
    for work in left:
        if (known := rates(work, finished)) is None:
            return None
        total += seconds(work, known)
    return total


def trial(works: Sequence[Work]) -> list[tuple[Cell, dict[str, Any]]]:
    """Train each base for two steps and ask it ten rows; return these cells with what they took.

    Raises:
        HarnessError: one of them failed.
    """
    found = []
    for work in {work.cell.base: work for work in works if work.cell.tuned}.values():
        cell = replace(
            work.cell, rows=min(work.cell.rows or 1, TRIAL_ROWS), bench_rows=TRIAL_ASKED,
            train={**work.cell.train, "steps": TRIAL_STEPS},
        )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="harness-trial-") as folder:
            said = run_cell(replace(work, cell=cell), Path(folder), Processes())
        if "reason" in said:
            raise HarnessError(
                "\n".join([f"the trial of {work.cell.base} failed: {said['reason']}", *said["last_lines"][-5:]])
            )
        found.append((cell, said))
    return found


def plan(
    works: Sequence[Work], left: Sequence[Work], finished: Sequence[tuple[Cell, dict[str, Any]]], at_once: int
) -> SweepPlan:
    """Return what is left of a sweep.

    Raises:
        HarnessError: no cell is finished, and the trial failed.
    """
    basis = f"the rates of {len(finished)} finished cells"
    total = left_seconds(left, finished)
    if total is None:
        finished, basis = trial(left), f"a trial of {TRIAL_STEPS} steps and {TRIAL_ASKED} answers with each base"
        total = left_seconds(left, finished) or 0.0
    price = next((work.cell.train["gpu_per_hour"] for work in works if "gpu_per_hour" in work.cell.train), None)
    hours = total / 3600
    usd = None if price is None else round(hours * price, 4)
    return SweepPlan(len(works), len(works) - len(left), len(left), hours, hours / at_once, usd, basis)
