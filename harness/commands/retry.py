"""`harness retry`: ask again what failed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.commands import options
from harness.commands.bench import UNANSWERED


@click.command("retry")
@click.option("--task", "tasks", multiple=True, help="A task by name; again for more. Default: all that were run.")
@click.option("--model", "models", multiple=True, help="A model by name; again for more. Default: all that were run.")
@options.models_file
@options.unsafe_code
@options.tasks_folder
@options.results
@options.max_usd
@options.max_failures
@options.json
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    models_file: Path,
    tasks_folder: Path,
    results: Path,
    max_usd: float | None,
    max_failures: float,
    as_json: bool,
) -> int:
    """Ask again only the rows without an answer in each pair's last run, and print the table of these pairs.

    Exit code 3 means that some of them still have no answer.
    """
    from harness.bench import Options
    from harness.interrupt import Interrupted
    from harness.retry import retry
    from harness.spending import CapReached

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    chosen = Options(tasks, models, None, None, 0, models_file, tasks_folder, results, max_usd, max_failures)
    capped = False
    try:
        manifests = retry(chosen, say)
    except CapReached as stop:
        manifests, capped = list(stop.manifests), True
        say(str(stop))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    from harness.report.frame import bench_json, long_frame, score_all, verdicts
    from harness.report.tables import bench_table

    runs = score_all(results, manifests, say)
    if as_json:
        print(bench_json(long_frame(runs)))
    elif runs:
        print(bench_table(long_frame(runs), verdicts(runs)))
    return UNANSWERED if capped or any(run.rows.counts()["failed"] for run in runs) else 0
