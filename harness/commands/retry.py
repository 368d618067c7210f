"""`harness retry`: ask failed rows again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions


@click.command("retry")
@options.asked_again
@options.unsafe_code
@options.json
@options.code
def command(chosen: BenchOptions, as_json: bool) -> int:
    """Ask only the rows without an answer again.

    The rows are those of the last run of each task and model. Then the table of these is printed.

    Exit code 3 means that some rows still have no answer.
    """
    from harness.ask.run import retry
    from harness.commands.output import ask

    return ask(retry, chosen, as_json=as_json)
