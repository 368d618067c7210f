"""What the page shows of one task: prompt, scores of every metric, statuses, provenance; its rows are loaded later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.compare.slices import Slice
from harness.report.findings import Findings
from harness.report.page.overview import View
from harness.report.page.sources import one_line, provenance
from harness.report.plots.draw import history_name
from harness.report.published import Published, counterpart
from harness.report.scoreboard import Scoreboard
from harness.report.tables import (
    differs,
    incomplete_runs,
    labels_only,
    main_rows,
    marked,
    marked_models,
    metrics_of,
    plot_name,
    rows_asked,
    sources,
    version_of,
)
from harness.report.trend import TrendCell
from harness.report.words import (
    ABSENT,
    against,
    count,
    counted,
    family,
    number,
    rows_needed,
    signature,
    signed,
    signed_interval,
    small,
    with_interval,
)
from harness.score.scoring import STATUSES

if TYPE_CHECKING:
    import pandas as pd


def task_view(
    findings: Findings,
    task: str,
    part: pd.DataFrame,
    published: Sequence[Published],
    verdict: str,
    history: Sequence[TrendCell] = (),
) -> View:
    """Everything the template says about one task; `part` holds its rows of the long form, of one kind."""
    board = findings.board
    runs, ranked, metrics = board.tasks[task], main_rows(part), metrics_of(part)
    best = runs[board.best[task]]
    spec = best.manifest.spec
    cells = {(row["model"], row["metric"]): row for row in part.to_dict("records")}
    names = [str(row["model"]) for row in ranked]
    return {
        "name": task,
        "kind": findings.kind,
        "plot": plot_name(task, findings.kind),
        "history": history_name(task),
        "drops": [
            f"{drop}." for cell in history if (cell.task, cell.kind) == (task, findings.kind) for drop in cell.drops
        ],
        "title": spec.title,
        "category": spec.category,
        "prompt": spec.prompt,
        "target": spec.target,
        "answer": spec.answer.model_dump(mode="json", exclude_defaults=True),
        "notes": spec.notes,
        "ceiling": spec.ceiling,
        "metrics": metrics,
        "lower": [metric.name for metric in best.metrics if not metric.higher_is_better],
        "verdict": verdict,
        "against": board.reference,
        "references": [model for model in board.references if model in names],
        **_opponents(names, board.reference),
        "asked": rows_asked(part),
        "labels_only": labels_only(part),
        "incomplete": incomplete_runs(part),
        "version": version_of(part),
        "family": family(None),
        "source": sources(part),
        "statuses": STATUSES,
        "models": [
            _model(board, task, row, [cells.get((row["model"], metric)) for metric in metrics]) for row in ranked
        ],
        "answered": differs(ranked),
        "slices": _slices(findings.slices[task], marked_models(part, task)),
        "published": [
            {"figure": figure, "score": number(figure.score), "ours": counterpart(figure, metrics)}
            for figure in published
        ],
        "provenance": [provenance(runs[name]) for name in names],
        "one_line": one_line([runs[name] for name in names]),
        "mixed": len({run.manifest.spec.asking_version for run in runs.values()}) > 1,
        "rows_differ": len({run.rows.ids for run in runs.values()}) > 1,
    }


def _slices(found: Sequence[Slice], marks: Mapping[str, str]) -> list[View]:
    """The slices by column, each with the models' scores as texts."""
    return [
        {
            "column": one.column,
            "value": one.value or "(empty)",
            "n": one.n,
            "few": one.few,
            "scores": {
                model: (number(score.value) + marks.get(model, ""), f"[{number(score.low)}, {number(score.high)}]")
                for model, score in one.scores.items()
            },
        }
        for one in found
    ]


def _opponents(ranked: Sequence[str], against: str) -> View:
    """The two models that the row browser sets against each other first: the best other one and the reference."""
    second = against if against in ranked else ranked[-1]
    return {"first": next((model for model in ranked if model != second), second), "second": second}


def _model(board: Scoreboard, task: str, row: Mapping[Any, Any], scores: Sequence[Mapping[Any, Any] | None]) -> View:
    model = str(row["model"])
    return {
        "name": model,
        "recorded": row["backend"] == "recorded",
        "incomplete": bool(row["incomplete"]),
        "scores": [
            None
            if one is None
            else (
                marked(one, number(one["score"])),
                f"[{number(one['low'])}, {number(one['high'])}]{counted(one['rests_on'])}",
            )
            for one in scores
        ],
        "signature": signature(board.tasks[task][model], with_interval(row)),
        "answered": (number(row["score_answered"]), f"n = {count(row['n_answered'])}"),
        "n": int(row["n"]),
        "counts": [int(row[status]) for status in STATUSES],
        "best": board.is_top(task, model),
        "tied": board.is_tied(task, model),
        "against": {b: _against(board, task, model, b) for b in board.references if b != model},
        "p50": small(row["p50_s"]),
        "p95": small(row["p95_s"]),
        "input_tokens": count(row["input_tokens"]),
        "output_tokens": count(row["output_tokens"]),
        "usd": small(row["usd"]),
    }


def _against(board: Scoreboard, task: str, model: str, reference: str) -> View:
    """A model against one reference on a task, or why nothing can be told of the two."""
    pair = board.pair(model, reference)
    found = pair.tasks.get(task)
    if found is None:
        return {"meaning": pair.apart.get(task, ABSENT), "difference": ABSENT, "p": ABSENT, "needed": ABSENT}
    return {
        "meaning": against(found, reference),
        "difference": f"{signed(found.difference)} [{signed_interval(found.low, found.high)}]",
        "p": found.p.removeprefix("p = ").removeprefix("p "),
        "needed": rows_needed(found) or ABSENT,
    }
