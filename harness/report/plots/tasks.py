"""Scores task by task: the models of one task as bars with intervals, and an adapter beside its base on every task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from harness.compare.standings import Lift
from harness.report.plots.style import (
    INK,
    ROOM,
    canvas,
    key,
    looks,
    named,
    on_scale,
    save,
    scale,
    short,
    style,
    task_label,
    titles,
)
from harness.report.published import Published, counterpart, headline
from harness.report.tables import Row, higher_is_better, highest_value, main_rows, provenance, tasks_of, unanswered
from harness.report.words import lift, number, tally, with_interval

SCORE = ("score", "low", "high")


def task_plot(df_task: pd.DataFrame, published: Sequence[Published], models: Sequence[str], path: Path) -> list[Path]:
    """Bars with 95 % intervals of one task's leaderboard metric, models best first; returns the two files written.

    `models` give the colours, `path` has no ending. Published figures on a metric like ours stand below as hollow
    diamonds; sample runs get none, and a watermark instead. `df_task` holds one task and kind of the long form.
    """
    rows = main_rows(df_task)
    metric, first, called, look = str(rows[0]["metric"]), rows[0], named(df_task), looks(models)
    sample = first["kind"] == "sample"
    figures = [] if sample else headline(published)
    shown = [f for f in figures if counterpart(f, [metric])]
    small_print = [f"{first['task']}; {provenance(df_task)}", *_left_out(figures, shown)]
    with style():
        top = 0.4 + 0.17 * len(small_print)
        lines = len(rows) + (len(shown) + 1 if shown else 0)
        figure, axes = canvas(9.0, 0.3 * lines + top + 0.6, top=top, bottom=0.6, left=2.95)
        ends = [_bar(axes, y, row, look[str(row["model"])]) for y, row in enumerate(rows)]
        ends += [_hollow(axes, y, f) for y, f in enumerate(shown, start=len(rows) + 1)]
        scale(axes, [*(r["low"] for r in rows), *ends], bars=True)
        others = (
            ["Published, measured by others:", *(f"{short(f.model, 30)} ({f.source})" for f in shown)] if shown else []
        )
        names = [*(called[str(r["model"])] for r in rows), *others]
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), [short(name, 40) for name in names])
        sense = "" if higher_is_better(df_task) else ", lower is better"
        axes.set_xlabel(f"{metric}{sense}, with 95 % interval", x=0.5 / ROOM)
        titles(figure, str(first["title"]), small_print)
        description = f"Bars are scores on {metric}{sense}, lines their 95 % intervals. Best: {first['model']}."
        return save(figure, path, sample, f"{first['task']}: {metric}", description)


def _bar(axes: Axes, y: int, row: Row, look: tuple[str, str]) -> float:
    """Draw a model's bar, interval and figures; return where the interval ends."""
    colour, marker = look
    axes.barh(y, row["score"], height=0.62, color=colour, alpha=0.75)
    axes.errorbar(
        row["score"], y, xerr=[[row["score"] - row["low"]], [row["high"] - row["score"]]],
        color=INK, capsize=2.5, linewidth=1.1, fmt=marker, markersize=3.5,
    )  # fmt: skip
    wrong = unanswered(row)
    _at_right(axes, y, with_interval(row) + (f", {wrong} not ok" if wrong else ""))
    return float(row["high"])


def _hollow(axes: Axes, y: int, figure: Published) -> float:
    """Draw a published figure; return where it stands."""
    style: dict[str, Any] = {"markersize": 6, "markerfacecolor": "white", "markeredgecolor": INK}
    axes.plot(figure.score, y, marker="D", linestyle="none", clip_on=False, **style)
    few_rows = f", {figure.note.split(',')[0]}" if figure.note.startswith("n = ") else ""
    _at_right(axes, y, f"{number(figure.score)} {figure.metric}{few_rows}")
    return figure.score


