"""How far judges agree: a judge with people, people with each other, judges on the models of their own family."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.compare.intervals import NOTHING, Estimate, estimate
from harness.judge.faults import SHARE
from harness.judge.votes import TIE, Vote
from harness.score.metrics.base import IntArray, Metric, needs_table
from harness.score.metrics.labels import kappa
from harness.score.scoring import numbered

MOST_NAMED = 5
"""Up to this many people each two are compared by name, more all together."""
Item = tuple[str, str, str, str, str]
"""What is voted on: task, row, the two models, the one that was shown first in front, and the turn."""
_Pair = tuple[Item, float, float]
_Sides = dict[tuple[str, str, str, frozenset[str]], Item]
_OUTCOMES = (0.0, TIE, 1.0)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two agree: share of equal verdicts and Cohen's kappa, with ties as verdicts, and where neither ties."""

    first: str
    second: str
    share: Estimate
    kappa: Estimate
    share_without_ties: Estimate
    kappa_without_ties: Estimate


KAPPA = Metric("kappa", needs_table, kappa, kind="corpus", low=-1.0)


def agreements(judged: Iterable[Vote], human: Iterable[Vote]) -> list[Agreement]:
    """Each judge with the people's majority, then the people with each other.

    Every verdict of a judge counts, one that could not be read as different. Which side of an item is the first, on
    which kappa depends, is as the people were shown it.
    """
    sides: _Sides = {}
    people = _by_judge((vote for vote in human if not math.isnan(vote.outcome)), sides)
    judges = _by_judge(judged, sides)
    everybody: dict[Item, list[float]] = {}
    for votes in people.values():
        for item, outcomes in votes.items():
            everybody.setdefault(item, []).extend(outcomes)
    of_people = {item: _majority(outcomes) for item, outcomes in everybody.items()}
    found = []
    for name, votes in judges.items():
        shared = [item for item in votes if item in of_people]
        verdicts = [(item, verdict, of_people[item]) for item in shared for verdict in votes[item]]
        found.append(Agreement(name, "people", *_estimates(verdicts), *_estimates(_decided(verdicts))))
    for a, b, pairs in _among(people, everybody):
        found.append(Agreement(a, b, *_estimates(pairs), *_estimates(_decided(pairs))))
    return found


def _among(
    people: Mapping[str, Mapping[Item, list[float]]], everybody: Mapping[Item, Sequence[float]]
) -> Iterator[tuple[str, str, list[_Pair]]]:
    """Pairs of people's verdicts on the same item: of each two people, or of all where there are many."""
    if len(people) > MOST_NAMED:
        both = [(item, *two) for item, outcomes in everybody.items() for two in combinations(outcomes, 2)]
        yield "people", "each other", [*both, *((item, b, a) for item, a, b in both)]
        return
    for a, b in combinations(people, 2):
        shared = [item for item in people[a] if item in people[b]]
        yield a, b, [(item, _majority(people[a][item]), _majority(people[b][item])) for item in shared]


def family_preference(judge: str, family: Collection[str], votes: Iterable[Vote]) -> Estimate:
    """How much larger a share of wins a judge gives to models of its own family than other judges and people do.

    Over the pairs of one model of the family and one of another on which both have voted; 0 for no preference.
    """
    by_judge = _by_judge((vote for vote in votes if not math.isnan(vote.outcome)), {})
    others: dict[Item, list[float]] = {}
    for name, verdicts in by_judge.items():
        for item, outcomes in verdicts.items() if name != judge else ():
            others.setdefault(item, []).extend(outcomes)
    mine = by_judge.get(judge, {})
    shared = [item for item in sorted(mine.keys() & others.keys()) if (item[2] in family) != (item[3] in family)]
    if not shared:
        return NOTHING
    gaps = [(np.mean(mine[item]) - np.mean(others[item])) * (1 if item[2] in family else -1) for item in shared]
    metric = Metric("difference", needs_table, low=-1.0)
    return estimate(metric, np.array(gaps)[:, None], clusters=_clusters(shared))


def _by_judge(votes: Iterable[Vote], sides: _Sides) -> dict[str, dict[Item, list[float]]]:
    """The verdicts of each judge on each item, as outcomes for the model that the item's first vote showed first."""
    found: dict[str, dict[Item, list[float]]] = {}
    for vote in votes:
        key = (vote.task, vote.row, vote.turn, frozenset((vote.first, vote.second)))
        item = sides.setdefault(key, (vote.task, vote.row, vote.first, vote.second, vote.turn))
        outcome = vote.outcome if vote.first == item[2] else 1 - vote.outcome
        found.setdefault(vote.judge, {}).setdefault(item, []).append(outcome)
    return found


def _majority(outcomes: Sequence[float]) -> float:
    """The most frequent verdict; a tie where two are equally frequent."""
    (first, most), *rest = Counter(outcomes).most_common(2)
    return TIE if rest and rest[0][1] == most else first


def _decided(pairs: Iterable[_Pair]) -> list[_Pair]:
    return [pair for pair in pairs if TIE not in pair[1:]]


def _estimates(pairs: Sequence[_Pair]) -> tuple[Estimate, Estimate]:
    """Share of equal verdicts and kappa; pairs on one row are drawn together."""
    if not pairs:
        return NOTHING, NOTHING
    equal = np.column_stack([[a == b for _, a, b in pairs], np.ones(len(pairs))]).astype(np.float64)
    found = estimate(SHARE, equal, clusters=_clusters([item for item, _, _ in pairs]))
    read = [pair for pair in pairs if not math.isnan(pair[1])]
    table = np.zeros((len(read), len(_OUTCOMES) ** 2))
    table[np.arange(len(read)), [len(_OUTCOMES) * _OUTCOMES.index(a) + _OUTCOMES.index(b) for _, a, b in read]] = 1
    return found, estimate(KAPPA, table, clusters=_clusters([item for item, _, _ in read])) if read else NOTHING


def _clusters(items: Iterable[Item]) -> IntArray:
    return numbered(item[:2] for item in items)
