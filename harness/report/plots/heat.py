"""A heat map: tasks by models, every cell with its number."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from harness.report.plots.style import BLACK, canvas, named, save, short, style, task_label, titles, unit
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
    called, sample = named(df), bool((df["kind"] == "sample").any())
    width = 2.75 + 0.25 + max(0.85 * len(models), 4.0)
    with style():
        figure, axes = canvas(width, 0.36 * len(parts) + 1.75, top=1.55, bottom=0.2, left=2.75)
        colours = mpl.colormaps[COLOURS]
        axes.imshow(np.ma.masked_invalid(table), cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.grid(visible=False)
        for (y, x), value in np.ndenumerate(table):
            if np.isfinite(value):
                ink = "white" if _luminance(colours(float(np.clip(value, 0, 1)))) < 0.18 else BLACK
                axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink)
        axes.set_yticks(range(len(parts)), [task_label(part) for part in parts])
        axes.set_xticks(range(len(models)), [short(called[model], 24) for model in models], rotation=30, ha="left")
        axes.tick_params(axis="x", labeltop=True, labelbottom=False, length=0)
        axes.spines["bottom"].set_visible(False)
        size = f"{plural(len(models), 'model')}, {plural(len(parts), 'task')}"
        titles(figure, "Scores by task and model", [f"{size}; {provenance(df)}"])
        return save(figure, path, sample)


def _luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance (WCAG 2); at 0.18 black and white text have the same contrast, 4.6 to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
