"""A heat map: tasks by models, every cell with its number."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from harness.report.plots.style import INK, canvas, save, short, style, task_label, titles, unit
from harness.report.tables import leaderboard, plural, provenance, tasks_of

COLOURS = "cividis"
"""Runs from dark to light for readers with every kind of colour vision, and in grey print."""


def heat_plot(df: pd.DataFrame, path: Path) -> list[Path]:
    """Main-metric scores as colours and numbers, models best first from the left; returns the two files written.

    `df` holds the runs of one kind, `path` has no ending. A metric that goes to 100 is divided by 100, and the number
    shows it; what was not measured stays empty.
    """
    df = df[df["is_main"]]
    parts = sorted((part for _, _, part in tasks_of(df)), key=lambda p: (p["category"].iloc[0], p["task"].iloc[0]))
    models = [str(model) for model in leaderboard(df).index]
    scores = [part.set_index("model")["score"].reindex(models) / unit(part) for part in parts]
    table = np.array(scores, dtype=np.float64)
    sample = bool((df["kind"] == "sample").any())
    width = 2.75 + 0.25 + max(0.85 * len(models), 4.0)
    with style():
        figure, axes = canvas(width, 0.36 * len(parts) + 1.75, top=1.55, bottom=0.2, left=2.75)
        colours = mpl.colormaps[COLOURS]
        axes.imshow(np.ma.masked_invalid(table), cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.grid(visible=False)
        for (y, x), value in np.ndenumerate(table):
            if np.isfinite(value):
                dark = sum(colours(float(np.clip(value, 0, 1)))[:3]) < 1.5
                axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if dark else INK)
        axes.set_yticks(range(len(parts)), [task_label(part) for part in parts])
        axes.set_xticks(range(len(models)), [short(model, 22) for model in models], rotation=30, ha="left")
        axes.tick_params(axis="x", labeltop=True, labelbottom=False, length=0)
        axes.spines["bottom"].set_visible(False)
        size = f"{plural(len(models), 'model')}, {plural(len(parts), 'task')}"
        titles(figure, "Scores by task and model", [f"{size}; {provenance(df)}"])
        return save(figure, path, sample)
