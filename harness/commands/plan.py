"""`harness plan`: estimate the cost of a run before any request is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.ask.run import BenchOptions


@click.command("plan")
@options.planned
@options.json
@options.code
def command(chosen: BenchOptions, as_json: bool) -> int:
    """Estimate a bench: cost, minimum detectable difference.

    Tokens, USD and minutes, and the smallest difference between two models that this many rows can detect.

    No model is asked and no file is written.
    """
    from harness.commands.output import print_plan

    return print_plan(chosen, as_json=as_json)
