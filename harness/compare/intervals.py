"""How sure a score is: Wilson's interval, the BCa bootstrap, and the resamples and jackknife that all statistics share.

Intervals are two-sided 95 % ones unless another confidence is given. A resample is a row of counts that add up to n,
so all resampled scores of a metric come from one matrix product of counts and row statistics (see
`harness.score.metrics.base`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from harness.score.metrics.base import FloatArray, Metric, only_mean

RESAMPLES = 10_000
MOST_COUNTS = 50_000_000
"""Most counts (resamples x rows) kept in memory: above 5,000 rows there are fewer resamples."""
MOST_BOOTSTRAPPED = 50_000
"""Above this many rows the jackknife replaces the bootstrap: BCa's corrections shrink with 1 / sqrt(n)."""
CHUNK = 256
DIGITS = 12
ROUNDING = 1e-12
"""Differences below this are the floating-point arithmetic's, not the rows'."""

Summary = Callable[[FloatArray], FloatArray]
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score and its interval, `low <= value <= high`, over n rows. All three are NaN when n is 0."""

    value: float
    low: float
    high: float
    n: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


def wilson(successes: float, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927); never empty, also at 0 and n successes.

    `successes` may be fractional. n = 0 gives NaN.
    """
    if n == 0:
        return NOTHING
    z = two_sided(confidence)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(p, min(max(centre - half, 0.0), p), max(min(centre + half, 1.0), p), n)


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
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
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


def estimate(metric: Metric, stats: FloatArray, confidence: float = 0.95, resamples: int = RESAMPLES) -> Estimate:
    """The score of `stats`, shape [n, k], with Wilson's interval for a binary metric and the bootstrap's otherwise.

    Where the bootstrap sees no spread, Wilson's interval of the score's place within the metric's range is used: of
    all variables in a range, the binary one has the largest variance, so this is the cautious choice.
    """
    return estimate_all([(metric, stats)], confidence, resamples)[0]


def estimate_all(
    asked: Sequence[tuple[Metric, FloatArray]], confidence: float = 0.95, resamples: int = RESAMPLES
) -> list[Estimate]:
    """What `estimate` gives for each, several times faster for many of the same n than one after the other."""
    sampled = [i for i, (metric, stats) in enumerate(asked) if metric.kind != "binary" and len(stats)]
    seen = resample_all([(asked[i][1], asked[i][0].summary) for i in sampled], resamples)
    found = dict(zip(sampled, seen, strict=True))
    return [
        _within(metric, found[i], confidence)
        if i in found
        else wilson(float(stats[:, 0].sum()), len(stats), confidence)
        for i, (metric, stats) in enumerate(asked)
    ]


def _within(metric: Metric, seen: Resampled, confidence: float) -> Estimate:
    """The interval of resampled scores, kept within the metric's range and around the score."""
    value = seen.value
    low, high = seen.interval(confidence)
    low, high = min(low, value), max(high, value)
    span = metric.high - metric.low
    if low == high and math.isfinite(span):
        place = min(max((value - metric.low) / span, 0.0), 1.0)
        bound = wilson(place * seen.n, seen.n, confidence)
        low, high = metric.low + span * bound.low, metric.low + span * bound.high
    low, high = max(low, metric.low), min(high, metric.high)
    return Estimate(value, min(low, value), max(high, value), seen.n)


def two_sided(confidence: float) -> float:
    """Normal quantile of a two-sided interval of that confidence: 1.96 for 0.95."""
    return _NORMAL.inv_cdf(0.5 + confidence / 2)


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
        """Rows."""
        return len(self.left_out)

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
        return _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))

    def interval(self, confidence: float) -> tuple[float, float]:
        """BCa interval; the normal one where there are no resamples."""
        z = two_sided(confidence)
        if self.resampled is None:
            return self.value - z * self.error, self.value + z * self.error
        bias = self._z_below(self.value)
        shifted = [bias + (bias + end) / (1 - self.acceleration * (bias + end)) for end in (-z, z)]
        low, high = np.quantile(self.resampled, [_NORMAL.cdf(end) for end in shifted])
        return float(low), float(high)

    def p_value(self) -> float:
        """Smallest level at which the interval of `value` excludes 0, two-sided."""
        if self.value == 0:
            return 1.0
        resampled = self.resampled
        if resampled is None or (len(resampled) < RESAMPLES and not resampled.min() <= 0 <= resampled.max()):
            # Few resamples cannot show a small p; with so many rows the normal tail can.
            return 2 * _NORMAL.cdf(-abs(self.value) / self.error) if self.error > 0 else 0.0
        bias, at_zero = self._z_below(self.value), self._z_below(0.0)
        z = (at_zero - bias) / max(1 + self.acceleration * (at_zero - bias), 1e-9) - bias
        return min(1.0, max(2 / (len(resampled) + 1), 2 * _NORMAL.cdf(-abs(z))))


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
