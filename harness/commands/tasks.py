"""`harness tasks`: list the tasks."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.commands import options


@click.command("tasks")
@options.tasks_folder
@options.json
@options.code
def command(tasks_folder: tuple[Path, ...], as_json: bool) -> int:
    """List the tasks."""
    from tabulate import tabulate

    from harness.tasks.catalog import load_task, task_files, task_folders

    files = [load_task(tasks_folder, name) for name in task_files(tasks_folder)]
    rows = [
        {
            "name": file.name,
            "title": file.task.title,
            "category": file.task.category,
            "metric": file.task.metrics[0].name,
            "dataset": file.task.dataset.hub,
            "folder": str(file.source.path.parent),
        }
        for file in files
    ]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    if len(task_folders(tasks_folder)) == 1:
        rows = [{key: value for key, value in row.items() if key != "folder"} for row in rows]
    print(tabulate(rows, headers="keys", missingval="–"))
    return 0
