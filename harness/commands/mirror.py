"""`harness mirror`: copy datasets from the hub for machines without internet access."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("mirror")
@click.argument("tasks", nargs=-1, required=True, shell_complete=options.a_task)
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the mirror."
)
@options.tasks_folder
@options.code
def command(tasks: tuple[str, ...], folder: Path, tasks_folder: tuple[Path, ...]) -> int:
    """Copy the datasets of tasks from the hub, for `--data DIR`."""
    from harness.rows.mirror import write
    from harness.tasks.catalog import load_task

    files = [load_task(tasks_folder, name) for name in tasks]
    for file in files:
        for path in write(file, folder):
            print(path)
    return 0
