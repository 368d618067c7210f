"""What a metric is: some statistics of each row, and the score as a function of their mean.

A plain per-row metric has one statistic, the row's score. Macro F1 has three a class, correlation five, corpus BLEU
ten. Because every score is a function of column means, a bootstrap over rows is one matrix product for all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Summary = Callable[[FloatArray], FloatArray]
Share = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From statistics, shape [..., k], what counts as right and what counts, each of shape [...]."""


@dataclass(frozen=True, slots=True)
class Example:
    """One answered row as a metric sees it.

    `answer` is what extraction found (str, float, list or dict by answer type), None when there is no valid answer:
    a metric then gives the row its worst score. `text` is the completion with any thinking part removed, "" when
    there was none. `references` are the right answers as written, never empty; `gold` the same through the extractor.
    `fields` are the row's columns that the task's metrics need.
    """

    answer: Any
    text: str
    references: tuple[str, ...]
    gold: tuple[Any, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)


def only_mean(means: FloatArray) -> FloatArray:
    """The score of a metric with a single statistic: its mean. Shape [..., 1] to [...]."""
    return means[..., 0]


def _same(share: float) -> float:
    return share


@dataclass(frozen=True, slots=True)
class Basis:
    """What a score rests on, for a metric by which not all rows count alike: 5 positives of 1,000 rows are 5.

    `count` gives how many `unit`s count, from the statistics of all rows, shape [n, k]. A score that is a function of
    one share (recall: of the positives those found) names it: `share` turns statistics, shape [..., k], into what
    counts as right and what counts, each of shape [...], and `score` the share into the score, rising with it. For
    others `unseen` holds rows that the sample could have held, shape [m, k]: a right and a wrong one of each label, so
    that a label without a mistake so far is not taken for one that never will have any. With fewer than `least` units
    nothing is claimed.
    """

    unit: str
    count: Callable[[FloatArray], float]
    share: Share | None = None
    score: Callable[[float], float] = _same
    unseen: FloatArray | None = None
    least: int = 5
    heavy_tailed: bool = False
    """Whether few rows may decide the score: then the quantiles are Student's with `count` - 1 degrees of freedom."""


def _mean_of_samples(stats: FloatArray) -> FloatArray:
    mean: FloatArray = stats.mean(axis=1)
    return mean


@dataclass(frozen=True, slots=True)
class Metric:
    """A named score over the rows of a task.

    Score rows through `table`; `stats` alone is not enough for a metric whose rows' statistics depend on other rows.

    `stats` gives a row's statistics, always the same number of them. `summary` turns their means over rows,
    shape [..., k], into scores, shape [...]; it must be vectorised and must not raise or return NaN where a
    resample makes it undefined (it returns the worst value). `kind` is "binary" when each row scores 0 or 1 (Wilson,
    McNemar), "mean" for other per-row scores, "corpus" when only the whole set has a score.
    """

    name: str
    stats: Callable[[Example], Sequence[float]]
    summary: Summary = only_mean
    kind: Literal["binary", "mean", "corpus"] = "mean"
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True
    stats_of_all: Callable[[Sequence[Example]], FloatArray] | None = None
    """Statistics of all rows at once, shape [n, k], where those of a row depend on the others (ranks, or a score that
    only the whole set has). The bootstrap takes them as fixed, which the metrics that use it say something about."""
    constant: float | None = None
    """The score of answers that do not depend on the row, where it is not `low`: 0 for a correlation."""
    scorable: int | None = None
    """Which statistic is 1 for a row that can be scored and else 0, for a metric by which not every row can be."""
    counted: tuple[str, ...] = ()
    """What the last statistics count, where their sums over rows are shown beside the score."""
    basis: Basis | None = None
    """What the score rests on, where that is not every row."""
    of_samples: Callable[[FloatArray], FloatArray] = _mean_of_samples
    """A row's statistics, shape [n, k], from those of each of its answers, shape [n, samples, k]."""
    samples: int = 1
    """The fewest answers to a row from which it can be scored."""

    @property
    def best(self) -> float:
        """The score of the right answers, as far as the metric has an end there."""
        return self.high if self.higher_is_better else self.low

    @property
    def unanswered(self) -> float:
        """The score when no row has an answer."""
        if self.constant is not None:
            return self.constant
        return self.low if self.higher_is_better else self.high

    def counts(self, stats: FloatArray) -> dict[str, int]:
        """The sums over rows of the statistics that are counts, by name; `stats` has the shape [n, k]."""
        totals = stats.sum(axis=0)[stats.shape[1] - len(self.counted) :]
        return {name: round(total) for name, total in zip(self.counted, totals, strict=True)}

    def table(self, examples: Sequence[Example]) -> FloatArray:
        """Return the statistics of all rows, shape [n, k]."""
        if self.stats_of_all is not None:
            return self.stats_of_all(examples)
        return np.array([tuple(self.stats(example)) for example in examples], dtype=np.float64)

    def score(self, examples: Sequence[Example]) -> float:
        """Return the score of these rows, the worst one when there are none."""
        if not examples:
            return self.low
        return self.of(self.table(examples))

    def of(self, stats: FloatArray) -> float:
        """Return the score of rows with these statistics, shape [n, k]."""
        return float(self.summary(stats.mean(axis=0)))


