"""`harness preview`: the request that a model would get."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from harness.commands import options


@click.command("preview")
@click.argument("task", shell_complete=options.a_task)
@click.option(
    "--model", default=None, shell_complete=options.a_model, help="Name of a model. Default: only the rendered prompt."
)
@click.option("--row", default=None, help="Id of a row. Default: the first row.")
@options.data
@options.seed
@options.models_file
@options.tasks_folder
@options.code
def command(
    task: str,
    model: str | None,
    row: str | None,
    data: str | None,
    seed: int,
    models_file: Path,
    tasks_folder: tuple[Path, ...],
) -> int:
    """Print the exact request that a model would get for a row.

    The reference answer is printed on stderr.
    """
    import asyncio

    from harness.ask.prepare import open_backend, prepare_rows, prune_of, request_for
    from harness.errors import UserError, nearest
    from harness.models.connect import Connections
    from harness.models.entry import load_models
    from harness.tasks.catalog import load_task

    file = load_task(tasks_folder, task)
    entries = load_models(models_file, [model], os.environ, ready=False) if model else []
    prepared, rows = prepare_rows(file, data, seed)
    found = {candidate.id: candidate for candidate in rows}
    if row is not None and row not in found:
        raise UserError(f"no row '{row}' among the {len(rows)} evaluation rows{nearest(row, list(found)[:10])}")
    chosen = found[row] if row is not None else rows[0]
    label = prepared.origin.label(len(rows))
    click.echo(f"{label}, row {chosen.id}, reference: {' | '.join(chosen.references)}", err=True)
    if not entries:
        print(chosen.prompt)
        return 0

    prune = prune_of(entries[0], file.name)
    if prune is not None:
        request = request_for(file, chosen, prune=prune)
        click.echo(f"the task's prompt:\n{chosen.prompt}\nwhat {model} is asked of it:\n{request.prompt}", err=True)

    async def body() -> object:
        async with Connections() as connections:
            return open_backend(connections, prepared, entries[0]).body(request_for(file, chosen, prune=prune))

    print(json.dumps(asyncio.run(body()), ensure_ascii=False, indent=2))
    return 0
