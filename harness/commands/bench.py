"""`harness bench`: ask models the held-out rows of tasks and print the table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions, Say
    from harness.store.results import Manifest

UNANSWERED = 3


@click.command("bench")
@options.asked
@options.unsafe_code
@click.option("--dry-run", is_flag=True, help="Ask nothing: print what `harness plan` prints.")
@options.json
def command(chosen: BenchOptions, dry_run: bool, as_json: bool) -> int:
    """Ask models the same held-out rows and print the table.

    Rows that already have an answer are not asked again. Exit code 3 means that some rows have no answer.
    """
    if dry_run:
        from harness.commands.plan import show

        return show(chosen, as_json=as_json)
    from harness.ask.run import bench

    return ask(bench, chosen, as_json=as_json)


def ask(asking: Callable[[BenchOptions, Say], list[Manifest]], chosen: BenchOptions, *, as_json: bool) -> int:
    """Ask, print the table of what was asked, and return the exit code."""
    from harness.ask.budget import CapReached
    from harness.ask.progress import Interrupted

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    capped = False
    try:
        manifests = asking(chosen, say)
    except CapReached as stop:
        manifests, capped = list(stop.manifests), True
        say(str(stop))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    # Imported only now: what scoring needs takes as long to load as the first answers to come.
    from harness.report.findings import long_frame
    from harness.report.scoreboard import two_best
    from harness.report.tables import bench_json, bench_table
    from harness.report.words import task_verdict
    from harness.score.scoring import score_all

    runs = score_all(chosen.results, manifests, say)
    frame = long_frame(runs)
    if as_json:
        print(bench_json(frame))
    elif runs:
        print(bench_table(frame, {task: task_verdict(one) for task, one in two_best(runs).items()}))
    return UNANSWERED if capped or any(run.rows.counts()["failed"] for run in runs) else 0
