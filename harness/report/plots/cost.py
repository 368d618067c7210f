"""What a score costs: mean score against USD with the frontier, and how long answers take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.report.plots.style import (
    FAINT,
    GREY,
    INK,
    canvas,
    logarithmic,
    looks,
    named,
    save,
    short,
    style,
    titles,
)
from harness.report.scoreboard import Latencies, Offer
from harness.report.tables import provenance
from harness.report.words import frontier, latency_tasks, percentiles, plural


def frontier_plot(
    df: pd.DataFrame, offers: Sequence[Offer], tasks: int, models: Sequence[str], path: Path
) -> list[Path]:
    """Mean score with its 95 % interval against USD per 1,000 rows, and the frontier; returns the two files written.

    `df` holds the runs of one kind, `tasks` is the number of tasks of the mean score, `models` give the colours, `path`
    has no ending. Models that cost nothing are lines across. Without a price, or with only one model whose cost is
    known, there is no plot.
    """
    known = [offer for offer in offers if offer.usd is not None]
    priced = [(offer, usd) for offer in known if (usd := offer.usd or 0.0) > 0]
    if not priced or len(known) < 2:
        return []
    called, look, sample = named(df), looks(models), bool((df["kind"] == "sample").any())
    with style():
        figure, axes = canvas(9.0, 5.0, top=0.85, bottom=0.65, left=0.8)
        axes.grid(axis="y", **FAINT)
        axes.set_xlim(min(usd for _, usd in priced) / 2, max(usd for _, usd in priced) * 4)
        logarithmic(axes)
        for offer in known:
            if offer.usd == 0:
                axes.axhline(offer.score.value, color=look[offer.model][0], linewidth=0.9, linestyle="--")
                text = f"{short(called[offer.model], 28)}, free"
                place = axes.get_yaxis_transform()
                axes.text(0.005, offer.score.value, text, transform=place, fontsize=8, va="bottom")
        best = sorted((usd, offer.score.value) for offer, usd in priced if offer.frontier)
        if best:
            axes.step(*zip(*best, strict=True), where="post", color=GREY, linewidth=1.0)
        for offer, usd in priced:
            (colour, marker), score = look[offer.model], offer.score
            axes.errorbar(
                usd, score.value, yerr=[[score.value - score.low], [score.high - score.value]],
                fmt=marker, color=colour, linewidth=1.1, markerfacecolor=colour if offer.frontier else "white",
            )  # fmt: skip
            axes.annotate(
                short(called[offer.model], 30), (usd, score.value), (7, 4), textcoords="offset points", fontsize=8.5
            )
        axes.set_xlabel("USD per 1,000 rows")
        axes.set_ylabel("mean score, with 95 % interval")
        about = f"over the {plural(tasks, 'task')} of the mean score; {provenance(df)}"
        titles(figure, "Quality and cost", [about, "Filled and joined: no other model is as good for less."])
        return save(figure, path, sample, "Mean score against cost", frontier(offers))


def latency_plot(df: pd.DataFrame, found: Latencies, models: Sequence[str], path: Path) -> list[Path]:
    """Seconds from the median to the 95th percentile of each model, fastest first; returns the two files written.

    `df` holds the runs of one kind, `models` give the colours, `path` has no ending. No latencies give no plot.
    """
    if not found.models:
        return []
    called, look, sample = named(df), looks(models), bool((df["kind"] == "sample").any())
    with style():
        figure, axes = canvas(9.0, 0.36 * len(found.models) + 1.5, top=0.85, bottom=0.65, left=2.75)
        left = max(min(one.p50 for one in found.models) / 1.5, 1e-6)
        right = max(one.p95 for one in found.models)
        axes.set_xlim(left, right * max(4.0, (right / left) ** 0.6))  # two fifths of the axis are for the figures
        logarithmic(axes)
        for y, one in enumerate(found.models):
            colour, marker = look[one.model]
            axes.plot([one.p50, one.p95], [y, y], color=colour, linewidth=2, alpha=0.6)
            axes.plot(one.p50, y, marker=marker, color=colour, markersize=6)
            axes.plot(one.p95, y, marker="|", color=colour, markersize=9)
            text = f"{percentiles(one.p50, one.p95)}, n = {one.n:,}"
            axes.annotate(text, (one.p95, y), (7, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
        axes.set_ylim(len(found.models) - 0.4, -0.6)
        axes.set_yticks(range(len(found.models)), [short(called[one.model], 40) for one in found.models])
        axes.set_xlabel("seconds per answer")
        titles(figure, "Latency", [latency_tasks(found.tasks)])
        description = f"Fastest is {found.models[0].model}. {latency_tasks(found.tasks)}"
        return save(figure, path, sample, "Seconds per answer", description)
