"""Which plots a report has, and drawing them, in another process where that is worth it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pandas as pd

from harness.report import plots
from harness.report.published import Published
from harness.report.tables import plot_name, tasks_of
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

    def overall(self, kind: str) -> list[Path]:
        """The files of the plots over all tasks of this kind of runs."""
        return [path for drawing, files in self.files if drawing.overall and drawing.kind == kind for path in files]


def drawings(
    df: pd.DataFrame, published: Mapping[str, Sequence[Published]], references: Mapping[str, str]
) -> list[Drawing]:
    """The plots of a report: those over all tasks of each kind of runs, then one for each task."""
    return [*_overall(df, references), *_by_task(df, published)]


def _overall(df: pd.DataFrame, references: Mapping[str, str]) -> Iterator[Drawing]:
    for kind in KINDS:
        part = df[df["kind"] == kind]
        if part.empty:
            continue
        overview: dict[str, Draw] = {
            "overview": partial(plots.overview_plot, part),
            "heat": partial(plots.heat_plot, part),
            "frontier": partial(plots.frontier_plot, part),
            "latency": partial(plots.latency_plot, part),
            "calibration": partial(plots.calibration_plot, part),
        }
        for adapter, base in plots.adapters(part).items():
            overview[f"adapter-{adapter}"] = partial(plots.adapter_plot, part, adapter, base, references.get(kind))
        yield from (Drawing(plot_name(name, kind), kind, True, draw) for name, draw in overview.items())


def _by_task(df: pd.DataFrame, published: Mapping[str, Sequence[Published]]) -> Iterator[Drawing]:
    for task, kind, part in tasks_of(df):
        yield Drawing(plot_name(task, kind), kind, False, partial(plots.task_plot, part, published.get(task, ())))


def draw(asked: Sequence[Drawing], folder: Path) -> Drawn:
    """Draw all into a folder; plots that have nothing to show leave no file, not even of an earlier report."""
    return _drawn(asked, [_call(job) for job in _jobs(asked, folder)], folder)


def draw_aside(asked: Sequence[Drawing], folder: Path) -> Callable[[], Drawn]:
    """Start to draw in a process of its own, if there is enough to draw; call what is returned to have it all.

    A script that calls this needs the usual `if __name__ == "__main__":`, because the process imports it again.
    """
    if len(asked) <= FEW:
        return partial(draw, asked, folder)
    # Not a fork: the threads of numpy's linear algebra do not survive one.
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    files = pool.map(_call, _jobs(asked, folder))

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
