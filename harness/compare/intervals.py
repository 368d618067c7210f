"""How sure a score is: Wilson's interval, the BCa bootstrap, and the resamples and jackknife that all statistics share.

What decides an interval is what counts: the positives of a recall (`harness.score.metrics.base.Basis`), the clusters of
rows that share a text (`Sample`). Intervals are two-sided 95 % ones unless another confidence is given. A resample is a
row of counts that add up to n, so all resampled scores of a metric come from one matrix product of counts and row
statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.score.metrics.base import Basis, FloatArray, IntArray, Metric, Summary, only_mean

if TYPE_CHECKING:
    from harness.score.scoring import ScoredRun

RESAMPLES = 10_000
MOST_COUNTS = 50_000_000
"""Most counts (resamples x rows) kept in memory: above 5,000 rows there are fewer resamples."""
MOST_BOOTSTRAPPED = 50_000
"""Above this many rows the jackknife replaces the bootstrap: BCa's corrections shrink with 1 / sqrt(n)."""
FEWEST_BEYOND = 10
"""Resamples that must lie beyond an end of an interval for it to be read off them."""
CHUNK = 256
MOST_DRAWN = 500_000
"""Draws in memory at once; how many does not change what is drawn."""
DIGITS = 12
ROUNDING = 1e-12
"""Differences below this are the floating-point arithmetic's, not the rows'."""

NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score and its interval, `low <= value <= high`, over n rows. All three are NaN when n is 0.

    `rests_on` says how many units decide the interval where these are not the rows: `5 positives`, `30 clusters`.
    `reason` says why the interval is the metric's whole range, where nothing can be claimed.
    """

    value: float
    low: float
    high: float
    n: int
    rests_on: str = ""
    reason: str = ""


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Sample:
    """The statistics of rows by a metric, shape [n, k], and for each row the number of its cluster, shape [n]."""

    metric: Metric
    stats: FloatArray
    clusters: IntArray | None = None

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.stats)

    @cached_property
    def units(self) -> tuple[FloatArray, Summary]:
        """What is drawn and left out as a whole, shape [units, ...], and its summary: rows, or clusters of rows.

        A cluster's statistics are the sums of its rows', and one more is their number; so the score of some clusters
        is that of all their rows, however many each has.
        """
        if self.clusters is None:
            return self.stats, self.metric.summary
        whole = np.column_stack([self.stats, np.ones(self.n)])
        sums = np.zeros((int(self.clusters.max()) + 1, whole.shape[1]))
        np.add.at(sums, self.clusters, whole)
        return sums * (len(sums) / self.n), of_clusters(self.metric.summary)


def of_clusters(summary: Summary) -> Summary:
    """The summary of clusters' means, the last column of which is their number of rows."""
    return lambda means: summary(means[..., :-1] / means[..., -1:])


def wilson(successes: float, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927); never empty, also at 0 and n successes.

    `successes` may be fractional. n = 0 gives NaN.
    """
    if n == 0:
        return NOTHING
    return Estimate(successes / n, *_wilson(successes / n, n, two_sided(confidence)), n)


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Both ends of Wilson's interval of a share `p` of n > 0 trials, which may be a fraction, for a quantile."""
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return min(max(centre - half, 0.0), p), max(min(centre + half, 1.0), p)


