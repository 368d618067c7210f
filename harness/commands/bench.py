"""`harness bench`: ask models the held-out rows of tasks and print the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions


@click.command("bench")
@options.asked
@options.unsafe_code
@click.option("--dry-run", is_flag=True, help="Ask nothing; print the estimate of `harness plan`.")
@click.option("--quiet", is_flag=True, help="Print only the table; of several tasks only standings and verdict.")
@options.json
@options.code
def command(chosen: BenchOptions, dry_run: bool, quiet: bool, as_json: bool) -> int:
    """Ask models the same held-out rows and print the table.

    Rows that already have an answer are not asked again. One model alone is shown with those that were asked the same
    rows earlier. Exit code 3 means that some rows have no answer.
    """
    from harness.commands.output import ask, print_plan

    if dry_run:
        return print_plan(chosen, as_json=as_json)
    from harness.ask.run import bench

    return ask(bench, chosen, as_json=as_json, quiet=quiet)
