"""Whether two models differ on the same rows: paired tests, intervals of the difference, verdicts.

`paired_test` compares two tables of row statistics, `compare_runs` two runs of a task, `compare_models` two models over
all their tasks. The intervals of a single score, and the resamples, are in `harness.compare.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.compare.intervals import (
    MOST_COUNTS,
    RESAMPLES,
    ROUNDING,
    Resampled,
    Summary,
    of_products,
    resample_all,
    two_sided,
    wilson,
)
from harness.compare.power import rows_needed
from harness.errors import UserError
from harness.score.metrics.base import FloatArray, Metric
from harness.score.scoring import ScoredRun, score_run
from harness.store.results import Manifest, chosen_runs

MARGIN = 0.02
"""Default non-inferiority margin as a share of the metric's scale: two points."""
Verdict = Literal["better", "worse", "within the margin", "not separable"]
FEWEST_DISCORDANT = 6
"""With fewer rows on which two models differ, the exact McNemar test cannot come below 5 %: 2 * 0.5 ** 5 is 0.0625."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model A against model B on the same n rows; `difference` is score A minus score B, in the metric's unit.

    `p_value` is two-sided. `rows_needed` is how many rows would separate a difference of the size seen with 80 % power
    (None when none was seen). The verdict reads "A is ... than B".
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    verdict: Verdict
    rows_needed: int | None
    margin: float = MARGIN
    higher_is_better: bool = True

    @property
    def p(self) -> str:
        """`p = 0.012`, or that it is smaller than what three digits show."""
        return "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"

    @property
    def not_inferior(self) -> bool:
        """Whether A is, with 95 % confidence, at most `margin` worse than B."""
        return self.low > -self.margin if self.higher_is_better else self.high < self.margin


def paired_test(
    metric: Metric, stats_a: FloatArray, stats_b: FloatArray, margin: float = MARGIN, alpha: float = 0.05
) -> Comparison:
    """Compare two models on the same rows: `stats_a` and `stats_b`, both [n, k], row i of both is the same row.

    Binary metrics: exact McNemar test (Q. McNemar, Psychometrika 12, 1947) and Tango's score interval of the
    difference (T. Tango, Statistics in Medicine 17, 1998). Others: the paired BCa bootstrap, and as p the smallest
    level at which its interval excludes 0 or, if larger, that of approximate randomisation (E. W. Noreen, 1989; up to
    5,000 rows), because below some hundred rows the bootstrap alone sees differences that are not there too often.
    With few rows the test is more cautious than the interval; the verdict follows the test.

    Raises:
        ValueError: when the two do not have the same shape.
    """
    return paired_tests([(metric, stats_a, stats_b, margin)], alpha)[0]


def paired_tests(
    asked: Sequence[tuple[Metric, FloatArray, FloatArray, float]], alpha: float = 0.05
) -> list[Comparison]:
    """What `paired_test` gives for each metric, two models and margin; many of the same n share their resamples.

    Raises:
        ValueError: when two do not have the same shape.
    """
    for _, a, b, _ in asked:
        if a.shape != b.shape:
            raise ValueError(f"paired statistics must have one shape, not {a.shape} and {b.shape}")
    nan = math.nan
    found = [Comparison(nan, nan, nan, nan, 0, "not separable", None)] * len(asked)
    resampled = []
    for i, (metric, a, b, _) in enumerate(asked):
        if len(a) and metric.kind == "binary":
            found[i] = _compare_binary(a[:, 0], b[:, 0], 1 - alpha)
        elif len(a):
            resampled.append(i)
    for i, compared in zip(resampled, _compare_resampled([asked[i][:3] for i in resampled], 1 - alpha), strict=True):
        found[i] = compared
    known = [
        replace(compared, margin=margin, higher_is_better=metric.higher_is_better)
        for compared, (metric, _, _, margin) in zip(found, asked, strict=True)
    ]
    return [replace(c, verdict=_verdict(c, c.p_value, alpha)) if c.n else c for c in known]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (S. Holm, Scand. J. Statist. 6, 1979), in the given order; NaN stays NaN."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[i] = running
    return adjusted


def corrected(comparisons: Sequence[Comparison], alpha: float = 0.05) -> list[Comparison]:
    """The comparisons of one family (such as a pair of models over all tasks) with Holm's p-values and verdicts."""
    adjusted = holm([c.p_value for c in comparisons])
    return [replace(c, p_value=p, verdict=_verdict(c, p, alpha)) for c, p in zip(comparisons, adjusted, strict=True)]


