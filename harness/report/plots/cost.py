"""What a score costs: quality against USD with the frontier, and how long answers take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.report.plots.style import BLACK, BLUE, GREY, canvas, logarithmic, named, save, short, style, titles, unit
from harness.report.tables import higher_is_better, provenance, tasks_of
from harness.report.words import plural


@dataclass(frozen=True, slots=True)
class Cost:
    """A model's mean score over the common tasks, half its 95 % interval, and USD per 1,000 rows."""

    model: str
    score: float
    half: float
    usd: float


def costs(df: pd.DataFrame) -> tuple[list[Cost], int]:
    """Scores and costs of the models whose cost is known, and on how many tasks: those that all of them have.

    Only metrics of which more is better count. `df` holds one kind of runs.
    """
    main = df[df["is_main"] & df["usd"].notna()]
    models = sorted(set(main["model"]))
    parts = [p for _, _, p in tasks_of(main) if len(p) == len(models) and higher_is_better(p) and p["n"].min() > 0]
    if not parts:
        return [], 0
    tables = []
    for part in parts:
        rows = part.set_index("model").loc[models]
        half = (rows["high"] - rows["low"]) / 2 / unit(part)
        tables.append(
            pd.DataFrame(
                {
                    "score": rows["score"] / unit(part),
                    "square": half**2,
                    "usd": 1000 * rows["usd"].astype(float) / rows["n"],
                }
            )
        )
    total = sum(tables[1:], tables[0])
    count = len(parts)
    found = []
    for model in models:
        score, square, usd = (float(total.loc[model, name]) for name in ("score", "square", "usd"))
        found.append(Cost(model, score / count, math.sqrt(square) / count, usd / count))
    return found, count


def frontier(found: Sequence[Cost]) -> list[Cost]:
    """The models that none of the others beats at the same cost or less, cheapest first."""
    best: list[Cost] = []
    for cost in sorted(found, key=lambda cost: (cost.usd, -cost.score)):
        if not best or cost.score > best[-1].score:
            best.append(cost)
    return best


def frontier_plot(df: pd.DataFrame, path: Path) -> list[Path]:
    """Mean score with its 95 % interval against USD per 1,000 rows, and the frontier; returns the two files written.

    `df` holds the runs of one kind, `path` has no ending. Models that cost nothing are lines across. Fewer than two
    models with a price give no plot.
    """
    (found, tasks), called = costs(df), named(df)
    priced = [cost for cost in found if cost.usd > 0]
    if len(priced) < 2:
        return []
    sample = bool((df["kind"] == "sample").any())
    with style():
        figure, axes = canvas(9.0, 5.0, top=0.85, bottom=0.65, left=0.8)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.set_xlim(min(cost.usd for cost in priced) / 2, max(cost.usd for cost in priced) * 4)
        logarithmic(axes)
        for cost in (cost for cost in found if cost.usd == 0):
            axes.axhline(cost.score, color=GREY, linewidth=0.9, linestyle="--")
            place = axes.get_yaxis_transform()
            axes.text(
                0.005, cost.score, f"{short(called[cost.model], 28)} (free)", transform=place, fontsize=8, va="bottom"
            )
        best = [cost for cost in frontier(found) if cost.usd > 0]
        axes.step([c.usd for c in best], [c.score for c in best], where="post", color=BLUE, linewidth=1.0, alpha=0.6)
        for cost in priced:
            on = cost in best
            axes.errorbar(cost.usd, cost.score, yerr=cost.half, fmt="o", color=BLUE if on else BLACK, linewidth=1.1)
            axes.annotate(
                short(called[cost.model], 30), (cost.usd, cost.score), (6, 4), textcoords="offset points", fontsize=8.5
            )
        axes.set_xlabel("USD per 1,000 rows")
        axes.set_ylabel("mean score, with 95 % interval")
        about = f"mean over the {plural(tasks, 'task')} of all models with a known cost; {provenance(df)}"
        titles(figure, "Quality and cost", [about, "Blue: no other model is as good for less."])
        return save(figure, path, sample)


def latency_plot(df: pd.DataFrame, path: Path) -> list[Path]:
    """Seconds from the median to the 95th percentile of each model, fastest first; returns the two files written.

    Of a model with several tasks the median over tasks is shown. `df` holds the runs of one kind, `path` has no
    ending. No latencies give no plot.
    """
    timed = df[df["is_main"] & df["p50_s"].notna()]
    if timed.empty:
        return []
    seconds = timed.groupby("model")[["p50_s", "p95_s"]].median().sort_values("p50_s")
    sample = bool((df["kind"] == "sample").any())
    with style():
        figure, axes = canvas(9.0, 0.36 * len(seconds) + 1.5, top=0.85, bottom=0.65, left=2.75)
        left, right = float(seconds["p50_s"].min()) / 1.5, float(seconds["p95_s"].max())
        axes.set_xlim(left, right * max(4.0, (right / left) ** 0.6))  # two fifths of the axis are for the figures
        logarithmic(axes)
        for y, (p50, p95) in enumerate(seconds.to_numpy(dtype=float).tolist()):
            axes.plot([p50, p95], [y, y], color=BLUE, linewidth=2, alpha=0.5)
            axes.plot(p50, y, marker="o", color=BLUE, markersize=6)
            axes.plot(p95, y, marker="|", color=BLUE, markersize=9)
            text = f"{p50:.2f} s, 95 % within {p95:.2f} s"
            axes.annotate(text, (p95, y), (7, 0), textcoords="offset points", va="center", fontsize=8.5)
        axes.set_ylim(len(seconds) - 0.4, -0.6)
        axes.set_yticks(range(len(seconds)), [short(str(model), 40) for model in seconds.index])
        axes.set_xlabel("seconds per answer")
        about = f"median and 95th percentile of a task's answers, median over tasks; {provenance(timed)}"
        titles(figure, "Latency", [about])
        return save(figure, path, sample)
