"""Evaluated rows whose right answers lack a column of the data, completed by what a teacher wrote, which is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import UserError
from harness.hashing import row_id
from harness.rows.files import Row, filled, jsonl
from harness.rows.origin import Origin
from harness.tasks.catalog import TaskFile
from harness.tasks.prompts import Prompts

TEACHERS, EVALUATED, ANSWERS = "_teacher", "evaluated", "answers.jsonl"
"""Where answers of teachers are kept in the folder of a task's results."""
WRITTEN = "written"
"""The key of a line of answers with what the teacher wrote for the column that the data lacks."""


def explained(file: TaskFile, prompts: Prompts, origin: Origin, results: Path) -> Origin:
    """Return the rows with the evaluated split completed, unless it lacks nothing.

    Rows for which the teacher wrote nothing that can be used are left out of it.

    Raises:
        UserError: no teacher was asked for this split, or several were.
    """
    name, teacher = file.task.evaluation.split, file.task.teacher
    if teacher is None or name not in origin.lacking:
        return origin
    found = sorted((results / file.name / TEACHERS).glob(f"*/{EVALUATED}/{ANSWERS}"))
    if not found:
        raise UserError(
            f"{file.name}: the data has no column '{teacher.answer}', which a teacher writes: run `harness collect "
            f"{file.name} --teacher MODEL --split {name}` first, with the same --data and --results"
        )
    if len(found) > 1:
        names = ", ".join(path.parent.parent.name for path in found)
        raise UserError(f"{file.name}: right answers by several teachers ({names}): move all but one out of {results}")
    (path,) = found
    lines = list(jsonl(path))
    written = {line["id"]: str(line[WRITTEN]) for line in lines if line.get(WRITTEN) and line["status"] == "ok"}

    def text(row: Row) -> str | None:
        return written.get(row_id({**row, teacher.answer: ""}, prompts.columns))

    split = filled(origin.splits[name], teacher.answer, text, prompts.columns)
    note = f"{len(written):,} rows, to which {path.parent.parent.name} has written '{teacher.answer}'"
    splits = {**origin.splits, name: split}
    return replace(origin, splits=splits, teacher=path.parent.parent.name, note=origin.note or note)
