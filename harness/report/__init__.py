"""The report: tables and plots, made from scored runs and published figures alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.drawing import Drawn
    from harness.slices import Slice
    from harness.standings import Standings


def build(
    df: pd.DataFrame,
    out: Path,
    published_dir: Path,
    verdicts: Mapping[str, Mapping[str, str]] | None = None,
    standings: Mapping[str, Standings] | None = None,
    slices: Mapping[str, Mapping[str, Sequence[Slice]]] | None = None,
    plots: Callable[[], Drawn] | None = None,
) -> list[Path]:
    """Write the whole report but its page into `out` and return the files written.

    `leaderboard.md`; `leaderboard.csv` and `.tex` with the benchmark rows, or the sample rows where there are no
    others; `leaderboard-sample.csv` and `.tex` with the sample rows where there are both; `plots/<task>`,
    `plots/overview`, `heat`, `calibration` and, where there is something to show, `frontier`, `latency` and
    `adapter-<model>`, with `-sample` for sample runs, as SVG and PNG. `verdicts` are sentences by kind of runs, then
    task; so are `slices`. `plots` waits for plots that are being drawn already (see `start_plots`).

    Raises:
        DataError: a file of published figures is broken.
    """
    # pandas and matplotlib take a second to import, which only this command should pay.
    from harness.report.drawing import draw, drawings
    from harness.report.published import read
    from harness.report.standings import latex, slices_markdown, standings_markdown
    from harness.report.tables import KINDS, csv, markdown

    published = read(published_dir)
    out.mkdir(parents=True, exist_ok=True)
    drawn = plots() if plots else draw(drawings(df, published, _references(standings)), out / "plots")
    text = markdown(
        df,
        published,
        verdicts,
        {kind: standings_markdown(found) for kind, found in (standings or {}).items()},
        {
            kind: {task: slices_markdown(found) for task, found in parts.items()}
            for kind, parts in (slices or {}).items()
        },
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


def start_plots(
    df: pd.DataFrame, out: Path, published_dir: Path, standings: Mapping[str, Standings]
) -> Callable[[], Drawn]:
    """Start to draw the plots of a report beside other work; give what is returned to `build`.

    Raises:
        DataError: a file of published figures is broken.
    """
    from harness.report.drawing import draw_aside, drawings
    from harness.report.published import read

    return draw_aside(drawings(df, read(published_dir), _references(standings)), out / "plots")


def _references(standings: Mapping[str, Standings] | None) -> dict[str, str | None]:
    return {kind: found.reference for kind, found in (standings or {}).items()}


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="\n")
    return path