def _verdict(found: Comparison, p_value: float, alpha: float) -> Verdict:
    """A difference beyond chance comes first; without one, an interval wholly inside the margin is a tie."""
    if p_value < alpha and found.difference != 0:
        return "better" if (found.difference > 0) == found.higher_is_better else "worse"
    return "within the margin" if -found.margin < found.low and found.high < found.margin else "not separable"


def _least(n: int, p_value: float) -> int:
    """One more than n rows where these did not show the difference."""
    return n + 1 if p_value >= 0.05 else 1


def _compare_binary(a: FloatArray, b: FloatArray, confidence: float) -> Comparison:
    from scipy.special import bdtr  # half a second to import, and not every command compares

    n = len(a)
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    discordant = only_a + only_b
    difference = (only_a - only_b) / n
    p_value = min(1.0, 2 * float(bdtr(min(only_a, only_b), discordant, 0.5))) if discordant else 1.0
    low, high = _tango(only_a, only_b, n, two_sided(confidence))
    share = discordant / n
    least = max(_least(n, p_value), math.ceil(FEWEST_DISCORDANT / share) if discordant else 1)
    needed = rows_needed(difference, math.sqrt(share), math.sqrt(max(share - difference**2, 0)), least)
    return Comparison(difference, low, high, p_value, n, "not separable", needed)


