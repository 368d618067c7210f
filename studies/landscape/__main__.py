"""`python -m studies.landscape`: train the adapters that are shipped with the project."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.commands import options
from harness.errors import UserError, nearest
from studies import program
from studies.landscape.recipes import BASE, PLANS, TOKENS


@click.group("landscape")
def command() -> None:
    """A small real base model with an adapter for each task."""


@command.command("train")
@click.option("--data", metavar="DIR|hub", required=True, help="Where training rows come from.")
@options.tasks
@options.tasks_folder
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("adapters") / BASE, show_default=True
)
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), default=Path("landscape"), show_default=True,
    help="Where each round's adapter and the checkpoints are kept.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(1, len(TOKENS)), default=1, show_default=True,
    help="Rounds of training; each later one goes on from the one before with twice the tokens.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Tasks side by side.")
def train(
    data: str, tasks: tuple[str, ...], tasks_folder: tuple[Path, ...], out: Path, state: Path, rounds: int, jobs: int
) -> int:
    """Train an adapter for each task; what was stopped goes on when the same command is given.

    About ten minutes a task for the first round on one CPU core. More processes can be started at any time, here or
    with `--jobs`: they share the work.
    """
    from studies.landscape.train import Study, train_all, train_side_by_side

    for task in tasks:
        if task not in PLANS:
            raise UserError(f"no recipe for '{task}'{nearest(task, PLANS)}")
    study = Study(data, tasks_folder, out, state, rounds)
    if jobs > 1:
        return train_side_by_side(study, tasks, jobs)
    # Two threads of one training wait for each other on a busy machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    train_all(study, tasks or tuple(PLANS))
    return 0


@command.command("report")
@options.results
@click.option(
    "--adapters", type=click.Path(file_okay=False, path_type=Path), default=Path("adapters") / BASE, show_default=True
)
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), default=Path("docs/landscape.md"), show_default=True
)
def report(results: Path, adapters: Path, page: Path) -> int:
    """Write the page of scores from a finished `harness bench` with the four models on real rows."""
    from studies.landscape.report import report as write

    write(results, adapters, page)
    return 0


if __name__ == "__main__":
    program.run(command)
