"""`harness proof`: whether servers apply the adapters they are asked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.models.entry import ModelEntry
    from harness.models.proof import Proof


@click.command("proof")
@options.models
@options.tasks
@click.option(
    "--make", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="ADAPTER",
    help="Ask nothing: write the fingerprint of this PEFT adapter, for the prompts of one --task.",
)  # fmt: skip
@click.option("--base", help="Base of the adapter of --make. Default: the one that its adapter_config.json names.")
@options.data
@options.models_file
@options.tasks_folder
@options.json
@options.code
def command(
    models: tuple[str, ...], tasks: tuple[str, ...], make: Path | None, base: str | None, data: str | None,
    models_file: Path, tasks_folder: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Show whether servers apply the adapters they are asked for.

    Asks the first tokens after eight prompts, twice, of each model with a `fingerprint`, and compares them with what
    the adapter and its base say. Exits with 1 where a model is not the adapter that it should be.
    """
    import asyncio

    from harness.errors import UserError
    from harness.models.entry import load_models
    from harness.models.proof import WRONG
    from harness.tasks.catalog import load_task, task_names

    if make is not None:
        if len(tasks) != 1:
            raise click.UsageError("--make takes the prompts of one task: name it with --task")
        return _make(make, base, tasks[0], data, tasks_folder)
    entries = [entry for entry in load_models(models_file, models, os.environ) if entry.ready]
    known = [entry for entry in entries if getattr(entry.model, "fingerprint", None)]
    if not known:
        raise UserError(f"{models_file}: none of these models names a `fingerprint` to be proven by")
    names = [load_task(tasks_folder, name).name for name in tasks or task_names(tasks_folder)]
    found = asyncio.run(_prove_all(known, names))
    if as_json:
        print(json.dumps([{"task": task, "model": model, **asdict(proof)} for task, model, proof in found]))
    else:
        for task, model, proof in found:
            print(f"{model} on {task}: {proof}")
    return int(any(proof.verdict in WRONG for _, _, proof in found))


async def _prove_all(entries: Sequence[ModelEntry], tasks: Sequence[str]) -> list[tuple[str, str, Proof]]:
    from harness.errors import DataError
    from harness.models.http import Transport
    from harness.models.proof import prove

    found = []
    async with Transport() as transport:
        for task, entry in product(tasks, entries):
            try:
                if (proof := await prove(transport, entry.model, task)) is not None:
                    found.append((task, entry.name, proof))
            except DataError as error:
                print(f"skipped {entry.name} on {task}: {error}", file=sys.stderr)
    return found


def _make(adapter: Path, base: str | None, task: str, data: str | None, tasks_folder: Path | None) -> int:
    from harness.models.engines.adapter_files import read_lora
    from harness.models.proof import FINGERPRINT
    from harness.rows.origin import locate
    from harness.rows.training import training_rows
    from harness.tasks.catalog import load_task
    from harness.tasks.prompts import Prompts
    from harness.train.fingerprint import write_fingerprint

    file = load_task(tasks_folder, task)
    prompts, _ = training_rows(file, Prompts(file), locate(file, data))
    base = base or str(read_lora(adapter).settings["base_model_name_or_path"])
    write_fingerprint(base, adapter, prompts, lambda line: print(line, file=sys.stderr))
    print(adapter / FINGERPRINT)
    return 0
