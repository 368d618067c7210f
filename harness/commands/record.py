"""`harness record`: log the requests of an application to a model, with the answers."""

from __future__ import annotations

import sys
from pathlib import Path

import click

LOST = 3
"""Exit code when lines of the log were lost."""


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if not value.partition("=")[0] or "=" not in value:
            raise click.BadParameter(f"'{value}': expected NAME=VALUE")
    return dict(value.split("=", 1) for value in values)


@click.command("record")
@click.option("--upstream", required=True, metavar="URL", help="The model's server: what clients use as base_url.")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the log: a new one, or that of an earlier recording, to which lines are added.",
)  # fmt: skip
@click.option(
    "--tag", "tags", multiple=True, metavar="NAME=VALUE", callback=_pairs, help="Tag of every line; can be repeated."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of 127.0.0.1. Default: any free one.")
def command(upstream: str, out: Path, tags: dict[str, str], port: int) -> int:
    """Pass an application's requests on to a model's server, and log each with its answer.

    The application uses the printed address as its base_url, and changes nothing else. Keys are passed on and never
    logged. Ctrl-C ends the recording. Exit code 3: lines were lost.
    """
    import asyncio

    from harness.teach.proxy import RecordOptions, record

    options = RecordOptions(upstream, out, tags, port)
    done = asyncio.run(record(options, lambda line: print(line, flush=True)))
    print(f"{done.path}: {done.written} requests logged")
    for name, count in done.unlogged.items():
        print(f"not logged, because it asks for no completion: {name} ({count})")
    if done.lost:
        print(f"{done.lost} requests were passed on but could not be logged", file=sys.stderr)
    return LOST if done.lost else 0
