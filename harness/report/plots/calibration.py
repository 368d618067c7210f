"""Calibration of n: how narrow intervals get with more rows, by category of task."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from harness.report.plots.style import canvas, look, save, style, titles, unit
from harness.report.tables import plural, provenance, tasks_of

N = np.geomspace(25, 5_000, 60)


def half_widths(df: pd.DataFrame) -> pd.DataFrame:
    """Category, n and half the 95 % interval of each run's main metric, on a scale to 1."""
    rows = []
    for _, _, part in tasks_of(df[df["is_main"]]):
        half = (part["high"] - part["low"]) / 2 / unit(part)
        rows.append(pd.DataFrame({"category": part["category"], "n": part["n"], "half": half}))
    found = pd.concat(rows) if rows else pd.DataFrame({"category": [], "n": [], "half": []})
    return found[(found["n"] > 0) & (found["half"] > 0)]


def calibration_plot(df: pd.DataFrame, path: Path) -> list[Path]:
    """Half the 95 % interval against the number of rows; returns the two files written, none without intervals.

    A point is a run. A category's line is the median of its runs carried over to other n by 1 / sqrt(n). `df` holds
    the runs of one kind, `path` has no ending.
    """
    found = half_widths(df)
    if found.empty:
        return []
    sample = bool((df["kind"] == "sample").any())
    ends = {}
    with style():
        figure, axes = canvas(9.0, 5.0, top=0.85, bottom=0.65, left=0.8)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
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
        return save(figure, path, sample)


def _apart(ends: dict[tuple[str, str], float], step: float) -> dict[tuple[str, str], float]:
    """Heights of the labels, moved up on the logarithmic scale until none covers another."""
    placed: dict[tuple[str, str], float] = {}
    last = 0.0
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = max(y, last * step)
        placed[name] = last
    return placed
