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
    from harness.models.leak import Asked, Leak
    from harness.models.proof import Proof

MOST = 3
"""Models of a server whose answers are asked for in turns: a base and two adapters show what there is to show."""


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
    models_file: Path, tasks_folder: tuple[Path, ...], as_json: bool,
) -> int:  # fmt: skip
    """Show whether servers apply the adapters they are asked for.

    Asks the first tokens after eight prompts, twice, of each model with a `fingerprint`, and compares them with what
    the adapter and its base say. Then, on each server, whether the answers of up to three of these models depend on
    which was asked before. Exits with 1 where a model is not the adapter that it should be, or where they do.
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
    found, leaks = asyncio.run(_prove_all(known, names, entries))
    if as_json:
        urls = {entry.name: getattr(entry.model, "base_url", "") for entry in known}
        shown = {url: {**asdict(one), "leaking": one.leaking} for url, one in leaks.items()}
        proofs = [{"task": task, "model": model, **asdict(proof)} for task, model, proof in found]
        print(json.dumps([{**proof, "leak": shown.get(urls[str(proof["model"])])} for proof in proofs]))
    else:
        for task, model, proof in found:
            print(f"{model} on {task}: {proof}")
        for url, one in leaks.items():
            print(f"{url}: {one}")
    return int(any(proof.verdict in WRONG for _, _, proof in found) or any(one.leaking for one in leaks.values()))


async def _prove_all(
    entries: Sequence[ModelEntry], tasks: Sequence[str], others: Sequence[ModelEntry]
) -> tuple[list[tuple[str, str, Proof]], dict[str, Leak]]:
    from harness.errors import AskError, UserError
    from harness.models.http import Transport
    from harness.models.leak import leak
    from harness.models.proof import NoFingerprint, prove

    found, leaks = [], {}
    async with Transport() as transport:
        for task, entry in product(tasks, entries):
            try:
                if (proof := await prove(transport, entry.model, task)) is not None:
                    found.append((task, entry.name, proof))
            except NoFingerprint as error:
                print(f"skipped {entry.name} on {task}: {error}", file=sys.stderr)
        if not found:
            raise UserError("none of these models has a fingerprint for these tasks, so nothing is proven")
        proven = [(entry, task) for task, name, _ in found for entry in entries if entry.name == name]
        for url, (prompt, asked) in _servers(proven, others).items():
            try:
                leaks[url] = await leak(transport, asked, prompt)
            except (AskError, TimeoutError) as error:
                print(f"{url}: whether its models leak into each other was not asked: {error}", file=sys.stderr)
    return found, leaks


def _servers(
    proven: Sequence[tuple[ModelEntry, str]], others: Sequence[ModelEntry]
) -> dict[str, tuple[str, dict[str, Asked]]]:
    """For each server a prompt, and up to three of its models, the base of the first among them if it has one."""
    from harness.models.entry import LoraxModel, OpenAIModel
    from harness.models.proof import fingerprint_of

    found: dict[str, tuple[str, dict[str, Asked]]] = {}
    for entry, task in proven:
        model = entry.model
        print_ = fingerprint_of(model, task)
        if not isinstance(model, OpenAIModel | LoraxModel) or print_ is None:
            continue
        if model.base_url not in found:
            bases = [
                one for one in others if one.name == model.base and getattr(one.model, "base_url", "") == model.base_url
            ]
            asked = {one.name: (one.model, task) for one in bases if isinstance(one.model, OpenAIModel | LoraxModel)}
            found[model.base_url] = print_.prompts[0].prompt, asked
        asked = found[model.base_url][1]
        if len(asked) < MOST:
            asked[f"{entry.name} on {task}"] = model, task
    return {url: one for url, one in found.items() if len(one[1]) > 1}


def _make(adapter: Path, base: str | None, task: str, data: str | None, tasks_folder: tuple[Path, ...]) -> int:
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
