"""The gate of a pipeline: may model A take the place of model B?

A task fails when A is shown to be worse: a loss beyond chance (after Holm's correction over the tasks) that is also
larger than the margin. A strict gate asks for proof of the opposite and fails every task on which the interval of the
difference does not rule out a loss beyond the margin, which with few rows it cannot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.compare.paired import MARGIN, Comparison, compare_models, scale
from harness.errors import UserError
from harness.score.scoring import ScoredRun

Outcome = Literal["passed", "failed", "error"]
_MARGIN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(pp|%|)\s*")


@dataclass(frozen=True, slots=True)
class Check:
    """One task of a gate.

    `found` is the comparison on `metric`, after Holm's correction over so many `tasks`; where nothing could be decided
    there is none, the outcome is `error`, and `trouble` says why.
    """

    task: str
    category: str
    outcome: Outcome
    metric: str
    found: Comparison | None = None
    tasks: int = 0
    strict: bool = False
    trouble: str = ""


def margin(text: str) -> float:
    """Read a margin as a share of the scale: `1pp`, `1 %` and `0.01` are the same.

    Raises:
        ValueError: it is none of these, or not between 0 and 1.
    """
    match = _MARGIN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a margin: write 1pp, 1% or 0.01")
    value = float(match[1]) / (100 if match[2] else 1)
    if value >= 1:
        raise ValueError(f"a margin of '{text}' lets everything pass: did you mean {text.strip()}pp?")
    return value


def gate(
    runs: Sequence[ScoredRun],
    a: str,
    b: str,
    allowed: float = MARGIN,
    strict: bool = False,
    tasks: Collection[str] = (),
) -> list[Check]:
    """Check model `a` against `b` on these tasks, by default all that `a` has run; `runs` are of one kind of rows.

    A task on which one of them has not run, has run on other rows, or is marked as incomplete is an error: rows that
    a server failed to answer say nothing about a model.

    Raises:
        UserError: there is no task to decide on.
    """
    wanted = set(tasks) or {run.manifest.task for run in runs if run.manifest.model == a}
    by_task: dict[str, dict[str, ScoredRun]] = {}
    for run in runs:
        if run.manifest.model in (a, b) and run.manifest.task in wanted:
            by_task.setdefault(run.manifest.task, {})[run.manifest.model] = run
    if not by_task:
        raise UserError(f"{a} has not run a task of this kind of rows")
    troubled = {task: _trouble(found, a, b) for task, found in by_task.items()}
    sound = [run for run in runs if run.manifest.task in by_task and not troubled[run.manifest.task]]
    compared = compare_models(sound, a, b, allowed)
    checks = []
    for task, found in sorted(by_task.items()):
        first = next(iter(found.values()))
        category, metric = first.manifest.spec.category, first.metrics[0]
        trouble = troubled[task]
        if task in compared.apart:
            trouble = f"{a} and {b} were asked different rows; run bench again for both"
        if trouble:
            checks.append(Check(task, category, "error", metric.name, trouble=trouble))
            continue
        one = compared.tasks[task]
        outcome: Outcome = "failed" if _fails(one, allowed * scale(metric), strict) else "passed"
        checks.append(Check(task, category, outcome, metric.name, one, len(compared.tasks), strict))
    return checks


def _trouble(found: dict[str, ScoredRun], a: str, b: str) -> str:
    """Why a task cannot be decided, "" when it can."""
    for model in (a, b):
        if model not in found:
            return f"{model} has not run it"
        if found[model].manifest.incomplete:
            failed = found[model].rows.counts()["failed"]
            return f"the run of {model} is incomplete ({failed} rows without an answer); run bench again"
    return ""


def _fails(found: Comparison, allowed: float, strict: bool) -> bool:
    if strict:
        return not found.not_inferior
    loss = -found.difference if found.higher_is_better else found.difference
    return found.verdict == "worse" and loss > allowed
