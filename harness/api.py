"""The project from Python: each function does what the command of its name does, by the same code.

Names of tasks and models may be one text or several. Folders and files default to those of the command line: `tasks/`
and `models.yaml` of the current folder before the shipped ones, `results/`, `reports/`. `say` gets each line that the
command would print.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from harness import shipped

if TYPE_CHECKING:
    import pandas as pd

    from harness.compare.intervals import Estimate
    from harness.compare.paired import ModelPair
    from harness.models.entry import ModelEntry
    from harness.score.scoring import ScoredRun
    from harness.tasks.catalog import TaskFile
    from harness.train.card import Card

Names = str | Sequence[str]
Folder = str | Path
Folders = Folder | Sequence[Folder] | None
T = TypeVar("T")


@dataclass(frozen=True)
class BenchResults:
    """The scored runs of a bench. Printed, they are the command's table."""

    runs: Sequence[ScoredRun]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each task, model and metric, with score, interval, n, statuses, tokens and USD."""
        from harness.report.findings import long_frame

        return long_frame(self.runs)

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """For each task a sentence on its two best models: which leads, by how much, and how sure that is."""
        from harness.report.words import verdicts

        return verdicts(self.runs)

    def __str__(self) -> str:
        from harness.report.tables import bench_table

        return bench_table(self.frame, self.verdicts) if self.runs else "no results"


@dataclass(frozen=True, slots=True)
class PredictionScores:
    """The scores of predictions by metric, each with its interval and n, and how many rows have each status."""

    metrics: Mapping[str, Estimate]
    statuses: Mapping[str, int]


def load_task(name: str, *, tasks_folder: Folders = None) -> TaskFile:
    """Load a task by name; its content is `.task`.

    Raises:
        UserError: there is no task of that name.
        SpecError: the file is wrong.
    """
    from harness.tasks.catalog import load_task

    return load_task(_folders(tasks_folder), name)


def load_models(names: Names = (), *, models_file: Folder | None = None) -> list[ModelEntry]:
    """Load the models of a file: those named, or all; the settings of each are `.model`.

    Raises:
        UserError: a model asked for by name does not exist, or lacks its key or address.
        SpecError: the file is wrong.
    """
    from harness.models.entry import load_models

    return load_models(_models(models_file), _several(names), os.environ)


def bench(
    tasks: Names = (),
    models: Names = (),
    *,
    data: Folder | None = None,
    rows: int | None = None,
    seed: int = 0,
    tasks_folder: Folders = None,
    models_file: Folder | None = None,
    results: Folder = "results",
    max_usd: float | None = None,
    max_failures: float = 0.02,
    say: Callable[[str], None] = print,
) -> BenchResults:
    """Ask models the held-out rows of tasks, and score them. What is answered already is not asked again.

    Works inside a running event loop (Jupyter), which waits meanwhile.

    Raises:
        UserError: a name, file, key or folder is wrong; nothing was asked.
        CapReached: the run would have cost more than `max_usd`.
        Interrupted: the user stopped it.
    """
    from harness.ask.run import BenchOptions, bench
    from harness.report.trend import record
    from harness.score.rules import current_rules
    from harness.score.scoring import score_all

    options = BenchOptions(
        tasks=_several(tasks),
        models=_several(models),
        models_file=_models(models_file),
        tasks_folder=_folders(tasks_folder),
        results=Path(results),
        data=None if data is None else str(data),
        rows=rows,
        seed=seed,
        max_usd=max_usd,
        max_failures=max_failures,
    )
    manifests = _outside_the_loop(lambda: bench(options, say))
    made = BenchResults(score_all(options.results, manifests, say, current_rules(options.tasks_folder)))
    record(options.results, made.runs, made.frame)
    return made


def score(
    task: str, predictions: Folder | Iterable[Mapping[str, Any]], *, tasks_folder: Folders = None
) -> PredictionScores:
    """Score answers made elsewhere: a JSONL file, or mappings with `prediction`, `reference` and perhaps `id`.

    Raises:
        DataError: a prediction lacks a key or has a value of another type.
    """
    from harness.report.tables import score_points
    from harness.score.predictions import load, score_lines

    file = load_task(task, tasks_folder=tasks_folder)
    if isinstance(predictions, str | Path):
        metrics, rows = load(Path(predictions), file)
    else:
        metrics, rows = score_lines([dict(line) for line in predictions], file)
    return PredictionScores(
        score_points(metrics, rows), {str(status): count for status, count in rows.counts().items()}
    )


def compare(
    a: str,
    b: str,
    *,
    tasks: Names = (),
    kind: Literal["benchmark", "sample"] | None = None,
    results: Folder = "results",
    tasks_folder: Folders = None,
    recorded_rules: bool = False,
    across_prompts: bool = False,
    say: Callable[[str], None] = print,
) -> ModelPair:
    """Compare two models on the same recorded rows, task by task, corrected for all that are recorded.

    Raises:
        UserError: a name is wrong, or the two were not asked one task together.
    """
    from harness.compare.paired import compare_recorded, recorded_runs
    from harness.score.rules import chosen_rules

    rules = chosen_rules(_folders(tasks_folder), recorded=recorded_rules)
    runs = recorded_runs(Path(results), _several(tasks), (a, b), kind, rules, say)
    return compare_recorded(runs, a, b, across_prompts=across_prompts)[0]


def report(
    *, results: Folder = "results", out: Folder = "reports", single_file: bool = False,
    tasks_folder: Folders = None, recorded_rules: bool = False, say: Callable[[str], None] = print,
) -> list[Path]:  # fmt: skip
    """Rebuild the page, tables and plots from what is recorded, and return the files written.

    Raises:
        UserError: no runs are recorded.
    """
    from harness.report import write_report
    from harness.score.rules import chosen_rules

    rules = chosen_rules(_folders(tasks_folder), recorded=recorded_rules)
    return write_report(Path(results), Path(out), say, rules, single_file=single_file)


def train(
    task: str,
    base: str,
    *,
    engine: Literal["ludwig", "peft"] | None = None,
    data: Folder | None = None,
    tasks_folder: Folders = None,
    out: Folder | None = None,
    gpu_per_hour: float | None = None,
    say: Callable[[str], None] = print,
    **hyperparameters: Any,
) -> Card:
    """Fine-tune a LoRA adapter on a task's training rows, and return its card.

    `hyperparameters` are fields of `harness.train.recipe.Hyperparameters`, such as `epochs` or `rank`; their defaults,
    and that of `engine`, depend on the base, as on the command line.

    Raises:
        UserError: the task has no training rows, or the base cannot be loaded.
    """
    from harness.train.recipe import engine_for, recipe_for
    from harness.train.train import TrainOptions, train

    made = recipe_for(base, **hyperparameters)
    place, folders = None if data is None else str(data), _folders(tasks_folder)
    options = TrainOptions(task, base, engine or engine_for(base), made, place, folders, _path(out), gpu_per_hour)
    return train(options, say)


def _several(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _path(folder: Folder | None) -> Path | None:
    return None if folder is None else Path(folder)


def _folders(given: Folders) -> tuple[Path, ...]:
    return tuple(map(Path, [given] if isinstance(given, str | Path) else given or ()))


def _models(file: Folder | None) -> Path:
    return shipped.models_file() if file is None else Path(file)


def _outside_the_loop(call: Callable[[], T]) -> T:
    """Call a function that runs an event loop of its own: in a thread, where this thread has a running one already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    from harness.ask.progress import STOP, Stop

    stop = Stop()
    STOP.set(stop)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(copy_context().run, call)
        while True:
            try:
                return future.result()
            except KeyboardInterrupt:
                if future.done():
                    raise
                stop.request()
