"""Plots over all tasks: scores with intervals, scores as a heat map, and how wide intervals are by number of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from harness.report.plots.style import (
    FAINT,
    INK,
    canvas,
    look,
    looks,
    luminance,
    model_legend,
    named,
    on_scale,
    save,
    scale,
    short,
    style,
    task_label,
    titles,
)
from harness.report.tables import Row, highest_value, provenance, tasks_of
from harness.report.words import number, plural

TALL = 12
"""With more tasks than this the scale is also printed at the top."""


def overview_plot(df: pd.DataFrame, models: Sequence[str], path: Path) -> list[Path]:
    """One line per task, one marker per model with its 95 % interval; returns the two files written.

    `df` holds the runs of one kind, `models` give the colours, `path` has no ending. Tasks are grouped by category.
    Scores are divided by their metric's highest value; tasks whose metric has none are left out, which the plot says.
    Without any other there is no plot.
    """
    df = df[df["is_main"]]
    parts, left_out = on_scale(_by_category(df))
    if not parts:
        return []
    called, look_of, sample = named(df), looks(models), bool((df["kind"] == "sample").any())
    lane = 0.8 / len(models)
    top = 0.8 + 0.22 * math.ceil(len(models) / 4) + (0.2 if len(parts) > TALL else 0.0) + 0.17 * len(left_out)
    line_height = max(0.36, 0.09 * len(models) + 0.1)
    with style():
        figure, axes = canvas(9.0, line_height * len(parts) + top + 0.6, top=top, bottom=0.6, left=2.75)
        for y, part in enumerate(parts):
            if y % 2 == 0:
                axes.axhspan(y - 0.5, y + 0.5, color=INK, alpha=0.06, linewidth=0, zorder=0)
            for row in part.to_dict("records"):
                place = y + lane * (models.index(row["model"]) - (len(models) - 1) / 2)
                _dot(axes, row, place, look_of[row["model"]], highest_value(part))
        scale(axes, [v / highest_value(p) for p in parts for v in (*p["low"], *p["high"])], bars=False)
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.set_yticks(range(len(parts)), [task_label(part) for part in parts])
        axes.tick_params(axis="x", labeltop=len(parts) > TALL)
        axes.set_xlabel("score on each task's leaderboard metric, with 95 % interval")
        size = f"{plural(len(models), 'model')}, {plural(len(parts), 'task')}"
        titles(figure, "Scores by task", [f"{size}; {provenance(df)}"])
        if left_out:
            figure.text(0.015, 1 - (top - 0.22) / figure.get_figheight(), left_out[0], fontsize=8.5, va="top")
        model_legend(figure, [called[model] for model in models])
        return save(figure, path, sample, "Scores by task", f"{size}: a line for each task, a marker for each model.")


def _by_category(df: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each task, by category and name."""
    return sorted((part for _, _, part in tasks_of(df)), key=lambda p: (p["category"].iloc[0], p["task"].iloc[0]))


def _dot(axes: Axes, row: Row, y: float, shown: tuple[str, str], highest: float) -> None:
    score, low, high = (row[name] / highest for name in ("score", "low", "high"))
    colour, marker = shown
    axes.errorbar(
        score, y, xerr=[[score - low], [high - score]],
        fmt=marker, color=colour, markersize=4.5, markeredgecolor="white", markeredgewidth=0.4, linewidth=1.2,
    )  # fmt: skip


N = np.geomspace(25, 5_000, 60)


def half_widths(df: pd.DataFrame) -> pd.DataFrame:
    """Category, n and half the 95 % interval of each run's main metric, as a share of the metric's highest value."""
    rows = []
    for part in on_scale([part for _, _, part in tasks_of(df[df["is_main"]])])[0]:
        half = (part["high"] - part["low"]) / 2 / highest_value(part)
        rows.append(pd.DataFrame({"category": part["category"], "n": part["n"], "half": half}))
    found = pd.concat(rows) if rows else pd.DataFrame({"category": [], "n": [], "half": []})
    return found[(found["n"] > 0) & (found["half"] > 0)]


