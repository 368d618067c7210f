"""All tasks on one page: a line per task, a marker with its interval per model."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from harness.report.plots.style import (
    canvas,
    look,
    model_legend,
    named,
    save,
    scale,
    style,
    task_label,
    titles,
    unit,
)
from harness.report.tables import Row, plural, provenance, tasks_of

TALL = 12
"""With more tasks than this the scale is also printed at the top."""


def overview_plot(df: pd.DataFrame, path: Path) -> list[Path]:
    """One line per task, one marker per model with its 95 % interval; returns the two files written.

    `df` holds the runs of one kind; `path` has no ending. Tasks are grouped by category. A metric that goes to 100 is
    divided by 100.
    """
    df = df[df["is_main"]]
    parts = sorted((part for _, _, part in tasks_of(df)), key=lambda p: (p["category"].iloc[0], p["task"].iloc[0]))
    models = sorted(set(df["model"]))
    called, sample = named(df), bool((df["kind"] == "sample").any())
    lane = 0.8 / len(models)
    top = 0.8 + 0.22 * math.ceil(len(models) / 4) + (0.2 if len(parts) > TALL else 0.0)
    line_height = max(0.36, 0.09 * len(models) + 0.1)
    with style():
        figure, axes = canvas(9.0, line_height * len(parts) + top + 0.6, top=top, bottom=0.6, left=2.75)
        for y, part in enumerate(parts):
            if y % 2 == 0:
                axes.axhspan(y - 0.5, y + 0.5, color="#F2F2F2", linewidth=0, zorder=0)
            whole = unit(part)
            for row in part.to_dict("records"):
                place = models.index(row["model"])
                _dot(axes, row, y + lane * (place - (len(models) - 1) / 2), place, whole)
        scale(axes, [v / unit(p) for p in parts for v in (*p["low"], *p["high"])], bars=False)
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.set_yticks(range(len(parts)), [task_label(part) for part in parts])
        axes.tick_params(axis="x", labeltop=len(parts) > TALL)
        axes.set_xlabel("score on each task's leaderboard metric, with 95 % interval")
        size = f"{plural(len(models), 'model')}, {plural(len(parts), 'task')}"
        titles(figure, "Scores by task", [f"{size}; {provenance(df)}"])
        model_legend(figure, [called[model] for model in models])
        return save(figure, path, sample)


def _dot(axes: Axes, row: Row, y: float, place: int, unit: float) -> None:
    score, low, high = (row[name] / unit for name in ("score", "low", "high"))
    colour, marker = look(place)
    axes.errorbar(
        score, y, xerr=[[score - low], [high - score]],
        fmt=marker, color=colour, markersize=4.5, markeredgecolor="white", markeredgewidth=0.4, linewidth=1.2,
    )  # fmt: skip
