"""What the page's first view shows of one kind of runs: verdict, models, scores, cost, latency, lift, published."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.compare.standings import Lift, Standing
from harness.report import findings as words
from harness.report.findings import EXAMPLE_SERVER, UNTIMED, Scoreboard, break_even, market, score, server_price
from harness.report.page.charts import Line, Mark, cost_chart, lines_chart
from harness.report.published import Published, counterpart, headline
from harness.report.tables import labels_only, main_rows
from harness.report.words import number, plural, signed
from harness.score.metrics.base import FloatArray

if TYPE_CHECKING:
    import pandas as pd

View = dict[str, Any]
MEANING = {
    "better": "better than {0}",
    "worse": "worse than {0}",
    "within the margin": "equal to {0} within the margin",
    "not separable": "not separable from {0}",
}


def overview(contest: Scoreboard, frame: pd.DataFrame, published: Mapping[str, Sequence[Published]]) -> View:
    """Everything the template says about all tasks of one kind; `frame` holds that kind's rows of the long form."""
    offers = market(contest)
    return {
        "against": contest.reference,
        "verdict": words.headline(contest),
        "size": words.size(contest),
        "small_print": words.small_print(contest),
        "labels_only": labels_only(frame),
        "models": [_model(contest, row) for row in contest.standings.models],
        "common": len(contest.standings.common),
        "averaged": len(offers.tasks),
        "board": leaderboard(contest, frame),
        "cost": _cost(contest, offers),
        "latency": _latency(contest),
        "lifts": [_lift(contest, row.lift) for row in contest.standings.models if row.lift],
        "published": _published(frame, published),
        "categories": sorted(set(frame["category"])),
    }


def _model(contest: Scoreboard, row: Standing) -> View:
    runs = contest.runs_of(row.model).values()
    return {
        "name": row.model,
        "rank": row.mean_rank,
        "macro": row.macro,
        "pair": row.against,
        "equal": words.equal(row.against) if row.against else None,
        "tasks": row.tasks,
        "rows": sum(run.manifest.n for run in runs),
        "unanswered": sum(run.manifest.n - run.rows.counts()["ok"] for run in runs),
        "usd": words.spent(contest, row.model),
        "recorded": any(run.manifest.model_settings.get("backend") == "recorded" for run in runs),
        "incomplete": any(run.manifest.incomplete for run in runs),
        "base": next((base for run in runs if (base := run.manifest.model_settings.get("base"))), None),
    }


def leaderboard(contest: Scoreboard, frame: pd.DataFrame) -> list[View]:
    """A row per task: what it is, and for each model the score with how it stands to the best and to the reference."""
    rows = []
    against = contest.reference
    verdicts = {model: contest.against(model) for model in contest.models}
    for task, part in frame.groupby("task", sort=True):
        ranked = main_rows(part)
        metric = contest.tasks[str(task)][ranked[0]["model"]].metrics[0]
        level = contest.tied[str(task)]
        cells = {}
        for row in ranked:
            model = str(row["model"])
            found = verdicts[model].get(str(task))
            span = metric.high - metric.low
            share = (row["score"] - metric.low) / span if math.isfinite(span) else 0.0
            cells[model] = {
                "score": row["score"],
                "text": number(row["score"]),
                "interval": f"{number(row['low'])} to {number(row['high'])}",
                "heat": round(share if metric.higher_is_better else 1 - share, 3),
                "best": model == contest.best[str(task)] and len(ranked) > 1,
                "tied": model in level,
                "verdict": found.verdict if found else None,
                "meaning": MEANING[found.verdict].format(against) if found else None,
                "lost": int(row["n"]) - int(row["ok"]),
                "n": int(row["n"]),
            }
        rows.append(
            {
                "task": str(task),
                "title": ranked[0]["title"],
                "category": ranked[0]["category"],
                "metric": metric.name,
                "sense": "" if metric.higher_is_better else ", lower is better",
                "sign": 1 if metric.higher_is_better else -1,
                "n": int(part["n"].max()),
                "cells": cells,
            }
        )
    return rows


def _cost(contest: Scoreboard, found: Any) -> View:
    priced = sorted((o for o in found.offers if o.usd), key=lambda o: -o.usd)
    server = server_price(contest)
    rate = EXAMPLE_SERVER if server is None else server
    frontier = [o.model for o in found.offers if o.frontier]
    told = f"Models on the frontier, where more quality costs more: {', '.join(frontier) or 'none'}."
    return {
        "offers": found.offers,
        "chart": cost_chart(found.offers, f"{told} The table below holds the numbers."),
        "frontier": told,
        "unknown": [o.model for o in found.offers if o.usd is None],
        "server": rate,
        "example": server is None,
        "break_even": [{"model": o.model, "usd": o.usd, "rows": break_even(rate, o.usd)} for o in priced],
    }


