"""What the page's first view shows of one kind of runs, laid out: verdict, models, scores, cost, latency, lift."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.compare.standings import Lift, Standing
from harness.report import words
from harness.report.page.duel import RESULTS, duel_view, pairs
from harness.report.plots.draw import adapter_name
from harness.report.published import Published
from harness.report.scoreboard import EXAMPLE_SERVER, Scoreboard, break_even, server_price
from harness.report.tables import beside_published, incomplete_runs, labels_only, main_rows, marked, unanswered
from harness.report.words import ABSENT, counted, interval, number, signed, signed_interval, small, with_interval
from harness.score.metrics.base import Metric

if TYPE_CHECKING:
    import pandas as pd

View = dict[str, Any]


def overview(board: Scoreboard, frame: pd.DataFrame, published: Mapping[str, Sequence[Published]]) -> View:
    """Everything the template says about all tasks of one kind; `frame` holds that kind's rows of the long form."""
    return {
        "asked": words.asked(board),
        "against": board.reference,
        "subject": board.subject,
        "verdict": words.headline(board),
        "small_print": words.small_print(board),
        "duels": [duel_view(board, a, b) for a, b in pairs(board)],
        "references": board.references,
        "results": RESULTS,
        "averages": words.averages(board.standings),
        "labels_only": labels_only(frame),
        "incomplete": incomplete_runs(frame),
        "means": {
            "score": len(board.standings.averaged),
            "rank": len(board.standings.common),
            "usd": len(board.standings.priced),
        },
        "models": [_model(board, row) for row in board.standings.models],
        "board": leaderboard(board, frame),
        "cost": _cost(board),
        "latency": {
            "rows": board.latencies.models,
            "streamed": any(row.ttft is not None for row in board.latencies.models),
            "about": words.latency_tasks(board.latencies.tasks),
        },
        "lifts": [_lift(board, row.lift) for row in board.standings.models if row.lift],
        "published": _published(frame, published),
        "categories": sorted(set(frame["category"])),
    }


def _model(board: Scoreboard, row: Standing) -> View:
    totals = board.totals(row.model)
    return {
        "name": row.model,
        "rank": interval(row.mean_rank, 2),
        "score": interval(row.macro),
        "against": {b: _against(board, row.model, b) for b in board.references if b != row.model},
        "tasks": row.tasks,
        "rows": totals.rows,
        "unanswered": totals.unanswered,
        "usd": small(None if row.usd is None else 1000 * row.usd),
        "recorded": totals.recorded,
        "incomplete": totals.incomplete,
        "base": totals.base,
    }


def _against(board: Scoreboard, a: str, b: str) -> View:
    """A model's line against one reference: tasks won, equal, not separable and lost, and the mean difference."""
    duel = board.duel(a, b)
    found = duel.lead
    return {
        "pair": duel.pair,
        "lead": signed(100 * found.difference.value, 1) if found else ABSENT,
        "interval": words.points(found.difference) if found else "",
        "tasks": len(found.tasks) if found else 0,
    }


def leaderboard(board: Scoreboard, frame: pd.DataFrame) -> list[View]:
    """A row per task: what it is, and for each model the score with how it compares with the best and a reference."""
    rows = []
    pairs = {(a, b): board.pair(a, b).tasks for b in board.references for a in board.models if a != b}
    for name, part in frame.groupby("task", sort=True):
        task, ranked = str(name), main_rows(part)
        metric = board.metric(task)
        cells = {}
        for row in ranked:
            model = str(row["model"])
            against = {b: found for (a, b), tasks in pairs.items() if a == model and (found := tasks.get(task))}
            cells[model] = {
                "score": row["score"],
                "text": marked(row, number(row["score"])),
                "interval": with_interval(row) + counted(row["rests_on"]),
                "heat": _heat(metric, row["score"]),
                "best": board.is_top(task, model),
                "tied": board.is_tied(task, model),
                "against": {b: (found.verdict, words.against(found, b)) for b, found in against.items()},
                "lost": unanswered(row),
                "n": int(row["n"]),
            }
        rows.append(
            {
                "task": task,
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


def _heat(metric: Metric, score: float) -> float:
    """How strongly a cell is coloured, from 0 for the worst score of a metric to 1 for its best."""
    span = metric.high - metric.low
    if not math.isfinite(span) or math.isnan(score):
        return 0.0
    share = (score - metric.low) / span
    return round(share if metric.higher_is_better else 1 - share, 3)


def _cost(board: Scoreboard) -> View:
    server = server_price(board)
    rate = EXAMPLE_SERVER if server is None else server
    priced = sorted(((o.usd, o.model) for o in board.offers if o.usd), reverse=True)
    return {
        "offers": board.offers,
        "frontier": words.frontier(board.offers),
        "unknown": [offer.model for offer in board.offers if offer.usd is None],
        "server": rate,
        "example": server is None,
        "break_even": [{"model": model, "usd": usd, "rows": break_even(rate, usd)} for usd, model in priced],
    }


def _lift(board: Scoreboard, found: Lift) -> View:
    """An adapter beside its base on every task."""
    model, base = found.pair.a, found.pair.b
    rows = [
        {
            "task": task,
            "metric": board.metric(task).name,
            "base": number(board.score(task, base)),
            "adapter": number(board.score(task, model)),
            "lift": signed(one.difference),
            "interval": signed_interval(one.low, one.high),
            "verdict": one.verdict,
            "n": one.n,
        }
        for task, one in found.pair.tasks.items()
    ]
    return {
        "model": model,
        "base": base,
        "text": words.lift(found),
        "rows": rows,
        "family": words.family(found.pair),
        "plot": adapter_name(model),
    }


def _published(frame: pd.DataFrame, published: Mapping[str, Sequence[Published]]) -> View:
    """Tasks by published figures, beside our models."""
    found = beside_published(frame, published)
    labels = {label: figure for one in found for label, figure in one.figures.items()}
    rows = [
        {
            "task": one.task,
            "metric": one.metric,
            "scores": one.scores,
            "marks": one.marks,
            "cells": {
                label: {"text": number(figure.score), "metric": figure.metric, "same": one.same(label)}
                for label, figure in one.figures.items()
            },
        }
        for one in found
    ]
    columns = [{"key": label, "model": figure.model, "source": figure.source} for label, figure in labels.items()]
    return {"rows": rows, "labels": columns, "models": sorted(set(frame["model"]))}
