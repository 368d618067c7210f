"""`harness merge`: several adapters, or models, made into one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands import options
from harness.commands.output import adapter_entry

if TYPE_CHECKING:
    from harness.train.merge import MergeOptions
    from harness.train.search import SearchOptions, SearchResult

_PATH = click.Path(exists=True, path_type=Path)


def _weights(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}': expected numbers separated by commas, such as 0.5,0.5") from None


@click.command("merge")
@click.argument("adapters", nargs=-1, required=True, type=_PATH, metavar="ADAPTER... | CONFIG.yml")
@click.option("--weights", callback=_weights, metavar="W,W,…", help="One number for each adapter, such as 0.5,0.5.")
@click.option(
    "--method", type=click.Choice(["sum", "linear", "ties", "dare", "prune"]), default="sum", show_default=True,
    help="sum: the weighted sum of the changes, exactly; linear: the nearest to it of rank --rank; ties, dare, prune: "
    "those of PEFT on the changes (extra `local`).",
)  # fmt: skip
@click.option("--rank", type=click.IntRange(min=1), help="Rank of the result. Default: the adapters' highest.")
@click.option(
    "--density", type=options.Finite(0, 1, min_open=True), default=0.5, show_default=True,
    help="Share of each change that ties, dare and prune keep.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, help="Of what dare drops.")
@click.option(
    "--search", is_flag=True,
    help="Instead of --weights: try a grid of them on rows of --task that are not evaluated, and merge by the best.",
)  # fmt: skip
@click.option("--task", "tasks", multiple=True, shell_complete=options.a_task, help="Of --search; again for more.")
@click.option(
    "--rows", type=click.IntRange(min=2), default=100, show_default=True, help="Rows of each task that --search asks."
)
@options.data
@options.tasks_folder
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the result, new or empty.")
@options.json
def command(
    adapters: tuple[Path, ...], weights: tuple[float, ...] | None, search: bool, tasks: tuple[str, ...], rows: int,
    data: str | None, tasks_folder: tuple[Path, ...], out: Path, as_json: bool, **how: Any,
) -> int:  # fmt: skip
    """Merge LoRA adapters of one base into one adapter.

    With a configuration of mergekit instead, whole models are merged by it (extra `merge`).
    """
    from dataclasses import asdict, replace

    from harness.train.merge import MergeOptions, merge, merge_models
    from harness.train.search import SearchOptions

    if len(adapters) == 1 and adapters[0].is_file():
        merge_models(adapters[0], out)
        print(f"{out}: merged by mergekit\nTo score it, add to models.yaml:")
        print(f"  merged:\n    backend: local\n    model: {_as_folder(out)}")
        return 0
    if bool(tasks) != search:
        raise click.UsageError("--search needs --task, on whose rows weights are tried, and --task needs --search")
    if (weights is None) != search:
        missing = f"Missing option '--weights': {len(adapters)} numbers, one for each adapter"
        raise click.UsageError("--search chooses the weights: leave --weights out" if search else missing)
    chosen = MergeOptions(adapters, weights or (1.0,) * len(adapters), out=out, **how)
    found = _search(chosen, SearchOptions(tasks, tasks_folder, data, rows), as_json=as_json) if search else None
    if found:
        chosen = replace(chosen, weights=found.candidates[0].weights, search=found.as_json())
    card = merge(chosen)
    if as_json:
        print(json.dumps(asdict(card)))
    else:
        print(f"{out}: rank {card.rank}, relative error to the weighted sum {card.relative_error:.2g}")
        print(f"To score it, add to models.yaml:\n{adapter_entry('merged', card.base, out)}")
    return 0


def _search(merging: MergeOptions, options: SearchOptions, *, as_json: bool) -> SearchResult:
    """Try the grid, and print the best with the interval of each score."""
    from harness.report.words import interval, number
    from harness.train.merge import check
    from harness.train.search import SHOWN
    from harness.train.search import search as try_all

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    check(merging)
    found = try_all(merging, options, say)
    best = found.candidates[:SHOWN]
    say(f"{len(found.candidates)} weightings tried; the best {len(best)} by the mean over tasks:")
    for one in best:
        weights = ",".join(f"{weight:g}" for weight in one.weights)
        scores = "; ".join(f"{task} {interval(score)} (n = {score.n:,})" for task, score in one.scores.items())
        say(f"  {weights:<12} {number(one.mean)}  {scores}")
    return found


def _as_folder(path: Path) -> str:
    """A path as a models file tells it from an id of the hub."""
    return str(path) if path.is_absolute() or str(path).startswith(".") else f"./{path}"
