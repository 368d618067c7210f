"""A judge's faults as its own votes show them: verdicts that turn with the order, a favoured place or length, cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.compare.intervals import NOTHING, Estimate, estimate
from harness.judge.ranking import RESAMPLES, Design, design, fit, limits, percentiles, unknown
from harness.judge.votes import FIRST, TIE, Votes
from harness.score.metrics.base import FloatArray, IntArray, Metric, needs_table, ratio, share_of

SHARE = Metric(
    "share",
    needs_table,
    lambda means: ratio(means[..., 0], means[..., 1]),
    kind="corpus",
    basis=share_of("votes", lambda stats: (stats[..., 0], stats[..., 1])),
)
"""A share from two statistics of each vote: whether it has what is counted, and whether it could."""


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one judge, each over the votes that show it; an estimate with n = 0 where none does.

    Attributes:
        judge: Its name.
        asked: Verdicts that it gave or should have given.
        unread: The share of them that could not be read.
        ties: The share of ties among those that were read.
        flips: Of the pairs of answers judged in both orders, those whose verdict changed with the order.
        orders_agree: Those whose verdict was the same in both orders; the rest has an unread one.
        first: Of the verdicts for one side, the share for the answer that was shown first.
        longer: By what factor the odds rise for an answer twice as long, at equal strengths and places; ties aside.
        usd: What all of them cost, None where that is not known.
        usd_each: What one cost, of those whose cost is known.
    """

    judge: str
    asked: int
    unread: Estimate
    ties: Estimate
    flips: Estimate
    orders_agree: Estimate
    first: Estimate
    longer: Estimate
    usd: float | None
    usd_each: Estimate


def faults(votes: Votes, resamples: int = RESAMPLES) -> list[Faults]:
    """The faults of each judge, by what it was asked; rows are resampled, since votes on a row depend on each other."""
    asked = votes.take(votes.asked > 0)
    found = []
    for place, name in enumerate(votes.judges):
        mine = asked.take(asked.judge == place)
        if len(mine):
            found.append(_of_judge(name, mine, resamples))
    return found


def _of_judge(name: str, votes: Votes, resamples: int) -> Faults:
    read = votes.read
    decided = read.take(read.outcome != TIE)
    both, rows = _both_orders(votes)
    priced = votes.take(~np.isnan(votes.usd))
    each = Metric("USD", needs_table, low=0.0, high=math.inf)
    return Faults(
        name,
        len(votes),
        share(np.isnan(votes.outcome), votes.row),
        share(read.outcome == TIE, read.row),
        share((both[:, 0] != both[:, 1]) & ~np.isnan(both).any(axis=1), rows),
        share(both[:, 0] == both[:, 1], rows),
        share(decided.outcome == FIRST, decided.row),
        _longer(decided.take(~np.isnan(decided.length_ratio)), resamples),
        float(priced.usd.sum()) if len(priced) else None,
        estimate(each, priced.usd[:, None], clusters=clusters(priced.row)) if len(priced) else NOTHING,
    )


def share(hits: FloatArray | np.ndarray[tuple[int, ...], np.dtype[np.bool_]], rows: IntArray) -> Estimate:
    """The share of hits, shape [n], with Wilson's interval over as many trials as the rows' own spread allows."""
    stats = np.column_stack([np.asarray(hits, np.float64), np.ones(len(hits))])
    return estimate(SHARE, stats, clusters=clusters(rows)) if len(hits) else NOTHING


def clusters(rows: IntArray) -> IntArray:
    """Rows numbered without gaps, as clusters are."""
    return np.unique(rows, return_inverse=True)[1].ravel().astype(np.int64)


def _both_orders(votes: Votes) -> tuple[FloatArray, IntArray]:
    """The verdicts on each pair of answers judged in both orders, for the same model, shape [pairs, 2], and their rows.

    Of several verdicts on the same order the last one counts.
    """
    ways: dict[tuple[int, int, int], float] = {}
    rows = dict(zip(votes.item.tolist(), votes.row.tolist(), strict=True))
    for item, first, second, outcome in zip(votes.item, votes.first, votes.second, votes.outcome, strict=True):
        ways[int(item), int(first), int(second)] = float(outcome)
    pairs = [key for key in ways if key[1] < key[2] and (key[0], key[2], key[1]) in ways]
    both = [(ways[key], 1 - ways[key[0], key[2], key[1]]) for key in pairs]
    return np.array(both).reshape(len(pairs), 2), np.array([rows[key[0]] for key in pairs], dtype=np.int64)


def _longer(votes: Votes, resamples: int) -> Estimate:
    """The factor of the odds for a doubled length, with the percentile interval over resampled rows."""
    if len(np.unique(votes.length_ratio)) < 2 or len(np.unique(votes.outcome)) < 2:
        return NOTHING
    made = design(votes, position=True, length=True)
    value = _last(made, made.weight)
    if math.isnan(value):
        return NOTHING
    drawn = np.array([_last(made, weight) for weight in made.resampled(resamples)])
    found = percentiles(value, *limits(drawn), len(votes))
    with np.errstate(over="ignore"):  # answers of all but equal length may leave it without a limit
        value, low, high = (float(np.exp(one)) for one in (found.value, found.low, found.high))
    return Estimate(value, low, high, found.n)


def _last(made: Design, weight: FloatArray) -> float:
    """The coefficient of the last term, NaN where the votes do not determine it."""
    found = fit(made, weight)
    return math.nan if unknown(made, weight, found)[-1] else float(found[-1])
