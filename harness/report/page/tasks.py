"""What the page shows of one task: prompt, scores of every metric, statuses, provenance; its rows are loaded later."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.compare.paired import Comparison
from harness.compare.slices import Slice
from harness.report.findings import Findings
from harness.report.page.charts import Line, Mark, lines_chart
from harness.report.page.overview import MEANING, View
from harness.report.page.provenance import one_line, provenance, usd
from harness.report.published import Published, counterpart
from harness.report.tables import labels_only, main_rows, rows_asked, sources
from harness.report.words import ABSENT, number, signed
from harness.score.scoring import STATUSES

if TYPE_CHECKING:
    import pandas as pd


def task_view(findings: Findings, task: str, part: pd.DataFrame, published: Sequence[Published]) -> View:
    """Everything the template says about one task; `part` holds its rows of the long form, of one kind."""
    contest, against = findings.contest, findings.contest.reference
    runs, ranked = contest.tasks[task], main_rows(part)
    spec = runs[ranked[0]["model"]].manifest.spec
    metrics = list(dict.fromkeys([ranked[0]["metric"], *part["metric"]]))
    cells = {(row["model"], row["metric"]): row for row in part.to_dict("records")}
    level = contest.tied[task]
    lines = [
        Line(str(row["model"]), [Mark(row["score"], row["low"], row["high"])], number(row["score"])) for row in ranked
    ]
    told = f"Dots are scores on {metrics[0]}, lines their 95 % intervals. Best: {ranked[0]['model']}."
    return {
        "name": task,
        "kind": ranked[0]["kind"],
        "title": spec.title,
        "category": spec.category,
        "prompt": spec.prompt,
        "target": spec.target,
        "answer": spec.answer.model_dump(mode="json", exclude_defaults=True),
        "notes": spec.notes,
        "ceiling": spec.ceiling,
        "metrics": metrics,
        "best": contest.best[task] if len(ranked) > 1 else None,
        "lower": [m.name for m in runs[ranked[0]["model"]].metrics if not m.higher_is_better],
        "verdict": findings.sentences[task],
        "against": against,
        **_opponents([str(row["model"]) for row in ranked], against),
        "asked": rows_asked(part),
        "labels_only": labels_only(part),
        "source": sources(part),
        "statuses": STATUSES,
        "models": [
            _model(row, metrics, cells, level, contest.against(str(row["model"])).get(task), against) for row in ranked
        ],
        "answered": any(number(row["score"]) != number(row["score_answered"]) for row in ranked),
        "chart": lines_chart(f"{task}: {metrics[0]}", told, lines, f"{metrics[0]}, with 95 % interval"),
        "slices": _slices(findings.slices[task]),
        "published": [
            {"figure": figure, "score": number(figure.score), "ours": counterpart(figure, metrics)}
            for figure in published
        ],
        "provenance": [provenance(runs[str(row["model"])]) for row in ranked],
        "one_line": one_line([runs[str(row["model"])] for row in ranked]),
        "mixed": len({run.manifest.prompt_hash for run in runs.values()}) > 1,
        "rows_differ": len({run.rows.ids for run in runs.values()}) > 1,
    }


def _slices(found: Sequence[Slice]) -> list[View]:
    """The slices by column, each with the models' scores as texts."""
    return [
        {
            "column": one.column,
            "value": one.value or "(empty)",
            "n": one.n,
            "few": one.few,
            "scores": {
                model: (number(score.value), f"[{number(score.low)}, {number(score.high)}]")
                for model, score in one.scores.items()
            },
        }
        for one in found
    ]


def _opponents(ranked: Sequence[str], against: str) -> View:
    """The two models that the row browser sets against each other first: the best other one and the reference."""
    second = against if against in ranked else ranked[-1]
    return {"first": next((model for model in ranked if model != second), second), "second": second}


def _model(
    row: Mapping[Any, Any],
    metrics: Sequence[str],
    cells: Mapping[tuple[Any, str], Mapping[Any, Any]],
    level: Collection[str],
    found: Comparison | None,
    against: str,
) -> View:
    model = str(row["model"])
    scores = [cells.get((model, metric)) for metric in metrics]
    return {
        "name": model,
        "recorded": row["backend"] == "recorded",
        "scores": [
            None if one is None else (number(one["score"]), f"[{number(one['low'])}, {number(one['high'])}]")
            for one in scores
        ],
        "answered": (number(row["score_answered"]), f"n = {int(row['n_answered']):,}"),
        "n": int(row["n"]),
        "counts": [int(row[status]) for status in STATUSES],
        "tied": model in level,
        "verdict": found.verdict if found else None,
        "meaning": MEANING[found.verdict].format(against) if found else ABSENT,
        "difference": f"{signed(found.difference)} [{signed(found.low)}, {signed(found.high)}]" if found else ABSENT,
        "p": found.p.removeprefix("p = ").removeprefix("p ") if found else ABSENT,
        "needed": f"{found.rows_needed:,}"
        if found and found.verdict == "not separable" and found.rows_needed
        else ABSENT,
        "p50": number(row["p50_s"], 2),
        "p95": number(row["p95_s"], 2),
        "usd": usd(row["usd"]),
    }
