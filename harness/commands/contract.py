"""`harness contract`: is it worth it to tune on one document?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.commands import options

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("contract")
@click.argument("document", type=_FILE, metavar="FILE")
@click.option(
    "--questions", type=_FILE, required=True, metavar="FILE",
    help='JSONL with {"question": text, "answers": [text, …]}; one answer of each is a passage of the document.',
)  # fmt: skip
@click.option("--base", default="smollm2-135m", show_default=True, help="Base model, as for `harness train`.")
@click.option("--chars", type=int, default=512, show_default=True, help="Most characters of a chunk.")
@click.option("--overlap", type=int, default=0, show_default=True, help="Characters that two chunks in sequence share.")
@click.option("--sentences", is_flag=True, help="End chunks where a sentence or paragraph ends.")
@click.option("--epochs", type=options.Finite(min=0, min_open=True), default=20.0, show_default=True)
@click.option("--rank", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--learning-rate", type=options.Finite(min=0, min_open=True), help="Default: as for `harness train`.")
@click.option("--rows-per-update", type=click.IntRange(min=1), help="Default: as for `harness train`.")
@click.option(
    "--validation", type=options.Finite(0, 0.5, min_open=True), default=0.1, show_default=True,
    help="Share of the chunks that are held out.",
)  # fmt: skip
@click.option("--checkpoints", type=click.IntRange(min=2), default=8, show_default=True, help="Adapters to ask.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Longest answer.")
@click.option("--seed", type=int, default=0)
@click.option("--gpu-per-hour", type=options.Finite(min=0), help="USD per hour of this machine, for the cost line.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the study.")
@click.option("--page", type=_FILE, help="Write a Markdown page, with the plot in images/ beside it.")
@options.json
def command(
    document: Path, questions: Path, base: str, chars: int, overlap: int, sentences: bool, epochs: float, rank: int,
    learning_rate: float | None, rows_per_update: int | None, validation: float, checkpoints: int, max_tokens: int,
    seed: int, gpu_per_hour: float | None, out: Path, page: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Tune a model on one document and ask every checkpoint questions on it.

    Beside the tuned model stand the base alone and the base with the three best passages in its prompt. To go on with
    a study that was stopped, run the same command.
    """
    from harness.studies import contract_page
    from harness.studies.contract import ContractOptions, study
    from harness.train.recipe import recipe_for

    given = {"learning_rate": learning_rate, "rows_per_update": rows_per_update}
    given = {name: value for name, value in given.items() if value is not None}
    recipe = recipe_for(
        base, epochs=epochs, rank=rank, validation=validation, checkpoints=checkpoints, seed=seed, **given
    )
    asked = ContractOptions(
        document, questions, base, recipe, out, chars, overlap, sentences, max_tokens, usd_per_hour=gpu_per_hour
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found = study(asked, say)
    print(json.dumps(contract_page.as_json(found)) if as_json else contract_page.text(found))
    contract_page.plot(found, out / "steps")
    if page is not None:
        contract_page.write_page(found, page)
    return 0
