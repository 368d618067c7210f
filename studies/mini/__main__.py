"""`python -m studies.mini`: train the small model shipped with the project."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.group("mini")
def command() -> None:
    """Train the small model: its base and its adapters."""


_mirror = click.option("--data", metavar="DIR|hub", required=True, help="Where training rows come from.")


@command.command("train-base")
@_mirror
@options.tasks
@options.tasks_folder
def train_base(data: str, tasks: tuple[str, ...], tasks_folder: Path | None) -> int:
    """Train the base on training rows of the tasks.

    About half an hour on two CPU cores.
    """
    from harness.tasks.catalog import task_names
    from studies.mini.base import make

    make(tasks or task_names(tasks_folder), tasks_folder, data, print)
    return 0


@command.command("train-adapters")
@_mirror
@options.tasks
@options.tasks_folder
def train_adapters(data: str, tasks: tuple[str, ...], tasks_folder: Path | None) -> int:
    """Train an adapter for each task that has none yet.

    About five minutes each on one CPU core. Name tasks to share the work between processes.
    """
    from harness.tasks.catalog import task_names
    from studies.mini.adapters import make

    make(tasks or task_names(tasks_folder), tasks_folder, data, print)
    return 0


if __name__ == "__main__":
    command()
