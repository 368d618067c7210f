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
@options.results
@options.code
def command(tasks: tuple[str, ...], models: tuple[str, ...], out: Path, results: Path) -> int:
    """Write recorded runs to a Parquet file.

    One line for each row and model, with answer, status and scores.
    """
    from harness.report.export import export

    rows = export(results, tasks, models, out)
    print(f"{out}: {rows} rows")
    return 0
