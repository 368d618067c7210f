"""`harness models`: list the models, and which of them can be asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from harness.commands import options


@click.command("models")
@options.models_file
@options.json
@options.code
def command(models_file: Path, as_json: bool) -> int:
    """List the models, and what each still needs to be asked."""
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
    print(json.dumps(rows, ensure_ascii=False) if as_json else tabulate(rows, headers="keys", missingval="–"))
    return 0
