"""`harness mini`: make the miniature anew."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.group("mini")
def command() -> None:
    """Make the miniature anew: its base model and its adapters."""


_mirror = click.option("--data", metavar="DIR|hub", required=True, help="Where training rows come from.")


@command.command("train-base")
@_mirror
@options.tasks
@options.tasks_folder
def train_base(data: str, tasks: tuple[str, ...], tasks_folder: Path) -> int:
    """Train the base on training rows of the tasks.

    About half an hour on two CPU cores.
    """
    from harness.mini.base import make
    from harness.spec.catalog import task_names

    make(tasks or task_names(tasks_folder), tasks_folder, data, print)
    return 0


@command.command("train-adapters")
@_mirror
@options.tasks
@options.tasks_folder
def train_adapters(data: str, tasks: tuple[str, ...], tasks_folder: Path) -> int:
    """Train an adapter for each task that has none yet.

    About five minutes each on one CPU core. Name tasks to share the work between processes.
    """
    from harness.mini.adapters import make
    from harness.spec.catalog import task_names

    make(tasks or task_names(tasks_folder), tasks_folder, data, print)
    return 0