def calibration_plot(df: pd.DataFrame, path: Path) -> list[Path]:
    """Half the 95 % interval against the number of rows; returns the two files written, none if all have one n.

    A point is a run. A category's line is the median of its runs carried over to other n by 1 / sqrt(n). `df` holds
    the runs of one kind, `path` has no ending.
    """
    found = half_widths(df)
    if found["n"].nunique() < 2:
        return []
    sample = bool((df["kind"] == "sample").any())
    ends = {}
    with style():
        figure, axes = canvas(9.0, 5.0, top=0.85, bottom=0.65, left=0.8)
        axes.grid(axis="y", **FAINT)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for place, (category, part) in enumerate(found.groupby("category")):
            colour, marker = look(place)
            one_row = float((part["half"] * np.sqrt(part["n"])).median())
            axes.plot(N, one_row / np.sqrt(N), color=colour, linewidth=1.2)
            axes.plot(
                part["n"], part["half"], color=colour, linestyle="none", marker=marker,
                markersize=3.5, alpha=0.6,
            )  # fmt: skip
            ends[str(category), colour] = one_row / math.sqrt(N[-1])
        low, high = min(0.004, 0.9 * float(found["half"].min())), 0.3
        axes.set_ylim(low, high)
        # A label is an eighth of an inch high, the axis three and a half.
        for (category, colour), y in _apart(ends, (high / low) ** (1 / 26)).items():
            axes.text(N[-1] * 1.06, y, category, color=colour, fontsize=8.5, va="center")
        axes.set_xlim(N[0], N[-1] * 3)
        axes.set_xticks(
            [25, 50, 100, 250, 500, 1_000, 2_500, 5_000], ["25", "50", "100", "250", "500", "1,000", "2,500", "5,000"]
        )
        ticks = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
        axes.set_yticks(ticks, [f"±{100 * tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("rows")
        axes.set_ylabel("half of the 95 % interval, points")
        titles(figure, "How many rows are enough", [f"{plural(len(found), 'run')}; {provenance(df)}"])
        description = "Half of the 95 % interval against the number of rows, a line for each category of tasks."
        return save(figure, path, sample, "How many rows are enough", description)


def _apart(ends: dict[tuple[str, str], float], step: float) -> dict[tuple[str, str], float]:
    """Heights of the labels, moved up on the logarithmic scale until none covers another."""
    placed: dict[tuple[str, str], float] = {}
    last = 0.0
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = max(y, last * step)
        placed[name] = last
    return placed


COLOURS = "cividis"
"""Runs from dark to light for readers with every kind of colour vision, and in grey print."""


def heat_plot(df: pd.DataFrame, models: Sequence[str], path: Path) -> list[Path]:
    """Main-metric scores as colours and numbers, `models` from left to right; returns the two files written.

    `df` holds the runs of one kind, `path` has no ending. A score is divided by its metric's highest value; one whose
    metric has none is a number without a colour. What was not measured stays empty.
    """
    df = df[df["is_main"]]
    parts = _by_category(df)
    scores = [part.set_index("model")["score"].reindex(list(models)).to_numpy(dtype=np.float64) for part in parts]
    tops = np.array([highest_value(part) for part in parts])
    table = np.array(scores) / tops[:, None]
    called, sample = named(df), bool((df["kind"] == "sample").any())
    width = 2.75 + 0.25 + max(0.85 * len(models), 4.0)
    with style():
        figure, axes = canvas(width, 0.36 * len(parts) + 1.75, top=1.55, bottom=0.2, left=2.75)
        colours = mpl.colormaps[COLOURS]
        axes.imshow(np.ma.masked_invalid(table), cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.grid(visible=False)
        for (y, x), value in np.ndenumerate(table):
            shown = value if np.isfinite(value) else scores[y][x]
            if np.isfinite(shown):
                dark = np.isfinite(value) and luminance(colours(float(np.clip(value, 0, 1)))) < 0.18
                ink = "white" if dark else "black" if np.isfinite(value) else INK
                axes.text(x, y, number(shown, 2), ha="center", va="center", fontsize=8, color=ink)
        axes.set_yticks(range(len(parts)), [task_label(part) for part in parts])
        axes.set_xticks(range(len(models)), [short(called[model], 24) for model in models], rotation=30, ha="left")
        axes.tick_params(axis="x", labeltop=True, labelbottom=False, length=0)
        axes.spines["bottom"].set_visible(False)
        size = f"{plural(len(models), 'model')}, {plural(len(parts), 'task')}"
        titles(figure, "Scores by task and model", [f"{size}; {provenance(df)}"])
        return save(figure, path, sample, "Scores by task and model", f"{size}: a number and a colour for each score.")
