"""`harness tasks`: the tasks there are."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.commands import options


@click.command("tasks")
@options.tasks_folder
@options.json
def command(tasks_folder: Path, as_json: bool) -> int:
    """List the tasks."""
    from tabulate import tabulate

    from harness.tasks.catalog import load_task, task_names

    files = [load_task(tasks_folder, name) for name in task_names(tasks_folder)]
    rows = [
        {
            "name": file.name,
            "title": file.task.title,
            "category": file.task.category,
            "metric": file.task.metrics[0].name,
            "dataset": file.task.dataset.hub,
        }
        for file in files
    ]
    print(json.dumps(rows, ensure_ascii=False) if as_json else tabulate(rows, headers="keys", missingval="–"))
    return 0
