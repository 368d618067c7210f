"""How often intervals cover the truth and how often a table of models holds a false verdict, by simulation.

python -m benchmarks.statistics [--trials 1000] writes the tables of docs/statistics.md to standard output.

Rows are drawn again in every trial, and scored by the harness's own metrics, intervals and tests.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from harness.compare.intervals import Sample, estimate_all
from harness.compare.paired import RunPair, compare_runs, corrected, paired_tests
from harness.compare.seeds import compare_seeds
from harness.score.metrics import entities, labels, numbers
from harness.score.metrics.base import FloatArray, Metric
from harness.score.scoring import ScoredRun
from harness.tasks.task import EntitiesAnswer, LabelAnswer, NumberAnswer
from tests.scored import scored

SIZES = (24, 50, 100, 300, 1_000)
MODELS = (2, 10, 30)
MARGIN = 0.02
TRUTH_ROWS = 400_000
Draw = Callable[[np.random.Generator, int, float], FloatArray]
"""Draws the statistics of n rows, shape [n, k], for a model that is that good."""


def _unused(_: object) -> list[float]:
    raise AssertionError("simulations start from the rows' statistics")


_YES_NO = LabelAnswer(type="label", labels=["yes", "no"], positive="yes")
_FOUR = LabelAnswer(type="label", labels=["a", "b", "c", "d"])
ACCURACY = Metric("accuracy", _unused, kind="binary")
OVERLAP = Metric("rouge_l", _unused)
ENTITY_F1 = entities.entity_f1(EntitiesAnswer(type="entities", types=["person"]))
PEARSON = numbers.pearson(NumberAnswer(type="number"))


@dataclass(frozen=True)
class Case:
    """A metric, how the rows of a model are drawn, and how good the model is; rows per cluster, 0 without clusters."""

    metric: Metric
    draw: Draw
    good: float
    per_cluster: int = 0

    def sample(self, rng: np.random.Generator, n: int, good: float | None = None) -> Sample:
        """Draw n rows, whole clusters of them."""
        clusters = np.arange(n, dtype=np.int64) // self.per_cluster if self.per_cluster else None
        return Sample(self.metric, self.draw(rng, n, self.good if good is None else good), clusters)

    def truth(self) -> float:
        """The score of so many rows that it is as good as exact."""
        stats = self.draw(np.random.default_rng(7), TRUTH_ROWS, self.good)
        return float(self.metric.summary(stats.mean(axis=0)))


def _right(rng: np.random.Generator, n: int, good: float) -> FloatArray:
    return (rng.random((n, 1)) < good).astype(np.float64)


def _overlaps(rng: np.random.Generator, n: int, good: float) -> FloatArray:
    """Scores in [0, 1], three in ten of them 0 or 1, as overlap metrics give them."""
    width = min(good, 1 - good)
    spread = good + width * (rng.beta(2, 2, (n, 1)) - 0.5) + width * (rng.random((n, 1)) - 0.5)
    return np.where(rng.random((n, 1)) < 0.3, rng.random((n, 1)) < good, spread)


def _positives(share: float, false_alarms: float) -> Draw:
    """Gold, answered and both, of a label with that share of rows; `good` is the recall."""

    def draw(rng: np.random.Generator, n: int, good: float) -> FloatArray:
        gold = rng.random(n) < share
        answered = np.where(gold, rng.random(n) < good, rng.random(n) < false_alarms)
        return np.column_stack([gold, answered, gold & answered]).astype(np.float64)

    return draw


def _classes(*shares: float) -> Draw:
    """Gold, answered and both of each label; `good` is the share right in the first, less in the others."""

    def draw(rng: np.random.Generator, n: int, good: float) -> FloatArray:
        count = len(shares)
        gold = rng.choice(count, n, p=shares)
        right = rng.random(n) < np.linspace(good, good - 0.2, count)[gold]
        answered = np.where(right, gold, (gold + rng.integers(1, count, n)) % count)
        one = np.eye(count)
        return np.hstack([one[gold], one[answered], one[gold] * one[answered]])

    return draw


def _entities(rng: np.random.Generator, n: int, good: float) -> FloatArray:
    """Entities in gold, answered and right: some sentences hold none, and some are harder than others."""
    gold = rng.poisson(1.2, n)
    hits = rng.binomial(gold, rng.beta(8 * good, 8 * (1 - good), n))
    return np.column_stack([gold, hits + rng.poisson(0.2, n), hits]).astype(np.float64)


def _correlated(degrees: int) -> Draw:
    """Pearson's statistics of numbers with Student's tails (0: normal ones) and that correlation."""

    def draw(rng: np.random.Generator, n: int, good: float) -> FloatArray:
        gold, noise = (rng.standard_t(degrees, n) if degrees else rng.normal(size=n) for _ in range(2))
        answer = good * gold + math.sqrt(1 - good**2) * noise
        return np.column_stack([np.ones(n), answer, gold, answer**2, gold**2, answer * gold])

    return draw


def _in_clusters(per_cluster: int, rows: Callable[[np.random.Generator, FloatArray], FloatArray]) -> Draw:
    """Rows of clusters that differ in how hard they are."""

    def draw(rng: np.random.Generator, n: int, good: float) -> FloatArray:
        ease = rng.beta(4 * good, 4 * (1 - good), -(-n // per_cluster)).repeat(per_cluster)[:n]
        return rows(rng, ease)[:, None]

    return draw


def _clustered(per_cluster: int) -> Draw:
    return _in_clusters(per_cluster, lambda rng, ease: (rng.random(len(ease)) < ease).astype(np.float64))


def _clustered_overlaps(per_cluster: int) -> Draw:
    return _in_clusters(per_cluster, lambda rng, ease: np.clip(ease + rng.uniform(-0.1, 0.1, len(ease)), 0, 1))


SCORES = {
    "accuracy 0.80": Case(ACCURACY, _right, 0.80),
    "accuracy 0.97": Case(ACCURACY, _right, 0.97),
    "overlap 0.60": Case(OVERLAP, _overlaps, 0.60),
    "overlap 0.15": Case(OVERLAP, _overlaps, 0.15),
    "recall, 1 % positives": Case(labels.recall(_YES_NO), _positives(0.01, 0.01), 0.80),
    "recall, 7 % positives": Case(labels.recall(_YES_NO), _positives(0.07, 0.01), 0.80),
    "precision, 7 % positives": Case(labels.precision(_YES_NO), _positives(0.07, 0.01), 0.80),
    "F1, 2 % positives": Case(labels.f1(_YES_NO), _positives(0.02, 0.01), 0.80),
    "F1, 30 % positives": Case(labels.f1(_YES_NO), _positives(0.30, 0.10), 0.85),
    "macro F1, 10 % of 2": Case(labels.macro_f1(_YES_NO), _classes(0.9, 0.1), 0.95),
    "macro F1, 4 labels": Case(labels.macro_f1(_FOUR), _classes(0.4, 0.3, 0.2, 0.1), 0.90),
    "MCC, 7 % of 2": Case(labels.mcc(_YES_NO), _classes(0.93, 0.07), 0.95),
    "balanced accuracy, 7 %": Case(labels.balanced_accuracy(_YES_NO), _classes(0.93, 0.07), 0.95),
    "entity F1": Case(ENTITY_F1, _entities, 0.80),
    "Pearson, normal": Case(PEARSON, _correlated(0), 0.80),
    "Pearson, heavy tails": Case(PEARSON, _correlated(3), 0.80),
    "accuracy, clusters of 7": Case(ACCURACY, _clustered(7), 0.80, 7),
    "overlap, clusters of 7": Case(OVERLAP, _clustered_overlaps(7), 0.60, 7),
}
CLUSTER_SIZES = (210, 700, 2_100)
"""Rows of the clustered cases: 30, 100 and 300 clusters."""


SEED_SIZES = (100, 1_000)
SEED_SPREADS = (0.0, 0.02, 0.05)
"""Standard deviations of the accuracy between seeds."""


class Coverage(NamedTuple):
    """Share of trials whose 95 % interval holds the truth, and of those that claim nothing ([0, 1]), which do too."""

    covered: float
    nothing_claimed: float


def coverage(case: Case, n: int, trials: int, seed: int = 0) -> Coverage:
    """Draw so many samples of n rows and count how often the interval holds what the rows were drawn from."""
    truth = case.truth()
    found = []
    for rngs in _some(np.random.default_rng(seed).spawn(trials)):
        found += estimate_all([case.sample(rng, n) for rng in rngs])
    return Coverage(
        float(np.mean([one.low <= truth <= one.high for one in found])),
        float(np.mean([bool(one.reason) for one in found])),
    )


def _some(rngs: list[np.random.Generator]) -> list[list[np.random.Generator]]:
    """In pieces, since all samples of a piece are resampled at once."""
    return [rngs[start : start + 50] for start in range(0, len(rngs), 50)]


def _rare_losses(rng: np.random.Generator, n: int, good: float) -> FloatArray:
    """Row scores near 0.7 that are 0 with a chance of 1 - `good`: rare disasters."""
    return np.where(rng.random((n, 1)) < good, 0.7 + 0.001 * rng.standard_normal((n, 1)), 0.0)


VERDICTS = {
    "accuracy": Case(ACCURACY, _right, 0.80),
    "accuracy 0.97": Case(ACCURACY, _right, 0.97),
    "overlap": Case(OVERLAP, _overlaps, 0.60),
    "rare disasters": Case(OVERLAP, _rare_losses, 1.0),
    "F1, 10 % positives": Case(labels.f1(_YES_NO), _positives(0.10, 0.03), 0.80),
    "accuracy, clusters of 7": Case(ACCURACY, _clustered(7), 0.80, 7),
}
LOSSES = {"accuracy": 0.77, "accuracy 0.97": 0.94, "overlap": 0.57, "rare disasters": 1 - 0.03 / 0.7}
"""How good a model is that is three points worse, where the margin is two."""


def false_tables(case: Case, n: int, models: int, trials: int, good: float | None = None, seed: int = 1) -> float:
    """Share of tables of so many models, one of them the reference, with a false verdict in any line.

    All are equal, so that "better" and "worse" are false; or all but the reference are as `good` as given, so that
    "within the margin" is.
    """
    wrong = ("better", "worse") if good is None else ("within the margin",)
    bad = 0
    for rng in np.random.default_rng(seed).spawn(trials):
        reference = case.sample(rng, n)
        others = [case.sample(rng, n, good) for _ in range(models - 1)]
        found = paired_tests([RunPair(one, reference, MARGIN, models - 1) for one in others])
        bad += any(one.verdict in wrong for c in found for one in corrected([c], models - 1))
    return bad / trials


def several_seeds(rng: np.random.Generator, n: int, seeds: int, spread: float) -> list[ScoredRun]:
    """Runs of a model, each better or worse by its seed, and another model: equal in the mean over rows and seeds."""
    chance = rng.uniform(0.3, 0.9, n)
    made = [
        scored("t", f"lora-{number}", rng.random(n) < np.clip(chance + rng.normal(0, spread), 0, 1))
        for number in range(1, seeds + 1)
    ]
    return [*made, scored("t", "other", rng.random(n) < chance)]


def seed_coverage(n: int, seeds: int, spread: float, trials: int, seed: int = 2) -> tuple[float, float]:
    """Share of trials whose interval of the difference holds 0: over rows and seeds, and of the first seed alone."""
    covered = np.zeros(2)
    for rng in np.random.default_rng(seed).spawn(trials):
        runs = several_seeds(rng, n, seeds, spread)
        whole = compare_seeds(runs, f"lora-{{1..{seeds}}}", "other").pair.tasks["t"]
        one = compare_runs([(runs[0], runs[-1])])[0]
        covered += [found.low <= 0 <= found.high for found in (whole, one)]
    return float(covered[0]) / trials, float(covered[1]) / trials


def seed_table(trials: int) -> str:
    """The table of `seed_coverage`."""
    rows = []
    for spread in SEED_SPREADS:
        for seeds in (2, 3, 5):
            shares = [seed_coverage(n, seeds, spread, trials) for n in SEED_SIZES]
            rows.append([f"{spread:.2f}", str(seeds), *(f"{whole:.3f} / {one:.3f}" for whole, one in shares)])
    heads = ["spread between seeds", "seeds", *(f"n = {n:,}" for n in SEED_SIZES)]
    return tabulate(rows, heads, "github", disable_numparse=True)


def _shown(found: Coverage) -> str:
    nothing = f" ({found.nothing_claimed:.0%})" if found.nothing_claimed >= 0.005 else ""
    return f"{found.covered:.3f}{nothing}"


def main() -> None:
    """Print the tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    trials = parser.parse_args().trials
    plain = {name: case for name, case in SCORES.items() if not case.per_cluster}
    rows = [[name, *(_shown(coverage(case, n, trials)) for n in SIZES)] for name, case in plain.items()]
    print(tabulate(rows, ["score", *(f"n = {n:,}" for n in SIZES)], "github", disable_numparse=True), end="\n\n")
    grouped = {name: case for name, case in SCORES.items() if case.per_cluster}
    rows = [[name, *(_shown(coverage(case, n, trials)) for n in CLUSTER_SIZES)] for name, case in grouped.items()]
    print(
        tabulate(rows, ["score", *(f"{n // 7} clusters" for n in CLUSTER_SIZES)], "github", disable_numparse=True),
        end="\n\n",
    )
    print(seed_table(trials), end="\n\n")
    rows = []
    for name, case in VERDICTS.items():
        for models in MODELS:
            exact = case.metric is ACCURACY and not case.per_cluster
            sizes = SIZES if exact else SIZES[:4]
            few = trials if exact else max(2 * trials // models, 50)
            cells = []
            for n in sizes:
                cell = f"{false_tables(case, n, models, few):.3f}"
                if name in LOSSES:
                    cell += f" / {false_tables(case, n, models, few, LOSSES[name]):.3f}"
                cells.append(cell)
            rows.append([name, models, few, *cells])
    print(
        tabulate(
            rows, ["verdicts", "models", "tables", *(f"n = {n:,}" for n in SIZES)], "github", disable_numparse=True
        )
    )


if __name__ == "__main__":
    main()
