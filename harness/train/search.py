"""The weights of a merge, chosen by a grid on rows that are not evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from harness.ask.prepare import PreparedTask
from harness.ask.run import BenchOptions, ask_pairs
from harness.compare.intervals import Estimate, first_score
from harness.compare.paired import scale
from harness.errors import HarnessError
from harness.score.scoring import ScoredRun, score_all
from harness.shipped import TaskFolders
from harness.tasks.catalog import load_task
from harness.train.merge import MergeOptions, merge
from harness.train.outcome import entry_of, prepared_rows

SHOWN = 3
PARTS = 4
"""Weights are multiples of one part of so many, or of as many as there are adapters, and add up to 1."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What a user asks of `harness merge --search`: tasks, where their rows are, and how many of each are asked."""

    tasks: tuple[str, ...]
    tasks_folder: TaskFolders = None
    data: str | None = None
    rows: int = 100


@dataclass(frozen=True, slots=True)
class TriedWeights:
    """Weights that were tried; the score of each task's first metric on its rows, and their mean as shares of a scale.

    The mean is higher for a better merge, whichever way a metric goes.
    """

    weights: tuple[float, ...]
    scores: Mapping[str, Estimate]
    mean: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """All candidates, best first, and the split of the rows that each task was asked."""

    candidates: tuple[TriedWeights, ...]
    splits: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """As the card of the merge holds it: the best, and how many were tried on which split."""
        return {
            "tried": len(self.candidates),
            "splits": dict(self.splits),
            "best": [asdict(one) for one in self.candidates[:SHOWN]],
        }


def grid(adapters: int) -> Iterator[tuple[float, ...]]:
    """Yield the weights that are tried: all positive quarters that add up to 1, and all weights 1."""
    parts = max(PARTS, adapters)
    for weights in product(range(1, parts), repeat=adapters):
        if sum(weights) == parts:
            yield tuple(weight / parts for weight in weights)
    yield (1.0,) * adapters


def search(merging: MergeOptions, options: SearchOptions, say: Callable[[str], None]) -> SearchResult:
    """Try each of the grid's weights on rows that may be learned, of the validation split where a task has one.

    No evaluated row is asked. What is made and answered meanwhile is deleted.

    Raises:
        UserError: a task, its rows or an adapter cannot be used.
        HarnessError: the base could not be asked.
    """
    with TemporaryDirectory(prefix="harness-merge-") as made:
        folder = Path(made)
        tasks, splits = _prepared(options, folder / "results", say)
        tried: dict[str, tuple[float, ...]] = {}
        pairs = []
        for number, weights in enumerate(grid(len(merging.adapters))):
            name, out = f"merge-{number}", folder / str(number)
            card = merge(replace(merging, weights=weights, out=out))
            tried[name] = weights
            pairs += [(task, entry_of(name, card.base, out)) for task in tasks]
        asking = BenchOptions((), (), folder, options.tasks_folder, folder / "results", options.data)
        scored = score_all(folder / "results", ask_pairs(pairs, asking, say), say)
        candidates = [_candidate(tried[name], [run for run in scored if run.manifest.model == name]) for name in tried]
    if any(len(one.scores) < len(tasks) for one in candidates):
        raise HarnessError("not every merge was asked every task, so none can be chosen; see the messages above")
    return SearchResult(tuple(sorted(candidates, key=lambda one: -one.mean)), splits)


def _prepared(
    options: SearchOptions, results: Path, say: Callable[[str], None]
) -> tuple[list[PreparedTask], dict[str, str]]:
    """The tasks with the rows that are asked, and the split of each."""
    tasks, splits = [], {}
    for name in dict.fromkeys(options.tasks):
        file = load_task(options.tasks_folder, name)
        task, splits[name] = prepared_rows(file, options.data, options.rows, results)
        say(f"{name}: {task.n:,} rows of split '{splits[name]}', none of them evaluated")
        tasks.append(task)
    return tasks, splits


def _candidate(weights: tuple[float, ...], runs: list[ScoredRun]) -> TriedWeights:
    scores, shares = {}, []
    for run in runs:
        first = run.metrics[0]
        scores[run.manifest.task] = first_score(run)
        share = scores[run.manifest.task].value / (scale(first) or 1)
        shares.append(share if first.higher_is_better else -share)
    return TriedWeights(weights, scores, fmean(shares) if shares else float("-inf"))
