"""The files of a report that hold each row: the page's data, `rows.parquet` and the tables of labels.

Each task's rows and answers are read once for all of them, and one task at a time: all would not fit in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.printable import printable
from harness.report.export import row_metrics, rows_file
from harness.report.findings import Findings
from harness.report.label_tables import page, run_tables
from harness.report.page.evidence import evidence
from harness.report.page.script_json import script_json
from harness.store.atomic import utf8
from harness.store.results import answered_rows

DATA = "data"


@dataclass(frozen=True, slots=True)
class RowFiles:
    """The files written for the page, those beside it, and the name and JSON of what the page itself is to hold."""

    data: list[Path]
    beside: list[Path]
    inline: list[tuple[str, str]] | None


def row_files(found: Sequence[Findings], results: Path, out: Path, *, single_file: bool = False) -> RowFiles:
    """Write `data/<task>-<kind>.js`, `rows.parquet` and, of answers that are labels, `classification.md` into `out`.

    With `single_file` the data is for the page itself and not written. Files of an earlier report are removed.

    Raises:
        UserError: the rows of a run are not there any more, or a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in (out / DATA).glob("*.js"):
        old.unlink()
    data, inline, labels = list[Path](), list[tuple[str, str]](), list[str]()
    parquet = out / "rows.parquet"
    with rows_file(parquet, row_metrics(run for one in found for run in one.runs)) as add:
        for one in found:
            for task, of_model in one.board.tasks.items():
                runs = list(of_model.values())
                answered = [list(answered_rows(results, run.manifest)) for run in runs]
                key, text = f"{task}-{one.kind}", script_json(evidence(runs, answered))
                if single_file:
                    inline.append((key, text))
                else:
                    data.append(_data_file(out / DATA / f"{key}.js", key, text))
                add(runs, answered, max((len(row.prompt) for rows in answered for row, _ in rows), default=0))
                labels += [run_tables(*pair) for pair in zip(runs, answered, strict=True)]
    return RowFiles(data, [*_label_tables(out / "classification.md", labels), parquet], inline if single_file else None)


def _data_file(path: Path, key: str, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(utf8(f"harnessRows({script_json(key)},{text});\n"))
    return path


def _label_tables(path: Path, of_runs: Sequence[str]) -> list[Path]:
    text = page(of_runs)
    if not text:
        path.unlink(missing_ok=True)
        return []
    path.write_text(printable(text), encoding="utf-8", newline="\n")
    return [path]
