"""`harness score`: score answers that were made elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.compare.intervals import Estimate
    from harness.compare.paired import Comparison
    from harness.score.metrics.base import Metric
    from harness.score.scoring import RowScores

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("score")
@click.argument("task")
@click.option(
    "--predictions", type=_FILE, required=True,
    help='JSONL file of {"prediction": text, "reference": text, list or object, "id": optional}.',
)  # fmt: skip
@click.option("--against", type=_FILE, default=None, help="Another such file, of the same rows, to compare with.")
@click.option(
    "--by", "columns", multiple=True, metavar="COLUMN",
    help="Also score the rows with each value of a column, a key of the lines or of their references; again for more.",
)  # fmt: skip
@click.option("--rows", "with_rows", is_flag=True, help="Also give each row's status and scores.")
@options.unsafe_code
@options.tasks_folder
@options.json
def command(
    task: str,
    predictions: Path,
    against: Path | None,
    columns: Sequence[str],
    with_rows: bool,
    tasks_folder: Path,
    as_json: bool,
) -> int:
    """Score answers made elsewhere with a task's metrics.

    A reference is the right answer as text, a list of right answers, or an object: the row's columns (the task's
    target is rendered from them), {"references": [...]}, or the right answer itself where that is an object. For a task
    whose answers are sets of labels, a list is the set.
    """
    from harness.score.metrics.text import dropped_scripts
    from harness.score.predictions import column, in_order_of, load, right_answers
    from harness.tasks.catalog import load_task

    file = load_task(tasks_folder, task)
    metrics, rows = load(predictions, file)
    document: dict[str, Any] = {"task": task, **_scores(metrics, rows)}
    if columns:
        document["by"] = {name: _groups(metrics, rows, column(predictions, name)) for name in columns}
    if against is not None:
        _, others = load(against, file)
        document["against"] = _compared(metrics, rows, others.chosen(in_order_of(predictions, against)))
    if with_rows:
        document["rows"] = _rows(metrics, rows)
    note = dropped_scripts(file.task.metrics, right_answers(predictions, file))
    if note:
        print(f"{task}: {note}", file=sys.stderr)
    print(json.dumps(document, ensure_ascii=False) if as_json else "\n".join(_lines(task, document)))
    return 0


def _scores(metrics: Sequence[Metric], rows: RowScores) -> dict[str, Any]:
    """The figures of some rows: how many, each metric's score and 95 % interval, the statuses."""
    from harness.report.tables import score_points

    found: Mapping[str, Estimate] = score_points(metrics, rows)
    return {
        "n": len(rows.ids),
        "metrics": {name: estimate.value for name, estimate in found.items()},
        "intervals": {name: [estimate.low, estimate.high] for name, estimate in found.items()},
        "statuses": rows.counts(),
    }


def _groups(metrics: Sequence[Metric], rows: RowScores, values: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The figures of the rows with each value, in the order in which the values appear."""
    places: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    return {value: _scores(metrics, rows.chosen(chosen)) for value, chosen in places.items()}


def _compared(metrics: Sequence[Metric], rows: RowScores, others: RowScores) -> dict[str, Any]:
    """The figures of the other predictions, and the paired comparison by each metric, ours minus theirs."""
    from harness.compare.paired import MARGIN, compare_all, scale

    asked = [(one, rows.stats[one.name], others.stats[one.name], MARGIN * scale(one)) for one in metrics]
    found: Sequence[Comparison] = compare_all(asked)
    return {
        **_scores(metrics, others),
        "comparisons": {
            metric.name: {
                "difference": compared.difference,
                "interval": [compared.low, compared.high],
                "p_value": compared.p_value,
                "verdict": compared.verdict,
            }
            for metric, compared in zip(metrics, found, strict=True)
        },
    }


def _rows(metrics: Sequence[Metric], rows: RowScores) -> list[dict[str, Any]]:
    """Each row's id, status and scores; a score is null by a metric that has none for a single row."""
    scores = {metric.name: rows.of_each(metric) for metric in metrics}
    return [
        {"id": name, "status": status, "scores": {metric: found[place] for metric, found in scores.items()}}
        for place, (name, status) in enumerate(zip(rows.ids, rows.statuses, strict=True))
    ]


def _lines(task: str, document: Mapping[str, Any]) -> list[str]:
    """The document as text."""
    lines = _figures(task, document)
    for name, groups in document.get("by", {}).items():
        for value, figures in groups.items():
            lines += _figures(f"{name} = {value}", figures)
    if (other := document.get("against")) is not None:
        lines += _figures("against", other)
        lines += [
            f"  {name:<28} {found['verdict']}: {found['difference']:+.4f}  [{found['interval'][0]:+.4f}, "
            f"{found['interval'][1]:+.4f}], p = {found['p_value']:.3f}"
            for name, found in other["comparisons"].items()
        ]
    for row in document.get("rows", []):
        scores = (f"{name} {'–' if score is None else f'{score:.4f}'}" for name, score in row["scores"].items())
        lines.append(f"row {row['id']}: {row['status']}, {', '.join(scores)}")
    return lines


def _figures(title: str, figures: Mapping[str, Any]) -> list[str]:
    statuses = ", ".join(f"{count} {status}" for status, count in figures["statuses"].items() if count)
    lines = [f"{title}: n = {figures['n']}, {statuses}"]
    for name, value in figures["metrics"].items():
        low, high = figures["intervals"][name]
        lines.append(f"  {name:<28} {value:.4f}  [{low:.4f}, {high:.4f}]")
    return lines
