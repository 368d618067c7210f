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
from harness.compare.paired import MARGIN, Comparison, ModelPair, by_task, compare_model_pairs, scale, why_apart
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
class Lead:
    """The mean scores of two models, and the first's less the second's, over the tasks that both were asked.

    Scores are shares of the scale. `tasks` are those of the means; tasks whose metric has no highest value or counts
    errors are not among them.
    """

    scores: tuple[float, float]
    difference: Estimate
    tasks: tuple[str, ...]

    @property
    def turned(self) -> Lead:
        """The same as the second model against the first."""
        one = self.difference
        return Lead(self.scores[::-1], Estimate(0.0 - one.value, 0.0 - one.high, 0.0 - one.low, one.n), self.tasks)


@dataclass(frozen=True, slots=True)
class Standing:
    """One model. `against` and `lead` are it against the reference, over the tasks that both were asked.

    `mean_rank` (1 is best) is over the tasks that every model has, `macro`, the mean score, over those of them with a
    common scale; None when there are none. `usd` is the one price of a model: per row over the tasks of `macro`, or all
    its tasks where no task is common; None where one is not known.
    """

    model: str
    tasks: int
    mean_rank: Estimate | None
    macro: Estimate | None
    against: ModelPair | None
    lead: Lead | None
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


def standings(
    runs: Sequence[ScoredRun], reference: str | None = None, margin: float = MARGIN, drawn: Resampled | None = None
) -> Standings:
    """Rank all models of these runs, of which there are some, all of one kind of rows.

    The reference is the most expensive model unless one is named; where nothing has a price it is the best baseline,
    else the best model. Mean rank: ranks within a task (ties share their mean rank) averaged over the common tasks. Its
    interval, and those of mean score and lift, is the percentile bootstrap's over rows or clusters, within each task,
    with the same resamples for all models of a task and others for another task.

    An incomplete run has no rank, and is no task that its model was asked; a model without a complete one comes last.
    `drawn` are the runs' resampled scores, where these are known already.
    """
    of = by_task([run for run in runs if not run.incomplete])
    asked = {run.manifest.model for run in runs}
    models = sorted({model for found in of.values() for model in found})
    common = tuple(task for task, found in of.items() if _complete(found, models))
    drawn = resampled(runs) if drawn is None else drawn
    sampled = {task: np.column_stack([drawn[task][model] for model in models]) for task in common}
    metrics = {task: of[task][models[0]].metrics[0] for task in common}
    averaged = [task for task in common if _on_scale(metrics[task])]
    ranks = _mean([_ranks(sampled[task], metrics[task]) for task in common])
    macros = _mean([sampled[task] / scale(metrics[task]) for task in averaged])
    place = {model: i for i, model in enumerate(models)}
    order = sorted(models, key=lambda model: (ranks[0, place[model]] if common else 0.0, model))
    complete = [run for found in of.values() for run in found.values()]
    priced = [run for run in complete if run.manifest.task in (averaged or common)] if common else complete
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
            lead(of, drawn, against[model]) if model in against else None,
            _lift(of, drawn, lifts[model]) if model in lifts else None,
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
    """Each model against the reference, and each whose base was asked against that; all compared at once."""
    bases = {model: base for model in models if (base := _base(runs, model)) in models and base and base != model}
    rest = [(model, reference) for model in models if model != reference]
    found = compare_model_pairs(runs, [*rest, *bases.items()], margin)
    return {one.a: one for one in found[: len(rest)]}, {one.a: one for one in found[len(rest) :]}


def _complete(found: Mapping[str, ScoredRun], models: Sequence[str]) -> bool:
    """Whether every model has run the task and was asked the same, of which there is something."""
    first = next(iter(found.values()))
    return len(found) == len(models) and bool(first.rows.ids) and not any(why_apart(first, r) for r in found.values())


def _on_scale(metric: Metric) -> bool:
    return metric.higher_is_better and math.isfinite(metric.high)


