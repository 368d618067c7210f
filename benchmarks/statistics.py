"""How often the intervals cover the truth and how often two equal models get a verdict, by simulation.

python -m benchmarks.statistics [--trials 2000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.compare.intervals import estimate_all
from harness.compare.paired import paired_tests
from harness.score.metrics.base import FloatArray, Metric, ratio

Rows = Callable[[np.random.Generator, int], tuple[FloatArray, FloatArray]]
"""Draws n rows and gives the statistics of two models on them, each of shape [n, k]."""


def _unused(_: object) -> list[float]:
    raise AssertionError("simulations start from the rows' statistics")


def _f1(means: FloatArray) -> FloatArray:
    hits, spurious, missed = means[..., 0], means[..., 1], means[..., 2]
    return ratio(2 * hits, 2 * hits + spurious + missed)


ACCURACY = Metric("accuracy", _unused, kind="binary")
OVERLAP = Metric("rouge_l", _unused)
F1 = Metric("f1", _unused, _f1, kind="corpus")


@dataclass(frozen=True)
class Case:
    """A metric, how rows are drawn, and the true scores of the two models; `equal` draws two equally good models."""

    metric: Metric
    rows: Rows
    truth: tuple[float, float]
    equal: Rows


def _binary(a: float, b: float) -> Rows:
    """Two models that are right with these probabilities, together more often than by chance."""

    def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        # The same draw decides for both on half of the rows.
        shared, own = rng.random((n, 1)), rng.random((n, 1))
        other = np.where(rng.random((n, 1)) < 0.5, shared, own)
        return (shared < a).astype(np.float64), (other < b).astype(np.float64)

    return draw


def _overlap(a: float, b: float) -> Rows:
    """Row scores in [0, 1] with these means, many of them exactly 0 or 1, as overlap metrics give them."""

    def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        ease = rng.beta(2, 2, (n, 1))
        return tuple(  # type: ignore[return-value]
            np.where(rng.random((n, 1)) < 0.3, rng.random((n, 1)) < mean, _around(rng, ease, mean)).astype(np.float64)
            for mean in (a, b)
        )

    def _around(rng: np.random.Generator, ease: FloatArray, mean: float) -> FloatArray:
        # Uniform on an interval around the row's ease, moved so that the mean over rows is the one asked for.
        width = min(mean, 1 - mean)
        return mean + width * (ease - 0.5) + width * (rng.random(ease.shape) - 0.5)

    return draw


def _confusion(a: float, b: float) -> Rows:
    """True positives, false positives and misses of two models that are right with these probabilities."""

    def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        truth = rng.random(n) < 0.3
        tables = []
        for right in (a, b):
            answer = np.where(rng.random(n) < right, truth, ~truth)
            tables.append(np.column_stack([truth & answer, ~truth & answer, truth & ~answer]).astype(np.float64))
        return tables[0], tables[1]

    return draw


def _true_f1(right: float) -> float:
    return 2 * 0.3 * right / (2 * 0.3 * right + 1 - right)


CASES = {
    "accuracy 0.80 against 0.75": Case(ACCURACY, _binary(0.80, 0.75), (0.80, 0.75), _binary(0.80, 0.80)),
    "overlap 0.60 against 0.55": Case(OVERLAP, _overlap(0.60, 0.55), (0.60, 0.55), _overlap(0.60, 0.60)),
    "F1 of 0.85 against 0.80 right": Case(
        F1, _confusion(0.85, 0.80), (_true_f1(0.85), _true_f1(0.80)), _confusion(0.85, 0.85)
    ),
}
MORE_CASES = CASES | {
    "accuracy 0.97 against 0.95": Case(ACCURACY, _binary(0.97, 0.95), (0.97, 0.95), _binary(0.97, 0.97)),
    "accuracy 0.50 against 0.30": Case(ACCURACY, _binary(0.50, 0.30), (0.50, 0.30), _binary(0.50, 0.50)),
    "overlap 0.20 against 0.15": Case(OVERLAP, _overlap(0.20, 0.15), (0.20, 0.15), _overlap(0.20, 0.20)),
    "F1 of 0.97 against 0.95 right": Case(
        F1, _confusion(0.97, 0.95), (_true_f1(0.97), _true_f1(0.95)), _confusion(0.97, 0.97)
    ),
}


class Coverage(NamedTuple):
    """Share of trials whose 95 % interval holds the true score, and the true difference."""

    score: float
    difference: float


def coverage(case: Case, n: int, trials: int, seed: int = 0) -> Coverage:
    """Draw so many samples of n rows and count how often the intervals hold what the rows were drawn from."""
    drawn = [case.rows(rng, n) for rng in np.random.default_rng(seed).spawn(trials)]
    scores = estimate_all([(case.metric, a) for a, _ in drawn])
    pairs = paired_tests([(case.metric, a, b, 0.02) for a, b in drawn])
    truth, difference = case.truth[0], case.truth[0] - case.truth[1]
    return Coverage(
        float(np.mean([found.low <= truth <= found.high for found in scores])),
        float(np.mean([found.low <= difference <= found.high for found in pairs])),
    )


def false_verdicts(case: Case, n: int, trials: int, seed: int = 1) -> float:
    """Share of samples of n rows in which one of two equally good models is called better."""
    drawn = [case.equal(rng, n) for rng in np.random.default_rng(seed).spawn(trials)]
    found = paired_tests([(case.metric, a, b, 0.02) for a, b in drawn])
    return float(np.mean([one.verdict in ("better", "worse") for one in found]))


def main() -> None:
    """Print a table of all cases at several n."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2_000)
    trials = parser.parse_args().trials
    print(f"{'case':32} {'n':>5}  score  difference  false verdicts  seconds")
    for name, case in MORE_CASES.items():
        for n in (50, 200, 1_000):
            start = time.perf_counter()
            found, wrong = coverage(case, n, trials), false_verdicts(case, n, trials)
            seconds = time.perf_counter() - start
            print(f"{name:32} {n:5}  {found.score:.3f}  {found.difference:10.3f}  {wrong:14.3f}  {seconds:7.1f}")


if __name__ == "__main__":
    main()
