"""`harness retry`: ask again what failed."""

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
def command(chosen: BenchOptions, as_json: bool) -> int:
    """Ask again only the rows without an answer.

    Those of each pair's last run; then print the table of these pairs.

    Exit code 3 means that some of them still have no answer.
    """
    from harness.ask.run import retry
    from harness.commands.output import ask

    return ask(retry, chosen, as_json=as_json)
