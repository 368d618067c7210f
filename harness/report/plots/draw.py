"""Which plots a report has, and drawing them, in another process where that is worth it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Protocol

import pandas as pd

from harness.report import plots
from harness.report.published import Published
from harness.report.scoreboard import Overall
from harness.report.tables import plot_name, tasks_of
from harness.report.trend import TrendCell
from harness.rows.origin import KINDS

FEW = 12
"""Up to so many plots are drawn before another process has loaded what it needs."""


class Draw(Protocol):
    """Draws one plot at a path without an ending, and returns the files written: none when it has nothing to show."""

    def __call__(self, *, path: Path) -> list[Path]:
        """Draw."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot to draw: its name, of which kind of runs, and whether it is over all tasks."""

    name: str
    kind: str
    overall: bool
    draw: Draw


@dataclass(frozen=True, slots=True)
class Drawn:
    """The files of each plot, in the order asked."""

    files: Sequence[tuple[Drawing, Sequence[Path]]]

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [path for _, written in self.files for path in written]

    def overall(self, kind: str) -> list[str]:
        """The names of the plots over all tasks of this kind of runs that had something to show."""
        return [drawing.name for drawing, files in self.files if drawing.overall and drawing.kind == kind and files]

    def svgs(self) -> dict[str, str]:
        """The text of each plot's SVG file by the plot's name."""
        paths = {drawing.name: path for drawing, files in self.files for path in files if path.suffix == ".svg"}
        return {name: path.read_text(encoding="utf-8") for name, path in paths.items()}


def drawings(
    df: pd.DataFrame,
    published: Mapping[str, Sequence[Published]],
    found: Mapping[str, Overall],
    history: Sequence[TrendCell] = (),
) -> list[Drawing]:
    """The plots of a report: those over all tasks of each kind of runs, then one or two for each task.

    `found` has what is known over all tasks for each kind of runs in `df`, `history` the scores of the past.
    """
    return [*_overall(df, found), *_by_task(df, published, found), *_histories(df, history)]


def _overall(df: pd.DataFrame, found: Mapping[str, Overall]) -> Iterator[Drawing]:
    for kind in KINDS:
        part = df[df["kind"] == kind]
        if part.empty:
            continue
        one = found[kind]
        models = one.models
        overview: dict[str, Draw] = {"verdict": partial(plots.verdict_plot, part, one.duel)} if one.duel else {}
        overview |= {
            "overview": partial(plots.overview_plot, part, models),
            "heat": partial(plots.heat_plot, part, models),
            "frontier": partial(plots.frontier_plot, part, one.offers, len(one.standings.averaged), models),
            "latency": partial(plots.latency_plot, part, one.latencies, models),
            "calibration": partial(plots.calibration_plot, part),
        }
        for row in one.standings.models:
            if row.lift:
                reference = one.standings.reference
                overview[adapter_name(row.model)] = partial(plots.adapter_plot, part, row.lift, reference, models)
        yield from (Drawing(plot_name(name, kind), kind, True, draw) for name, draw in overview.items())


def adapter_name(model: str) -> str:
    """What the plot of an adapter's lift is called."""
    return f"adapter-{model}"


def _by_task(
    df: pd.DataFrame, published: Mapping[str, Sequence[Published]], found: Mapping[str, Overall]
) -> Iterator[Drawing]:
    for task, kind, part in tasks_of(df):
        drawn = partial(plots.task_plot, part, published.get(task, ()), found[kind].models)
        yield Drawing(plot_name(task, kind), kind, False, drawn)


def _histories(df: pd.DataFrame, history: Sequence[TrendCell]) -> Iterator[Drawing]:
    """A plot for each task that was run more than once."""
    for task, kind, _ in tasks_of(df):
        shown = [cell for cell in history if (cell.task, cell.kind) == (task, kind)]
        if shown:
            yield Drawing(plot_name(history_name(task), kind), kind, False, partial(plots.history_plot, shown))


def history_name(task: str) -> str:
    """What the plot of a task's history is called."""
    return f"history-{task}"


def draw(asked: Sequence[Drawing], folder: Path) -> Drawn:
    """Draw all into a folder; plots that have nothing to show leave no file, not even of an earlier report."""
    return _drawn(asked, [_call(job) for job in _jobs(asked, folder)], folder)


def draw_aside(asked: Sequence[Drawing], folder: Path) -> Callable[[], Drawn]:
    """Start to draw in a process of its own, if there is enough to draw; call what is returned to wait for it.

    A script that calls this needs the usual `if __name__ == "__main__":`, because the process imports it again.
    """
    if len(asked) <= FEW:
        return cache(partial(draw, asked, folder))
    # Not a fork: the threads of numpy's linear algebra do not survive one.
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    files = pool.map(_call, _jobs(asked, folder))

    @cache
    def finish() -> Drawn:
        with pool:
            return _drawn(asked, list(files), folder)

    return finish


def _jobs(asked: Sequence[Drawing], folder: Path) -> list[partial[list[Path]]]:
    return [partial(drawing.draw, path=folder / drawing.name) for drawing in asked]


def _drawn(asked: Sequence[Drawing], files: Sequence[Sequence[Path]], folder: Path) -> Drawn:
    for drawing, written in zip(asked, files, strict=True):
        if not written:
            for ending in ("svg", "png"):
                (folder / f"{drawing.name}.{ending}").unlink(missing_ok=True)
    return Drawn(list(zip(asked, files, strict=True)))


def _call(job: partial[list[Path]]) -> list[Path]:
    return job()