Resampled = Mapping[str, Mapping[str, FloatArray]]
"""Scores by task and model: the measured one, then resampled ones, shape [1 + B]."""


def resampled(runs: Sequence[ScoredRun]) -> Resampled:
    """The scores of all complete runs on resamples of their rows, the same resamples for models asked the same rows.

    Each task has resamples of its own: with the same ones for all tasks of as many rows, their scores would rise and
    fall together, and the interval of a mean over tasks would be off by as much.
    """
    alike: dict[tuple[str, tuple[str, ...]], list[ScoredRun]] = {}
    for run in runs:
        if run.rows.ids and not run.incomplete:
            alike.setdefault((run.manifest.task, run.rows.ids), []).append(run)
    found: dict[str, dict[str, FloatArray]] = {}
    for (task, _), same in alike.items():
        found.setdefault(task, {}).update(zip([run.manifest.model for run in same], _drawn(task, same), strict=True))
    return found


def _drawn(task: str, runs: Sequence[ScoredRun]) -> list[FloatArray]:
    clusters = next((run.rows.clusters for run in runs if run.rows.clusters is not None), None)
    samples = [Sample(run.metrics[0], run.rows.stats[run.metrics[0].name], clusters) for run in runs]
    counts = weights(len(samples[0].units[0]), RESAMPLES, int(digest(task), 16))
    drawn = of_products(counts, [one.units for one in samples])
    return [
        np.concatenate([[one.metric.summary(one.stats.mean(axis=0))], again])
        for one, again in zip(samples, drawn, strict=True)
    ]


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


def lead(tasks: Mapping[str, Mapping[str, ScoredRun]], drawn: Resampled, pair: ModelPair) -> Lead | None:
    """The mean scores of two models over the tasks that both were asked, None where no task has a common scale."""
    scales = {task: scale(metric) for task in pair.tasks if _on_scale(metric := tasks[task][pair.a].metrics[0])}
    if not scales:
        return None
    both = _mean([np.column_stack([drawn[t][pair.a], drawn[t][pair.b]]) / size for t, size in scales.items()])
    n = sum(len(tasks[task][pair.a].rows.ids) for task in scales)
    difference = _percentile(both[:, 0] - both[:, 1], n)
    if len(scales) == 1:
        ((task, size),) = scales.items()
        difference = _of_task(pair.tasks[task], size)
    return Lead((float(both[0, 0]), float(both[0, 1])), difference, tuple(scales))


def _of_task(found: Comparison, size: float) -> Estimate:
    """The gain on one task as a share of the scale, with the interval of the verdict on it."""
    sign = 1 if found.higher_is_better else -1
    low, high = found.gain
    return Estimate(sign * found.difference / size, low / size, high / size, found.n, found.rests_on, found.reason)


def _base(runs: Iterable[ScoredRun], model: str) -> str | None:
    """The model that most runs of this one name as their base."""
    named = [run.manifest.model_settings.get("base") for run in runs if run.manifest.model == model]
    found = Counter(base for base in named if base)
    return str(found.most_common(1)[0][0]) if found else None


def _lift(tasks: Mapping[str, Mapping[str, ScoredRun]], drawn: Resampled, found: ModelPair) -> Lift | None:
    """The mean gain of the first of two models over the tasks whose metric has a highest value; None without any."""
    gains, n, left_out, averaged = [], 0, [], []
    for task in found.tasks:
        metric = tasks[task][found.a].metrics[0]
        if not math.isfinite(metric.high):
            left_out.append(task)
            continue
        averaged.append(_of_task(found.tasks[task], scale(metric)))
        gain = (drawn[task][found.a] - drawn[task][found.b])[:, None] / scale(metric)
        gains.append(gain if metric.higher_is_better else -gain)
        n += len(tasks[task][found.a].rows.ids)
    if not gains:
        return None
    mean = averaged[0] if len(gains) == 1 else _percentile(_mean(gains)[:, 0], n)
    return Lift(mean, found, tuple(left_out))
