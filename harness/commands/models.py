"""`harness models`: list the models, and which of them can be asked."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.models.entry import ModelEntry


@click.command("models")
@options.models_file
@click.option(
    "--check", is_flag=True, help="Ask each server that is ready for its list of models, which costs nothing."
)
@options.json
@options.code
def command(models_file: Path, check: bool, as_json: bool) -> int:
    """List the models, and what each still needs to be asked."""
    import asyncio

    from tabulate import tabulate

    from harness.models.entry import load_models
    from harness.models.prices import price_of

    entries = load_models(models_file, (), os.environ)
    prices = {entry.name: priced.price for entry in entries if (priced := price_of(entry.model, entry.name))}
    rows = [
        {
            "name": entry.name,
            "backend": entry.model.backend,
            "base": entry.model.base,
            "usd_per_million_in": price.input if (price := prices.get(entry.name)) else None,
            "usd_per_million_out": price.output if price else None,
            "ready": entry.ready,
            "needs": entry.missing or ", ".join(entry.unset) or None,
        }
        for entry in entries
    ]
    if check:
        for row, found in zip(rows, asyncio.run(_answers(entries)), strict=True):
            row["check"] = found
    print(json.dumps(rows, ensure_ascii=False) if as_json else tabulate(rows, headers="keys", missingval="–"))
    return 0


async def _answers(entries: Sequence[ModelEntry]) -> list[str | None]:
    """What each server that is ready answers, None where there is none; all are asked at once."""
    import asyncio

    from harness.models.http import Transport
    from harness.models.ping import ping

    async with Transport() as transport:
        asked = [ping(transport, entry.model) if entry.ready else _nothing() for entry in entries]
        return list(await asyncio.gather(*asked))


async def _nothing() -> None:
    return None
