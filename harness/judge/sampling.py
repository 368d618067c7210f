"""Which comparisons to ask next: some rows of every pair, then only rows of neighbours whose order is still open.

Each round tests again, so a wrong order has many chances to look settled: how often it does is what the simulation in
`benchmarks/judge.py` counts, by which the threshold was chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from harness.judge.ranking import Design, covariance, design, fit
from harness.judge.votes import TIE, Vote, Votes
from harness.score.metrics.base import FloatArray

FIRST_ROWS = 12
"""Rows of each pair in the first round."""
GROWTH = 1.5
"""How many times the rows of an open pair there are after the next round."""
SETTLED = 1.45
"""Standard errors by which neighbours must differ."""
Pair = tuple[str, str]


class JudgedPair(NamedTuple):
    """Two models' answers to a row, in the order in which they are shown."""

    task: str
    row: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Order:
    """Models, best first, and the neighbours among them whose order is not settled."""

    models: tuple[str, ...]
    open: tuple[Pair, ...]


def order(votes: Sequence[Vote], models: Sequence[str], references: Sequence[str] = ()) -> Order:
    """Order models by votes on them; the order of two references does not matter.

    Each pair that was compared gets one row more, tied in both orders, so that a model which has won all its votes has
    a finite strength.
    """
    if not votes:
        return Order((), ())
    pairs = {tuple(sorted((vote.first, vote.second))) for vote in votes}
    ties = [Vote(f"\0{a}\0{b}", *two, TIE) for a, b in sorted(pairs) for two in ((a, b), (b, a))]
    gathered = Votes.of([*votes, *ties]).read
    made = design(gathered, position=True)
    found = fit(made, made.weight)
    covariances = _covariances(made, found)
    place = {name: number for number, name in enumerate(gathered.models)}
    ranked = sorted((name for name in models if name in place), key=lambda name: -found[place[name]])
    unsettled = []
    for a, b in pairwise(ranked):
        i, j = place[a], place[b]
        variance = max(one[i, i] + one[j, j] - 2 * one[i, j] for one in covariances)
        both_fixed = a in references and b in references
        if not both_fixed and found[i] - found[j] < SETTLED * variance**0.5:
            unsettled.append((a, b))
    return Order(tuple(ranked), tuple(unsettled))


def _covariances(made: Design, found: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The covariance of strengths if votes were independent, and that by the rows' own spread (P. J. Huber, 1967)."""
    inverse = covariance(made, made.weight, found)
    chance = 1 / (1 + np.exp(-(made.features @ found)))
    slopes: FloatArray = made.of_rows.T @ (made.features * (made.wins - chance)[:, None])
    rows = max(slopes.shape[0], 2)
    return inverse, inverse @ (slopes.T @ slopes) @ inverse * (rows / (rows - 1))


def next_rows(
    taken: Mapping[Pair, int], rows: int, found: Order | None, first_rows: int = FIRST_ROWS
) -> dict[Pair, int]:
    """How many rows of each pair to have asked after the next round, only of pairs that get more of them.

    Args:
        taken: The rows of each pair that may be compared, so far.
        rows: How many there are.
        found: The order so far; None before the first round.
    """
    if found is None:
        return {pair: min(first_rows, rows) for pair in taken if taken[pair] < min(first_rows, rows)}
    wanted: dict[Pair, int] = {}
    for a, b in found.open:
        direct = [pair for pair in taken if set(pair) == {a, b}]
        for pair in direct or [pair for pair in taken if a in pair or b in pair]:
            more = min(rows, max(taken[pair] + 1, round(taken[pair] * GROWTH)))
            if more > taken[pair]:
                wanted[pair] = more
    return wanted
