"""What sampling in rounds saves, how often it settles on a wrong order, and whether a judge's faults are found.

python -m benchmarks.judge [--seeds 100] prints the tables of docs/judge.md.

Verdicts are drawn in memory: a model's answer to a row has a quality of its own around the model's strength (the row's
effect, the same in every verdict on it), and the judge has habits: it favours the first place and longer answers, and
ties now and then.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from tabulate import tabulate

from harness.compare.intervals import Estimate
from harness.judge.faults import faults
from harness.judge.sampling import Order, next_rows, order
from harness.judge.votes import FIRST, SECOND, TIE, Vote, Votes
from harness.score.metrics.base import FloatArray


@dataclass(frozen=True)
class Judge:
    """Habits, as logarithms of odds (the first place, a doubled length), and the share of ties."""

    place: float = 0.0
    length: float = 0.0
    ties: float = 0.0


@dataclass(frozen=True)
class World:
    """Models with their strengths, and for each row the lengths of their answers, shape [rows, models].

    `odds` are the logarithms of the odds that a row's first answer wins, when there is no tie, and `outcomes` the
    verdicts, both of shape [rows, first, second].
    """

    names: tuple[str, ...]
    strengths: FloatArray
    lengths: FloatArray
    odds: FloatArray
    outcomes: FloatArray
    judge: Judge

    @classmethod
    def drawn(cls, seed: int, models: int, rows: int, judge: Judge, spread: float = 1.0, effect: float = 0.7) -> World:
        """Draw a world: strengths with that standard deviation, rows' effects with that one."""
        rng = np.random.default_rng(seed)
        strengths = rng.normal(0, spread, models)
        quality = strengths + rng.normal(0, effect, (rows, models))
        lengths = np.exp(rng.normal(5, 0.5, (rows, models)))
        doublings = np.log2(1 + lengths)
        odds = _differences(quality) + judge.place + judge.length * _differences(doublings)
        tie, win = rng.random((2, rows, models, models))
        outcomes = np.where(tie < judge.ties, TIE, np.where(win < 1 / (1 + np.exp(-odds)), FIRST, SECOND))
        return cls(tuple(f"m{n:02}" for n in range(models)), strengths, lengths, odds, outcomes, judge)

    def vote(self, row: int, first: int, second: int) -> Vote:
        """The verdict on two answers in this order, the same each time."""
        lengths = (float(self.lengths[row, first]), float(self.lengths[row, second]))
        outcome = float(self.outcomes[row, first, second])
        return Vote(str(row), self.names[first], self.names[second], outcome, "judge", lengths=lengths)


def _differences(table: FloatArray) -> FloatArray:
    """Of shape [rows, models], each model's value less each other's, shape [rows, models, models]."""
    return table[:, :, None] - table[:, None, :]


def tournament(world: World, *, even: bool) -> tuple[int, Order]:
    """Sample until the order is settled or the rows are spent; return how many verdicts it took, and the order.

    `even` takes more rows of all pairs as long as one order is open.
    """
    rows = len(world.lengths)
    taken = {(world.names[a], world.names[b]): 0 for a, b in combinations(range(len(world.names)), 2)}
    number = {name: place for place, name in enumerate(world.names)}
    votes: list[Vote] = []
    found: Order | None = None
    while wanted := next_rows(taken, rows, found):
        if even and found is not None:
            wanted = dict.fromkeys(taken, max(wanted.values()))
        for (a, b), upto in wanted.items():
            for row in range(taken[a, b], upto):
                votes += [world.vote(row, *two) for two in ((number[a], number[b]), (number[b], number[a]))]
            taken[a, b] = max(upto, taken[a, b])
        found = order(votes, world.names)
    assert found is not None
    return len(votes), found


def wrong(world: World, found: Order) -> tuple[int, int]:
    """How many neighbours are settled, and how many of those stand in the wrong order."""
    strength = dict(zip(world.names, world.strengths, strict=True))
    settled = [pair for pair in zip(found.models, found.models[1:], strict=False) if pair not in found.open]
    return len(settled), sum(strength[a] < strength[b] for a, b in settled)


def sampling(seeds: int) -> str:
    """The table of what sampling in rounds saves."""
    table = []
    for models, rows in ((6, 300), (12, 300)):
        worlds = [World.drawn(seed, models, rows, Judge(place=0.4, length=0.2, ties=0.15)) for seed in range(seeds)]
        in_rounds = [tournament(world, even=False) for world in worlds]
        evenly = [tournament(world, even=True) for world in worlds]
        whole = models * (models - 1) * rows
        used, even = sum(count for count, _ in in_rounds), sum(count for count, _ in evenly)
        judged = [wrong(world, found) for world, (_, found) in zip(worlds, in_rounds, strict=True)]
        settled, mistakes = (sum(one[place] for one in judged) for place in (0, 1))
        settled_evenly = sum(wrong(world, found)[0] for world, (_, found) in zip(worlds, evenly, strict=True))
        neighbours = seeds * (models - 1)
        table.append({
            "models": models, "rows": rows, "verdicts": f"{used / seeds:,.0f}",
            "of even sampling": f"{used / even:.1%}", "of all pairs": f"{used / seeds / whole:.1%}",
            "neighbours settled": f"{settled / neighbours:.1%}", "evenly": f"{settled_evenly / neighbours:.1%}",
            "wrong among settled": f"{mistakes / settled:.1%}",
        })  # fmt: skip
    return tabulate(table, headers="keys", tablefmt="github", disable_numparse=True)


def planted_figures(world: World, resamples: int) -> tuple[dict[str, float], dict[str, Estimate]]:
    """What was planted in a judge's verdicts on all pairs, and what its faults show, by habit."""
    rows, models = world.lengths.shape
    ways = [way for pair in combinations(range(models), 2) for way in (pair, pair[::-1])]
    found = faults(Votes.of(world.vote(row, *way) for row in range(rows) for way in ways), resamples)[0]
    first = float(np.mean([1 / (1 + np.exp(-world.odds[:, a, b])) for a, b in ways]))
    truths = {"first place": first, "longer answer": math.exp(world.judge.length), "ties": world.judge.ties}
    return truths, {"first place": found.first, "longer answer": found.longer, "ties": found.ties}


def planted(seeds: int, models: int = 6, rows: int = 60) -> str:
    """The table of how often the interval of a fault holds what was planted."""
    held: Counter[str] = Counter()
    for seed in range(seeds):
        world = World.drawn(seed, models, rows, Judge(place=0.5, length=0.4, ties=0.2), effect=0.0)
        truths, seen = planted_figures(world, resamples=300)
        held.update(name for name, truth in truths.items() if seen[name].low <= truth <= seen[name].high)
    table = [{"habit": name, "in the interval": f"{count} of {seeds}"} for name, count in sorted(held.items())]
    return tabulate(table, headers="keys", tablefmt="github", disable_numparse=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Simulated tournaments.")
    parser.add_argument("--seeds", type=int, default=100)
    given = parser.parse_args()
    print(sampling(given.seeds), planted(given.seeds), sep="\n\n")


if __name__ == "__main__":
    main()
