"""Two models over several tasks: the comparison on each, on the same rows, with Holm's correction over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.compare import Comparison, compare_all, corrected
from harness.metrics.base import Metric
from harness.scoring import ScoredRun
from harness.store import Manifest

MARGIN = 0.02
"""Default non-inferiority margin as a share of the metric's scale: two points."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Model `a` against model `b`: for each task both were asked on the same rows, the comparison after Holm.

    `apart` are tasks on which both ran, but on different rows.
    """

    a: str
    b: str
    tasks: Mapping[str, Comparison]
    apart: tuple[str, ...] = ()

    @property
    def won(self) -> int:
        """Tasks on which `a` is better beyond chance."""
        return self._count("better")

    @property
    def lost(self) -> int:
        """Tasks on which `a` is worse beyond chance."""
        return self._count("worse")

    @property
    def tied(self) -> int:
        """Tasks on which the two cannot be told apart, within the margin or not."""
        return len(self.tasks) - self.won - self.lost

    def _count(self, verdict: str) -> int:
        return sum(found.verdict == verdict for found in self.tasks.values())


def of_kind(manifests: Sequence[Manifest], kind: str | None) -> list[Manifest]:
    """The runs on one kind of rows: those on benchmark rows where there are any, unless a kind is named."""
    kinds = {run.kind for run in manifests}
    wanted = kind or ("benchmark" if "benchmark" in kinds else "sample")
    return [run for run in manifests if run.kind == wanted]


def scale(metric: Metric) -> float:
    """Length of a metric's scale from 0 to its highest value; 1 for a metric without one."""
    return metric.high if math.isfinite(metric.high) else 1.0


def compare_runs(asked: Sequence[tuple[ScoredRun, ScoredRun]], margin: float = MARGIN) -> list[Comparison]:
    """Compare runs on the same rows on the first metric of their task, each by itself; each run is resampled once.

    `margin` is a share of the metric's scale.

    Raises:
        ValueError: two were asked different rows.
    """
    wanted = []
    for a, b in asked:
        metric = a.metrics[0]
        wanted.append((metric, a.rows.stats[metric.name], b.rows.stats[metric.name], margin * scale(metric)))
    return compare_all(wanted)


def same_rows(a: ScoredRun, b: ScoredRun) -> bool:
    """Whether two runs can be compared: the same rows in the same order, and the same leaderboard metric."""
    return a.rows.ids == b.rows.ids and a.metrics[0].name == b.metrics[0].name


def pair(runs: Iterable[ScoredRun], a: str, b: str, margin: float = MARGIN) -> Pair:
    """Compare two models on all tasks that both have, with Holm's correction over these tasks.

    `runs` hold one kind of rows. A model that is not there gives a pair without tasks.
    """
    return pairs(runs, [(a, b)], margin)[0]


def pairs(runs: Iterable[ScoredRun], asked: Sequence[tuple[str, str]], margin: float = MARGIN) -> list[Pair]:
    """What `pair` gives for each two models; each run is resampled once."""
    tasks_of = by_task(runs)
    both = [{task: (of[a], of[b]) for task, of in tasks_of.items() if a in of and b in of} for a, b in asked]
    comparable = [{task: two for task, two in tasks.items() if same_rows(*two)} for tasks in both]
    found = iter(compare_runs([two for tasks in comparable for two in tasks.values()], margin))
    return [
        Pair(
            a,
            b,
            dict(zip(same, corrected([next(found) for _ in same]), strict=True)),
            tuple(task for task in tasks if task not in same),
        )
        for (a, b), tasks, same in zip(asked, both, comparable, strict=True)
    ]


def by_task(runs: Iterable[ScoredRun]) -> dict[str, dict[str, ScoredRun]]:
    """Runs by task, in order, and model."""
    found: dict[str, dict[str, ScoredRun]] = {}
    for run in runs:
        found.setdefault(run.manifest.task, {})[run.manifest.model] = run
    return dict(sorted(found.items()))
