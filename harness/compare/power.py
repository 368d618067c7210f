"""Power: the minimum detectable difference between two models on the same rows, and the rows that one needs.

All figures are for a two-sided test at 5 % with 80 % power; the quantiles are the normal distribution's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from harness.compare.intervals import NORMAL, Sample, jackknife, leave_one_out
from harness.rows.origin import Kind
from harness.score.metrics.base import Metric
from harness.score.metrics.registry import build_all
from harness.score.rules import ruled
from harness.score.scoring import RowScores, incomplete, saved_scores
from harness.store.results import Manifest
from harness.tasks.task import Task

ALPHA, POWER = 0.05, 0.80
DISCORDANCE = 0.2
"""Share of rows that one model gets right and the other wrong, where no two recorded runs say otherwise."""
_LEVEL = NORMAL.inv_cdf(1 - ALPHA / 2)
_POWER = NORMAL.inv_cdf(POWER)


def detectable_share(n: int, discordance: float = DISCORDANCE) -> float | None:
    """Smallest difference of two shares of right answers that the exact McNemar test detects on the same n rows.

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


@dataclass(frozen=True, slots=True)
class RowsNeeded:
    """How many rows would show a difference of the size seen, and for one that is a standard error larger or smaller.

    The range is what a pilot of these rows leaves open in two cases of three.
    """

    about: int
    least: int
    most: int


def rows_needed(
    difference: float, sd: float, n: int, least: int, comparisons: int = 1, null_sd: float | None = None
) -> RowsNeeded | None:
    """The rows for 80 % power, from the standard deviation of one row's difference, seen on n rows.

    Two-sided at 5 %, shared between so many `comparisons` as are tested together. None where the difference is no
    larger than its standard error: then these rows say nothing about its size.

    `null_sd` is the deviation where the models are equal, by default the same. With the discordant share as the
    variance under the null this is Connor's formula for McNemar's test (R. J. Connor, Biometrics 43, 1987). `least` is
    what is known to be too few by the test itself, and one more: the formula is the normal distribution's, which
    promises too much of a handful of rows.
    """
    size, error = abs(difference), sd / math.sqrt(n)
    if size <= error:
        return None
    level = NORMAL.inv_cdf(1 - ALPHA / 2 / comparisons)
    both = level * (sd if null_sd is None else null_sd) + _POWER * sd
    about, low, high = (max(least, math.ceil((both / gap) ** 2)) for gap in (size, size + error, size - error))
    return RowsNeeded(about, low, high)


def detectable_by_error(standard_error: float) -> float:
    """Smallest difference that a normal test detects when the difference has this standard error, in the same unit."""
    return (_LEVEL + _POWER) * standard_error


_ROUGHLY = ", as if rows were right or wrong"


@dataclass(frozen=True, slots=True)
class DetectableDifference:
    """Smallest difference of the task's first metric, in its unit, that `rows` rows show with 80 % power at 5 %.

    `paired`: both models are asked the same rows. None: these rows show none, or nothing is known about how such scores
    vary. `assuming` says what was assumed.
    """

    metric: str
    rows: int
    paired: float | None
    assuming: str


def detectable(task: Task, rows: int, kind: Kind, runs: Sequence[Manifest], results: Path) -> DetectableDifference:
    """Return what `rows` rows of a task can show; `runs` are the recorded runs of the task, on any kind of rows.

    Raises:
        UserError: a metric of the task is unknown.
    """
    metric = build_all(task.metrics, task.answer)[0]
    seen = _last_two(task, [run for run in runs if run.kind == kind], metric.name, results)
    if seen is not None:
        return _from_runs(metric, rows, *seen)
    span = metric.high - metric.low
    if metric.kind == "corpus" or not math.isfinite(span):
        return DetectableDifference(metric.name, rows, None, "unknown until two models are recorded")
    share = detectable_share(rows)
    assuming = f"assumed: {DISCORDANCE:.0%} discordant rows{_ROUGHLY if metric.kind == 'mean' else ''}"
    return DetectableDifference(metric.name, rows, None if share is None else span * share, assuming)


def _last_two(
    task: Task, runs: Sequence[Manifest], metric: str, results: Path
) -> tuple[Manifest, Manifest, RowScores, RowScores] | None:
    """The two models last recorded on the same rows, with the scores of these by the task's first metric.

    Baselines are no measure, and neither is a run that a server left incomplete.
    """
    asked = [run for run in runs if run.model_settings.get("backend") != "baseline"]
    tables = {}
    for run in asked:
        same = run.spec.answer == task.answer and task.metrics[0] in run.spec.metrics
        saved = saved_scores(results, ruled(run, task)) or (saved_scores(results, run) if same else None)
        if saved is not None and metric in saved[1].stats and not incomplete(run, saved[1]):
            tables[run.model] = saved[1]
    complete = sorted((run for run in asked if run.model in tables), key=lambda run: (run.rows, run.finished))
    by_rows = groupby(complete, key=lambda run: run.rows)
    groups = [group for group in (list(members) for _, members in by_rows) if len(group) > 1]
    if not groups:
        return None
    first, second = max(groups, key=lambda group: group[-1].finished)[-2:]
    return first, second, tables[first.model], tables[second.model]


def _from_runs(
    metric: Metric, rows: int, first: Manifest, second: Manifest, ours: RowScores, theirs: RowScores
) -> DetectableDifference:
    names = f"{first.model} and {second.model}"
    a, b = (Sample(metric, one.stats[metric.name], one.clusters) for one in (ours, theirs))
    if metric.kind == "binary" and first.samples == second.samples == 1 and a.clusters is None:
        discordance = float((a.stats[:, 0] != b.stats[:, 0]).mean())
        # Two models that never differ say nothing about how the next two will.
        assumed = discordance or DISCORDANCE
        assuming = f"{assumed:.0%} discordant rows, as {names} have"
        return DetectableDifference(metric.name, rows, detectable_share(rows, assumed), assuming)
    error = jackknife(leave_one_out(*a.units) - leave_one_out(*b.units))
    found = detectable_by_error(error * math.sqrt(a.n / rows))
    clusters = "" if a.clusters is None else f", in clusters of {a.n / len(a.units[0]):.2g} rows"
    return DetectableDifference(metric.name, rows, found or None, f"scores that vary as those of {names}{clusters}")
