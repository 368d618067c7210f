"""`harness bench`: ask models the held-out rows of tasks and print the table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.commands import options

UNANSWERED = 3


@click.command("bench")
@click.option("--task", "tasks", multiple=True, help="A task by name; again for more. Default: all.")
@click.option(
    "--model", "models", multiple=True, help="A model by name; again for more. Default: all that can be asked."
)
@options.data
@options.rows
@options.seed
@options.models_file
@options.unsafe_code
@options.tasks_folder
@options.results
@options.max_usd
@options.max_failures
@click.option("--dry-run", is_flag=True, help="Ask nothing: print what `harness plan` prints.")
@options.json
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    data: str | None,
    rows: int | None,
    seed: int,
    models_file: Path,
    tasks_folder: Path,
    results: Path,
    max_usd: float | None,
    max_failures: float,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Ask models the same held-out rows and print the table.

    Rows that already have an answer are not asked again. Exit code 3 means that some rows have no answer.
    """
    from harness.bench import Options, bench
    from harness.interrupt import Interrupted
    from harness.spending import CapReached

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    chosen = Options(tasks, models, data, rows, seed, models_file, tasks_folder, results, max_usd, max_failures)
    if dry_run:
        from harness.commands.plan import show

        return show(chosen, as_json=as_json)
    capped = False
    try:
        manifests = bench(chosen, say)
    except CapReached as stop:
        manifests, capped = list(stop.manifests), True
        say(str(stop))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    # Imported only now: what scoring needs takes as long to load as the first answers to come.
    from harness.report.frame import bench_json, long_frame, score_all, verdicts
    from harness.report.tables import bench_table

    runs = score_all(results, manifests, say)
    frame = long_frame(runs)
    if as_json:
        print(bench_json(frame))
    elif runs:
        print(bench_table(frame, verdicts(runs)))
    return UNANSWERED if capped or any(run.rows.counts()["failed"] for run in runs) else 0
