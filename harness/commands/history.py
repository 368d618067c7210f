"""`harness history`: scores over time."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("history")
@click.argument("task", required=False, shell_complete=options.a_task_run)
@click.argument("model", required=False, shell_complete=options.a_model_run)
@options.results
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), default=None,
    help="Write TASK's scores over time as PATH.svg and PATH.png.",
)  # fmt: skip
@options.json
def command(task: str | None, model: str | None, results: Path, plot: Path | None, as_json: bool) -> int:
    """Show the scores of finished runs over time, of all tasks and models or of one.

    Runs made with another prompt, other right answers or another scoring than the task's last run are marked as
    superseded. A run that is worse than the one before it beyond chance is named.
    """
    import json

    from harness.report.trend import history, table

    if plot is not None and task is None:
        raise click.UsageError("--plot shows one task: name it")
    found = history(results, task, model)
    print(json.dumps([cell.as_json() for cell in found], ensure_ascii=False) if as_json else table(found))
    if plot is not None:
        from harness.errors import UserError
        from harness.report.plots.score_over_time import history_plot

        kind = found[0].kind  # benchmark rows come first
        shown = [cell for cell in found if cell.kind == kind]
        if not history_plot(shown, plot.with_suffix("")):
            raise UserError(f"--plot: {task} has one run of each model; a plot needs two runs of one")
    return 0
