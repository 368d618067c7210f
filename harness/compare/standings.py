"""Leaderboards over several tasks: wins against a reference, lift over base, mean rank, mean score.

All of it is over the rows recorded for these tasks: intervals say what other rows of the same tasks could have given,
not what other tasks would. Scores are put on one scale by dividing by the metric's highest value, so that a point is a
hundredth of the scale for every metric.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.compare.intervals import DIGITS, Estimate, Sample, first_scores, of_products, two_sided, weights
from harness.compare.paired import (
    MARGIN,
    Comparison,
    ModelPair,
    by_task,
    compare_model_pairs,
    samples,
    scale,
    why_apart,
)
from harness.compare.power import ALPHA
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
    runs: Sequence[ScoredRun], reference: str | None = None, margin: float = MARGIN, scores: Scores | None = None
) -> Standings:
    """Rank all models of these runs, of which there are some, all of one kind of rows.

    The reference is the most expensive model unless one is named; where nothing has a price it is the best baseline,
    else the best model. Mean rank: ranks within a task (ties share their mean rank) averaged over the common tasks. Its
    interval is the percentile bootstrap's over rows or clusters, within each task, with the same resamples for all
    models of a task and others for another task. Those of mean score and lift are made of the tasks' own (`_mean_of`).

    An incomplete run has no rank, and is no task that its model was asked; a model without a complete one comes last.
    `scores` are those of the runs, where these are known already.
    """
    of = by_task([run for run in runs if not run.incomplete])
    asked = {run.manifest.model for run in runs}
    models = sorted({model for found in of.values() for model in found})
    common = tuple(task for task, found in of.items() if _complete(found, models))
    scores = scores_of(runs) if scores is None else scores
    metrics = {task: of[task][models[0]].metrics[0] for task in common}
    averaged = [task for task in common if _on_scale(metrics[task])]
    asked_rows = sum(len(of[task][models[0]].rows.ids) for task in common)
    ranks = {model: _mean_rank(scores, metrics, model, models, asked_rows) for model in models if common}
    order = sorted(models, key=lambda model: ranks[model].value) if common else models
    complete = [run for found in of.values() for run in found.values()]
    priced = [run for run in complete if run.manifest.task in (averaged or common)] if common else complete
    reference, why = (
        (reference, "as asked") if reference else _reference(complete or runs, priced, order or sorted(asked))
    )
    against, lifts = _pairs(runs, sorted(asked), reference, margin)
    ranked = [
        Standing(
            model,
            sum(model in found for found in of.values()),
            ranks.get(model),
            _mean_of([_share(scores.estimates[task][model], metrics[task]) for task in averaged]) if averaged else None,
            against.get(model),
            lead(of, against[model]) if model in against else None,
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
        tables = [_ranks_of([found[model] for model in models]) for found in shared]
        ranks = np.sum(tables, axis=0)
        return min(models, key=lambda model: (ranks[models.index(model)], model))
    counts = {model: sum(model in found for found in of.values()) for model in models}
    most = [model for model in models if counts[model] == max(counts.values())]
    return _best(runs, most) if len(most) < len(models) else min(most)


def _ranks_of(runs: Sequence[ScoredRun]) -> FloatArray:
    values = np.array([round(run.score, DIGITS) for run in runs])
    # Each stands among the others once too often, as its own equal.
    return _ranks(values, np.tile(values, (len(values), 1)), runs[0].metrics[0]) - 0.5


def _share(found: Estimate, metric: Metric) -> Estimate:
    """A score as a share of the scale."""
    size = scale(metric)
    return Estimate(found.value / size, found.low / size, found.high / size, found.n)


def _pairs(
    runs: Sequence[ScoredRun], models: Sequence[str], reference: str, margin: float
) -> tuple[dict[str, ModelPair], dict[str, ModelPair]]:
    """Each model against the reference, and each whose base was asked against that; all compared at once."""
    bases = {model: base for model in models if (base := _base(runs, model)) in models and base != model}
    rest = [(model, reference) for model in models if model != reference]
    found = compare_model_pairs(runs, [*rest, *bases.items()], margin)
    return {one.a: one for one in found[: len(rest)]}, {one.a: one for one in found[len(rest) :]}


def _complete(found: Mapping[str, ScoredRun], models: Sequence[str]) -> bool:
    """Whether every model has run the task and was asked the same, of which there is something."""
    first = next(iter(found.values()))
    return len(found) == len(models) and bool(first.rows.ids) and not any(why_apart(first, r) for r in found.values())


def _on_scale(metric: Metric) -> bool:
    return metric.higher_is_better and math.isfinite(metric.high)


ByTask = Mapping[str, Mapping[str, FloatArray]]
"""Scores by task and model: the measured one, then resampled ones, shape [1 + B]."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What standings are made of, by task and model, of complete runs.

    `lost_wrong` are scores with the rows that a server lost taken as wrong, `lost_right` with these taken as right, the
    same mapping where none was lost, and `estimates` the former with their intervals.
    """

    lost_wrong: ByTask
    lost_right: ByTask
    estimates: Mapping[str, Mapping[str, Estimate]]


def scores_of(runs: Sequence[ScoredRun]) -> Scores:
    """The scores of all complete runs, also on resamples of their rows: the same for models asked the same rows.

    Each task has resamples of its own: with the same ones for all tasks of as many rows, their scores would rise and
    fall together.
    """
    alike: dict[tuple[str, tuple[str, ...]], list[ScoredRun]] = {}
    for run in runs:
        if run.rows.ids and not run.incomplete:
            alike.setdefault((run.manifest.task, run.rows.ids), []).append(run)
    wrong: dict[str, dict[str, FloatArray]] = {}
    right: dict[str, dict[str, FloatArray]] = {}
    for (task, _), same in alike.items():
        clusters = next((run.rows.clusters for run in same if run.rows.clusters is not None), None)
        both = [samples(run.rows, run.metrics[0], clusters) for run in same]
        models = [run.manifest.model for run in same]
        drawn = dict(zip(models, _drawn(task, [one for one, _ in both]), strict=True))
        lost = [place for place, run in enumerate(same) if run.rows.right]
        at_best = zip([models[place] for place in lost], _drawn(task, [both[place][1] for place in lost]), strict=True)
        wrong.setdefault(task, {}).update(drawn)
        right.setdefault(task, {}).update({**drawn, **dict(at_best)})
    complete = [run for same in alike.values() for run in same]
    found: dict[str, dict[str, Estimate]] = {}
    for run, one in zip(complete, first_scores(complete), strict=True):
        found.setdefault(run.manifest.task, {})[run.manifest.model] = one
    return Scores(wrong, right if any(run.rows.right for run in complete) else wrong, found)


def _drawn(task: str, asked: Sequence[Sample]) -> list[FloatArray]:
    if not asked:
        return []
    counts = weights(len(asked[0].units[0]), RESAMPLES, int(digest(task), 16))
    drawn = of_products(counts, [one.units for one in asked])
    return [np.concatenate([[one.metric.of(one.stats)], again]) for one, again in zip(asked, drawn, strict=True)]


def _ranks(scores: FloatArray, others: FloatArray, metric: Metric) -> FloatArray:
    """Ranks of scores among others, of the same shapes but for one more axis of those; ties share their mean rank."""
    sign = 1 if metric.higher_is_better else -1
    better, equal = sign * others > sign * scores[..., None], others == scores[..., None]
    ranks: FloatArray = 1 + better.sum(axis=-1) + 0.5 * equal.sum(axis=-1)
    return ranks


def _mean_rank(scores: Scores, metrics: Mapping[str, Metric], model: str, models: Sequence[str], n: int) -> Estimate:
    """A model's mean rank over tasks; its interval holds whatever the rows without an answer would have been."""
    others = [other for other in models if other != model]

    def drawn(ours: ByTask, theirs: ByTask) -> FloatArray:
        tables = [
            _ranks(ours[task][model], np.stack([theirs[task][other] for other in others], axis=-1), metric)
            if others else np.ones_like(ours[task][model])
            for task, metric in metrics.items()
        ]  # fmt: skip
        return _mean(tables)

    wrong, right = scores.lost_wrong, scores.lost_right
    measured = drawn(wrong, wrong)
    best, worst = (measured, measured) if right is wrong else (drawn(right, wrong), drawn(wrong, right))
    low, high = float(np.quantile(best[1:], 0.025)), float(np.quantile(worst[1:], 0.975))
    value = float(measured[0])
    return Estimate(value, min(low, value), max(high, value), n)