def _at_right(axes: Axes, y: float, text: str) -> None:
    """A bar's figures, in one column right of the scale."""
    place = axes.get_yaxis_transform()
    axes.text(1 / ROOM + 0.03, y, text, transform=place, va="center", fontsize=8.5)


def _left_out(figures: Sequence[Published], shown: Sequence[Published]) -> list[str]:
    metrics = sorted({f.metric for f in figures} - {f.metric for f in shown})
    return [f"Published figures on another metric ({', '.join(metrics)}) are not shown."] if metrics else []


def adapter_plot(df: pd.DataFrame, found: Lift, reference: str, models: Sequence[str], path: Path) -> list[Path]:
    """A line per task from base to adapter, with 95 % intervals, the largest gain first; returns the two files.

    `df` holds one kind of runs, `found` the tasks that both were asked on the same rows, `models` give the colours, and
    `path` has no ending. Scores are divided by their metric's highest value; without any that has one there is no plot.
    """
    adapter, base = found.pair.a, found.pair.b
    df = df[df["is_main"]]
    parts, left_out = on_scale([part for task, _, part in tasks_of(df) if task in found.pair.tasks])
    parts.sort(key=lambda part: (-_gain(part, adapter, base), str(part["task"].iloc[0])))
    if not parts:
        return []
    third = None if reference in (adapter, base) else reference
    colour = {model: colour for model, (colour, _) in looks(models).items()}
    sample = bool((df["kind"] == "sample").any())
    with style():
        top = 0.85 + 0.17 * len(left_out)
        figure, axes = canvas(9.0, 0.38 * len(parts) + top + 0.65, top=top, bottom=0.65, left=2.75)
        values: list[float] = []
        for y, part in enumerate(parts):
            rows = {
                row["model"]: [row[name] / highest_value(part) for name in SCORE] for row in part.to_dict("records")
            }
            axes.plot([rows[base][0], rows[adapter][0]], [y, y], color=INK, alpha=0.2, linewidth=4, zorder=1)
            _point(axes, rows[base], y, "o", colour[base], hollow=True)
            _point(axes, rows[adapter], y, "o", colour[adapter])
            if third is not None and third in rows:
                _point(axes, rows[third], y - 0.27, "D", colour[third], hollow=True)
            values += [value for name in (base, adapter, third or "") for value in rows.get(name, ())]
        scale(axes, values, bars=False)
        axes.set_ylim(len(parts) - 0.4, -0.6)
        axes.set_yticks(range(len(parts)), [task_label(part) for part in parts])
        axes.set_xlabel("score on each task's leaderboard metric, with 95 % interval")
        titles(figure, f"What tuning gave {adapter}", [f"{tally(found.pair)}; {provenance(df)}"])
        if left_out:
            figure.text(0.015, 1 - (top - 0.13) / figure.get_figheight(), left_out[0], fontsize=8.5, va="top")
        shown = [
            ("\N{WHITE CIRCLE}", colour[base], f"{base} (base)"),
            ("\N{BLACK CIRCLE}", colour[adapter], adapter),
        ]
        if third:
            shown.append(("\N{WHITE DIAMOND}", colour[third], f"{third} (reference)"))
        key(figure, shown)
        return save(figure, path, sample, f"Lift of {adapter} over {base}", lift(found))


def _gain(part: pd.DataFrame, adapter: str, base: str) -> float:
    scores = part.set_index("model")["score"] / highest_value(part)
    gain = float(scores[adapter] - scores[base])
    return gain if higher_is_better(part) else -gain


def _point(axes: Axes, row: Sequence[float], y: float, marker: str, colour: str, *, hollow: bool = False) -> None:
    score, low, high = row
    axes.plot([low, high], [y, y], color=colour, linewidth=0.9, zorder=2)
    face = "white" if hollow else colour
    axes.plot(score, y, marker=marker, markersize=5, markerfacecolor=face, markeredgecolor=colour, zorder=3)
