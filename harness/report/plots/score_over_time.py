"""A task's scores over time: one line for each model, broken where the task has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from numpy.typing import NDArray

from harness.report.plots.style import FAINT, GREY, VERMILION, canvas, look, model_legend, save, style, titles
from harness.report.trend import TrendCell
from harness.report.words import plural
from harness.store.history import PastRun

TITLE = "Scores over time"


def history_plot(cells: Sequence[TrendCell], path: Path) -> list[Path]:
    """Each model's scores with their 95 % intervals by time; returns the two files written, none for single runs.

    `cells` are of one task and kind of rows, `path` has no ending. Superseded runs are hollow, grey and never joined
    to others; runs that are worse than the one before beyond chance have a ring.
    """
    if all(len(cell.runs) < 2 for cell in cells):
        return []
    first = cells[0]
    last = max((run for cell in cells for run, _ in cell.runs), key=lambda run: run.at)
    with style():
        top = 0.85 + 0.22 * math.ceil(len(cells) / 4)
        figure, axes = canvas(9.0, 2.6 + top, top=top, bottom=0.6, left=0.9)
        axes.grid(axis="y", **FAINT)
        for place, cell in enumerate(cells):
            _line(axes, cell, *look(place))
        locator = AutoDateLocator(minticks=2, maxticks=8)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_ylabel(last.metric)
        axes.set_xlabel("when the run was finished (UTC)")
        lines = [
            f"{first.task}; 95 % intervals; hollow and grey: superseded by another prompt, right answers or scoring; "
            "ring: worse beyond chance."
        ]
        titles(figure, TITLE, lines)
        model_legend(figure, [cell.model for cell in cells])
        runs = sum(len(cell.runs) for cell in cells)
        description = f"{first.task}: {plural(runs, 'run')} of {plural(len(cells), 'model')} by time."
        return save(figure, path, first.kind == "sample", f"{TITLE}: {first.task}", description)


def _line(axes: Axes, cell: TrendCell, colour: str, marker: str) -> None:
    """Draw a model's runs."""
    for run, _ in cell.superseded:
        _points(axes, [run], GREY, marker, hollow=True, line="none")
    _points(axes, cell.now, colour, marker, hollow=False, line="-")
    for drop in cell.drops:
        axes.plot(
            _times([drop.after]), [drop.after.score], marker="o", markersize=13, markerfacecolor="none",
            markeredgecolor=VERMILION, markeredgewidth=1.6,
        )  # fmt: skip


def _points(axes: Axes, runs: Sequence[PastRun], colour: str, marker: str, *, hollow: bool, line: str) -> None:
    times, scores = _times(runs), [run.score for run in runs]
    below = [0.0 if run.low is None else max(0.0, run.score - run.low) for run in runs]
    above = [0.0 if run.high is None else max(0.0, run.high - run.score) for run in runs]
    axes.errorbar(
        times, scores, yerr=[below, above], color=colour, marker=marker, linestyle=line, markersize=5,
        markerfacecolor="white" if hollow else colour, capsize=2, linewidth=1.1,
    )  # fmt: skip


def _times(runs: Sequence[PastRun]) -> NDArray[np.datetime64]:
    """When runs were finished, UTC."""
    return np.array(
        [datetime.fromisoformat(run.at).astimezone(UTC).replace(tzinfo=None) for run in runs], "datetime64[s]"
    )
