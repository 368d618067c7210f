"""Whether two models differ on the same rows: paired tests, intervals of the difference, verdicts.

`paired_test` compares two tables of row statistics, `compare_runs` two runs of a task, `compare_models` two models over
all their tasks. The intervals of a single score, and the resamples, are in `harness.compare.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.compare.intervals import (
    MOST_COUNTS,
    RESAMPLES,
    ROUNDING,
    Resampled,
    Sample,
    of_products,
    resample_all,
    rests_on,
    tail_bound,
    too_few,
    two_sided,
    wilson,
)
from harness.compare.power import ALPHA, RowsNeeded, rows_needed
from harness.errors import UserError
from harness.score.metrics.base import FloatArray, IntArray, Metric, Summary
from harness.score.rules import Rules
from harness.score.scoring import RowScores, ScoredRun, score_all
from harness.store.results import Manifest, chosen_runs

MARGIN = 0.02
"""Default non-inferiority margin as a share of the metric's scale: two points."""
Verdict = Literal["better", "worse", "within the margin", "not separable", "cannot be told"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model A against model B on the same n rows; `difference` is score A minus score B, in the metric's unit.

    `p_value` is two-sided and, once `corrected`, for all `comparisons` of its family together, as the interval is: it
    holds 0 when, and only when, the p-value is 5 % or more. The verdict reads "A is ... than B".

    `unseen` is how far beyond the interval a difference may lie that so few rows need not have shown: rare rows with a
    large one. `rests_on` and `reason` are as in `Estimate`. `lost` are the rows of A and of B that have no answer,
    which count as wrong here; `over_answered` is the difference over the others, and how many they are; `bounds` are
    the comparisons where A's lost rows stay wrong and B's are taken as right, and the other way round.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    verdict: Verdict
    rows_needed: RowsNeeded | None
    margin: float = MARGIN
    higher_is_better: bool = True
    comparisons: int = 1
    unseen: float = 0.0
    error: float = 0.0
    rests_on: str = ""
    reason: str = ""
    lost: tuple[int, int] = (0, 0)
    over_answered: tuple[float, int] | None = None
    bounds: tuple[Comparison, Comparison] | None = None

    @property
    def p(self) -> str:
        """`p = 0.012`, or that it is smaller than what three digits show."""
        return "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"

    @property
    def gain(self) -> tuple[float, float]:
        """The interval of A's gain, whichever way the metric goes: negative is a loss."""
        return (self.low, self.high) if self.higher_is_better else (-self.high, -self.low)

    @property
    def not_inferior(self) -> bool:
        """Whether A is shown to be better than B, or at most `margin` worse, rare rows that were not seen included."""
        return self.verdict == "better" or self.gain[0] - self.unseen > -self.margin

    @property
    def inferior(self) -> bool:
        """Whether A is shown to be worse than B by more than `margin`; with a margin of 0, to be worse."""
        return self.gain[1] < -self.margin or (self.verdict == "worse" and self.margin == 0)

    @property
    def turned(self) -> Comparison:
        """The same comparison as B against A."""
        return replace(
            self,
            difference=0.0 - self.difference,
            low=0.0 - self.high,
            high=0.0 - self.low,
            verdict=_TURNED.get(self.verdict, self.verdict),
            lost=self.lost[::-1],
            over_answered=None if self.over_answered is None else (0.0 - self.over_answered[0], self.over_answered[1]),
            bounds=None if self.bounds is None else (self.bounds[1].turned, self.bounds[0].turned),
        )


_TURNED: Mapping[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two models' samples of the same rows by one metric; `comparisons` are those that are made together."""

    a: Sample
    b: Sample
    margin: float = MARGIN
    comparisons: int = 1


def paired_test(
    metric: Metric,
    stats_a: FloatArray,
    stats_b: FloatArray,
    margin: float = MARGIN,
    *,
    clusters: IntArray | None = None,
) -> Comparison:
    """Compare two models on the same rows: `stats_a` and `stats_b`, both [n, k], row i of both is the same row.

    Binary metrics: exact McNemar test (Q. McNemar, Psychometrika 12, 1947) and Tango's score interval of the
    difference (T. Tango, Statistics in Medicine 17, 1998). Others, and all where rows form `clusters`: the paired BCa
    bootstrap, and as p the smallest level at which its interval excludes 0 or, if larger, that of approximate
    randomisation (E. W. Noreen, 1989; up to 5,000 units), because below some hundred rows the bootstrap alone sees
    differences that are not there too often. Where the test does not exclude 0 the interval is widened to hold it.

    Raises:
        ValueError: when the two do not have the same shape.
    """
    return paired_tests([RunPair(Sample(metric, stats_a, clusters), Sample(metric, stats_b, clusters), margin)])[0]


def paired_tests(asked: Sequence[RunPair]) -> list[Comparison]:
    """What `paired_test` gives for each pair by itself; many of the same n share their resamples.

    The p-values are each pair's own, intervals and verdicts those of all its `comparisons` together.

    Raises:
        ValueError: when two do not have the same shape.
    """
    for one in asked:
        if one.a.stats.shape != one.b.stats.shape:
            raise ValueError(f"paired statistics must have one shape, not {one.a.stats.shape} and {one.b.stats.shape}")
    resampled = [one for one in asked if one.a.n and not _exact(one)]
    rest = iter(_compare_resampled(resampled))
    found = [(_compare_binary(one) if _exact(one) else next(rest)) if one.a.n else _NO_ROWS for one in asked]
    return [_of_pair(c, one) for c, one in zip(found, asked, strict=True)]


def _of_pair(found: Comparison, pair: RunPair) -> Comparison:
    metric, together = pair.a.metric, pair.comparisons
    one = replace(found, margin=pair.margin, higher_is_better=metric.higher_is_better, comparisons=together)
    # Drawn in to 0 by a p-value of one comparison, the interval of several would claim more than it can.
    return replace(_decided(one, min(1.0, together * one.p_value)), p_value=one.p_value)


_NO_ROWS = Comparison(math.nan, math.nan, math.nan, math.nan, 0, "not separable", None)


def _exact(pair: RunPair) -> bool:
    """Whether the exact test of 0/1 rows applies: rows that are independent of each other."""
    return pair.a.metric.kind == "binary" and pair.a.clusters is None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (S. Holm, Scand. J. Statist. 6, 1979), in the given order; NaN stays NaN."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[i] = running
    return adjusted


def corrected(comparisons: Sequence[Comparison], rivals: int = 1) -> list[Comparison]:
    """The comparisons of two models over all their tasks, with p-values and verdicts that hold for a whole family.

    The family is that of the `rivals` that one model is compared with, on each of the tasks: Holm's correction over
    the tasks, Bonferroni's over the rivals. It needs no other pair's p-values, so a pair has one verdict everywhere.
    """
    plain = _family(comparisons, rivals)
    against = _family([c.bounds[0] if c.bounds else c for c in comparisons], rivals)
    favour = _family([c.bounds[1] if c.bounds else c for c in comparisons], rivals)
    return [
        replace(c, verdict=_surviving(c.verdict, low.verdict, high.verdict))
        for c, low, high in zip(plain, against, favour, strict=True)
    ]


def _family(comparisons: Sequence[Comparison], rivals: int) -> list[Comparison]:
    adjusted = holm([c.p_value for c in comparisons])
    return [_decided(c, min(1.0, rivals * p)) for c, p in zip(comparisons, adjusted, strict=True)]


def _surviving(verdict: Verdict, against: Verdict, favour: Verdict) -> Verdict:
    """A verdict that holds whatever the lost rows would have been: a win needs the worst case, a loss the best one."""
    needed = {"better": {against}, "worse": {favour}, "within the margin": {against, favour}}.get(verdict, {verdict})
    return verdict if needed == {verdict} else "cannot be told"


def _decided(found: Comparison, p_value: float) -> Comparison:
    """With this p-value, the interval that says the same, within what is possible, and the verdict.

    A difference beyond chance comes first; without one, an interval wholly inside the margin is a tie.
    """
    if not found.n:
        return found
    low, high = found.low, found.high
    separated = p_value < ALPHA and found.difference != 0
    if not separated:
        low, high = min(low, 0.0), max(high, 0.0)
    elif found.difference > 0:
        low = max(low, 0.0)
    else:
        high = min(high, 0.0)
    verdict: Verdict = "not separable"
    if separated:
        verdict = "better" if (found.difference > 0) == found.higher_is_better else "worse"
    elif low - found.unseen > -found.margin and high + found.unseen < found.margin:
        verdict = "within the margin"
    return replace(found, low=low, high=high, p_value=p_value, verdict=verdict)


def _confidence(pair: RunPair) -> float:
    return 1 - ALPHA / pair.comparisons


def _least(n: int, p_value: float, comparisons: int) -> int:
    """One more than n rows where these did not show the difference."""
    return n + 1 if p_value * comparisons >= ALPHA else 1


def _compare_binary(pair: RunPair) -> Comparison:
    from scipy.special import bdtr  # half a second to import, and not every command compares

    a, b, n = pair.a.stats[:, 0], pair.b.stats[:, 0], pair.a.n
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    discordant = only_a + only_b
    difference = (only_a - only_b) / n
    p_value = min(1.0, 2 * float(bdtr(min(only_a, only_b), discordant, 0.5))) if discordant else 1.0
    low, high = _tango(only_a, only_b, n, two_sided(_confidence(pair)))
    share = discordant / n
    sd = math.sqrt(max(share - difference**2, 0))
    # So many discordant rows, all on one side, are the fewest that the exact test separates.
    fewest = math.ceil(math.log2(2 * pair.comparisons / ALPHA))
    least = max(_least(n, p_value, pair.comparisons), math.ceil(fewest / share) if discordant else 1)
    needed = rows_needed(difference, sd, n, least, pair.comparisons, math.sqrt(share))
    return Comparison(difference, low, high, p_value, n, "not separable", needed, error=sd / math.sqrt(n))


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


def _compare_resampled(asked: Sequence[RunPair]) -> list[Comparison]:
    # A model that is compared with several others is resampled once.
    single = {_key(one): one.units for pair in asked for one in (pair.a, pair.b)}
    seen = dict(zip(single, resample_all(list(single.values())), strict=True))
    differences = [seen[_key(pair.a)].minus(seen[_key(pair.b)]) for pair in asked]
    swapped = _swap_p_values(asked, [found.value for found in differences])
    return [_of_resampled(*one) for one in zip(asked, differences, swapped, strict=True)]


def _key(sample: Sample) -> tuple[int, str]:
    return id(sample.stats), sample.metric.name


def _of_resampled(pair: RunPair, seen: Resampled, swapped: float) -> Comparison:
    metric, confidence, n = pair.a.metric, _confidence(pair), pair.a.n
    span = metric.high - metric.low
    p_value = max(seen.p_value(), swapped)
    sd = seen.error * math.sqrt(n)
    needed = rows_needed(seen.value, sd, n, _least(n, p_value, pair.comparisons), pair.comparisons)
    known = partial(
        Comparison, seen.value, p_value=p_value, n=n, verdict="not separable", rows_needed=needed, error=seen.error
    )
    fewer = min(pair.a, pair.b, key=counting)
    if reason := too_few(fewer):  # of which nothing is claimed, whatever a test would say
        whole = known(low=-span, high=span, unseen=span, rests_on=rests_on(fewer), reason=reason)
        return replace(whole, p_value=1.0, rows_needed=None)
    reach = unseen(fewer, confidence)
    low, high = seen.interval(confidence)
    if low == high and math.isfinite(span):
        # No resample differs, so the interval comes from how many rows may differ when none of n does.
        low, high = seen.value - reach, seen.value + reach
        # Of a difference that is the same in every row, other rows may have none.
        reach = 0.0 if seen.value == 0 else reach
    low, high = max(min(low, seen.value), -span), min(max(high, seen.value), span)
    return known(low=low, high=high, unseen=reach, rests_on=rests_on(fewer))


def unseen(sample: Sample, confidence: float) -> float:
    """How far a score may be moved by rows like none of those that were seen; infinite for a metric without a range."""
    metric = sample.metric
    return (metric.high - metric.low) * wilson(0, max(round(counting(sample)), 1), confidence).high


def counting(sample: Sample) -> float:
    """How many units decide a score: of its basis, at most one a cluster."""
    basis, units = sample.metric.basis, len(sample.units[0])
    return units if basis is None else min(units, basis.count(sample.stats))


def swap_p_value(a: Sample, b: Sample) -> float:
    """Share of random swaps of two models, row by row, with at least their difference; 0 where rows are too many."""
    return _swap_p_values([RunPair(a, b)], [a.metric.of(a.stats) - b.metric.of(b.stats)])[0]


def _swap_p_values(asked: Sequence[RunPair], differences: Sequence[float]) -> list[float]:
    """Share of random swaps of two models, unit by unit, with at least their difference; exact in size.

    0 where there are too many rows for it, so that the bootstrap's p-value is used.
    """
    found = [0.0] * len(asked)
    by_n: dict[int, list[int]] = {}
    for i, pair in enumerate(asked):
        if (n := len(pair.a.units[0])) * RESAMPLES <= MOST_COUNTS:
            by_n.setdefault(n, []).append(i)
    for n, members in by_n.items():
        signs = _signs(n)
        tables = [(asked[i].a.units, asked[i].b.units[0]) for i in members]
        gaps = of_products(signs, [((a - b) / 2, _swapped(summary, a, b)) for (a, summary), b in tables])
        for i, gap in zip(members, gaps, strict=True):
            extreme = int((np.abs(gap) >= abs(differences[i]) - ROUNDING).sum())
            bound = tail_bound(differences[i], float(np.sqrt((gap**2).mean()))) if not extreme else 1.0
            found[i] = min((extreme + 1) / (len(signs) + 1), bound)
    return found


def _swapped(summary: Summary, a: FloatArray, b: FloatArray) -> Summary:
    """The difference of the two scores when the means lie that far on both sides of their middle."""
    middle = (a + b).sum(axis=0) / (2 * len(a))

    def gap(moved: FloatArray) -> FloatArray:
        return summary(middle + moved) - summary(middle - moved)

    return gap


@lru_cache(maxsize=4)
def _signs(n: int) -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(0, 2, (RESAMPLES, n), np.int8) * np.int8(2) - np.int8(1)


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Model `a` against model `b`: for each task on which both were asked the same, the comparison.

    `apart` are the tasks on which both ran and nothing can be told, each with the reason. P-values, intervals and
    verdicts are those of a family (`corrected`) of `comparisons`: these tasks, with each of `rivals` models that
    either could have been compared with. `across` are the tasks whose answers are to different prompts.
    """

    a: str
    b: str
    tasks: Mapping[str, Comparison]
    apart: Mapping[str, str] = field(default_factory=dict)
    rivals: int = 1
    across: tuple[str, ...] = ()

    @property
    def comparisons(self) -> int:
        """How many comparisons the correction is for."""
        return max(1, len(self.tasks)) * self.rivals

    @property
    def won(self) -> int:
        """Tasks on which `a` is better beyond chance."""
        return self._count("better")

    @property
    def lost(self) -> int:
        """Tasks on which `a` is worse beyond chance."""
        return self._count("worse")

    @property
    def untold(self) -> int:
        """Tasks on which the rows without an answer could turn the verdict."""
        return self._count("cannot be told")

    @property
    def tied(self) -> int:
        """Tasks on which neither is better beyond chance, within the margin or not."""
        return len(self.tasks) - self.won - self.lost - self.untold

    @property
    def equal(self) -> int:
        """Tasks on which the two are equal within the margin."""
        return self._count("within the margin")

    @property
    def turned(self) -> ModelPair:
        """The same as `b` against `a`."""
        return replace(self, a=self.b, b=self.a, tasks={task: found.turned for task, found in self.tasks.items()})

    def _count(self, verdict: Verdict) -> int:
        return sum(found.verdict == verdict for found in self.tasks.values())


def of_kind(manifests: Sequence[Manifest], kind: str | None) -> list[Manifest]:
    """The runs on one kind of rows: those on benchmark rows where there are any, unless a kind is named."""
    kinds = {run.kind for run in manifests}
    wanted = kind or ("benchmark" if "benchmark" in kinds else "sample")
    return [run for run in manifests if run.kind == wanted]


def recorded_runs(
    results: Path,
    tasks: Sequence[str],
    models: Sequence[str],
    kind: str | None,
    rules: Rules,
    say: Callable[[str], None],
) -> list[ScoredRun]:
    """The scored runs of models on one kind of rows, of these tasks or of all; `say` gets a line for each note.

    Raises:
        UserError: a name is wrong, two are the same, or nothing is recorded.
    """
    if twice := next((name for name in models if models.count(name) > 1), None):
        raise UserError(f"'{twice}' is named twice: a comparison needs two models")
    return score_all(results, of_kind(chosen_runs(results, tasks, models), kind), say, rules)


def scale(metric: Metric) -> float:
    """Length of a metric's scale from 0 to its highest value, from its lowest where that is 0; 1 without an end."""
    length = metric.high or -metric.low
    return length if length and math.isfinite(length) else 1.0


def compare_runs(
    asked: Sequence[tuple[ScoredRun, ScoredRun]], margin: float = MARGIN, comparisons: Sequence[int] = ()
) -> list[Comparison]:
    """Compare runs on the same rows on the first metric of their task, each by itself; each run is resampled once.

    `margin` is a share of the metric's scale; `comparisons` are those that each is made together with. Where rows have
    no answer a comparison has its `bounds`.

    Raises:
        ValueError: two were asked different rows.
    """
    # Where one was asked each row several times, the scores of its rows are means, no longer right or wrong.
    metrics = [min((run.metrics[0] for run in two), key=lambda one: one.kind == "binary") for two in asked]
    return compare_rows(
        [(metric, a.rows, b.rows) for metric, (a, b) in zip(metrics, asked, strict=True)], margin, comparisons
    )


def compare_rows(
    asked: Sequence[tuple[Metric, RowScores, RowScores]], margin: float = MARGIN, comparisons: Sequence[int] = ()
) -> list[Comparison]:
    """What `compare_runs` gives for the scores of the same rows by these metrics."""
    pairs: list[RunPair] = []
    for (metric, a, b), together in zip(asked, comparisons or [1] * len(asked), strict=True):
        clusters = a.clusters if a.clusters is not None else b.clusters
        (worst_a, best_a), (worst_b, best_b) = (samples(rows, metric, clusters) for rows in (a, b))
        kinds = [(worst_a, worst_b)]
        if a.right or b.right:
            kinds += [(worst_a, best_b), (best_a, worst_b)]
        pairs += [RunPair(*two, margin * scale(metric), together) for two in kinds]
    found = iter(paired_tests(pairs))
    made = []
    for metric, a, b in asked:
        one = next(found)
        if a.right or b.right:
            over_answered = _over_answered(metric, a, b)
            bounds = (next(found), next(found))
            one = replace(one, lost=(a.unanswered, b.unanswered), over_answered=over_answered, bounds=bounds)
        made.append(one)
    return made


def _over_answered(metric: Metric, a: RowScores, b: RowScores) -> tuple[float, int] | None:
    """The difference over the rows that both answered, and how many these are; None where there are none."""
    both = np.array(["failed" not in two for two in zip(a.statuses, b.statuses, strict=True)])
    if not both.any():
        return None
    ours, theirs = (metric.of(rows.stats[metric.name][both]) for rows in (a, b))
    return ours - theirs, int(both.sum())


def samples(rows: RowScores, metric: Metric, clusters: IntArray | None) -> tuple[Sample, Sample]:
    """The scores of a run's rows with those that have no answer taken as wrong, and as right."""
    stats = rows.stats[metric.name]
    return Sample(metric, stats, clusters), Sample(metric, rows.right.get(metric.name, stats), clusters)


def same_rows(a: ScoredRun, b: ScoredRun) -> bool:
    """Whether two runs have scores of the same: the same rows in the same order, and the same leaderboard metric."""
    return a.rows.ids == b.rows.ids and a.metrics[0].name == b.metrics[0].name


def why_apart(a: ScoredRun, b: ScoredRun, *, across_prompts: bool = False) -> str:
    """Why nothing can be told of two runs of a task, "" where they can be compared."""
    for run in (a, b):
        if run.incomplete:
            return f"the run of {run.manifest.model} is incomplete: {run.incomplete}; run bench again"
    names = f"{a.manifest.model} and {b.manifest.model}"
    if not same_rows(a, b):
        return f"{names} were asked different rows; run bench again for both"
    if a.manifest.spec.answers_version != b.manifest.spec.answers_version:
        return (
            f"the right answers were made by different templates; run bench again for {names}, which asks nothing again"
        )
    if a.manifest.spec.asking_version != b.manifest.spec.asking_version and not across_prompts:
        return f"{names} were asked with different prompts or limits; run bench again for both, or add --across-prompts"
    return ""


def compare_models(
    runs: Iterable[ScoredRun], a: str, b: str, margin: float = MARGIN, *, across_prompts: bool = False
) -> ModelPair:
    """Compare two models on all tasks that both have; `runs` are of one kind of rows.

    A model without runs gives a pair without tasks. Answers to different prompts are compared only when asked for.
    """
    return compare_model_pairs(runs, [(a, b)], margin, across_prompts=across_prompts)[0]


def compare_model_pairs(
    runs: Iterable[ScoredRun], asked: Sequence[tuple[str, str]], margin: float = MARGIN, *, across_prompts: bool = False
) -> list[ModelPair]:
    """What `compare_models` gives for each two models; each run is resampled once."""
    tasks_of = by_task(runs)
    both = [{task: (of[a], of[b]) for task, of in tasks_of.items() if a in of and b in of} for a, b in asked]
    apart = [{task: why_apart(*two, across_prompts=across_prompts) for task, two in tasks.items()} for tasks in both]
    pairs = []
    for (a, b), tasks, why in zip(asked, both, apart, strict=True):
        compared = [task for task in tasks if not why[task]]
        across = tuple(task for task in compared if why_apart(*tasks[task]))
        reasons = {task: reason for task, reason in why.items() if reason}
        pairs.append(ModelPair(a, b, dict.fromkeys(compared, _NO_ROWS), reasons, rivals(tasks_of, compared), across))
    two = [tasks[task] for pair, tasks in zip(pairs, both, strict=True) for task in pair.tasks]
    together = [pair.comparisons for pair in pairs for _ in pair.tasks]
    found = iter(compare_runs(two, margin, together))
    return [
        replace(
            pair, tasks=dict(zip(pair.tasks, corrected([next(found) for _ in pair.tasks], pair.rivals), strict=True))
        )
        for pair in pairs
    ]


def rivals(tasks: Mapping[str, Mapping[str, ScoredRun]], compared: Iterable[str]) -> int:
    """How many models one model is compared with on these tasks: all others that are recorded of one of them."""
    models = {name for task in compared for run in tasks[task].values() for name in (run.manifest.model, *run.rivals)}
    return max(1, len(models) - 1)


def by_task(runs: Iterable[ScoredRun]) -> dict[str, dict[str, ScoredRun]]:
    """Runs by task, in order, and model."""
    found: dict[str, dict[str, ScoredRun]] = {}
    for run in runs:
        found.setdefault(run.manifest.task, {})[run.manifest.model] = run
    return dict(sorted(found.items()))


def compare_recorded(
    runs: Sequence[ScoredRun], a: str, b: str, *, across_prompts: bool = False
) -> tuple[ModelPair, dict[tuple[str, str], ScoredRun]]:
    """Compare two models on what is recorded of them; return the comparison, and the runs by task and model.

    Raises:
        UserError: the two were not asked one task together.
    """
    compared = compare_models(runs, a, b, across_prompts=across_prompts)
    if not compared.tasks and not compared.apart:
        raise UserError(f"{a} and {b} were not asked one task together")
    return compared, {(run.manifest.task, run.manifest.model): run for run in runs}
