"""`harness train`: fine-tune a LoRA adapter for a task."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.commands import options


@click.command("train")
@click.argument("task", shell_complete=options.a_task)
@click.option("--base", required=True, help="Base model: a hub id, or a folder with its weights and tokenizer.")
@click.option(
    "--engine", type=click.Choice(["ludwig", "peft"]), default="ludwig", show_default=True,
    help="Ludwig, in its own environment, or the small PEFT trainer (needs the extra `local`).",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), help="Weight updates, instead of epochs.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True)
@click.option("--rank", type=click.IntRange(min=1), default=8, show_default=True, help="Rank of the LoRA matrices.")
@click.option(
    "--alpha", type=click.IntRange(min=1), help="Scale (alpha) of the LoRA matrices. Default: twice the rank."
)
@click.option("--dropout", type=click.FloatRange(0, 1), default=0.05, show_default=True)
@click.option(
    "--target", "target_modules", multiple=True,
    help="Module to adapt; can be repeated. Default: q_proj and v_proj.",
)  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-4, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Rows per forward pass.")
@click.option(
    "--accumulate", type=click.IntRange(min=1), default=16, show_default=True, help="Batches per weight update."
)
@click.option("--bits", type=click.Choice(["4", "8"]), help="Quantise the frozen base; needs CUDA.")
@click.option("--seed", type=int, default=0)
@click.option(
    "--gpu-per-hour", type=click.FloatRange(min=0), help="USD per hour of this machine, recorded in the adapter's card."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Default: adapters/<base>/<task>.")
@click.option("--dry-run", is_flag=True, help="Print the configuration and train nothing.")
@options.data
@options.tasks_folder
@options.json
@options.code
def command(
    task: str, base: str, engine: Any, alpha: int | None, target_modules: tuple[str, ...], bits: str | None,
    gpu_per_hour: float | None, out: Path | None, dry_run: bool, data: str | None, tasks_folder: Path | None,
    as_json: bool, rank: int, **recipe: Any,
) -> int:  # fmt: skip
    """Fine-tune a LoRA adapter on a task's training rows.

    It is trained on the same prompts that evaluation uses, and never on rows that are evaluated. To resume a stopped
    training, run the same command.
    """
    from dataclasses import asdict

    from harness.train.recipe import ATTENTION, Hyperparameters
    from harness.train.train import TrainOptions, configuration, train

    made = Hyperparameters(
        rank=rank,
        alpha=alpha or 2 * rank,
        target_modules=target_modules or ATTENTION,
        bits=int(bits) if bits else None,
        **recipe,
    )
    chosen = TrainOptions(task, base, engine, made, data, tasks_folder, out, gpu_per_hour)

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json or dry_run else sys.stdout, flush=True)

    if dry_run:
        print(json.dumps(configuration(chosen, say), indent=2))
        return 0
    card = train(chosen, say)
    if as_json:
        print(json.dumps(asdict(card)))
    else:
        loss = min(card.curve["validation"])
        print(f"{chosen.folder}: validation loss {loss:.4f} at step {card.step}, {card.hours:.2f} hours")
        print(f"To score it, add to models.yaml:\n{_entry(base, chosen.folder, task)}")
        print(f"and run: harness bench --task {task} --model tuned")
    return 0


def _entry(base: str, folder: Path, task: str) -> str:
    """An entry of a models file that runs the adapter, and those of other tasks next to it, in this process."""
    adapter = folder.with_name("{task}") if folder.name == task else folder
    return f"  tuned:\n    backend: local\n    model: {base}\n    adapter: {adapter}"
