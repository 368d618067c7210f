"""Dumbbells: on each task an adapter, the model it was tuned from, and the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from harness.report.plots.style import (
    BLUE,
    INK,
    VERMILION,
    canvas,
    key,
    save,
    scale,
    style,
    task_label,
    titles,
    unit,
)
from harness.report.tables import higher_is_better, plural, provenance, tasks_of

LIGHT = "#D8D8D8"
SCORE = ("score", "low", "high")


def adapters(df: pd.DataFrame) -> dict[str, str]:
    """The base of each adapter that has one among the models; `df` holds one kind of runs."""
    pairs = df[df["base"].notna()].drop_duplicates("model")[["model", "base"]].itertuples(index=False)
    models = set(df["model"])
    return {str(model): str(base) for model, base in pairs if base in models}


def adapter_plot(df: pd.DataFrame, adapter: str, base: str, reference: str | None, path: Path) -> list[Path]:
    """A line per task from base to adapter, with 95 % intervals, the largest gain first; returns the two files.

    `df` holds one kind of runs, `path` has no ending. A metric that goes to 100 is divided by 100. Tasks that only
    one of adapter and base has are left out; without any that both have there is no plot.
    """
    df = df[df["is_main"]]
    parts = [part for _, _, part in tasks_of(df) if {adapter, base} <= set(part["model"])]
    parts.sort(key=lambda part: (-_gain(part, adapter, base), str(part["task"].iloc[0])))
    if not parts:
        return []
    reference = None if reference in (adapter, base) else reference
    sample = bool((df["kind"] == "sample").any())
    with style():
        figure, axes = canvas(9.0, 0.38 * len(parts) + 1.5, top=0.85, bottom=0.65, left=2.75)
        values: list[float] = []
        for y, part in enumerate(parts):
            rows = {row["model"]: [row[name] / unit(part) for name in SCORE] for row in part.to_dict("records")}
            axes.plot([rows[base][0], rows[adapter][0]], [y, y], color=LIGHT, linewidth=4, zorder=1)
            _point(axes, rows[base], y, "o", VERMILION, hollow=True)
            _point(axes, rows[adapter], y, "o", BLUE)
            if reference in rows:
                _point(axes, rows[reference], y - 0.27, "D", INK, hollow=True)
            values += [value for name in (base, adapter, reference) for value in rows.get(name, ())]
        scale(axes, values, bars=False)
        axes.set_ylim(len(parts) - 0.4, -0.6)
        axes.set_yticks(range(len(parts)), [task_label(part) for part in parts])
        axes.set_xlabel("score on each task's leaderboard metric, with 95 % interval")
        gained = sum(_gain(part, adapter, base) > 0 for part in parts)
        size = f"higher than its base on {gained} of {plural(len(parts), 'task')}"
        titles(figure, f"What tuning gave {adapter}", [f"{size}; {provenance(df)}"])
        shown = [("\N{WHITE CIRCLE}", VERMILION, f"{base} (base)"), ("\N{BLACK CIRCLE}", BLUE, adapter)]
        key(figure, [*shown, *([("\N{WHITE DIAMOND}", INK, f"{reference} (reference)")] if reference else [])])
        return save(figure, path, sample)


def _gain(part: pd.DataFrame, adapter: str, base: str) -> float:
    scores = part.set_index("model")["score"] / unit(part)
    gain = float(scores[adapter] - scores[base])
    return gain if higher_is_better(part) else -gain


def _point(axes: Axes, row: Sequence[float], y: float, marker: str, colour: str, *, hollow: bool = False) -> None:
    score, low, high = row
    axes.plot([low, high], [y, y], color=colour, linewidth=0.9, zorder=2)
    face = "white" if hollow else colour
    axes.plot(score, y, marker=marker, markersize=5, markerfacecolor=face, markeredgecolor=colour, zorder=3)
