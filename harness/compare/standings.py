"""Leaderboards over several tasks: wins against a reference, lift over base, mean rank, mean score.

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

from harness.compare.intervals import Estimate, Sample, of_products, weights
from harness.compare.paired import MARGIN, ModelPair, by_task, compare_model_pairs, scale, why_apart
from harness.hashing import digest
from harness.score.metrics.base import FloatArray, Metric
from harness.score.scoring import ScoredRun

RESAMPLES = 1_000
"""Resamples of mean ranks and mean lifts, which are shown with two digits."""


@dataclass(frozen=True, slots=True)
class Lift:
    """What an adapter gains over the model it was tuned from: mean difference in shares of the scale, and the pair.

    `left_out` are the pair's tasks that are not in the mean, because their metric has no highest value.
    """

    mean: Estimate
    pair: ModelPair
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """One model. `against` is it against the reference, `lead` its mean score less the reference's.

    `mean_rank` (1 is best) is over the tasks that every model has, `macro`, the mean score, over those of them with a
    common scale; None when there are none. `usd` is per row over the tasks of `macro`, None where one is not known.
    """

    model: str
    tasks: int
    mean_rank: Estimate | None
    macro: Estimate | None
    against: ModelPair | None
    lead: Estimate | None
    lift: Lift | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class Standings:
    """All models, best mean rank first. `common` are the tasks that every model was asked, on the same rows.

    `why` says what made the reference it: "the most expensive model". `left_out` are the common tasks without a place
    in the mean score: their metric has no highest value or counts errors.
    """

    reference: str
    why: str
    models: tuple[Standing, ...]
    common: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def averaged(self) -> tuple[str, ...]:
        """The tasks of the mean score."""
        return tuple(task for task in self.common if task not in self.left_out)

    @property
    def priced(self) -> tuple[str, ...]:
        """The tasks of the price: those of the mean score; without any, all that every model was asked."""
        return self.averaged or self.common


def most_expensive(runs: Iterable[ScoredRun]) -> str | None:
    """The model that costs most per row, None when no model is known to cost anything."""
    by_model: dict[str, list[ScoredRun]] = {}
    for run in runs:
        by_model.setdefault(run.manifest.model, []).append(run)
    costs = {model: usd_per_row(found) or 0.0 for model, found in by_model.items()}
    highest = max(sorted(costs), key=lambda model: costs[model], default=None)
    return highest if highest is not None and costs[highest] > 0 else None


def usd_per_row(runs: Iterable[ScoredRun]) -> float | None:
    """Mean USD of a row, each task counting the same; None when the cost of a run is not known."""
    asked = [run for run in runs if run.rows.ids]
    known = [run.usd / len(run.rows.ids) for run in asked if run.usd is not None]
    return sum(known) / len(known) if known and len(known) == len(asked) else None


def standings(runs: Sequence[ScoredRun], reference: str | None = None, margin: float = MARGIN) -> Standings:
    """Rank all models of these runs, of which there are some, all of one kind of rows.

    The reference is the most expensive model unless one is named; where nothing has a price it is the best baseline,
    else the best model. Mean rank: ranks within a task (ties share their mean rank) averaged over the common tasks. Its
    interval, and those of mean score and lift, is the percentile bootstrap's over rows or clusters, within each task,
    with the same resamples for all models of a task and others for another task.

    An incomplete run has no rank, and is no task that its model was asked; a model without a complete one comes last.
    """
    of = by_task([run for run in runs if not run.incomplete])
    asked = {run.manifest.model for run in runs}
    models = sorted({model for found in of.values() for model in found})
    common = tuple(task for task, found in of.items() if _complete(found, models))
    sampled = {task: _resampled([of[task][model] for model in models]) for task in common}
    metrics = {task: of[task][models[0]].metrics[0] for task in common}
    averaged = [task for task in common if _on_scale(metrics[task])]
    ranks = _mean([_ranks(sampled[task], metrics[task]) for task in common])
    macros = _mean([sampled[task] / scale(metrics[task]) for task in averaged])
    place = {model: i for i, model in enumerate(models)}
    order = sorted(models, key=lambda model: (ranks[0, place[model]] if common else 0.0, model))
    complete = [run for found in of.values() for run in found.values()]
    priced = [run for run in complete if run.manifest.task in (averaged or common)]
    reference, why = (
        (reference, "as asked") if reference else _reference(complete or runs, priced, order or sorted(asked))
    )
    against, lifts = _pairs(runs, sorted(asked), reference, margin)
    rows_of = {task: len(of[task][models[0]].rows.ids) for task in common}
    scaled = sum(rows_of[task] for task in averaged)
    ranked = [
        Standing(
            model,
            sum(model in found for found in of.values()),
            _percentile(ranks[:, place[model]], sum(rows_of.values())) if common else None,
            _percentile(macros[:, place[model]], scaled) if averaged else None,
            against.get(model),
            _lead(macros, place[model], place[reference], scaled) if averaged and reference in place else None,
            _lift(of, lifts[model]) if model in lifts else None,
            usd_per_row(run for run in priced if run.manifest.model == model),
        )
        for model in order
    ]
    rest = [
        Standing(model, 0, None, None, against.get(model), None, None, None) for model in sorted(asked - set(models))
    ]
    return Standings(reference, why, (*ranked, *rest), common, tuple(task for task in common if task not in averaged))


def is_baseline(runs: Iterable[ScoredRun]) -> bool:
    """Whether the model of these runs is one of the harness's own baselines."""
    return all(run.manifest.model_settings.get("backend") == "baseline" for run in runs)


