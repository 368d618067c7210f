"""The smallest difference between two models that a task's rows can show, from recorded runs where there are two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from harness import power
from harness.data.origin import Kind
from harness.metrics.base import FloatArray, Metric
from harness.metrics.registry import build_all
from harness.scoring import saved_scores
from harness.spec.task import Task
from harness.store import Manifest

_ROUGHLY = ", as if rows were right or wrong"


@dataclass(frozen=True, slots=True)
class Resolution:
    """Smallest differences of the task's first metric, in its unit, that `rows` rows show with 80 % power at 5 %.

    `paired`: both models are asked the same rows. `unpaired`: each has rows of its own. None: these rows show none, or
    nothing is known about how such scores vary. `assuming` says what was assumed.
    """

    metric: str
    rows: int
    paired: float | None
    unpaired: float | None
    assuming: str


def resolution(task: Task, rows: int, kind: Kind, runs: Sequence[Manifest], results: Path) -> Resolution:
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
        return Resolution(metric.name, rows, None, None, "unknown until two models are recorded")
    paired, unpaired = power.paired(rows), power.unpaired(rows)
    return Resolution(
        metric.name,
        rows,
        None if paired is None else span * paired,
        None if unpaired is None else span * unpaired,
        f"assumed: {power.DISCORDANCE:.0%} discordant rows, score 0.5{_ROUGHLY if metric.kind == 'mean' else ''}",
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
) -> Resolution:
    names = f"{first.model} and {second.model}"
    if metric.kind == "binary":
        discordance = float((a[:, 0] != b[:, 0]).mean())
        score = float(a[:, 0].mean() + b[:, 0].mean()) / 2
        # Two models that never differ say nothing about how the next two will.
        assumed = discordance or power.DISCORDANCE
        assuming = f"{assumed:.0%} discordant rows and a score of {score:.2f}, as {names} have"
        return Resolution(metric.name, rows, power.paired(rows, assumed), power.unpaired(rows, score), assuming)
    alone_a, alone_b = _left_out(metric, a), _left_out(metric, b)
    scale = math.sqrt(len(a) / rows)
    paired = power.shown(power.jackknife(alone_a - alone_b) * scale)
    unpaired = power.shown(math.hypot(power.jackknife(alone_a), power.jackknife(alone_b)) * scale)
    return Resolution(metric.name, rows, paired or None, unpaired or None, f"scores that vary as those of {names}")


def _left_out(metric: Metric, stats: FloatArray) -> FloatArray:
    """The score of all rows but one, for each row."""
    left: FloatArray = metric.summary((stats.sum(axis=0) - stats) / max(len(stats) - 1, 1))
    return np.asarray(left, dtype=np.float64)