def weights(n: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.uint8]:
    """Bootstrap counts, shape [B, n]: how often each row is drawn in each of B resamples of n rows.

    B is `resamples`, or fewer when B x n would pass 50 million. The array is read-only and cached, because all models
    and metrics of a task share it, which also makes their intervals comparable.
    """
    return _counts(n, max(1, min(resamples, MOST_COUNTS // max(n, 1))), seed)


@lru_cache(maxsize=4)
def _counts(n: int, resamples: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, n), np.uint8)
    step = max(1, min(CHUNK, MOST_DRAWN // n))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        counts[start : start + size] = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
    counts.setflags(write=False)
    return counts


def bootstrap(
    stats: FloatArray,
    summary: Summary = only_mean,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """BCa bootstrap interval (B. Efron, JASA 82, 1987) of `summary` of the column means of `stats`, shape [n, k].

    Above 50,000 rows the normal interval with the jackknife's standard error. When no resample scores differently
    (all rows equal, or a perfect score) the interval is the value alone, which says nothing about how sure it is:
    `estimate` puts Wilson's in its place. Where BCa's shift would leave the value out, the interval is widened to it.
    """
    if len(stats) == 0:
        return NOTHING
    seen = resample(stats, summary, resamples, seed)
    low, high = seen.interval(confidence)
    return Estimate(seen.value, min(low, seen.value), max(high, seen.value), len(stats))


def estimate(
    metric: Metric,
    stats: FloatArray,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    *,
    clusters: IntArray | None = None,
) -> Estimate:
    """The score of `stats`, shape [n, k], with the interval that fits the metric.

    - A 0/1 metric, or a function of one share (recall, F1): Wilson's of the share, over what counts.
    - A metric with another `Basis`, or a 0/1 metric over clusters: Wilson's interval of the score's place in the
      metric's range, over as many trials as would give the jackknife's standard error (E. L. Korn and B. I. Graubard,
      Survey Methodology 24, 1998).
    - Any other: the BCa bootstrap, expanded for few units (`Resampled.interval`).

    The bootstrap's interval is widened to Wilson's of the score's place, as above: few rows of a skewed score rarely
    hold its tail. Where no spread is seen, every row or cluster is one trial: of all variables in a range, the binary
    one has the largest variance, so this is the cautious choice.
    """
    return estimate_all([Sample(metric, stats, clusters)], confidence, resamples)[0]


def estimate_all(samples: Sequence[Sample], confidence: float = 0.95, resamples: int = RESAMPLES) -> list[Estimate]:
    """What `estimate` gives for each, several times faster for many of the same n than one after the other."""
    sampled = [i for i, one in enumerate(samples) if one.n and one.metric.basis is None and one.metric.kind != "binary"]
    seen = dict(zip(sampled, resample_all([samples[i].units for i in sampled], resamples), strict=True))
    return [
        _within(one, seen[i], confidence) if i in seen else _by_share(one, confidence) for i, one in enumerate(samples)
    ]


def first_score(run: ScoredRun) -> Estimate:
    """The score of a run by its task's first metric."""
    return first_scores([run])[0]


def first_scores(runs: Sequence[ScoredRun]) -> list[Estimate]:
    """The score of each run by its task's first metric."""
    firsts = [run.metrics[0] for run in runs]
    return estimate_all(
        [Sample(first, run.rows.stats[first.name], run.rows.clusters) for first, run in zip(firsts, runs, strict=True)]
    )


def _within(sample: Sample, seen: Resampled, confidence: float) -> Estimate:
    """The interval of resampled scores, kept within the metric's range and around the score."""
    metric, value = sample.metric, seen.value
    low, high = seen.interval(confidence)
    if math.isfinite(metric.high - metric.low):
        bounds = _of_place(_range(sample), sample, value, confidence)
        low, high = min(low, bounds[0]), max(high, bounds[1])
    low, high = max(low, metric.low), min(high, metric.high)
    return Estimate(value, min(low, value), max(high, value), sample.n, rests_on(sample))


def _range(sample: Sample) -> Basis:
    """A mean rests on its rows; the worst and the best score are rows that it could have met."""
    metric, ends = sample.metric, None
    if metric.summary is only_mean:
        ends = np.zeros((2, sample.stats.shape[1]))
        ends[:, 0] = metric.low, metric.high
    return Basis("rows", lambda stats: float(sample.n), unseen=ends)


def rests_on(sample: Sample) -> str:
    """What decides the interval, in words; "" where it is the rows."""
    parts = []
    if (basis := sample.metric.basis) is not None:
        parts.append(f"{basis.count(sample.stats):,.0f} {basis.unit}")
    if sample.clusters is not None:
        parts.append(f"{len(np.unique(sample.clusters)):,} clusters")
    return " in ".join(parts)


def too_few(sample: Sample) -> str:
    """Why nothing can be claimed of a score, "" where something can."""
    basis = sample.metric.basis
    if basis is None or basis.count(sample.stats) >= basis.least:
        return ""
    return f"only {basis.count(sample.stats):,.0f} {basis.unit}"


def _by_share(sample: Sample, confidence: float) -> Estimate:
    """Wilson's interval over what counts: of a share, or of the score's place in the metric's range."""
    metric, n = sample.metric, sample.n
    if n == 0:
        return NOTHING
    if metric.basis is None and sample.clusters is None:
        return wilson(float(sample.stats[:, 0].sum()), n, confidence)
    value = metric.of(sample.stats)
    if reason := too_few(sample):
        return Estimate(value, metric.low, metric.high, n, rests_on(sample), reason)
    basis = metric.basis or _ROWS
    low, high = _of_share(basis, sample, confidence) if basis.share else _of_place(basis, sample, value, confidence)
    return Estimate(value, max(min(low, value), metric.low), min(max(high, value), metric.high), n, rests_on(sample))


_ROWS = Basis("rows", len, lambda stats: (stats[..., 0], np.ones(stats.shape[:-1])))


def _of_share(basis: Basis, sample: Sample, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share, carried over to the score.

    Where a unit (a row, a cluster) holds several trials these are not independent: then there are as many trials as
    would give the ratio estimator's standard error, and Student's quantiles, since that is itself estimated.
    """
    assert basis.share is not None
    hits, trials = basis.share(sample.stats)
    if sample.clusters is not None:
        hits, trials = (np.bincount(sample.clusters, counted).astype(np.float64) for counted in (hits, trials))
    all_trials, counting = float(trials.sum()), int((trials > 0).sum())
    share = float(hits.sum()) / all_trials
    effective, degrees = all_trials, None
    if sample.clusters is not None or trials.max() > 1 or not np.isin(hits, (0, 1)).all():
        gaps = hits - share * trials
        variance = counting / max(counting - 1, 1) * float((gaps**2).sum()) / all_trials**2
        effective = min(share * (1 - share) / variance, all_trials) if variance > ROUNDING**2 else float(counting)
        degrees = counting - 1 if variance > ROUNDING**2 else None
    low, high = _wilson(share, effective, quantile(confidence, degrees))
    if share in (0.0, 1.0):  # all alike: how such trials vary is not known, so the wider scale
        return min(low, basis.score(low)), max(high, basis.score(high))
    return basis.score(low), basis.score(high)


def _of_place(basis: Basis, sample: Sample, value: float, confidence: float) -> tuple[float, float]:
    """Wilson's interval of the score's place in the metric's range, with as many trials as its standard error says.

    The standard error is that with the unseen rows, each of which weighs half of one that was seen. Where no row
    changes the score, every unit that counts is one trial.
    """
    metric, (table, summary), least = sample.metric, sample.units, basis.count(sample.stats)
    units, span = len(table), metric.high - metric.low
    error, centre = jackknife(leave_one_out(table, summary)), value
    if error > ROUNDING and basis.unseen is not None:
        unseen = basis.unseen * units / sample.n
        if sample.clusters is not None:
            unseen = np.column_stack([unseen, np.full(len(unseen), units / sample.n)])
        table = np.vstack([table, table, unseen])
        centre = float(summary(table.mean(axis=0)))
        error = jackknife(leave_one_out(table, summary)) * math.sqrt(len(table) / units)
    degrees = None
    if basis.heavy_tailed or sample.clusters is not None:
        degrees = round(least if sample.clusters is None else min(least, units)) - 1
    at, place = (min(max((one - metric.low) / span, 0.0), 1.0) for one in (value, centre))
    trials = place * (1 - place) * (span / error) ** 2 if error > ROUNDING and 0 < place < 1 else min(least, units)
    low, high = _wilson(at, trials, quantile(confidence, degrees))
    return metric.low + span * low, metric.low + span * high


def quantile(confidence: float, degrees: float | None = None) -> float:
    """Quantile of a two-sided interval: the normal distribution's, or Student's with so many degrees of freedom."""
    if degrees is None or degrees > 500:  # beyond which they agree to the third digit
        return two_sided(confidence)
    from scipy.special import stdtrit  # half a second to import, and not every command needs it

    return float(stdtrit(max(degrees, 1), 0.5 + confidence / 2))


def two_sided(confidence: float) -> float:
    """Normal quantile of a two-sided interval of that confidence: 1.96 for 0.95."""
    return NORMAL.inv_cdf(0.5 + confidence / 2)


def tail_bound(gap: float, error: float) -> float:
    """Bound of the chance that a sum of random signs lies this many standard errors out (W. Hoeffding, JASA 58, 1963).

    For means it holds whatever the rows are.
    """
    return min(1.0, 2 * math.exp(-((gap / error) ** 2) / 2)) if error > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Resampled:
    """A score, its resampled values (None: too many rows), and the scores without each row in turn, shape [n].

    All of the same n were drawn with the same counts, so the difference of two is the resampled difference.
    """

    value: float
    resampled: FloatArray | None
    left_out: FloatArray

    @property
    def n(self) -> int:
        """Units that were drawn: rows, or clusters of them."""
        return len(self.left_out)  # rows, or clusters

    def minus(self, other: Resampled) -> Resampled:
        """This score less another one on the same rows."""
        value = self.value - other.value
        both = self.resampled is not None and other.resampled is not None
        drawn = self.resampled - other.resampled if both else None  # type: ignore[operator]
        return _settled(0.0 if abs(value) <= ROUNDING else value, drawn, self.left_out - other.left_out)

    @property
    def error(self) -> float:
        """The jackknife's standard error."""
        return jackknife(self.left_out)

    @property
    def acceleration(self) -> float:
        """How the standard error changes with the score, which BCa corrects for."""
        gaps = self.left_out.mean() - self.left_out
        squares = float((gaps**2).sum())
        return float((gaps**3).sum()) / (6 * squares**1.5) if squares > ROUNDING**2 else 0.0

    def _z_below(self, point: float) -> float:
        """Normal quantile of the share of resampled scores below `point`, half the equal ones counted; finite."""
        assert self.resampled is not None
        point = point if np.ptp(self.resampled) == 0 else round(point, DIGITS)
        below = float((self.resampled < point).mean() + (self.resampled <= point).mean()) / 2
        edge = 1 / (len(self.resampled) + 1)
        return NORMAL.inv_cdf(min(max(below, edge), 1 - edge))

    def interval(self, confidence: float) -> tuple[float, float]:
        """BCa interval, expanded for few units; the normal one where there are no resamples.

        The bootstrap's spread is that of a variance divided by n instead of n - 1, and its quantiles are the normal
        distribution's; both ends are moved out by what Student's adds (T. C. Hesterberg, The American Statistician
        69, 2015). Ends that only a few resamples lie beyond are those of a confidence that the resamples do show,
        moved out as the normal quantile grows.
        """
        z = two_sided(confidence)
        if self.resampled is None:
            return self.value - z * self.error, self.value + z * self.error
        shown = min(z, NORMAL.inv_cdf(1 - FEWEST_BEYOND / len(self.resampled)))
        bias = self._z_below(self.value)
        shifted = [bias + (bias + end) / (1 - self.acceleration * (bias + end)) for end in (-shown, shown)]
        low, high = np.quantile(self.resampled, [NORMAL.cdf(end) for end in shifted])
        grown = quantile(confidence, self.n - 1) / shown * math.sqrt(self.n / max(self.n - 1, 1))
        return self.value - grown * (self.value - float(low)), self.value + grown * (float(high) - self.value)

    def p_value(self) -> float:
        """Smallest level at which the interval of `value` excludes 0, two-sided.

        Where no resample lies beyond 0 it may be smaller than their number shows: then as the normal tail's bound.
        """
        if self.value == 0:
            return 1.0
        resampled = self.resampled
        if resampled is None or not resampled.min() <= 0 <= resampled.max():
            # Few resamples cannot show a small p; with so many rows the normal tail can.
            if resampled is None or len(resampled) < RESAMPLES:
                return 2 * NORMAL.cdf(-abs(self.value) / self.error) if self.error > 0 else 0.0
            return min(2 / (len(resampled) + 1), tail_bound(self.value, self.error))
        bias, at_zero = self._z_below(self.value), self._z_below(0.0)
        z = (at_zero - bias) / max(1 + self.acceleration * (at_zero - bias), 1e-9) - bias
        return min(1.0, max(2 / (len(resampled) + 1), 2 * NORMAL.cdf(-abs(z))))


def resample(stats: FloatArray, summary: Summary = only_mean, resamples: int = RESAMPLES, seed: int = 0) -> Resampled:
    """`summary` of the column means of `stats`, shape [n, k] with n > 0, with its resampled values and jackknife."""
    return resample_all([(stats, summary)], resamples, seed)[0]


def resample_all(
    asked: Sequence[tuple[FloatArray, Summary]], resamples: int = RESAMPLES, seed: int = 0
) -> list[Resampled]:
    """What `resample` gives for each; all of the same n come from one product with the same counts."""
    found: dict[int, FloatArray] = {}
    by_n: dict[int, list[int]] = {}
    for i, (stats, _) in enumerate(asked):
        by_n.setdefault(len(stats), []).append(i)
    for n, members in by_n.items():
        if n <= MOST_BOOTSTRAPPED:
            drawn = of_products(weights(n, resamples, seed), [asked[i] for i in members])
            found |= dict(zip(members, drawn, strict=True))
    return [_resampled(stats, summary, found.get(i)) for i, (stats, summary) in enumerate(asked)]


def of_products(
    counts: NDArray[np.uint8] | NDArray[np.int8], asked: Sequence[tuple[FloatArray, Summary]]
) -> list[FloatArray]:
    """`summary(counts @ stats / n)` for each, shape [B], from counts of shape [B, n] and stats of shape [n, k]."""
    n = counts.shape[1]
    whole = np.hstack([stats for stats, _ in asked])
    edges = np.cumsum([0, *(stats.shape[1] for stats, _ in asked)])
    found = [np.empty(len(counts)) for _ in asked]
    # Small pieces, because an integer product is slow and all counts as floats would be eight times the memory.
    for start in range(0, len(counts), CHUNK):
        means = counts[start : start + CHUNK].astype(np.float64) @ whole / n
        for place, (_, summary) in enumerate(asked):
            found[place][start : start + CHUNK] = summary(means[:, edges[place] : edges[place + 1]])
    return found


def leave_one_out(stats: FloatArray, summary: Summary) -> FloatArray:
    """The scores without each row in turn, shape [n], from stats of shape [n, k]; of a single row its own score."""
    n = len(stats)
    left_out: FloatArray = summary((stats.sum(axis=0) - stats) / (n - 1)) if n > 1 else summary(stats)
    return np.asarray(left_out, dtype=np.float64)


def jackknife(left_out: FloatArray) -> float:
    """The jackknife's standard error (B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982).

    Args:
        left_out: The figure computed without each of n rows in turn, shape [n], n > 0.
    """
    n = len(left_out)
    return math.sqrt((n - 1) / n * float(((left_out.mean() - left_out) ** 2).sum()))


def _resampled(stats: FloatArray, summary: Summary, drawn: FloatArray | None) -> Resampled:
    value = float(summary(stats.sum(axis=0) / len(stats)))
    return _settled(value, drawn, leave_one_out(stats, summary))


def _settled(value: float, drawn: FloatArray | None, left_out: FloatArray) -> Resampled:
    """Without the floating-point arithmetic's differences, where they are all there is."""
    if drawn is not None:
        drawn = np.full_like(drawn, value) if np.ptp(drawn) <= ROUNDING * max(1.0, abs(value)) else drawn.round(DIGITS)
    return Resampled(value, drawn, left_out)
