"""`harness bench`: ask models the held-out rows of tasks and print the table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
@click.option("--watch", is_flag=True, help="Meanwhile serve a page on this machine that fills as answers arrive.")
@options.json
@options.code
def command(chosen: BenchOptions, dry_run: bool, quiet: bool, watch: bool, as_json: bool) -> int:
    """Ask models the same held-out rows and print the table.

    Rows that already have an answer are not asked again. One model alone is shown with those that were asked the same
    rows earlier. Exit code 3 means that some rows have no answer.
    """
    from harness.commands.output import ask, print_plan

    if dry_run:
        return print_plan(chosen, as_json=as_json)
    from harness.ask.run import bench

    with watched(chosen) if watch else nullcontext():
        return ask(bench, chosen, as_json=as_json, quiet=quiet)


@contextmanager
def watched(chosen: BenchOptions) -> Iterator[None]:
    """Serve the page of the run from another process, which ends with this one, however that ends.

    Of this process it would take time in which answers wait.
    """
    from harness.tasks.catalog import own_folders

    command = [sys.executable, "-m", "harness", "open", "--watch", "--until-closed", "--results", str(chosen.results)]
    command += [part for folder in own_folders(chosen.tasks_folder) for part in ("--tasks", str(folder))]
    # A session of its own, because after Ctrl-C the answers that are on their way still arrive.
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr.fileno(), start_new_session=True)
    try:
        yield
    finally:
        try:
            server.communicate(timeout=5)  # closes its standard input
        except subprocess.TimeoutExpired:
            server.kill()
