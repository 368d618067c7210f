"""The report: tables and plots, made from scored runs and published figures alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.findings import Findings
    from harness.report.plots.draw import Drawn


def build(
    df: pd.DataFrame,
    out: Path,
    published_dir: Path,
    found: Sequence[Findings] = (),
    plots: Callable[[], Drawn] | None = None,
) -> list[Path]:
    """Write the whole report but its page into `out` and return the files written.

    `leaderboard.md`; `leaderboard.csv` and `.tex` with the benchmark rows, or the sample rows where there are no
    others; `leaderboard-sample.csv` and `.tex` with the sample rows where there are both; `plots/<task>`,
    `plots/overview`, `heat`, `calibration` and, where there is something to show, `frontier`, `latency` and
    `adapter-<model>`, with `-sample` for sample runs, as SVG and PNG. `plots` waits for plots that are being drawn
    already (see `start_plots`).

    Raises:
        DataError: a file of published figures is broken.
    """
    # pandas and matplotlib take a second to import, which only this command should pay.
    from harness.report.markdown import latex, markdown, slices_markdown, standings_markdown
    from harness.report.plots.draw import draw, drawings
    from harness.report.published import read
    from harness.report.tables import csv
    from harness.rows.origin import KINDS

    published = read(published_dir)
    out.mkdir(parents=True, exist_ok=True)
    drawn = plots() if plots else draw(drawings(df, published, _references(found)), out / "plots")
    text = markdown(
        df,
        published,
        {one.kind: one.sentences for one in found},
        {one.kind: standings_markdown(one.contest.standings) for one in found},
        {one.kind: {task: slices_markdown(parts) for task, parts in one.slices.items()} for one in found},
        {kind: [path.stem for path in drawn.overall(kind) if path.suffix == ".svg"] for kind in KINDS},
    )
    written = [_write(out / "leaderboard.md", text)]
    kinds = [kind for kind in KINDS if (df["kind"] == kind).any()]
    for i, kind in enumerate(kinds):
        name = "leaderboard" if i == 0 else "leaderboard-sample"
        written.append(_write(out / f"{name}.csv", csv(df[df["kind"] == kind])))
        written.append(_write(out / f"{name}.tex", latex(df[df["kind"] == kind])))
    if len(kinds) < len(KINDS):
        for ending in ("csv", "tex"):
            (out / f"leaderboard-sample.{ending}").unlink(missing_ok=True)  # of an earlier report
    return written + drawn.paths


def start_plots(df: pd.DataFrame, out: Path, published_dir: Path, found: Sequence[Findings]) -> Callable[[], Drawn]:
    """Start to draw the plots of a report beside other work; give what is returned to `build`.

    Raises:
        DataError: a file of published figures is broken.
    """
    from harness.report.plots.draw import draw_aside, drawings
    from harness.report.published import read

    return draw_aside(drawings(df, read(published_dir), _references(found)), out / "plots")


def _references(found: Sequence[Findings]) -> dict[str, str]:
    return {one.kind: one.contest.reference for one in found}


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def write_report(results: Path, out: Path, say: Callable[[str], None], *, single_file: bool = False) -> list[Path]:
    """Rebuild the page, tables and plots in `out` from what is recorded in `results`; return the files written.

    `say` gets a line for each run that cannot be scored here.

    Raises:
        UserError: no runs are recorded, or a recorded file is broken.
        DataError: a file of published figures is broken.
    """
    from harness.errors import UserError
    from harness.report.export import export_scored
    from harness.report.findings import find, long_frame
    from harness.report.page import page
    from harness.report.published import read
    from harness.score.scoring import score_all
    from harness.shipped import published
    from harness.store.results import read_manifests

    runs = score_all(results, read_manifests(results), say)
    if not runs:
        raise UserError(f"{results}: no runs are recorded here; run `harness bench` first")
    figures = published(results)
    frame = long_frame(runs)
    found = find(results, runs)
    plots = start_plots(frame, out, figures, found)
    pages = page(found, frame, read(figures), results, out, single_file)
    rows = out / "rows.parquet"
    export_scored(results, runs, rows)
    return [*pages, *build(frame, out, figures, found, plots), rows]
