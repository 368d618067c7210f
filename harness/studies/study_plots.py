"""The plots of a study: lifts, learning curves, correlations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from harness.report.plots.style import FAINT, GREY, INK, canvas, logarithmic, look, save, short, style, titles
from harness.report.words import plural
from harness.studies.study import Point, Study

COLUMNS = 3
WIDTH, LEGEND = 2.8, 3.0
"""Inches of a task's plot, and of the legend beside all of them."""
DASHES = ("--", ":", "-.", (0, (8, 2)), (0, (1, 3)), (0, (4, 1, 1, 1, 1, 1)), (0, (8, 2, 1, 2)))


def draw(study: Study, folder: Path, before: str = "") -> list[Path]:
    """Draw what there is into a folder and return the files written, whose names begin with `before`."""
    written = _lifts(study, folder / f"{before}lift")
    if study.curves:
        written += _curves(study, folder / f"{before}curves")
    if study.correlations:
        written += _correlations(study, folder / f"{before}correlations")
    return written


def _lifts(study: Study, path: Path) -> list[Path]:
    groups = [*study.groups, *study.categories]
    with style():
        figure, axes = canvas(8.0, 0.28 * len(groups) + 1.2, top=0.6, bottom=0.6, left=2.2)
        for y, group in enumerate(groups):
            low, high = (
                group.lift.value if math.isnan(end) else end for end in (group.lift.low, group.lift.high)
            )  # one task has no interval
            axes.hlines(y, 100 * low, 100 * high, color=look(0)[0], linewidth=1.4)
            axes.plot(100 * group.lift.value, y, "o", color=look(0)[0], markersize=5)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.axhline(len(study.groups) - 0.5, color=GREY, linewidth=0.8)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_yticks(range(len(groups)), [short(group.name, 28) for group in groups])
        axes.set_xlabel("lift in points, with 95 % interval by resampling tasks")
        title = "Lift by base, and by category"
        titles(figure, title, [])
        return save(figure, path, False, title, f"{title}: {plural(len(groups), 'group')}.")


def _curves(study: Study, path: Path) -> list[Path]:
    """A small plot for each task: mean and spread over seeds by training rows, other models as lines."""
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(point.task for point in study.curves))
    series = list(dict.fromkeys((point.base, point.options) for point in study.curves))
    lines = {task: {**study.evidence.references.get(task, {}), **_before(study, task)} for task in tasks}
    names = sorted({name for found in lines.values() for name in found})
    across = min(COLUMNS, len(tasks))
    down = math.ceil(len(tasks) / across)
    with style():
        width, height = WIDTH * across + LEGEND, 2.5 * down + 0.8
        figure = Figure(figsize=(width, height), facecolor="white")
        for place, task in enumerate(tasks):
            axes = figure.add_subplot(down, across, place + 1)
            for name, score in sorted(lines[task].items()):
                axes.axhline(
                    score, color=INK, linewidth=0.9, linestyle=DASHES[names.index(name) % len(DASHES)], label=name
                )
            for number, (base, options) in enumerate(series):
                points = [p for p in study.curves if (p.task, p.base, p.options) == (task, base, options)]
                _curve(axes, points, *look(number))
            axes.margins(x=0.12)
            logarithmic(axes)
            axes.grid(axis="y", **FAINT)
            axes.set_title(short(task, 30), fontsize=9)
            axes.set_xlabel("training rows", fontsize=8)
        figure.subplots_adjust(
            left=0.55 / width, right=1 - LEGEND / width, bottom=0.6 / height, top=1 - 0.9 / height,
            wspace=0.25, hspace=0.6,
        )  # fmt: skip
        # One legend for all tasks, beside them: inside, lines cross its words.
        known = {
            label: handle
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            known.values(), known.keys(), loc="center left", bbox_to_anchor=(1 - (LEGEND - 0.15) / width, 0.5),
            fontsize=7.5, frameon=False, handlelength=3,
        )  # fmt: skip
        title = "Score by training rows"
        titles(figure, title, ["points: seeds' mean; bars: their standard deviation; lines: models not tuned here"])
        return save(figure, path, False, title, f"{title} on {plural(len(tasks), 'task')}.")


def _before(study: Study, task: str) -> dict[str, float]:
    return {f"{tune.base}, not tuned": tune.before for tune in study.evidence.tunes if tune.task == task}


def _curve(axes: object, points: list[Point], colour: str, marker: str) -> None:
    if not points:
        return
    rows, means = [point.rows for point in points], [point.mean for point in points]
    spreads = [point.spread or 0.0 for point in points]
    label = ", ".join(filter(None, (points[0].base, points[0].options)))
    axes.errorbar(rows, means, yerr=spreads, color=colour, marker=marker, capsize=2, linewidth=1.2, label=label)  # type: ignore[attr-defined]


def _correlations(study: Study, path: Path) -> list[Path]:
    found = study.correlations
    assert found is not None
    k = len(found.names)
    with style():
        size = 0.36 * k + 2.6
        figure, axes = canvas(size + 0.6, size + 0.3, top=0.7, bottom=2.1, left=2.4)
        axes.grid(visible=False)
        shown = np.where(np.isnan(found.values), 0.0, found.values)
        axes.imshow(shown, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        for i in range(k):
            for j in range(k):
                if i != j and not math.isnan(found.values[i, j]):
                    sure = found.p_values[i, j] < 0.05
                    axes.text(
                        j, i, f"{round(found.values[i, j], 2) + 0.0:.2f}", ha="center", va="center", fontsize=6.5,
                        fontweight="bold" if sure else "normal",
                        color="white" if abs(found.values[i, j]) > 0.6 else "black",
                    )  # fmt: skip
        axes.set_xticks(range(k), [short(name, 30) for name in found.names], rotation=60, ha="right", fontsize=7)
        axes.set_yticks(range(k), [short(name, 30) for name in found.names], fontsize=7)
        title = "Rank correlations over tasks"
        titles(figure, title, [f"{found.tasks} tasks; bold: beyond chance after Holm's correction"])
        return save(figure, path, False, title, f"{title}: {plural(k, 'variable')}, {plural(found.tasks, 'task')}.")
