"""`harness serve`: one address for models, and for many adapters on one base."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.serve.engines import Engine


@click.command("serve")
@click.option(
    "--models", "models", metavar="NAME,…", default="", shell_complete=options.a_model,
    help="Entries of the models file, separated by commas. Default: those with `backend: llamacpp`.",
)  # fmt: skip
@click.option(
    "--adapters", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder with a folder for each adapter, in place of the adapters of the models file.",
)  # fmt: skip
@options.models_file_as("--models-file")
@options.tasks_folder
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; another needs a --token.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 for any free one."
)
@click.option(
    "--slots", type=click.IntRange(1, 256), help="Prompt caches, one for each adapter in use. Default: all, at most 32."
)
@click.option(
    "--context", type=click.IntRange(min=64), default=512, show_default=True,
    help="Tokens of a slot: those of a prompt and its answer.",
)  # fmt: skip
@click.option(
    "--max-queue", type=click.IntRange(min=0), default=256, show_default=True, help="Requests that may wait at a model."
)
@click.option(
    "--token", envvar="HARNESS_SERVE_TOKEN", help="What clients have to send as key. Also in HARNESS_SERVE_TOKEN."
)
@click.option(
    "--record", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Log requests with their answers in this folder, as `harness record` does.",
)  # fmt: skip
@click.option(
    "--print", "engine", type=click.Choice(["vllm", "lorax", "compose"]),
    help="Serve nothing: print how this engine serves the same adapters.",
)  # fmt: skip
@click.option("--base", metavar="ID", help="Hub id or folder of the base, for --print.")
def command(
    models: str, adapters: Path | None, models_file: Path, tasks_folder: tuple[Path, ...], host: str, port: int,
    slots: int | None, context: int, max_queue: int, token: str | None, record: Path | None, engine: Engine | None,
    base: str | None,
) -> int:  # fmt: skip
    """Serve models and adapters at one address, by OpenAI's, vLLM's and LoRAX's interfaces.

    An adapter is asked by the name of its folder. Unknown names are refused, and each adapter keeps a prompt cache of
    its own. Ctrl-C or SIGTERM ends it when running answers are there.
    """
    names = tuple(filter(None, (name.strip() for name in models.split(","))))
    if engine is not None:
        return _print(engine, models_file, names, adapters, base, slots)
    if base is not None:
        raise UserError("--base is for --print: what is served here is the base of an entry, which --models names")
    import asyncio

    from harness.serve.server import ServeOptions, serve
    from harness.tasks.catalog import task_names

    chosen = ServeOptions(
        models_file, names, adapters, task_names(tasks_folder), host, port, slots, context, max_queue, token, record
    )
    asyncio.run(serve(chosen, lambda line: print(line, flush=True)))
    return 0


def _print(
    engine: Engine, models_file: Path, names: tuple[str, ...], adapters: Path | None, base: str | None,
    slots: int | None,
) -> int:  # fmt: skip
    from harness.serve.choice import choose, folders_of_adapters
    from harness.serve.engines import recipe

    if adapters is not None:
        folders = folders_of_adapters(adapters)
    else:
        chosen = choose(models_file, names, None, ())
        folders = {name: folder for one in chosen.bases for name, folder in one.adapters.items()}
    made = recipe(engine, folders, base, slots)
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(made.text, end="")
    return 0