def _mean(tables: Sequence[FloatArray]) -> FloatArray:
    """The mean over tasks of resampled values, of which some may have fewer than others."""
    lines = min(map(len, tables))
    return np.asarray(np.mean([table[:lines] for table in tables], axis=0))


def _mean_of(parts: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, whose distances to their ends are added in squares.

    Source: MOVER, the method of variance estimates recovery (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008).
    An interval of a task that knows how little few rows show keeps that in the mean, which a bootstrap would lose.
    """
    value = sum(one.value for one in parts) / len(parts)
    below = math.sqrt(sum((one.value - one.low) ** 2 for one in parts)) / len(parts)
    above = math.sqrt(sum((one.high - one.value) ** 2 for one in parts)) / len(parts)
    return Estimate(value, value - below, value + above, sum(one.n for one in parts))


def lead(tasks: Mapping[str, Mapping[str, ScoredRun]], pair: ModelPair) -> Lead | None:
    """The mean scores of two models over the tasks that both were asked, None where no task has a common scale."""
    scales = {task: scale(metric) for task in pair.tasks if _on_scale(metric := tasks[task][pair.a].metrics[0])}
    if not scales:
        return None
    ours, theirs = (
        sum(round(tasks[task][model].score, DIGITS) / size for task, size in scales.items()) / len(scales)
        for model in (pair.a, pair.b)
    )
    difference = _mean_gain([(pair.tasks[task], size) for task, size in scales.items()])
    return Lead((ours, theirs), difference, tuple(scales))


def _mean_gain(found: Sequence[tuple[Comparison, float]]) -> Estimate:
    """The mean gain in shares of the scale over comparisons, each with the length of its scale.

    Over one task it has the interval of the verdict on it. Over several its interval holds whatever the rows without an
    answer would have been, and is that of one comparison: the intervals of a family are drawn in for it.
    """
    if len(found) == 1:
        return gain(*found[0])
    measured = _mean_of([gain(one, size) for one, size in found])
    worst, best = (
        _mean_of([gain(_alone(one.bounds[case] if one.bounds else one), size) for one, size in found])
        for case in (0, 1)
    )
    value = measured.value
    return Estimate(value, min(worst.low, value), max(best.high, value), measured.n)


def gain(found: Comparison, size: float) -> Estimate:
    """The gain of a comparison as a share of the scale."""
    value = found.difference if found.higher_is_better else 0.0 - found.difference
    low, high = found.gain
    return Estimate(value / size, low / size, high / size, found.n, found.rests_on, found.reason)


def _alone(found: Comparison) -> Comparison:
    """A comparison with the interval of one: that of a family, drawn in by the ratio of the normal quantiles."""
    if found.reason:  # the whole range, whatever the family
        return found
    ratio = two_sided(1 - ALPHA) / two_sided(1 - ALPHA / found.comparisons)
    low, high = (found.difference + ratio * (end - found.difference) for end in (found.low, found.high))
    return replace(found, low=low, high=high)


def _base(runs: Iterable[ScoredRun], model: str) -> str:
    """The model that most runs of this one name as their base, "" where none names one."""
    named = [run.manifest.model_settings.get("base") for run in runs if run.manifest.model == model]
    found = Counter(base for base in named if base)
    return str(found.most_common(1)[0][0]) if found else ""


def _lift(tasks: Mapping[str, Mapping[str, ScoredRun]], found: ModelPair) -> Lift | None:
    """The mean gain of the first of two models over the tasks whose metric has a highest value; None without any."""
    metrics = {task: tasks[task][found.a].metrics[0] for task in found.tasks}
    gains = [(one, scale(metrics[task])) for task, one in found.tasks.items() if math.isfinite(metrics[task].high)]
    left_out = tuple(task for task, metric in metrics.items() if not math.isfinite(metric.high))
    return Lift(_mean_gain(gains), found, left_out) if gains else None
