"""Models ranked by votes on pairs of them: Bradley-Terry strengths, with intervals by resampling rows.

A model's strength is such that the logarithm of the odds of winning against another is the difference of the two (R. A.
Bradley and M. E. Terry, Biometrika 39, 1952). It is fitted as a logistic regression on comparisons that are counted up;
a tie is half a win for each. A row's votes depend on each other, so rows are drawn again for intervals, not votes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compare.intervals import Estimate, weights
from harness.errors import UserError, nearest
from harness.judge.votes import Votes
from harness.score.metrics.base import FloatArray, IntArray

ELO = 400 / math.log(10)
"""Points of the Elo scale for one unit of strength: 400 points are odds of 10 to 1."""
ANCHOR_ELO = 1000.0
EQUAL = 1e-3
"""Points by which two strengths must differ to be different ones."""
RESAMPLES = 1000
CONFIDENCE = 0.95
WEAK = 1e6
"""Inverse of the ridge penalty: it only makes strengths finite, and moves none by a thousandth of a point."""
SURE = 8.0
"""Logarithm of the odds up to which no vote can be as good as certain, as all are where they can be separated."""
VAGUE = 100.0
"""Variance from which a term is not known, where it is scaled to a mean square of 1: a hundredth of a vote on it."""
UNDEFEATED, WINLESS = "undefeated", "winless"
ABOVE = "no chain of wins leads from the ranked models to it"
BELOW = "no chain of wins leads from it to the ranked models"
_LIMITS = {UNDEFEATED: math.inf, ABOVE: math.inf, WINLESS: -math.inf, BELOW: -math.inf}
"""Where the strength of a model that cannot be ranked lies, by the reason; for others it is not known."""


@dataclass(frozen=True, slots=True)
class RankedModel:
    """A ranked model: points on the Elo scale and place, each with its interval; the votes on it and its share of wins.

    An end of an interval is infinite where too many resamples leave the model undefeated or winless.
    """

    model: str
    elo: Estimate
    rank: int
    best_rank: int
    worst_rank: int
    votes: int
    win_rate: float


@dataclass(frozen=True)
class Ranking:
    """What votes say of models: those that can be ranked, best first, and why each of the others cannot.

    `anchor` is the model that has 1000 points. `next` holds each ranked model's lead over the next one, in points.
    `models` are all, in the order of rows and columns of `points`, where ties are half wins, of `games`, and of
    `scores`, the totals of a row's model against a column's where votes have scores.
    """

    standings: tuple[RankedModel, ...]
    next: tuple[Estimate, ...]
    unrankable: dict[str, str]
    anchor: str | None
    votes: int
    rows: int
    controlled: tuple[str, ...]
    models: tuple[str, ...]
    points: FloatArray
    games: FloatArray
    scores: FloatArray

    @property
    def matrix(self) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
        """Models, best first and those last that cannot be ranked, with their win rates and games in this order."""
        ranked = [one.model for one in self.standings]
        names = (*ranked, *(name for name in self.models if name not in ranked))
        order = np.array([self.models.index(name) for name in names])
        return names, self.win_rates[np.ix_(order, order)], self.games[np.ix_(order, order)]

    @property
    def win_rates(self) -> FloatArray:
        """The share of points that the model of a row won against that of a column; NaN where they never met."""
        return np.divide(self.points, self.games, out=np.full_like(self.points, math.nan), where=self.games > 0)


@dataclass(frozen=True)
class Design:
    """Votes counted up to comparisons, each a row of a logistic regression, with what weighs it.

    Attributes:
        features: 1 for the model that is shown first, -1 for the second; then the terms. Shape [cells, models + terms].
        wins: Whether the first wins, shape [cells].
        of_rows: How much each row of the data adds to each comparison, sparse, shape [cells, rows].
        models: How many models there are.
    """

    features: FloatArray
    wins: NDArray[np.bool_]
    of_rows: Any
    models: int

    @cached_property
    def weight(self) -> FloatArray:
        """The weight of each comparison over all rows, shape [cells]."""
        return np.asarray(self.of_rows.sum(axis=1), dtype=np.float64).ravel()

    @cached_property
    def best(self) -> FloatArray:
        """The fit over all rows."""
        return fit(self, self.weight)

    def points(self, weight: FloatArray) -> FloatArray:
        """What each model won of each other, shape [models, models]."""
        table, found = self.features[:, : self.models], np.zeros((self.models, self.models))
        first, second = table.argmax(axis=1), table.argmin(axis=1)
        np.add.at(found, (np.where(self.wins, first, second), np.where(self.wins, second, first)), weight)
        return found

    def resampled(self, resamples: int, seed: int = 0) -> Iterator[FloatArray]:
        """Yield the weights of the comparisons in each of several resamples of the rows.

        Meanwhile BLAS has one thread: fits are so small that several wait for each other, at twice the CPU time.
        """
        from threadpoolctl import threadpool_limits  # comes with scikit-learn

        with threadpool_limits(1, "blas"):
            for counts in weights(self.of_rows.shape[1], resamples, seed):
                yield self.of_rows @ counts.astype(np.float64)


def design(votes: Votes, *, position: bool = False, length: bool = False) -> Design:
    """Count up votes that were read. `position` adds a term for the first place, `length` one for a doubled length."""
    from scipy.sparse import csr_array

    terms = [np.ones(len(votes))] if position else []
    terms += [votes.length_ratio] if length else []
    first, second, outcome = votes.first, votes.second, votes.outcome
    if not terms:  # then the order does not matter, and a pair's comparisons count as one
        swap = first > second
        first, second = np.where(swap, second, first), np.where(swap, first, second)
        outcome = np.where(swap, 1 - outcome, outcome)
    cells, cell = np.unique(np.column_stack([first, second, *terms]), axis=0, return_inverse=True)
    cell = cell.ravel()
    features = np.zeros((len(cells), len(votes.models) + len(terms)))
    place = np.arange(len(cells))
    features[place, cells[:, 0].astype(int)], features[place, cells[:, 1].astype(int)] = 1, -1
    features[:, len(votes.models) :] = cells[:, 2:]
    _, row = np.unique(votes.row, return_inverse=True)
    entries = (np.concatenate([outcome, 1 - outcome]), (np.concatenate([2 * cell, 2 * cell + 1]), np.tile(row, 2)))
    of_rows = csr_array(entries, shape=(2 * len(cells), int(row.max(initial=-1)) + 1))
    used = np.asarray(of_rows.sum(axis=1)).ravel() > 0
    wins = np.tile([True, False], len(cells))
    return Design(np.repeat(features, 2, axis=0)[used], wins[used], of_rows[used], len(votes.models))


def fit(made: Design, weight: FloatArray) -> FloatArray:
    """The strengths of the models, of mean 0, and the coefficients of the terms, in units of the logarithm of odds."""
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=WEAK, fit_intercept=False, solver="newton-cholesky", tol=1e-8, max_iter=100, warm_start=True
    )
    if weight is not made.weight and not np.isnan(made.best).any():
        model.coef_ = made.best[None].copy()  # a resample's best fit is not far from that of all rows
    there = weight > 0
    if len(np.unique(made.wins[there])) < 2:  # the first always wins, or never: no order of the rows of X matters
        return np.full(made.features.shape[1], math.nan)
    with warnings.catch_warnings(), config_context(assume_finite=True, skip_parameter_validation=True):
        warnings.simplefilter("ignore")  # of models that are undefeated in a resample, whose strength has no limit
        found = model.fit(made.features[there], made.wins[there], sample_weight=weight[there]).coef_[0]
    return np.asarray(found, dtype=np.float64)


def covariance(made: Design, weight: FloatArray, found: FloatArray) -> FloatArray:
    """The covariance of fitted strengths and coefficients, shape [features, features], if votes were independent."""
    chance = 1 / (1 + np.exp(-(made.features @ found)))
    information = made.features.T @ (made.features * (weight * chance * (1 - chance))[:, None])
    return np.asarray(np.linalg.pinv(information), dtype=np.float64)


def unknown(made: Design, weight: FloatArray, found: FloatArray) -> NDArray[np.bool_]:
    """Which terms the votes do not determine, shape [terms]: with them, or without, they can be separated perfectly.

    Then the best fit has no finite coefficients, and where the fit ended says nothing (A. Albert and J. A. Anderson,
    Biometrika 71, 1984).
    """
    terms = made.features[:, made.models :]
    if not np.abs(made.features[weight > 0] @ found).max(initial=0) > SURE:
        return np.isnan(found[made.models :])
    variances = np.diagonal(covariance(made, weight, found))[made.models :]
    return np.asarray(variances * (weight @ terms**2 / weight.sum()) > VAGUE)


def rank(
    votes: Votes,
    *,
    anchor: str | None = None,
    position: bool = False,
    length: bool = False,
    resamples: int = RESAMPLES,
) -> Ranking:
    """Rank the models that are connected by wins in both directions; say of the others why they cannot be.

    `anchor` has 1000 points, by default the ranked model with the most votes. `position` holds the order in which
    answers were shown equal, `length` the answers' lengths, where votes whose lengths are not known do not count.

    Raises:
        UserError: the anchor is not among the models, or cannot be ranked.
    """
    votes = votes.read
    if length:
        votes = votes.take(~np.isnan(votes.length_ratio))
    names = votes.models
    whole = design(votes)
    points = whole.points(whole.weight)
    main, reasons = connected(points)
    unrankable = {names[place]: reason for place, reason in reasons.items()}
    if anchor is not None and (anchor not in names or anchor in unrankable):
        why = unrankable.get(anchor, "there is no vote on it")
        raise UserError(f"--anchor {anchor} cannot be ranked: {why}{nearest(anchor, (names[one] for one in main))}")
    games, scores = points + points.T, np.zeros_like(points)
    np.add.at(scores, (votes.first, votes.second), np.nan_to_num(votes.scores[:, 0]))
    np.add.at(scores, (votes.second, votes.first), np.nan_to_num(votes.scores[:, 1]))
    chosen = votes.take(np.isin(votes.first, main) & np.isin(votes.second, main))
    controlled = (*(["position"] if position else []), *(["length"] if length else []))
    rows = len(np.unique(votes.row))
    nothing = Ranking((), (), unrankable, None, len(votes), rows, controlled, names, points, games, scores)
    if len(main) < 2:
        return nothing
    at = names.index(anchor) if anchor else int(main[games[main].sum(axis=1).argmax()])
    strengths, drawn = _drawn(design(chosen, position=position, length=length), main, resamples)
    if np.isnan(strengths).any():
        why = f"with {' and '.join(controlled)} held equal, no finite strengths fit these votes best"
        return replace(nothing, unrankable=unrankable | {names[place]: why for place in main})
    order = main[np.argsort(-strengths[main], kind="stable")]
    elo = ANCHOR_ELO + ELO * (strengths - strengths[at])
    low, high = (ANCHOR_ELO + ELO * (end[:, order] - strengths[at]) for end in drawn)
    places = _places(low, high)
    standings = tuple(
        RankedModel(
            names[one],
            percentiles(float(elo[one]), low[:, place], high[:, place], rows),
            1 + int((elo[order] > elo[one] + EQUAL).sum()),
            *places[place],
            int(games[one].sum()),
            float(points[one].sum() / games[one].sum()),
        )
        for place, one in enumerate(order)
    )
    leads = tuple(
        percentiles(
            float(elo[one] - elo[after]), _lead(low[:, place], high[:, place + 1]),
            _lead(high[:, place], low[:, place + 1]), rows,
        )
        for place, (one, after) in enumerate(pairwise(order))
    )  # fmt: skip
    return replace(nothing, standings=standings, next=leads, anchor=names[at])


def connected(points: FloatArray) -> tuple[IntArray, dict[int, str]]:
    """The largest set of models with chains of wins both ways between any two, and why each other is not in it.

    Of two equally large ones that with more votes, and of two such that with the first model.

    Without such chains no finite strengths fit best (L. R. Ford, American Mathematical Monthly 64, 1957). `points` has
    the shape [models, models].
    """
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    _, label = connected_components(points > 0, directed=True, connection="strong")
    sizes, games = np.bincount(label), np.bincount(label, points.sum(axis=1))
    first = np.unique(label, return_index=True)[1]
    largest = np.lexsort((-first, games, sizes))[-1]
    main = np.flatnonzero(label == largest) if sizes[largest] > 1 else np.empty(0, np.int64)
    below, above = set(), set()
    if len(main):
        below = set(breadth_first_order(points > 0, main[0], return_predecessors=False).tolist())
        above = set(breadth_first_order(points.T > 0, main[0], return_predecessors=False).tolist())
    reasons = {}
    for one in sorted(set(range(len(points))) - set(main.tolist())):
        if not (points[one].any() or points[:, one].any()):
            reasons[one] = "no vote on it was read"
        elif not points[:, one].any():
            reasons[one] = UNDEFEATED
        elif not points[one].any():
            reasons[one] = WINLESS
        elif one in above:
            reasons[one] = ABOVE
        elif one in below:
            reasons[one] = BELOW
        else:
            reasons[one] = "no chain of wins connects it with the ranked models"
    return main, reasons


def _drawn(made: Design, main: IntArray, resamples: int) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """The strengths of all models, shape [models], and the lowest and highest they may be in resamples of the rows.

    The latter have the shape [resamples, models] and differ only where a resample does not tell. Strengths have no
    origin of their own, so each resample is shifted to the strengths of all rows.
    """
    strengths = _strengths(made, made.weight)
    drawn = []
    for weight in made.resampled(resamples):
        found = np.full(made.models, math.nan)
        points = made.points(weight)[np.ix_(main, main)]
        ranked, reasons = connected(points)
        if len(ranked):
            found[main] = _strengths(made, weight)[main]
            known = main[ranked]
            found[known] += (strengths[known] - found[known]).mean()
        for place, reason in reasons.items():
            found[main[place]] = _LIMITS.get(reason, math.nan) if len(ranked) else math.nan
        drawn.append(found)
    return strengths, limits(np.array(drawn))


def _strengths(made: Design, weight: FloatArray) -> FloatArray:
    """Fitted strengths, shape [models]; NaN where the terms beside them are not known."""
    found = fit(made, weight)
    return np.full(made.models, math.nan) if unknown(made, weight, found).any() else found[: made.models]


def limits(drawn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The lowest and highest that resampled values may be: NaN may be anything."""
    return np.where(np.isnan(drawn), -math.inf, drawn), np.where(np.isnan(drawn), math.inf, drawn)


