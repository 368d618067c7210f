"""`harness export`: recorded runs as Parquet."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("export")
@options.tasks_run
@options.models_run
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The Parquet file to write."
)
@options.recorded_rules
@options.tasks_folder
@options.results
@options.code
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    out: Path,
    recorded_rules: bool,
    tasks_folder: tuple[Path, ...],
    results: Path,
) -> int:
    """Write recorded runs to a Parquet file.

    One line for each row and model, with answer, status and scores.
    """
    from harness.report.export import export
    from harness.score.rules import chosen_rules

    rows = export(results, tasks, models, out, chosen_rules(tasks_folder, recorded=recorded_rules))
    print(f"{out}: {rows} rows")
    return 0
