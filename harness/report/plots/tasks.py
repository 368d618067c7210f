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
    VERMILION,
    canvas,
    key,
    named,
    save,
    scale,
    short,
    style,
    task_label,
    titles,
    unit,
)
from harness.report.published import Published, counterpart, headline
from harness.report.tables import Row, higher_is_better, main_rows, provenance, tasks_of
from harness.report.words import plural


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
