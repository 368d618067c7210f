"""How small a difference between two models so many rows can show, before anything is asked.

All functions are for a two-sided test at 5 % with 80 % power; the quantiles are the normal distribution's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from harness.rows.origin import Kind
from harness.score.metrics.base import FloatArray, Metric
from harness.score.metrics.registry import build_all
from harness.score.scoring import saved_scores
from harness.store.results import Manifest
from harness.tasks.task import Task

if TYPE_CHECKING:
    from harness.score.metrics.base import FloatArray


ALPHA, POWER = 0.05, 0.80


DISCORDANCE = 0.2
"""Share of rows that one model gets right and the other wrong, where no two recorded runs say otherwise."""


_LEVEL = NormalDist().inv_cdf(1 - ALPHA / 2)


_POWER = NormalDist().inv_cdf(POWER)


def paired(n: int, discordance: float = DISCORDANCE) -> float | None:
    """Smallest difference of two shares of right answers that the exact McNemar test shows on the same n rows.

    Connor's formula (R. J. Connor, Biometrics 43, 1987) solved for the difference, plus the continuity correction 1 / n
    that the exact test costs. With fewer than some forty discordant rows the true power is above 80 %.

    Args:
        n: Rows that both models are asked.
        discordance: Share of rows, in (0, 1], that one of the two gets right and the other wrong.

    Returns:
        The difference in (0, discordance]; None when even that is too small to be seen with so few rows.
    """
    left = n - _LEVEL**2 + _POWER**2
    if left < 0:
        return None
    found = math.sqrt(discordance) * (math.sqrt(n) * _LEVEL + _POWER * math.sqrt(left)) / (n + _POWER**2) + 1 / n
    return found if found <= discordance else None


def unpaired(n: int, score: float = 0.5) -> float | None:
    """Smallest difference of two shares of right answers that a two-sample test shows, each on n rows of its own.

    The normal test of two proportions with Cohen's arcsine effect size (J. Cohen, Statistical Power Analysis, 1988,
    chapter 6), as statsmodels' `NormalIndPower` with `proportion_effectsize`.

    Args:
        n: Rows of each model.
        score: The score of one model, in [0, 1]; the other's is on the side of 0.5, where more must differ.

    Returns:
        The difference, None when no difference from this score can be seen with so few rows.
    """
    half = (_LEVEL + _POWER) * math.sqrt(2 / n) / 2 if n > 0 else math.inf
    lower = min(score, 1 - score)
    angle = math.asin(math.sqrt(lower)) + half
    return math.sin(angle) ** 2 - lower if angle <= math.pi / 2 else None


def shown(standard_error: float) -> float:
    """Smallest difference that a normal test shows when the difference has this standard error, in the same unit."""
    return (_LEVEL + _POWER) * standard_error


def jackknife(left_out: FloatArray) -> float:
    """The jackknife's standard error (B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982).

    Args:
        left_out: The figure computed without one row, for each of n rows, shape [n].
    """
    n = len(left_out)
    return math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))


_ROUGHLY = ", as if rows were right or wrong"


@dataclass(frozen=True, slots=True)
class DetectableDifference:
    """Smallest differences of the task's first metric, in its unit, that `rows` rows show with 80 % power at 5 %.

    `paired`: both models are asked the same rows. `unpaired`: each has rows of its own. None: these rows show none, or
    nothing is known about how such scores vary. `assuming` says what was assumed.
    """

    metric: str
    rows: int
    paired: float | None
    unpaired: float | None
    assuming: str


def detectable(task: Task, rows: int, kind: Kind, runs: Sequence[Manifest], results: Path) -> DetectableDifference:
    """Return what `rows` rows of a task can show; `runs` are the recorded runs of the task, of any kind of rows.

    Raises:
        UserError: a metric of the task is unknown.
    """
    metric = build_all(task.metrics, task.answer)[0]
    seen = _last_two([run for run in runs if run.kind == kind], metric.name, results)
    if seen is not None:
        return _from_runs(metric, rows, *seen)
    span = metric.high - metric.low
    if metric.kind == "corpus" or not math.isfinite(span):
        return DetectableDifference(metric.name, rows, None, None, "unknown until two models are recorded")
    same, own = paired(rows), unpaired(rows)
    return DetectableDifference(
        metric.name,
        rows,
        None if same is None else span * same,
        None if own is None else span * own,
        f"assumed: {DISCORDANCE:.0%} discordant rows, score 0.5{_ROUGHLY if metric.kind == 'mean' else ''}",
    )


def _last_two(
    runs: Sequence[Manifest], metric: str, results: Path
) -> tuple[Manifest, Manifest, FloatArray, FloatArray] | None:
    """The two models last recorded on the same rows, with their statistics of the metric; baselines are no measure."""
    asked = [run for run in runs if run.model_settings.get("backend") != "baseline"]
    by_rows = groupby(sorted(asked, key=lambda run: (run.rows, run.finished)), key=lambda run: run.rows)
    groups = [group for group in (list(members) for _, members in by_rows) if len(group) > 1]
    if not groups:
        return None
    first, second = max(groups, key=lambda group: group[-1].finished)[-2:]
    saved = [saved_scores(results, run) for run in (first, second)]
    tables = [scores.stats[metric] for _, scores in filter(None, saved) if metric in scores.stats]
    return (first, second, tables[0], tables[1]) if len(tables) == 2 else None


def _from_runs(
    metric: Metric, rows: int, first: Manifest, second: Manifest, a: FloatArray, b: FloatArray
) -> DetectableDifference:
    names = f"{first.model} and {second.model}"
    if metric.kind == "binary":
        discordance = float((a[:, 0] != b[:, 0]).mean())
        score = float(a[:, 0].mean() + b[:, 0].mean()) / 2
        # Two models that never differ say nothing about how the next two will.
        assumed = discordance or DISCORDANCE
        assuming = f"{assumed:.0%} discordant rows and a score of {score:.2f}, as {names} have"
        return DetectableDifference(metric.name, rows, paired(rows, assumed), unpaired(rows, score), assuming)
    alone_a, alone_b = _left_out(metric, a), _left_out(metric, b)
    scale = math.sqrt(len(a) / rows)
    same = shown(jackknife(alone_a - alone_b) * scale)
    own = shown(math.hypot(jackknife(alone_a), jackknife(alone_b)) * scale)
    return DetectableDifference(metric.name, rows, same or None, own or None, f"scores that vary as those of {names}")


def _left_out(metric: Metric, stats: FloatArray) -> FloatArray:
    """The score of all rows but one, for each row."""
    left: FloatArray = metric.summary((stats.sum(axis=0) - stats) / max(len(stats) - 1, 1))
    return np.asarray(left, dtype=np.float64)
