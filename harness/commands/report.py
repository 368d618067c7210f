"""`harness report`: the page, tables and plots from what is recorded."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options
from harness.shipped import PUBLISHED as SHIPPED

PUBLISHED = Path("published")


@click.command("report")
@options.results
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder of the report."
)
@click.option("--single-file", is_flag=True, help="Put all rows into index.html instead of files beside it.")
def command(results: Path, out: Path, single_file: bool) -> int:
    """Rebuild page, tables and plots from recorded answers.

    No network, dataset or model is touched.
    """
    from harness.errors import UserError
    from harness.report import build, start_plots
    from harness.report.export import export_scored
    from harness.report.findings import find, long_frame
    from harness.report.page import page
    from harness.report.published import read
    from harness.score.scoring import score_all
    from harness.store.results import read_manifests

    runs = score_all(results, read_manifests(results), lambda line: click.echo(line, err=True))
    if not runs:
        raise UserError(f"{results}: no runs are recorded here; run `harness bench` first")
    published = results / PUBLISHED if (results / PUBLISHED).is_dir() else SHIPPED
    frame = long_frame(runs)
    found = find(results, runs)
    plots = start_plots(frame, out, published, found)
    pages = page(found, frame, read(published), results, out, single_file)
    rows = out / "rows.parquet"
    export_scored(results, runs, rows)
    for path in [*pages, *build(frame, out, published, found, plots), rows]:
        print(path)
    return 0
