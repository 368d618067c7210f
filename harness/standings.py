"""Leaderboards over several tasks: pairs of models, wins against a reference, lift over base, mean rank, macro average.

All of it is over the rows recorded for these tasks: intervals say what other rows of the same tasks could have given,
not what other tasks would. Scores are put on one scale by dividing by the metric's highest value, so that a point is a
hundredth of the scale for every metric.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.compare import Comparison, compare_all, corrected
from harness.intervals import CHUNK, Estimate, weights
from harness.metrics.base import FloatArray, Metric
from harness.scoring import ScoredRun
from harness.store import Manifest

MARGIN = 0.02
"""Default non-inferiority margin as a share of the metric's scale: two points."""
RESAMPLES = 1_000
"""Resamples of mean ranks and mean lifts, which are shown with two digits."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Model `a` against model `b`: for each task both were asked on the same rows, the comparison after Holm.

    `apart` are tasks on which both ran, but on different rows.
    """

    a: str
    b: str
    tasks: Mapping[str, Comparison]
    apart: tuple[str, ...] = ()

    @property
    def won(self) -> int:
        """Tasks on which `a` is better beyond chance."""
        return self._count("better")

    @property
    def lost(self) -> int:
        """Tasks on which `a` is worse beyond chance."""
        return self._count("worse")

    @property
    def tied(self) -> int:
        """Tasks on which the two cannot be told apart, within the margin or not."""
        return len(self.tasks) - self.won - self.lost

    def _count(self, verdict: str) -> int:
        return sum(found.verdict == verdict for found in self.tasks.values())


@dataclass(frozen=True, slots=True)
class Lift:
    """What an adapter gains over the model it was tuned from: mean difference in shares of the scale, and the pair."""

    mean: Estimate
    pair: Pair


@dataclass(frozen=True, slots=True)
class Standing:
    """One model. `against` is it against the reference; `usd` is per row, None where no price is known.

    `mean_rank` (1 is best) and `macro` are over the tasks that every model has, None when there are none.
    """

    model: str
    tasks: int
    mean_rank: Estimate | None
    macro: Estimate | None
    against: Pair | None
    lift: Lift | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class Standings:
    """All models, best mean rank first. `common` are the tasks that every model was asked, on the same rows.

    `left_out` are those of them without a place in the macro average: their metric has no highest value or counts
    errors.
    """

    reference: str | None
    models: tuple[Standing, ...]
    common: tuple[str, ...]
    left_out: tuple[str, ...]


def of_kind(manifests: Sequence[Manifest], kind: str | None) -> list[Manifest]:
    """The runs on one kind of rows: those on benchmark rows where there are any, unless a kind is named."""
    kinds = {run.kind for run in manifests}
    wanted = kind or ("benchmark" if "benchmark" in kinds else "sample")
    return [run for run in manifests if run.kind == wanted]


def scale(metric: Metric) -> float:
    """Length of a metric's scale from 0 to its highest value; 1 for a metric without one."""
    return metric.high if math.isfinite(metric.high) else 1.0


def compare_runs(a: ScoredRun, b: ScoredRun, margin: float = MARGIN) -> Comparison:
    """Compare two runs on the first metric of their task; `margin` is a share of the metric's scale.

    Raises:
        ValueError: they were asked different rows or scored by different metrics.
    """
    if not same_rows(a, b):
        raise ValueError(f"{a.manifest.model} and {b.manifest.model} were not asked the same rows")
    return compare_all([_asked(a, b, margin)])[0]


def _asked(a: ScoredRun, b: ScoredRun, margin: float) -> tuple[Metric, FloatArray, FloatArray, float]:
    metric = a.metrics[0]
    return metric, a.rows.stats[metric.name], b.rows.stats[metric.name], margin * scale(metric)


def same_rows(a: ScoredRun, b: ScoredRun) -> bool:
    """Whether two runs can be compared: the same rows in the same order, and the same leaderboard metric."""
    return a.rows.ids == b.rows.ids and a.metrics[0].name == b.metrics[0].name


def pair(runs: Iterable[ScoredRun], a: str, b: str, margin: float = MARGIN) -> Pair:
    """Compare two models on all tasks that both have, with Holm's correction over these tasks.

    `runs` hold one kind of rows. A model that is not there gives a pair without tasks.
    """
    by_task = _by_task(runs)
    both = {task: (found[a], found[b]) for task, found in by_task.items() if a in found and b in found}
    comparable = {task: runs for task, runs in both.items() if same_rows(*runs)}
    compared = corrected(compare_all([_asked(first, second, margin) for first, second in comparable.values()]))
    apart = tuple(task for task in both if task not in comparable)
    return Pair(a, b, dict(zip(comparable, compared, strict=True)), apart)


def most_expensive(runs: Iterable[ScoredRun]) -> str | None:
    """The model that costs most per row, None when no model is known to cost anything."""
    by_model: dict[str, list[ScoredRun]] = {}
    for run in runs:
        by_model.setdefault(run.manifest.model, []).append(run)
    costs = {model: usd_per_row(found) or 0.0 for model, found in by_model.items()}
    dearest = max(sorted(costs), key=lambda model: costs[model], default=None)
    return dearest if dearest is not None and costs[dearest] > 0 else None


