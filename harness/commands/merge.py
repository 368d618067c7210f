"""`harness merge`: several adapters, or models, made into one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness.commands import options
from harness.commands.output import adapter_entry

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
    "--density", type=click.FloatRange(0, 1, min_open=True), default=0.5, show_default=True,
    help="Share of each change that ties, dare and prune keep.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, help="Of what dare drops.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the result, new or empty.")
@options.json
def command(adapters: tuple[Path, ...], weights: tuple[float, ...] | None, out: Path, as_json: bool, **how: Any) -> int:
    """Merge LoRA adapters of one base into one adapter.

    With a configuration of mergekit instead, whole models are merged by it (extra `merge`).
    """
    from dataclasses import asdict

    from harness.train.merge import MergeOptions, merge, merge_models

    if len(adapters) == 1 and adapters[0].is_file():
        merge_models(adapters[0], out)
        print(f"{out}: merged by mergekit\nTo score it, add to models.yaml:")
        print(f"  merged:\n    backend: local\n    model: {_as_folder(out)}")
        return 0
    if weights is None:
        raise click.UsageError(f"Missing option '--weights': {len(adapters)} numbers, one for each adapter")
    card = merge(MergeOptions(adapters, weights, out=out, **how))
    if as_json:
        print(json.dumps(asdict(card)))
    else:
        print(f"{out}: rank {card.rank}, relative error to the weighted sum {card.relative_error:.2g}")
        print(f"To score it, add to models.yaml:\n{adapter_entry('merged', card.base, out)}")
    return 0


def _as_folder(path: Path) -> str:
    """A path as a models file tells it from an id of the hub."""
    return str(path) if path.is_absolute() or str(path).startswith(".") else f"./{path}"