def _latency(contest: Scoreboard) -> View:
    rows: list[View] = []
    for model in contest.models:
        runs = contest.runs_of(model).values()
        if any(run.manifest.model_settings.get("backend") in UNTIMED for run in runs):
            continue
        seconds = np.concatenate([run.latencies for run in runs])
        if len(seconds):
            p50, p95 = (float(value) for value in np.percentile(seconds, [50, 95]))
            first, further = _median([run.ttft for run in runs]), _median([run.tpot for run in runs])
            rows.append({"model": model, "p50": p50, "p95": p95, "ttft": first, "tpot": further, "n": len(seconds)})
    rows.sort(key=lambda row: (row["p50"], row["model"]))
    lines = [Line(r["model"], [Mark(r["p50"], r["p50"], r["p95"])], f"{r['p50']:.2f} s") for r in rows]
    told = f"Dot: median; line: to the 95th percentile. Fastest is {rows[0]['model']}." if rows else ""
    return {
        "rows": rows,
        "streamed": any(row["ttft"] is not None for row in rows),
        "chart": lines_chart("Latency", told, lines, "seconds per answer", zero=True),
        "told": told,
    }


def _median(seconds: Sequence[FloatArray]) -> float | None:
    known = np.concatenate(seconds)
    return float(np.median(known)) if len(known) else None


def _lift(contest: Scoreboard, found: Lift) -> View:
    """An adapter minus its base on every task, with the reference beside them."""
    model, base, lifts = found.pair.a, found.pair.b, found.pair.tasks
    third = contest.reference if contest.reference not in (model, base) else None
    lines = []
    for task, lift in sorted(lifts.items(), key=lambda item: -item[1].difference):
        runs = contest.tasks[task]
        marks = [Mark(score(runs[base]), math.nan, math.nan, "ring"), Mark(score(runs[model]), math.nan, math.nan)]
        if third in runs:
            marks.append(Mark(score(runs[third]), math.nan, math.nan, "diamond"))
        lines.append(Line(task, marks, signed(lift.difference), joined=True))
    rows = [
        {
            "task": task,
            "metric": contest.tasks[task][model].metrics[0].name,
            "base": score(contest.tasks[task][base]),
            "adapter": score(contest.tasks[task][model]),
            "lift": signed(lift.difference),
            "interval": f"{signed(lift.low)} to {signed(lift.high)}",
            "verdict": lift.verdict,
            "n": lift.n,
        }
        for task, lift in lifts.items()
    ]
    mean = f"mean lift {signed(found.mean.value)}, 95 % interval {signed(found.mean.low)} to {signed(found.mean.high)}"
    told = (
        f"{model} beats its base {base} on {found.pair.won} of {plural(len(lifts), 'task')} and loses "
        f"{found.pair.lost}; {mean}."
    )
    key = f"Ring: {base}; dot: {model}" + (f"; diamond: {third}" if third else "") + "; at the right the lift."
    return {
        "model": model,
        "base": base,
        "told": f"{told} {key}",
        "rows": rows,
        "chart": lines_chart(f"Lift of {model} over {base}", told, lines, "score"),
    }


def _published(frame: pd.DataFrame, published: Mapping[str, Sequence[Published]]) -> View:
    """Tasks by published figures, beside the measured model of the same name, else the best measured one."""
    rows: list[View] = []
    labels: dict[str, View] = {}
    for task, part in frame.groupby("task", sort=True):
        figures = headline(published.get(str(task), ()))
        if not figures:
            continue
        labels |= {f.label: {"key": f.label, "model": f.model, "source": f.source} for f in figures}
        metrics = list(dict.fromkeys(part.sort_values("is_main", ascending=False, kind="stable")["metric"]))
        metric = next((name for f in figures if (name := counterpart(f, metrics))), metrics[0])
        scores = part[part["metric"] == metric].set_index("model")["score"].to_dict()
        cells = {
            f.label: {"text": number(f.score), "metric": f.metric, "same": counterpart(f, [metric]) is not None}
            for f in figures
        }
        rows.append({"task": str(task), "metric": metric, "scores": scores, "cells": cells})
    return {"rows": rows, "labels": list(labels.values()), "models": sorted(set(frame["model"]))}
