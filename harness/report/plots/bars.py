"""Bars with intervals: the leaderboard metric of one task, best model first, published figures below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.plots.style import (
    BLACK,
    BLUE,
    GREY,
    INK,
    ORANGE,
    ROOM,
    canvas,
    named,
    save,
    scale,
    short,
    style,
    titles,
)
from harness.report.published import Published, counterpart, headline
from harness.report.tables import Row, main_rows, provenance


def task_plot(df_task: pd.DataFrame, published: Sequence[Published], path: Path) -> list[Path]:
    """Bars with 95 % intervals of one task's leaderboard metric, models best first; returns the two files written.

    `path` has no ending. Published figures on a metric like ours stand below as hollow diamonds; sample runs get
    none, and a watermark instead. `df_task` holds one task and kind of the long form.
    """
    rows = main_rows(df_task)
    metric, first, called = str(rows[0]["metric"]), rows[0], named(df_task)
    sample = first["kind"] == "sample"
    figures = [] if sample else headline(published)
    shown = [f for f in figures if counterpart(f, [metric])]
    small_print = [f"{first['task']}; {provenance(df_task)}", *_left_out(figures, shown)]
    with style():
        top = 0.4 + 0.17 * len(small_print)
        lines = len(rows) + (len(shown) + 1 if shown else 0)
        figure, axes = canvas(9.0, 0.3 * lines + top + 0.75, top=top, bottom=0.75, left=2.95)
        ends = [_bar(axes, y, row) for y, row in enumerate(rows)]
        ends += [_hollow(axes, y, f) for y, f in enumerate(shown, start=len(rows) + 1)]
        scale(axes, [*(r["low"] for r in rows), *ends], bars=True)
        others = (
            ["Published, measured by others:", *(f"{short(f.model, 30)} ({f.source})" for f in shown)] if shown else []
        )
        names = [*(called[str(r["model"])] for r in rows), *others]
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), [short(name, 40) for name in names])
        axes.set_xlabel(f"{metric}, with 95 % interval", x=0.5 / ROOM)
        titles(figure, str(first["title"]), small_print)
        _kinds_of_bars(figure, rows, bool(shown))
        return save(figure, path, sample)


def _colour(row: Row) -> str:
    """Adapters, baselines and other models are told apart by colour."""
    if isinstance(row["base"], str):
        return BLUE
    return GREY if row["backend"] == "baseline" else ORANGE


def _bar(axes: Axes, y: int, row: Row) -> float:
    """Draw a model's bar, interval and figures; return where the interval ends."""
    axes.barh(y, row["score"], height=0.62, color=_colour(row), alpha=0.85)
    axes.errorbar(
        row["score"], y, xerr=[[row["score"] - row["low"]], [row["high"] - row["score"]]],
        color=BLACK, capsize=2.5, linewidth=1.1, fmt="none",
    )  # fmt: skip
    wrong = row["n"] - row["ok"]
    digits = 3 if row["high"] <= 1 else 1
    text = f"{row['score']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    _at_right(axes, y, text + (f", {wrong} not ok" if wrong else ""))
    return float(row["high"])


def _hollow(axes: Axes, y: int, figure: Published) -> float:
    """Draw a published figure; return where it stands."""
    style: dict[str, Any] = {"markersize": 6, "markerfacecolor": "white", "markeredgecolor": INK}
    axes.plot(figure.score, y, marker="D", linestyle="none", clip_on=False, **style)
    few_rows = f", {figure.note.split(',')[0]}" if figure.note.startswith("n = ") else ""
    _at_right(axes, y, f"{figure.score:.3f} {figure.metric}{few_rows}")
    return figure.score


def _at_right(axes: Axes, y: float, text: str) -> None:
    """A bar's figures, in one column right of the scale."""
    place = axes.get_yaxis_transform()
    axes.text(1 / ROOM + 0.03, y, text, transform=place, va="center", fontsize=8.5)


def _left_out(figures: Sequence[Published], shown: Sequence[Published]) -> list[str]:
    metrics = sorted({f.metric for f in figures} - {f.metric for f in shown})
    return [f"Published figures on another metric ({', '.join(metrics)}) are not shown."] if metrics else []


def _kinds_of_bars(figure: Figure, rows: Sequence[Row], published: bool) -> None:
    """Say in colour, at the foot, what each colour stands for."""
    used = {_colour(row) for row in rows}
    names = {
        BLUE: "adapter",
        ORANGE: "other model",
        GREY: "baseline",
    }
    words = [("\N{BLACK SQUARE}", colour, name) for colour, name in names.items() if colour in used]
    words += [("\N{WHITE DIAMOND}", INK, "published")] if published else []
    for i, (sign, colour, name) in enumerate(words):
        x, y = 0.015 + 0.135 * i, 0.1 / figure.get_figheight()
        figure.text(x, y, sign, color=colour, fontsize=9, va="bottom")
        figure.text(x + 0.02, y, name, fontsize=8.5, va="bottom")