def _reference(runs: Sequence[ScoredRun], priced: Sequence[ScoredRun], order: Sequence[str]) -> tuple[str, str]:
    """The model that the others are compared with, and why; `order` holds all models, the best first.

    The price is the one that is shown, over the runs in `priced`; where that is not known of any, over all runs.
    """
    expensive = most_expensive(priced) or most_expensive(runs)
    if expensive is not None:
        return expensive, "the most expensive model"
    baselines = [model for model in order if is_baseline(run for run in runs if run.manifest.model == model)]
    return _best(runs, baselines or order), "the best baseline" if baselines else "the best model by mean rank"


def _best(runs: Sequence[ScoredRun], models: Sequence[str]) -> str:
    """The model with the best mean rank over the tasks that they share.

    Where they share none it is the best of those with the most tasks, since only these can.
    """
    of = by_task(run for run in runs if run.manifest.model in models)
    shared = [found for found in of.values() if _complete(found, models)]
    if shared:
        tables = [np.array([[_score(found[model]) for model in models]]) for found in shared]
        ranks = _mean([_ranks(t, next(iter(f.values())).metrics[0]) for t, f in zip(tables, shared, strict=True)])[0]
        return min(models, key=lambda model: (ranks[models.index(model)], model))
    counts = {model: sum(model in found for found in of.values()) for model in models}
    most = [model for model in models if counts[model] == max(counts.values())]
    return _best(runs, most) if len(most) < len(models) else min(most)


def _score(run: ScoredRun) -> float:
    metric = run.metrics[0]
    return round(float(metric.summary(run.rows.stats[metric.name].mean(axis=0))), 12)


def _pairs(
    runs: Sequence[ScoredRun], models: Sequence[str], reference: str, margin: float
) -> tuple[dict[str, ModelPair], dict[str, ModelPair]]:
    """Each model against the reference, and each that names a base against that; all compared at once."""
    bases = {model: base for model in models if (base := _base(runs, model))}
    rest = [(model, reference) for model in models if model != reference]
    found = compare_model_pairs(runs, [*rest, *bases.items()], margin)
    return {one.a: one for one in found[: len(rest)]}, {one.a: one for one in found[len(rest) :]}


def _complete(found: Mapping[str, ScoredRun], models: Sequence[str]) -> bool:
    """Whether every model has run the task and was asked the same, of which there is something."""
    first = next(iter(found.values()))
    return len(found) == len(models) and bool(first.rows.ids) and not any(why_apart(first, r) for r in found.values())


def _on_scale(metric: Metric) -> bool:
    return metric.higher_is_better and math.isfinite(metric.high)


def _resampled(runs: Sequence[ScoredRun]) -> FloatArray:
    """Scores of runs on the same rows: the measured ones in line 0, resampled ones below, shape [1 + B, runs].

    Each task has resamples of its own: with the same ones for all tasks of as many rows, their scores would rise and
    fall together, and the interval of a mean over tasks would be off by as much.
    """
    metric, task = runs[0].metrics[0], runs[0].manifest.task
    clusters = next((run.rows.clusters for run in runs if run.rows.clusters is not None), None)
    samples = [Sample(metric, run.rows.stats[metric.name], clusters) for run in runs]
    counts = weights(len(samples[0].units[0]), RESAMPLES, int(digest(task), 16))
    drawn = of_products(counts, [one.units for one in samples])
    measured = [metric.summary(one.stats.mean(axis=0)) for one in samples]
    return np.vstack([measured, np.column_stack(drawn)])


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


def _lead(macros: FloatArray, model: int, reference: int, n: int) -> Estimate | None:
    """The difference of two mean scores over n rows, None for the reference itself."""
    return None if model == reference else _percentile(macros[:, model] - macros[:, reference], n)


def _base(runs: Iterable[ScoredRun], model: str) -> str | None:
    """The model that most runs of this one name as their base."""
    named = [run.manifest.model_settings.get("base") for run in runs if run.manifest.model == model]
    found = Counter(base for base in named if base)
    return str(found.most_common(1)[0][0]) if found else None


def _lift(tasks: Mapping[str, Mapping[str, ScoredRun]], found: ModelPair) -> Lift | None:
    gain = _gain(tasks, found)
    left_out = tuple(task for task in found.tasks if not math.isfinite(tasks[task][found.a].metrics[0].high))
    return None if gain is None else Lift(gain, found, left_out)


def _gain(tasks: Mapping[str, Mapping[str, ScoredRun]], found: ModelPair) -> Estimate | None:
    """By how much the first of two models scores better in the mean of tasks whose metric has a highest value.

    None without such a task that both have.
    """
    gains, n = [], 0
    for task in found.tasks:
        if not math.isfinite(tasks[task][found.a].metrics[0].high):
            continue
        both = [tasks[task][found.a], tasks[task][found.b]]
        metric = both[0].metrics[0]
        scores = _resampled(both) / scale(metric)
        gain = scores[:, :1] - scores[:, 1:]
        gains.append(gain if metric.higher_is_better else -gain)
        n += len(both[0].rows.ids)
    return _percentile(_mean(gains)[:, 0], n) if gains else None
