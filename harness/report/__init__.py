"""The report: page, tables and plots, made from scored runs and published figures alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.printable import printable

if TYPE_CHECKING:
    import pandas as pd

    from harness.report.markdown import Section
    from harness.report.published import Published
    from harness.score.rules import Rules
    from harness.store.results import Manifest


@dataclass(frozen=True, slots=True)
class Shown:
    """What a report is of: models and tasks (empty: all), and the two models of its headline (None: chosen)."""

    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    subject: str | None = None
    against: str | None = None

    def of(self, recorded: Sequence[Manifest]) -> list[Manifest]:
        """The runs that the report is of.

        Raises:
            UserError: a model or task has no run.
        """
        from harness.errors import UserError, nearest

        for what, asked, known in (
            ("model", self.models, sorted({run.model for run in recorded})),
            ("task", self.tasks, sorted({run.task for run in recorded})),
        ):
            for name in asked:
                if name not in known:
                    raise UserError(f"no runs of a {what} '{name}'{nearest(name, known)}")
        return [
            run
            for run in recorded
            if (not self.models or run.model in self.models) and (not self.tasks or run.task in self.tasks)
        ]


ALL = Shown()


def write_report(
    results: Path,
    out: Path,
    say: Callable[[str], None],
    rules: Rules,
    *,
    single_file: bool = False,
    shown: Shown = ALL,
) -> list[Path]:
    """Build the report of all that is recorded in `results` into `out`, and return the files written.

    `index.html` with a file of rows for each task in `data/`, the tables and plots (see `write_tables`),
    `classification.md` with precision, recall and F1 of each label, and `rows.parquet`. With `single_file` the rows are
    in the page itself, `shown` says what the report is of. `say` gets a line for each run that cannot be scored here.

    Raises:
        UserError: no runs are recorded, a recorded file is broken, or a file cannot be written.
        DataError: a file of published figures is broken.
    """
    # pandas and matplotlib take a second to import, which only this command should pay.
    from harness.errors import UserError
    from harness.report.findings import find, long_frame
    from harness.report.markdown import Section
    from harness.report.page import page
    from harness.report.page.rows import row_files
    from harness.report.plots.draw import draw_aside, drawings
    from harness.report.published import read
    from harness.report.trend import cells
    from harness.report.words import doubts, task_verdicts
    from harness.score.scoring import score_all
    from harness.shipped import published
    from harness.store.history import read as read_history
    from harness.store.results import read_manifests

    runs = score_all(results, shown.of(list(read_manifests(results))), say, rules)
    if not runs:
        raise UserError(f"{results}: no runs are recorded here; run `harness bench` first")
    frame, figures = long_frame(runs), read(published(results))
    found = find(results, runs, shown.subject, shown.against)
    history = cells(read_history(results))
    overall = {one.kind: one.board.overall for one in found}
    plots = draw_aside(drawings(frame, figures, overall, history), out / "plots")
    rows = row_files(found, results, out, single_file=single_file)
    drawn = plots()  # what is drawn aside meanwhile
    index = page(found, frame, figures, out, drawn.svgs(), rows.inline, history=history)
    sections = {
        one.kind: Section(
            one.board.standings,
            task_verdicts(one.board),
            one.slices,
            drawn.overall(one.kind),
            doubts([run for run in runs if run.manifest.kind == one.kind]),
        )
        for one in found
    }
    return [
        index,
        *rows.data,
        *write_tables(frame, figures, sections, out),
        *rows.beside,
        *drawn.paths,
    ]


def write_tables(
    df: pd.DataFrame, published: Mapping[str, Sequence[Published]], sections: Mapping[str, Section], out: Path
) -> list[Path]:
    """Write the tables of a report into `out` and return the files written.

    `leaderboard.md`; `leaderboard.csv` and `.tex` with the benchmark rows, or the sample rows where there are no
    others; `leaderboard-sample.csv` and `.tex` with the sample rows where there are both. `sections` has one for each
    kind of runs in `df`.
    """
    from harness.report.markdown import latex, markdown
    from harness.report.tables import csv
    from harness.rows.origin import KINDS

    out.mkdir(parents=True, exist_ok=True)
    written = [_write(out / "leaderboard.md", markdown(df, published, sections))]
    kinds = [kind for kind in KINDS if (df["kind"] == kind).any()]
    for i, kind in enumerate(kinds):
        name = "leaderboard" if i == 0 else "leaderboard-sample"
        part, models = df[df["kind"] == kind], [row.model for row in sections[kind].standings.models]
        written.append(_write(out / f"{name}.csv", csv(part)))
        written.append(_write(out / f"{name}.tex", latex(part, models)))
    if len(kinds) < len(KINDS):
        for ending in ("csv", "tex"):
            (out / f"leaderboard-sample.{ending}").unlink(missing_ok=True)  # of an earlier report
    return written


def _write(path: Path, text: str) -> Path:
    path.write_text(printable(text), encoding="utf-8", newline="\n")
    return path
