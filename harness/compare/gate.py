"""The gate of a pipeline: may model A take the place of model B?

The interval of the difference decides, as in a test of non-inferiority (J. W. Stevens et al. in ICH E9, 1998, section
3.3.2): a task fails when the whole interval is a loss beyond the margin, passes when no part of it is, and else nothing
can be told, which with few rows is the usual outcome. What an undecided task counts as is the user's choice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.compare.intervals import NORMAL
from harness.compare.paired import MARGIN, Comparison, by_task, compare_models
from harness.compare.power import ALPHA
from harness.errors import UserError
from harness.score.scoring import ScoredRun

Outcome = Literal["passed", "failed", "undecided", "error"]
Undecided = Literal["pass", "fail"]
_MARGIN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(pp|%|)\s*")


@dataclass(frozen=True, slots=True)
class Check:
    """One task of a gate.

    `found` is the comparison on `metric`, with the intervals of its family; where nothing could be compared there is
    none, the outcome is `error`, and `trouble` says why. `decided` says whether the interval itself decided, or what an
    undecided task counts as.
    """

    task: str
    category: str
    outcome: Outcome
    metric: str
    found: Comparison | None = None
    decided: bool = True
    trouble: str = ""
    across: bool = False


@dataclass(frozen=True, slots=True)
class GatePower:
    """How often a gate with rows like these passes a model that is equal, and fails one that loses twice the margin."""

    passes_equal: float
    fails_loss: float
    loss: float


def power(found: Comparison) -> GatePower:
    """What a gate with rows like those of this comparison can tell, by the normal distribution."""
    level = NORMAL.inv_cdf(1 - ALPHA / 2 / found.comparisons)
    error = max((found.high - found.low) / 2 / level, 1e-12)
    passes, fails = ((found.margin - found.unseen) / error - level, found.margin / error - level)
    return GatePower(NORMAL.cdf(passes), NORMAL.cdf(fails), 2 * found.margin)


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
    undecided: Undecided | None = None,
    tasks: Collection[str] = (),
    *,
    across_prompts: bool = False,
) -> list[Check]:
    """Check model `a` against `b` on these tasks, by default all that `a` has run; `runs` are of one kind of rows.

    A task on which one of them has not run, or that cannot be compared (`why_apart`), is an error. `undecided` is what
    a task counts as whose interval decides nothing.

    Raises:
        UserError: there is no task to decide on.
    """
    wanted = set(tasks) or {run.manifest.task for run in runs if run.manifest.model == a}
    of = by_task(run for run in runs if run.manifest.model in (a, b) and run.manifest.task in wanted)
    if not of:
        raise UserError(f"{a} has not run a task of this kind of rows")
    chosen = [run for run in runs if run.manifest.task in of]
    compared = compare_models(chosen, a, b, allowed, across_prompts=across_prompts)
    checks = []
    for task, found in of.items():
        first = next(iter(found.values()))
        category, metric = first.manifest.spec.category, first.metrics[0]
        missing = next((f"{model} has not run it" for model in (a, b) if model not in found), "")
        if trouble := missing or compared.apart.get(task, ""):
            checks.append(Check(task, category, "error", metric.name, trouble=trouble))
            continue
        one = compared.tasks[task]
        outcome = _outcome(one)
        decided = outcome != "undecided"
        if not decided and undecided is not None:
            outcome = "passed" if undecided == "pass" else "failed"
        across = task in compared.across
        checks.append(Check(task, category, outcome, metric.name, one, decided=decided, across=across))
    return checks


def _outcome(found: Comparison) -> Outcome:
    """What the interval decides, whatever the rows without an answer would have been."""
    cases = (found, *(found.bounds or ()))
    if all(one.inferior for one in cases):
        return "failed"
    return "passed" if all(one.not_inferior for one in cases) else "undecided"
