"""Metrics of number answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import compress

import numpy as np

from harness.errors import UserError
from harness.score.answers.numbers import exact
from harness.score.metrics.base import Basis, Example, FloatArray, Metric, best, needs_table, ratio, recipes
from harness.tasks.task import NumberAnswer


def number_match(answer: NumberAnswer, *, tolerance: float = 0.0) -> Metric:
    """Share of rows whose number differs from a right one by at most `tolerance` (default: not at all).

    Range [0, 1]. Numbers are compared after extraction, so "$1,234.50" and "1234.5" match, and exactly: whole numbers
    of any size and decimals differ where a digit does.
    """
    if tolerance < 0:
        raise UserError("metric 'number_match': tolerance must not be negative")
    most = exact(tolerance)
    return best("number_match", lambda ours, gold: abs(ours - gold) <= most, kind="binary")


def closeness(answer: NumberAnswer, *, scale: float = 5.0) -> Metric:
    """Mean of 1 - |error| / `scale`, not below 0 for a row; `scale` is the width of the rating scale. Range [0, 1].

    This is LoRA Land's score for STS-B (scale 5), where it is called mean absolute error although higher is better.
    """
    if scale <= 0:
        raise UserError("metric 'closeness': scale must be positive")
    width = exact(scale)
    return best("closeness", lambda ours, gold: max(Fraction(0), 1 - abs(ours - gold) / width))


def as_float(value: Fraction) -> float:
    """Return the float nearest to a number, the largest there is for one beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return sys.float_info.max if value > 0 else -sys.float_info.max


def _correlation(means: FloatArray) -> FloatArray:
    """Pearson's r of the rows that have both values, times their share of all rows; 0 where a value is constant."""
    share, x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    mean_x, mean_y, mean_xy = ratio(x, share), ratio(y, share), ratio(xy, share)
    square_x, square_y = ratio(xx, share), ratio(yy, share)
    spread_x, spread_y = square_x - mean_x**2, square_y - mean_y**2
    # What is left after subtracting two large equal numbers is rounding, not spread.
    spread = np.where(
        (spread_x > 1e-12 * (square_x + 1e-300)) & (spread_y > 1e-12 * (square_y + 1e-300)), spread_x * spread_y, 0.0
    )
    correlation = np.clip(ratio(mean_xy - mean_x * mean_y, np.sqrt(spread)), -1, 1)
    return np.asarray(correlation * share, dtype=np.float64)


def pearson(answer: NumberAnswer) -> Metric:
    """Pearson's correlation of answers and gold numbers, times the share of rows that have an answer. Range [-1, 1].

    The factor keeps rows without an answer in the score: a model that answers half of the rows perfectly has 0.5.
    With all rows answered it is `scipy.stats.pearsonr`. 0 when the answers or the gold numbers are constant.
    """

    def centred(values: FloatArray) -> FloatArray:
        # Correlation does not change with unit and origin; around 0 and 1 the squares lose no digits.
        scaled = values / max(np.abs(values).max(), 1e-300)
        return np.asarray(scaled - scaled.mean())

    return _correlating("pearson", centred)


def spearman(answer: NumberAnswer) -> Metric:
    """Spearman's rank correlation of answers and gold numbers, times the share of rows with an answer. Range [-1, 1].

    Ranks (ties share their mean rank) are taken among all answered rows of the task; with all rows answered it is
    `scipy.stats.spearmanr`. The bootstrap resamples rows with these ranks instead of ranking each resample anew, which
    treats the ranks as an estimate of the distribution function and differs by the order of 1/n.
    """

    def ranks(values: FloatArray) -> FloatArray:
        from scipy.stats import rankdata

        return np.asarray((rankdata(values) - (len(values) + 1) / 2) / len(values))

    return _correlating("spearman", ranks)


def _correlating(name: str, prepare: Callable[[FloatArray], FloatArray]) -> Metric:
    """The metric of a correlation, whose rows' statistics depend on the other rows.

    They are 1, x, y and their products, of the answers and gold numbers that `prepare` gives; 0 where one is unknown.
    """

    def together(examples: Sequence[Example]) -> FloatArray:
        pairs = [(example.answer, example.gold[0]) for example in examples]
        known = np.array([None not in pair for pair in pairs], dtype=bool)
        table = np.zeros((len(pairs), 6))
        if known.any():
            x, y = (prepare(np.array([*map(as_float, side)])) for side in zip(*compress(pairs, known), strict=True))
            table[known] = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
        return table

    return Metric(
        name,
        needs_table,
        _correlation,
        kind="corpus",
        low=-1.0,
        constant=0.0,
        stats_of_all=together,
        basis=Basis("rows that weigh", _weighty, heavy_tailed=True),
    )


def _weighty(stats: FloatArray) -> float:
    """How many rows of equal weight carry the spread of the gold numbers: (sum of squares)^2 / sum of 4th powers."""
    known, gold = stats[:, 0], stats[:, 2]
    centred = (gold - ratio(gold.sum(), known.sum())) * known
    return float(ratio((centred**2).sum() ** 2, (centred**4).sum()))


RECIPES = recipes({"number"}, closeness, number_match, pearson, spearman)
