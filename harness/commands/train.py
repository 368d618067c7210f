"""`harness train`: fine-tune a LoRA adapter for a task."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.commands import options
from harness.commands.output import how_to_ask


@click.command("train")
@click.argument("task", shell_complete=options.a_task)
@click.option(
    "--base", required=True,
    help="Base model: a hub id, a folder with its weights and tokenizer, a GGUF file, or its known name: smollm2-135m.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["ludwig", "peft"]),
    help="Ludwig, in its own environment, or the small PEFT trainer (needs the extra `local`). Default: "
    "ludwig; for a GGUF base peft, which alone can read it.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), help="Weight updates, instead of epochs.")
@click.option(
    "--epochs",
    type=options.Finite(min=0, min_open=True),
    help="Default: 3; of a base of up to a billion parameters as many as 60 updates take, from 1 to 6.",
)
@click.option("--rank", type=click.IntRange(min=1), default=8, show_default=True, help="Rank of the LoRA matrices.")
@click.option(
    "--alpha", type=click.IntRange(min=1), help="Scale (alpha) of the LoRA matrices. Default: twice the rank."
)
@click.option("--dropout", type=options.Finite(0, 1), help="Default: 0.05, of a small base 0.")
@click.option(
    "--target", "target_modules", multiple=True,
    help="Module to adapt, can be repeated; or all-linear. Default: q_proj, v_proj, of a small base all linear layers.",
)  # fmt: skip
@click.option(
    "--learning-rate", type=options.Finite(min=0, min_open=True), help="Default: 0.0002, of a small base 0.001."
)
@click.option(
    "--rows-per-update", type=click.IntRange(min=1), default=16, show_default=True,
    help="Rows whose mean gradient makes one weight update.",
)  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(min=1),
    help="Most rows of one forward pass: divides the rows of an update and does not change what is learned. Default: "
    "as many as fit the memory; 1 with Ludwig.",
)  # fmt: skip
@click.option(
    "--longest", type=click.IntRange(min=1), help="Most tokens of a row, answer included; others are left out."
)
@options.training_rows
@click.option("--start", metavar="ADAPTER", help="Folder of an adapter to go on from (engine peft).")
@click.option("--bits", type=click.Choice(["4", "8"]), help="Quantise the frozen base; needs CUDA.")
@click.option("--seed", type=int, default=0)
@click.option(
    "--shrink", type=click.IntRange(min=1), metavar="RANK",
    help="Train nothing: cut the adapter that is there to this rank, by its singular values.",
)  # fmt: skip
@click.option(
    "--gpu-per-hour",
    type=options.Finite(min=0),
    help="USD per hour of this machine, recorded in the adapter's card.",
)
@click.option(
    "--train-on", type=click.Path(path_type=Path), metavar="DIR|FILE",
    help="Rows to learn instead of the task's own: a folder of `harness distill` or `harness chunk`, or a JSONL file "
    "of prompts and completions, of chats, or of plain text.",
)  # fmt: skip
@click.option(
    "--checkpoints", type=click.IntRange(min=1), metavar="N",
    help="Keep N adapters on the way, in checkpoints/ beside the one with the lowest validation loss (engine peft).",
)  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Default: adapters/<base>/<task>.")
@click.option(
    "--score/--no-score", default=True, show_default=True,
    help="At the end ask the adapter up to 100 rows that it did not learn, none of them evaluated.",
)  # fmt: skip
@click.option(
    "--fingerprint/--no-fingerprint", default=True, show_default=True,
    help="Write fingerprint.json, by which `harness proof` knows the adapter again, with eight prompts of the rows.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the configuration and train nothing.")
@options.data
@options.tasks_folder
@options.json
@options.code
def command(
    task: str, base: str, engine: Any, alpha: int | None, target_modules: tuple[str, ...], bits: str | None,
    gpu_per_hour: float | None, train_on: Path | None, out: Path | None, dry_run: bool, data: str | None,
    tasks_folder: tuple[Path, ...], as_json: bool, rank: int, shrink: int | None, rows: int | None, score: bool,
    fingerprint: bool, **recipe: Any,
) -> int:  # fmt: skip
    """Fine-tune a LoRA adapter on a task's training rows.

    It is trained on the same prompts that evaluation uses, and never on rows that are evaluated. To resume a stopped
    training, run the same command.
    """
    from dataclasses import asdict

    from harness.models.engines.known_bases import is_gguf
    from harness.train.recipe import ALL, engine_for, recipe_for
    from harness.train.train import TrainOptions, configuration, shrink_trained, train

    given = {name: value for name, value in recipe.items() if value is not None}
    if target_modules:
        given["target_modules"] = target_modules
    if alpha is not None:
        given["alpha"] = alpha
    made = recipe_for(base, rank=rank, bits=int(bits) if bits else None, **given)
    if made.batch and made.batch > made.rows_per_update:
        raise click.UsageError(
            f"--batch {made.batch} divides the {made.rows_per_update} rows of an update, so it cannot be larger: for "
            f"larger updates give --rows-per-update {made.batch}"
        )
    engine = engine or engine_for(base)
    if ALL in made.target_modules and (engine == "ludwig" or len(made.target_modules) > 1):
        raise click.UsageError(f"--target {ALL} is for --engine peft, and names all modules by itself")
    if rows is not None and train_on is not None:
        raise click.UsageError("--rows are the task's own; rows of --train-on are all learned")
    if engine == "ludwig" and (is_gguf(base) or given.keys() & {"start", "longest", "checkpoints"}):
        raise click.UsageError("a GGUF base, --start, --longest and --checkpoints need --engine peft")
    chosen = TrainOptions(
        task, base, engine, made, data, tasks_folder, out, gpu_per_hour, train_on, rows, score, fingerprint
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json or dry_run else sys.stdout, flush=True)

    if dry_run:
        print(json.dumps(configuration(chosen, say), indent=2))
        return 0
    if shrink is not None:
        cut = shrink_trained(chosen.folder, shrink)
        if as_json:
            print(json.dumps(asdict(cut)))
        else:
            print(f"{chosen.folder}: rank {cut.before} cut to {cut.after}, {cut.lost:.1%} of the energy lost")
        return 0
    card = train(chosen, say)
    if as_json:
        print(json.dumps(asdict(card)))
    else:
        loss = min(card.curve["validation"])
        print(f"{chosen.folder}: validation loss {loss:.4f} at step {card.step}, {card.hours:.2f} hours")
        where = [("--data", data)] if data else []
        where += [("--tasks", str(folder)) for folder in tasks_folder]
        print(how_to_ask(task, base, chosen.folder, *(part for pair in where for part in pair)))
    return 0
