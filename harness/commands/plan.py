"""`harness plan`: what a run would cost, before anything is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions


@click.command("plan")
@options.planned
@options.json
def command(chosen: BenchOptions, as_json: bool) -> int:
    """Estimate what a bench would cost, and what its rows can show.

    Tokens, USD and minutes, and the smallest difference that so many rows can show.

    Nothing is asked and nothing is written.
    """
    from harness.commands.output import print_plan

    return print_plan(chosen, as_json=as_json)
