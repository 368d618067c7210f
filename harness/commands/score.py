"""`harness score`: score predictions made by other tools."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.commands import options


@click.command("score")
@click.argument("task", shell_complete=options.a_task)
@click.option(
    "--predictions", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help='JSONL file of {"prediction": text, "reference": text, list or object, "id": optional}.',
)  # fmt: skip
@options.unsafe_code
@options.tasks_folder
@options.json
@options.code
def command(task: str, predictions: Path, tasks_folder: Path | None, as_json: bool) -> int:
    """Score predictions made by other tools, with a task's metrics.

    A reference is the correct answer as text, a list of correct answers, or an object: the row's columns (the task's
    target is rendered from them), {"references": [...]}, or the correct answer itself where that is an object.
    """
    from harness.report.tables import score_points
    from harness.score.predictions import load
    from harness.tasks.catalog import load_task

    file = load_task(tasks_folder, task)
    metrics, rows = load(predictions, file)
    values = score_points(metrics, rows)
    statuses = rows.counts()
    if as_json:
        figures = {name: estimate.value for name, estimate in values.items()}
        print(json.dumps({"task": task, "n": len(rows.ids), "metrics": figures, "statuses": statuses}))
        return 0
    print(
        f"{task}: n = {len(rows.ids)}, " + ", ".join(f"{count} {status}" for status, count in statuses.items() if count)
    )
    for name, estimate in values.items():
        print(f"  {name:<28} {estimate.value:.4f}  [{estimate.low:.4f}, {estimate.high:.4f}]")
    return 0
