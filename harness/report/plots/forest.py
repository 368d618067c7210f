"""The verdict as a picture: one model against another, a line for each task, and the sentence above it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd

from harness.report.plots.style import GREY, INK, SERIES, VERMILION, canvas, save, short, style, titles
from harness.report.scoreboard import Duel
from harness.report.tables import provenance
from harness.report.words import family, signed, signed_interval, tally, usd

COLOURS = {"better": SERIES[2], "worse": VERMILION}
MARKERS = {"better": "^", "worse": "v", "within the margin": "s"}


def verdict_plot(df: pd.DataFrame, duel: Duel, path: Path) -> list[Path]:
    """The difference of two models on each task with its interval, the largest gain first; returns the two files.

    `df` holds the runs of one kind, `path` has no ending. Tasks whose metric has no highest value have no place on the
    axis and are named below the title; without any other task there is no plot.
    """
    a, b = duel.pair.a, duel.pair.b
    lines = [(line, line.gain) for line in duel.lines if line.gain is not None]
    rest = [line.task for line in duel.lines if line.gain is None]
    if not lines:
        return []
    sample = bool((df["kind"] == "sample").any())
    notes = [f"{tally(duel.pair)}."]
    if duel.usd != (None, None):
        notes[0] += f" Cost of 1,000 rows: {usd(duel.usd[0])} against {usd(duel.usd[1])}."
    notes += textwrap.wrap(f"{provenance(df)}. {family(duel.pair)}", 125)
    notes += [f"Not shown, because their metric has no highest value: {', '.join(rest)}."] if rest else []
    with style():
        top = 0.75 + 0.17 * len(notes)
        figure, axes = canvas(9.0, 0.3 * len(lines) + top + 0.65, top=top, bottom=0.65, left=2.75)
        axes.axvline(0, color=INK, linewidth=0.9)
        for y, (line, (gain, low, high)) in enumerate(lines):
            verdict = line.found.verdict
            colour, marker = COLOURS.get(verdict, GREY), MARKERS.get(verdict, "o")
            axes.plot([low, high], [y, y], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="round")
            axes.plot(gain, y, marker=marker, color=colour, markersize=6.5)
            text = f"{signed(gain, 1)}  [{signed_interval(low, high, 1)}]"
            place = axes.get_yaxis_transform()
            axes.text(1.0, y, text, transform=place, ha="right", va="center", fontsize=8.5)
        low, high = min(0.0, *(gain[1] for _, gain in lines)), max(0.0, *(gain[2] for _, gain in lines))
        width = max(high - low, 1.0)
        axes.set_xlim(low - 0.03 * width, high + 0.5 * width)  # a third of the axis is for the figures
        axes.set_xticks([tick for tick in axes.get_xticks() if low - 0.03 * width <= tick <= high + 0.03 * width])
        axes.spines["bottom"].set_bounds(low - 0.03 * width, high + 0.03 * width)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_yticks(range(len(lines)), [f"{short(line.task, 30)}, n = {line.found.n:,}" for line, _ in lines])
        axes.set_xlabel(f"points by which {short(a, 30)} is ahead of {short(b, 30)}, with 95 % interval", x=0.36)
        titles(figure, f"{a} against {b}", notes)
        return save(figure, path, sample, f"{a} against {b}", notes[0])
