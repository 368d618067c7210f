"""`harness distill`: from a teacher's answers to the rows that a student learns."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.commands import options


def _agree(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[bool, float | None]:
    human, repeats = False, None
    for one in value:
        name, _, share = one.partition("=")
        if one == "human":
            human = True
        elif name == "repeats":
            try:
                repeats = float(share)
            except ValueError:
                repeats = -1.0
            if not 0 < repeats <= 1:
                raise click.BadParameter(f"'{one}': expected a share from 0 to 1, such as repeats=0.8")
        else:
            raise click.BadParameter(f"'{one}': expected human, or repeats= and a share")
    return human, repeats


@click.command("distill")
@click.argument("task", shell_complete=options.a_task)
@click.option(
    "--from", "folders", required=True, multiple=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder of `harness collect`, or of recorded requests; again for more. Of equal prompts the first counts.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write; it must not exist yet.")
@click.option(
    "--agree", multiple=True, callback=_agree, metavar="human|repeats=SHARE",
    help="Keep only answers that are right by the data (human), or rows whose answers agree with each other by this "
    "share (repeats=0.8); both can be given.",
)  # fmt: skip
@click.option("--balance", is_flag=True, help="Keep as many rows of each label as the rarest has.")
@click.option(
    "--prune", metavar="frame|FILE",
    help="Take fixed text out of the prompts: what all of them begin and end with, or the text of a file. The student "
    "is then asked without it, too.",
)  # fmt: skip
@click.option(
    "--validation", type=options.Finite(0, 1, max_open=True), default=0.1, show_default=True,
    help="Share of the rows that are held out.",
)  # fmt: skip
@options.data
@options.tasks_folder
@options.json
@options.code
def command(
    task: str, folders: tuple[Path, ...], out: Path, agree: tuple[bool, float | None], balance: bool,
    prune: str | None, validation: float, data: str | None, tasks_folder: tuple[Path, ...], as_json: bool,
) -> int:  # fmt: skip
    """Turn a teacher's answers into rows to train a student on.

    Left out, in this order: answers that are not valid; those that differ from the human label; rows on which the
    teacher does not agree with itself; duplicates; evaluated rows, and what shares 13 words in sequence with one; what
    is too much of one label. Each is named in dropped.jsonl.
    """
    from harness.tasks.catalog import load_task
    from harness.teach.distill import DistillOptions, distill
    from harness.teach.folder import check, write

    check(out)
    file = load_task(tasks_folder, task)
    found = distill(file, data, DistillOptions(folders, *agree, balance, prune, validation))
    write(found, file, folders, out)
    if as_json:
        rows = {"train": len(found.train), "validation": len(found.validation)}
        print(json.dumps({"out": str(out), "read": found.read, "steps": dict(found.steps), "rows": rows}))
        return 0
    print(f"{found.read:>7,} answers read", file=sys.stdout)
    for name, left in found.steps:
        print(f"{left:>7,} left after: {name}")
    print(f"{out}: {len(found.train):,} rows to train on, {len(found.validation):,} to validate on")
    return 0
