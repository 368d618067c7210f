"""`harness report`: the page, tables and plots from what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.scoring import ScoredRun
    from harness.slices import Slice
    from harness.standings import Standings

PUBLISHED = Path("published")
SHIPPED = Path("results") / PUBLISHED


@click.command("report")
@options.results
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder of the report."
)
@click.option("--single-file", is_flag=True, help="Put all rows into index.html instead of files beside it.")
def command(results: Path, out: Path, single_file: bool) -> int:
    """Rebuild the page, tables and plots from recorded answers alone; no network, dataset or model is touched."""
    from harness.errors import UserError
    from harness.export import export_scored
    from harness.report import build, start_plots
    from harness.report.frame import long_frame, score_all, verdicts
    from harness.report.page import page
    from harness.report.published import read
    from harness.standings import standings
    from harness.store import read_manifests

    runs = score_all(results, read_manifests(results), lambda line: click.echo(line, err=True))
    if not runs:
        raise UserError(f"{results}: no runs are recorded here; run `harness bench` first")
    published = results / PUBLISHED if (results / PUBLISHED).is_dir() else SHIPPED
    kinds = {run.manifest.kind for run in runs}
    sentences: dict[str, dict[str, str]] = {
        kind: verdicts([run for run in runs if run.manifest.kind == kind]) for kind in kinds
    }
    frame = long_frame(runs)
    ranked: dict[str, Standings] = {
        kind: standings([run for run in runs if run.manifest.kind == kind]) for kind in kinds
    }
    plots = start_plots(frame, out, published, ranked)
    pages = page(runs, frame, read(published), results, out, single_file, sentences)
    rows = out / "rows.parquet"
    export_scored(results, runs, rows)
    for path in [*pages, *build(frame, out, published, sentences, ranked, _slices(results, runs), plots), rows]:
        print(path)
    return 0


def _slices(results: Path, runs: Sequence[ScoredRun]) -> dict[str, dict[str, list[Slice]]]:
    """The slices of each kind of runs and task."""
    from harness.slices import slices

    groups: dict[str, dict[str, list[ScoredRun]]] = {}
    for run in runs:
        groups.setdefault(run.manifest.kind, {}).setdefault(run.manifest.task, []).append(run)
    return {kind: {task: slices(results, group) for task, group in tasks.items()} for kind, tasks in groups.items()}