def _tango(only_a: int, only_b: int, n: int, z: float) -> tuple[float, float]:
    """The differences that Tango's score test does not reject, found by bisection: its statistic falls with them."""

    def statistic(d: float) -> float:
        linear = -only_a - only_b + (2 * n - only_a + only_b) * d
        constant = -only_b * d * (1 - d)
        share = (math.sqrt(max(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)
        variance = n * (2 * share + d * (1 - d))
        gap = only_a - only_b - n * d
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap)

    def crossing(target: float, low: float, high: float) -> float:
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if statistic(middle) > target else (low, middle)
        return (low + high) / 2

    difference = (only_a - only_b) / n
    return crossing(z, -1.0, difference), crossing(-z, difference, 1.0)


_Two = tuple[Metric, FloatArray, FloatArray]


def _compare_resampled(asked: Sequence[_Two], confidence: float) -> list[Comparison]:
    # A model that is compared with several others is resampled once.
    single = {(id(stats), metric.name): (stats, metric.summary) for metric, *two in asked for stats in two}
    seen = dict(zip(single, resample_all(list(single.values())), strict=True))
    differences = [seen[id(a), metric.name].minus(seen[id(b), metric.name]) for metric, a, b in asked]
    swapped = _swap_p_values(asked, [found.value for found in differences])
    return [
        _of_resampled(metric, found, p_value, confidence)
        for (metric, _, _), found, p_value in zip(asked, differences, swapped, strict=True)
    ]


def _of_resampled(metric: Metric, seen: Resampled, swapped: float, confidence: float) -> Comparison:
    n = seen.n
    low, high = seen.interval(confidence)
    if low == high and math.isfinite(metric.high - metric.low):
        # No resample differs, so the interval comes from how many rows may differ when none of n does.
        reach = (metric.high - metric.low) * wilson(0, n, confidence).high
        low, high = seen.value - reach, seen.value + reach
    p_value = max(seen.p_value(), swapped)
    needed = rows_needed(seen.value, seen.error * math.sqrt(n), seen.error * math.sqrt(n), _least(n, p_value))
    low, high = min(low, seen.value), max(high, seen.value)
    return Comparison(seen.value, low, high, p_value, n, "not separable", needed)


def _swap_p_values(asked: Sequence[_Two], differences: Sequence[float]) -> list[float]:
    """Share of random swaps of two models, row by row, with at least their difference; exact in size.

    0 where there are too many rows for it, so that the bootstrap's p-value is used.
    """
    found = [0.0] * len(asked)
    by_n: dict[int, list[int]] = {}
    for i, (_, a, _) in enumerate(asked):
        if len(a) * RESAMPLES <= MOST_COUNTS:
            by_n.setdefault(len(a), []).append(i)
    for n, members in by_n.items():
        signs = _signs(n)
        gaps = of_products(signs, [((asked[i][1] - asked[i][2]) / 2, _swapped(*asked[i])) for i in members])
        for i, gap in zip(members, gaps, strict=True):
            extreme = int((np.abs(gap) >= abs(differences[i]) - ROUNDING).sum())
            found[i] = (extreme + 1) / (len(signs) + 1)
    return found


def _swapped(metric: Metric, a: FloatArray, b: FloatArray) -> Summary:
    """The difference of the two scores when the means lie that far on both sides of their middle."""
    middle = (a + b).sum(axis=0) / (2 * len(a))

    def gap(moved: FloatArray) -> FloatArray:
        return metric.summary(middle + moved) - metric.summary(middle - moved)

    return gap


@lru_cache(maxsize=4)
def _signs(n: int) -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(0, 2, (RESAMPLES, n), np.int8) * np.int8(2) - np.int8(1)


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Model `a` against model `b`: for each task on which both were asked the same rows, the comparison after Holm.

    `apart` are the tasks on which both ran, but on different rows.
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
        """Tasks on which neither is better beyond chance, within the margin or not."""
        return len(self.tasks) - self.won - self.lost

    @property
    def equal(self) -> int:
        """Tasks on which the two are equal within the margin."""
        return self._count("within the margin")

    def _count(self, verdict: str) -> int:
        return sum(found.verdict == verdict for found in self.tasks.values())


def of_kind(manifests: Sequence[Manifest], kind: str | None) -> list[Manifest]:
    """The runs on one kind of rows: those on benchmark rows where there are any, unless a kind is named."""
    kinds = {run.kind for run in manifests}
    wanted = kind or ("benchmark" if "benchmark" in kinds else "sample")
    return [run for run in manifests if run.kind == wanted]


def scale(metric: Metric) -> float:
    """Length of a metric's scale from 0 to its highest value; 1 for a metric without one."""
    return metric.high if math.isfinite(metric.high) else 1.0


def compare_runs(asked: Sequence[tuple[ScoredRun, ScoredRun]], margin: float = MARGIN) -> list[Comparison]:
    """Compare runs on the same rows on the first metric of their task, each by itself; each run is resampled once.

    `margin` is a share of the metric's scale.

    Raises:
        ValueError: two were asked different rows.
    """
    wanted = []
    for a, b in asked:
        metric = a.metrics[0]
        wanted.append((metric, a.rows.stats[metric.name], b.rows.stats[metric.name], margin * scale(metric)))
    return paired_tests(wanted)


def same_rows(a: ScoredRun, b: ScoredRun) -> bool:
    """Whether two runs can be compared: the same rows in the same order, and the same leaderboard metric."""
    return a.rows.ids == b.rows.ids and a.metrics[0].name == b.metrics[0].name


def compare_models(runs: Iterable[ScoredRun], a: str, b: str, margin: float = MARGIN) -> ModelPair:
    """Compare two models on all tasks that both have, with Holm's correction over these tasks.

    `runs` are of one kind of rows. A model without runs gives a pair without tasks.
    """
    return compare_model_pairs(runs, [(a, b)], margin)[0]


def compare_model_pairs(
    runs: Iterable[ScoredRun], asked: Sequence[tuple[str, str]], margin: float = MARGIN
) -> list[ModelPair]:
    """What `compare_models` gives for each two models; each run is resampled once."""
    tasks_of = by_task(runs)
    both = [{task: (of[a], of[b]) for task, of in tasks_of.items() if a in of and b in of} for a, b in asked]
    comparable = [{task: two for task, two in tasks.items() if same_rows(*two)} for tasks in both]
    found = iter(compare_runs([two for tasks in comparable for two in tasks.values()], margin))
    return [
        ModelPair(
            a,
            b,
            dict(zip(same, corrected([next(found) for _ in same]), strict=True)),
            tuple(task for task in tasks if task not in same),
        )
        for (a, b), tasks, same in zip(asked, both, comparable, strict=True)
    ]


def by_task(runs: Iterable[ScoredRun]) -> dict[str, dict[str, ScoredRun]]:
    """Runs by task, in order, and model."""
    found: dict[str, dict[str, ScoredRun]] = {}
    for run in runs:
        found.setdefault(run.manifest.task, {})[run.manifest.model] = run
    return dict(sorted(found.items()))


def compare_recorded(
    results: Path, a: str, b: str, tasks: Sequence[str] = (), kind: str | None = None
) -> tuple[ModelPair, dict[tuple[str, str], ScoredRun]]:
    """Compare two models on what is recorded of them; return the comparison, and the runs by task and model.

    Raises:
        UserError: a name is wrong, or the two were not asked the same rows of any task.
    """
    if a == b:
        raise UserError(f"'{a}' is named twice: a comparison needs two models")
    runs = [score_run(results, run) for run in of_kind(chosen_runs(results, tasks, (a, b)), kind)]
    compared = compare_models(runs, a, b)
    if not compared.tasks:
        apart = f" on the same rows of {', '.join(compared.apart)}; run bench again for both" if compared.apart else ""
        raise UserError(f"{a} and {b} were not asked{apart or ' one task together'}")
    return compared, {(run.manifest.task, run.manifest.model): run for run in runs}
