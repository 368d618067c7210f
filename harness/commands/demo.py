"""`harness demo`: models side by side in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands import options


@click.command("demo")
@options.tasks
@options.models
@click.option(
    "--data", metavar="DIR|hub|sample", default="sample", show_default=True,
    help="Source of the examples: the folder of a mirror, the hub, or the shipped sample rows.",
)  # fmt: skip
@options.models_file
@options.tasks_folder
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), show_default=True,
    help="Folder of the report that the page links to.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="Port; 0 for any free one."
)
@click.option(
    "--export", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Show nothing: write the page as a Hugging Face Space into this new or empty folder.",
)  # fmt: skip
@options.code
def command(export: Path | None, **given: Any) -> int:
    """Show a page on which a base, its adapters and other models answer side by side.

    Examples are the shipped sample rows, or the rows of --data. Each answer has its time, tokens and cost, and what the
    task's metrics say of it. The page is on this machine only, and loads nothing from elsewhere. Ctrl-C ends it.
    """
    import asyncio

    from harness.serve.demo import DemoOptions, demo

    chosen = DemoOptions(**given)
    if export is not None:
        from harness.serve.space import export_space

        for path in export_space(chosen, export):
            print(path)
        return 0
    asyncio.run(demo(chosen, lambda line: print(line, flush=True)))
    return 0
