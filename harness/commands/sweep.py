"""`harness sweep`: train and score every cell of a grid."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.sweep.estimate import SweepPlan

CELLS_FAILED = 3
"""Exit code when cells failed, or a limit left some."""


@click.command("sweep")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Cells at once.")
@click.option(
    "--ray", is_flag=False, flag_value="", metavar="[ADDRESS]",
    help="Run cells on a Ray cluster: at this address, that of RAY_ADDRESS, or one of this machine (extra `sweep`).",
)  # fmt: skip
@click.option("--plan", "only_plan", is_flag=True, help="Run nothing: print cells, hours and USD, after a short trial.")
@click.option("--retry", type=click.Choice(["failed"]), help="Run cells again that failed.")
@click.option("--only", "wanted", multiple=True, metavar="AXIS=VALUE,…", help="Only these cells; can be repeated.")
@click.option("--yes", is_flag=True, help="Go on with more than 5,000 cells, or with a sweep file that has changed.")
@options.data
@options.tasks_folder
@options.json
def command(
    file: Path, jobs: int, ray: str | None, only_plan: bool, retry: str | None, wanted: tuple[str, ...], yes: bool,
    data: str | None, tasks_folder: tuple[Path, ...], as_json: bool,
) -> int:  # fmt: skip
    """Train and score every cell of a grid: bases, tasks, numbers of training rows, seeds, options of training.

    A cell is a folder of its own under the file's `results`. What is done is skipped, so the same command resumes.
    Exit code 3 means that cells failed or are left.
    """
    import json
    from dataclasses import asdict

    from harness.sweep.start import SweepOptions, planned, start, table

    context = click.get_current_context().find_root()
    group = context.command
    train = group.get_command(context, "train") if isinstance(group, click.Group) else None
    assert train is not None, "the command is part of the program"

    shown = sys.stderr if as_json else sys.stdout

    def say(line: str) -> None:
        print(line, file=shown, flush=True)

    chosen = SweepOptions(file, jobs, ray, retry == "failed", wanted, yes, data, tasks_folder)
    if only_plan:
        made = planned(chosen, train.params, say)
        print(json.dumps(asdict(made)) if as_json else _shown(made))
        return 0
    with contextlib.redirect_stdout(sys.stderr):  # where Ray prints what it notices
        ended = start(chosen, train.params, say)
    if not as_json:
        print(table(ended))
    else:
        whole = {"done": list(ended.done.values()), "failed": list(ended.failed.values()), "left": ended.left}
        print(json.dumps(whole, ensure_ascii=False))
    return CELLS_FAILED if ended.failed or ended.left else 0


def _shown(made: SweepPlan) -> str:
    cost = "" if made.usd is None else f", {made.usd:.2f} USD"
    hours = f"{made.hours:.2f} hours one after another, {made.wall_hours:.2f} with --jobs as given{cost}"
    return f"{made.cells} cells, {made.done} done, {made.left} left: {hours} (from {made.basis})"