def _places(low: FloatArray, high: FloatArray) -> list[tuple[int, int]]:
    """The best and the worst place of each model, from the strengths that it may have in resamples, [resamples, k]."""
    found = []
    for one in range(low.shape[1]):
        others = np.arange(low.shape[1]) != one
        best = 1 + (low[:, others] > high[:, [one]]).sum(axis=1)
        worst = 1 + (high[:, others] > low[:, [one]]).sum(axis=1)
        found.append((int(_quantile(best, low=True)), int(_quantile(worst, low=False))))
    return found


def _lead(one: FloatArray, other: FloatArray) -> FloatArray:
    """The difference of strengths; two that have no limit on the same side may be equal."""
    with np.errstate(invalid="ignore"):
        difference: FloatArray = np.nan_to_num(one - other, nan=0.0, posinf=math.inf, neginf=-math.inf)
    return difference


def percentiles(value: float, low: FloatArray, high: FloatArray, n: int) -> Estimate:
    """A figure with the percentile interval of its resampled values, widened to it."""
    ends = float(_quantile(low, low=True)), float(_quantile(high, low=False))
    return Estimate(value, min(ends[0], value), max(ends[1], value), n)


def _quantile(drawn: NDArray[Any], *, low: bool) -> Any:
    """An end of the interval: one of the resampled values, since between an infinite one and another there is none."""
    share = (1 - CONFIDENCE) / 2
    return np.quantile(drawn, share if low else 1 - share, method="lower" if low else "higher")
