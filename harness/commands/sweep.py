"""`harness sweep`: train and score every cell of a grid."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.commands import options

CELLS_FAILED = 3
"""Exit code when cells failed, or a limit left some."""


@click.command("sweep")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Cells at once.")
@click.option("--retry", type=click.Choice(["failed"]), help="Run cells again that failed.")
@click.option("--only", "wanted", multiple=True, metavar="AXIS=VALUE,…", help="Only these cells; can be repeated.")
@click.option("--yes", is_flag=True, help="Go on with more than 5,000 cells, or with a sweep file that has changed.")
@options.data
@options.tasks_folder
@options.json
def command(
    file: Path, jobs: int, retry: str | None, wanted: tuple[str, ...], yes: bool, data: str | None,
    tasks_folder: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Train and score every cell of a grid: bases, tasks, numbers of training rows, seeds, options of training.

    A cell is a folder of its own under the file's `results`. What is done is skipped, so the same command resumes.
    Exit code 3 means that cells failed or are left.
    """
    from harness.sweep.start import SweepOptions, start

    context = click.get_current_context().find_root()
    group = context.command
    train = group.get_command(context, "train") if isinstance(group, click.Group) else None
    assert train is not None, "the command is part of the program"

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    chosen = SweepOptions(file, jobs, retry == "failed", wanted, yes, data, tasks_folder)
    ended = start(chosen, train.params, say)
    if as_json:
        import json

        whole = {"done": list(ended.done.values()), "failed": list(ended.failed.values()), "left": ended.left}
        print(json.dumps(whole, ensure_ascii=False))
    return CELLS_FAILED if ended.failed or ended.left else 0
