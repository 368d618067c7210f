"""`harness score`: score predictions made by other tools."""

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
@click.argument("task", shell_complete=options.a_task)
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
@click.option("--table", is_flag=True, help="Also give precision, recall and F1 of each label, as published tables do.")
@options.unsafe_code
@options.tasks_folder
@options.json
@options.code
def command(
    task: str,
    predictions: Path,
    against: Path | None,
    columns: Sequence[str],
    with_rows: bool,
    table: bool,
    tasks_folder: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Score predictions made by other tools, with a task's metrics.

    A reference is the correct answer as text, a list of correct answers, or an object: the row's columns (the task's
    target is rendered from them), {"references": [...]}, or the correct answer itself where that is an object. For a
    task whose answers are sets of labels, a list is the set; for entities, a list of tags is one answer.
    """
    from dataclasses import asdict

    from harness.compare.classification import parts
    from harness.report.label_tables import label_tables
    from harness.report.words import comparison
    from harness.score.metrics.text import dropped_scripts
    from harness.score.predictions import column, in_order_of, pairs, read_lines, right_answers, score_lines
    from harness.tasks.catalog import load_task

    file = load_task(tasks_folder, task)
    lines = read_lines(predictions)
    metrics, rows = score_lines(lines, file, str(predictions))
    document: dict[str, Any] = {"task": task, **_scores(metrics, rows)}
    if columns:
        document["by"] = {name: _groups(metrics, rows, column(predictions, lines, name)) for name in columns}
    sentences: list[str] = []
    if against is not None:
        other_lines = read_lines(against)
        _, found = score_lines(other_lines, file, str(against))
        others = found.chosen(in_order_of(predictions, lines, against, other_lines))
        compared = _compared(metrics, rows, others)
        sentences = [comparison(str(predictions), str(against), name, one) for name, one in compared.items()]
        document["against"] = {**_scores(metrics, others), "comparisons": _as_json(compared)}
    if with_rows:
        document["rows"] = _rows(metrics, rows)
    if file.task.evaluation.cluster and rows.clusters is None:
        print(f"{task}: no column '{file.task.evaluation.cluster}', so rows are taken as independent", file=sys.stderr)
    note = dropped_scripts(file.task.metrics, right_answers(lines, file, str(predictions)))
    if note:
        print(f"{task}: {note}", file=sys.stderr)
    answered = pairs(str(predictions), lines, file)
    if table and as_json:
        document["table"] = [asdict(part) for part in parts(file.task, answered)]
    print(json.dumps(document, ensure_ascii=False) if as_json else "\n".join(_lines(task, document, sentences)))
    for text in label_tables(file.task, answered) if table and not as_json else ():
        print(f"\n{text}")
    return 0


def _scores(metrics: Sequence[Metric], rows: RowScores) -> dict[str, Any]:
    """The figures of some rows: how many, each metric's score, 95 % interval and counts, the statuses."""
    from harness.report.tables import score_points

    found: Mapping[str, Estimate] = score_points(metrics, rows)
    return {
        "n": len(rows.ids),
        "metrics": {name: estimate.value for name, estimate in found.items()},
        "intervals": {name: [estimate.low, estimate.high] for name, estimate in found.items()},
        "counts": {metric.name: metric.counts(rows.stats[metric.name]) for metric in metrics if metric.counted},
        "statuses": rows.counts(),
    }


def _groups(metrics: Sequence[Metric], rows: RowScores, values: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The figures of the rows with each value, in the order in which the values appear."""
    places: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    return {value: _scores(metrics, rows.chosen(chosen)) for value, chosen in places.items()}


def _compared(metrics: Sequence[Metric], rows: RowScores, others: RowScores) -> dict[str, Comparison]:
    """The paired comparison with other predictions of the same rows, by each metric, corrected for all of them."""
    from harness.compare.paired import compare_rows, corrected

    asked = [(metric, rows, others) for metric in metrics]
    found = corrected(compare_rows(asked, comparisons=[len(asked)] * len(asked)))
    return {metric.name: one for metric, one in zip(metrics, found, strict=True)}


def _as_json(compared: Mapping[str, Comparison]) -> dict[str, Any]:
    return {
        name: {
            "difference": found.difference,
            "interval": [found.low, found.high],
            "p_value": found.p_value,
            "verdict": found.verdict,
        }
        for name, found in compared.items()
    }


def _rows(metrics: Sequence[Metric], rows: RowScores) -> list[dict[str, Any]]:
    """Each row's id, status and scores; a score is null by a metric that has none for a single row."""
    scores = {metric.name: rows.of_each(metric) for metric in metrics}
    return [
        {"id": name, "status": status, "scores": {metric: found[place] for metric, found in scores.items()}}
        for place, (name, status) in enumerate(zip(rows.ids, rows.statuses, strict=True))
    ]


def _lines(task: str, document: Mapping[str, Any], sentences: Sequence[str]) -> list[str]:
    """The document as text, with the sentences on two files of predictions."""
    lines = _figures(task, document)
    for name, groups in document.get("by", {}).items():
        for value, figures in groups.items():
            lines += _figures(f"{name} = {value}", figures)
    if (other := document.get("against")) is not None:
        lines += [*_figures("against", other), *sentences]
    for row in document.get("rows", []):
        scores = (f"{name} {'–' if score is None else f'{score:.4f}'}" for name, score in row["scores"].items())
        lines.append(f"row {row['id']}: {row['status']}, {', '.join(scores)}")
    return lines


def _figures(title: str, figures: Mapping[str, Any]) -> list[str]:
    statuses = ", ".join(f"{count} {status}" for status, count in figures["statuses"].items() if count)
    lines = [f"{title}: n = {figures['n']}, {statuses}"]
    for name, value in figures["metrics"].items():
        low, high = figures["intervals"][name]
        counts = ", ".join(f"{what} {count:,}" for what, count in figures["counts"].get(name, {}).items())
        lines.append(f"  {name:<28} {value:.4f}  [{low:.4f}, {high:.4f}]" + (f"  {counts}" if counts else ""))
    return lines