def needs_table(example: Example) -> Sequence[float]:
    """The `stats` of a metric that only has statistics of all rows together.

    Raises:
        TypeError: always; a row by itself would silently give another score.
    """
    raise TypeError("this metric scores all rows together: call Metric.table")


def values(example: Example) -> list[tuple[Any, Any]]:
    """Return a row's answer with each of its right ones; nothing for a row without a valid answer."""
    return [] if example.answer is None else [(example.answer, gold) for gold in example.gold if gold is not None]


def best(
    name: str,
    score: Callable[[Any, Any], float | Fraction],
    pairs: Callable[[Example], Iterable[tuple[Any, Any]]] = values,
    *,
    kind: Literal["binary", "mean"] = "mean",
) -> Metric:
    """Return the metric whose row score is the best over these pairs of what is compared, 0 where there are none."""

    def stats(example: Example) -> tuple[float]:
        return (float(max((score(ours, gold) for ours, gold in pairs(example)), default=0.0)),)

    return Metric(name, stats, kind=kind)


@dataclass(frozen=True, slots=True)
class MetricFactory:
    """How a metric is made for a task: `make` takes the answer spec and, as keywords, the options of the YAML.

    The names, types and defaults of the options are those of the keyword parameters of `make`. `fits` are the answer
    types that the metric can score.
    """

    make: Callable[..., Metric]
    fits: frozenset[str]

    @property
    def definition(self) -> str:
        """The first sentence of what the metric is."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]


def recipes(fits: Iterable[str], *makes: Callable[..., Metric]) -> dict[str, MetricFactory]:
    """Return how metrics that score answers of these types are made, by name: that of the function."""
    return {make.__name__: MetricFactory(make, frozenset(fits)) for make in makes}


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide element by element; 0 where the denominator is 0."""
    quotient = np.zeros(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)))
    return np.divide(numerator, denominator, out=quotient, where=denominator != 0)


def share_of(unit: str, share: Share, score: Callable[[float], float] = _same) -> Basis:
    """The basis of a score that is a function of one share: all that counts, right or not."""
    return Basis(unit, lambda stats: float(share(stats)[1].sum()), share, score)


def precision(stats: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The share of precision, from statistics of what is gold, what is answered, and what is both."""
    return stats[..., 2], stats[..., 1]


def recall(stats: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The share of recall, from the same statistics."""
    return stats[..., 2], stats[..., 0]


def f1(stats: FloatArray) -> tuple[FloatArray, FloatArray]:
    """F1 as a share, from the same statistics: twice what is both, of all that is gold and all that is answered."""
    return 2 * stats[..., 2], stats[..., 0] + stats[..., 1]


def over_classes(share: Share, weigh: Callable[[FloatArray, FloatArray], Any]) -> Summary:
    """The mean over classes of a share (0 where undefined), each weighed by its gold and its answers.

    The statistics are gold, answered and both, each for all classes: shape [..., 3 x classes].
    """

    def summary(means: FloatArray) -> FloatArray:
        gold, answered, both = np.split(means, 3, axis=-1)
        weight = np.asarray(weigh(gold, answered), dtype=np.float64)
        of_each = ratio(*share(np.stack([gold, answered, both], axis=-1)))
        return ratio((weight * of_each).sum(axis=-1), weight.sum(axis=-1))

    return summary


def occurs(gold: FloatArray, answered: FloatArray) -> NDArray[np.bool_]:
    """Weigh classes alike that are gold or answered at all."""
    return gold + answered > 0


def of_share(
    name: str, stats: Callable[[Example], Sequence[float]], unit: str, share: Share, scorable: int | None = None
) -> Metric:
    """The metric whose score is a share of all rows' units: of what counts, what is right; 0 where nothing counts."""
    return Metric(
        name, stats, lambda means: ratio(*share(means)), "corpus", scorable=scorable, basis=share_of(unit, share)
    )
