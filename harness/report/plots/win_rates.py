"""The plot of how often each model wins against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from harness.report.plots.style import INK, canvas, luminance, save, short, style, titles
from harness.report.words import number
from harness.score.metrics.base import FloatArray

TITLE = "Win rates"


def win_rate_plot(
    models: Sequence[str], rates: FloatArray, games: FloatArray, path: Path, note: str, sample: bool = False
) -> list[Path]:
    """A square of shares, ties as half wins: of a row's model against a column's, best model first; return the files.

    `rates` and `games` have the shape [models, models]; a pair that never met has no number. `note` says what of,
    `sample` whether of sample rows.
    """
    size, colours = len(models), colormaps["RdBu"]
    with style():
        figure, axes = canvas(3.2 + 0.62 * size, 2.3 + 0.42 * size, top=1.9, bottom=0.3, left=2.2)
        axes.grid(visible=False)
        axes.imshow(np.where(games > 0, rates, 0.5), vmin=0, vmax=1, cmap=colours, aspect="auto")
        for (y, x), rate in np.ndenumerate(rates):
            if games[y, x]:
                ink = "white" if luminance(colours(float(rate))) < 0.18 else "black"
                axes.text(x, y, number(rate, 2), ha="center", va="center", fontsize=8, color=ink)
        axes.set_yticks(range(size), [short(model, 30) for model in models])
        axes.set_xticks(range(size), [short(model, 24) for model in models], rotation=30, ha="left", color=INK)
        axes.tick_params(axis="x", labeltop=True, labelbottom=False, length=0)
        axes.spines["bottom"].set_visible(False)
        titles(figure, TITLE, [f"Of the row's model against the column's, ties as half wins; {note}"])
        return save(figure, path, sample, TITLE, f"{size} models: a number and a colour for each two.")
