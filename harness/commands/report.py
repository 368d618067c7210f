"""`harness report`: the page, tables and plots from what is recorded."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("report")
@options.results
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports"),
    help="Folder to write the report to.",
)
@click.option("--single-file", is_flag=True, help="Put all rows into index.html instead of into files beside it.")
@options.code
def command(results: Path, out: Path, single_file: bool) -> int:
    """Build page, tables and plots from recorded answers.

    Uses no network, data set or model.
    """
    from harness.report import write_report

    for path in write_report(results, out, lambda line: click.echo(line, err=True), single_file=single_file):
        print(path)
    return 0
