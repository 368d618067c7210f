"""`harness loadtest`: what a server with adapters gives under load, and what that costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.commands import options

LATE = 3
"""Exit code when the generator could not keep its own times."""
MOST = 10_000
"""Of clients, or requests a second: far more than one process can send."""


def _numbers(kind: Callable[[str], float], what: str) -> Callable[..., tuple[float, ...]]:
    def read(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
        try:
            found = tuple(kind(part) for part in value.split(",") if part.strip())
        except ValueError:
            found = (0,)
        if any(not 0 < number <= MOST for number in found):
            raise click.BadParameter(f"'{value}': expected {what}")
        return found

    return read


_whole = _numbers(int, "whole numbers above 0, at most 10000, separated by commas, such as 1,4,16")
_above_0 = _numbers(float, "numbers above 0, at most 10000, separated by commas, such as 0.5,1,5")


@click.command("loadtest")
@click.argument("models", nargs=-1, metavar="MODEL...", shell_complete=options.a_model)
@click.option("--url", metavar="URL", help="A server without an entry: MODEL are names that it has. Default: adapters.")
@click.option(
    "--api", type=click.Choice(["completions", "chat"]), default="completions", show_default=True,
    help="Interface of --url.",
)  # fmt: skip
@click.option("--token", envvar="HARNESS_SERVE_TOKEN", help="Key of --url. Also in HARNESS_SERVE_TOKEN.")
@click.option(
    "--concurrency",
    default="",
    callback=_whole,
    metavar="N,…",
    help="Clients that wait for their answers; each a level.",
)
@click.option("--rate", default="", callback=_above_0, metavar="R,…", help="Requests due a second; each a level.")
@click.option(
    "--adapters", default="", callback=_whole, metavar="N,…",
    help="How many of the models are asked; each a level. Default: all.",
)  # fmt: skip
@click.option(
    "--assign", type=click.Choice(["round-robin", "random", "skewed"]), default="round-robin", show_default=True,
    help="Which model a request is for; skewed: the n-th is asked 1/n as often as the first.",
)  # fmt: skip
@click.option(
    "--task", shell_complete=options.a_task,
    help="Task whose rows are sent, with the lengths of their right answers. Default: that of the first model's name.",
)  # fmt: skip
@click.option(
    "--output-tokens", type=click.IntRange(min=1),
    help="Length of every answer instead, on servers that know `ignore_eos`.",
)  # fmt: skip
@click.option(
    "--duration",
    type=options.Finite(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds of a level.",
)
@click.option(
    "--timeout", type=options.Finite(0, min_open=True), default=60.0, show_default=True,
    help="Seconds after which a request has failed.",
)  # fmt: skip
@click.option("--gpu-per-hour", type=options.Finite(0, min_open=True), metavar="USD", help="Price of the machine.")
@click.option(
    "--against", metavar="MODEL", shell_complete=options.a_model,
    help="Model with a price per token: from how many requests a day the machine is cheaper.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reports/loadtest"), show_default=True,
    help="Folder of figures and curves.",
)  # fmt: skip
@options.proof
@options.data
@options.seed
@options.models_file_as("--models-file")
@options.tasks_folder
@options.json
@options.code
def command(as_json: bool, **given: Any) -> int:
    """Put a server under load and write what it gives, with what that costs.

    Requests of --rate are timed from when they were due. Before each level every adapter is asked once, which is
    reported apart. Exit code 3: the requests were not sent in time, so the figures are not those of the server.
    """
    import asyncio

    from harness.report.words import plural
    from harness.serve.arrivals import NOT_SENT
    from harness.serve.load_figures import LATE_MS
    from harness.serve.loadtest import LoadOptions, late, loadtest

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    chosen = LoadOptions(**given)
    found = asyncio.run(loadtest(chosen, say))
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    say(f"{chosen.out}: loadtest.json, loadtest.csv, latency.svg, throughput.svg")
    for level in late(found):
        load = plural(level["concurrency"], "client") if level["concurrency"] else f"{level['rate']:g} requests/s"
        at = f"at {load} with {plural(level['adapters'], 'model')} this program itself"
        if unsent := level["errors"].get(NOT_SENT):
            print(
                f"{at} could open no more connections for {plural(unsent, 'request')}: see `ulimit -n`", file=sys.stderr
            )
            continue
        print(
            f"{at} was late: 99th percentile {level['p99_late_ms']:.1f} ms, at most {LATE_MS:g} ms are allowed; the "
            "times are not the server's",
            file=sys.stderr,
        )
    return LATE if late(found) else 0