def usd_per_row(runs: Iterable[ScoredRun]) -> float | None:
    """Mean USD of a row over the runs whose cost is known, each task counting the same; None when none is."""
    known = [run.usd / len(run.rows.ids) for run in runs if run.usd is not None and run.rows.ids]
    return sum(known) / len(known) if known else None


def standings(runs: Sequence[ScoredRun], reference: str | None = None, margin: float = MARGIN) -> Standings:
    """Rank all models of these runs, which hold one kind of rows; the reference is the most expensive unless named.

    Mean rank: ranks within a task (ties share their mean rank) averaged over the common tasks. Its interval, and those
    of macro average and lift, is the percentile bootstrap's over rows, within each task, with the same resamples for
    all models of a task.
    """
    reference = reference or most_expensive(runs)
    by_task = _by_task(runs)
    models = sorted({run.manifest.model for run in runs})
    common = tuple(task for task, found in by_task.items() if _complete(found, models))
    sampled = {task: _resampled([by_task[task][model] for model in models]) for task in common}
    metrics = {task: by_task[task][models[0]].metrics[0] for task in common}
    averaged = [task for task in common if _on_scale(metrics[task])]
    ranks = _mean([_ranks(sampled[task], metrics[task]) for task in common])
    macros = _mean([sampled[task] / scale(metrics[task]) for task in averaged])
    n = sum(len(by_task[task][models[0]].rows.ids) for task in common)
    rows = [
        Standing(
            model,
            sum(model in found for found in by_task.values()),
            _percentile(ranks[:, place], n) if common else None,
            _percentile(macros[:, place], n) if averaged else None,
            pair(runs, model, reference, margin) if reference and model != reference else None,
            _lift(runs, model, margin),
            usd_per_row(run for run in runs if run.manifest.model == model),
        )
        for place, model in enumerate(models)
    ]
    ordered = sorted(rows, key=lambda row: (row.mean_rank.value if row.mean_rank else 0.0, row.model))
    return Standings(reference, tuple(ordered), common, tuple(task for task in common if task not in averaged))


def _by_task(runs: Iterable[ScoredRun]) -> dict[str, dict[str, ScoredRun]]:
    by_task: dict[str, dict[str, ScoredRun]] = {}
    for run in runs:
        by_task.setdefault(run.manifest.task, {})[run.manifest.model] = run
    return dict(sorted(by_task.items()))


def _complete(found: Mapping[str, ScoredRun], models: Sequence[str]) -> bool:
    """Whether every model has run the task, on the same rows, of which there are some."""
    first = next(iter(found.values()))
    return len(found) == len(models) and bool(first.rows.ids) and all(same_rows(first, run) for run in found.values())


def _on_scale(metric: Metric) -> bool:
    return metric.higher_is_better and math.isfinite(metric.high)


def _resampled(runs: Sequence[ScoredRun]) -> FloatArray:
    """Scores of runs on the same rows: the measured ones in line 0, resampled ones below, shape [1 + B, runs]."""
    metric = runs[0].metrics[0]
    tables = [run.rows.stats[metric.name] for run in runs]
    n, k = tables[0].shape
    stats = np.hstack(tables)
    counts = weights(n)[:RESAMPLES]
    # Small pieces, because an integer product is slow and all counts as floats would be eight times the memory.
    drawn = [counts[i : i + CHUNK].astype(np.float64) @ stats / n for i in range(0, len(counts), CHUNK)]
    means = np.vstack([stats.mean(axis=0), *drawn])
    return np.column_stack([metric.summary(means[:, k * i : k * (i + 1)]) for i in range(len(runs))])


def _ranks(scores: FloatArray, metric: Metric) -> FloatArray:
    from scipy.stats import rankdata  # half a second to import, and not every command ranks

    ranks: FloatArray = rankdata(-scores if metric.higher_is_better else scores, axis=1)
    return ranks


def _mean(tables: Sequence[FloatArray]) -> FloatArray:
    """The mean over tasks of tables that may differ in their number of resamples; of no tables an empty one."""
    if not tables:
        return np.empty((0, 0))
    lines = min(len(table) for table in tables)
    total: FloatArray = sum((table[:lines] for table in tables), np.zeros((lines, tables[0].shape[1])))
    return total / len(tables)


def _percentile(values: FloatArray, n: int) -> Estimate:
    """The first value with the 2.5th and 97.5th percentile of the others, widened to it where they leave it out."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), min(float(low), float(values[0])), max(float(high), float(values[0])), n)


def _lift(runs: Sequence[ScoredRun], model: str, margin: float) -> Lift | None:
    """The model over the one it names as its base, None when it names none or that one was not asked the same rows."""
    bases = Counter(
        str(run.manifest.model_settings["base"])
        for run in runs
        if run.manifest.model == model and run.manifest.model_settings.get("base")
    )
    if not bases:
        return None
    compared = pair(runs, model, bases.most_common(1)[0][0], margin)
    if not compared.tasks:
        return None
    by_task = _by_task(runs)
    gains, n = [], 0
    for task in compared.tasks:
        both = [by_task[task][compared.a], by_task[task][compared.b]]
        metric = both[0].metrics[0]
        scores = _resampled(both) / scale(metric)
        gain = scores[:, :1] - scores[:, 1:]
        gains.append(gain if metric.higher_is_better else -gain)
        n += len(both[0].rows.ids)
    return Lift(_percentile(_mean(gains)[:, 0], n), compared)
