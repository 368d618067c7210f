"""Predictions made elsewhere, scored like our own answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from harness.errors import DataError, SpecError, nearest
from harness.hashing import digest, row_id
from harness.rows.evaluation import EvaluationRow, kept_columns
from harness.rows.files import jsonl
from harness.score.answers import read_gold
from harness.score.metrics.base import Metric
from harness.score.metrics.registry import build_all
from harness.score.scoring import RowScores, available, score_rows
from harness.store.results import Answers, Response, ResponseStatus
from harness.tasks.catalog import TaskFile
from harness.tasks.prompts import Prompts
from harness.tasks.tags import is_tags
from harness.tasks.task import CodeAnswer, CustomAnswer, InstructionsAnswer, LabelAnswer

_STRUCTURED = ("json", "entities")
"""Answer types whose predictions and right answers may also stand in the file as JSON values, not as texts of them."""
NAMED = ("references", "reference", "target", "answers", "answer", "query")
"""Keys under which an object may hold the right answers, the first found wins; a key ending in s holds several."""


def load(path: Path, file: TaskFile) -> tuple[tuple[Metric, ...], RowScores]:
    """Score a JSONL file of predictions with all metrics of a task; a null prediction counts as failed.

    Raises:
        DataError: a line lacks a key, has a value of another type, or a right answer that is not understood.
    """
    return score_lines(read_lines(path), file, str(path))


def score_lines(
    lines: list[dict[str, Any]], file: TaskFile, name: str = "predictions"
) -> tuple[tuple[Metric, ...], RowScores]:
    """Score predictions as `load` does, given as the objects of such a file; `name` stands for it in errors.

    Raises:
        DataError: there are none, or one lacks a key, has a value of another type, or a right answer that is not
            understood.
    """
    if not lines:
        raise DataError(f"{name}: it holds no predictions")
    metrics = build_all(file.task.metrics, file.task.answer)
    scores = score_rows(file.task, metrics, pairs(name, lines, file))
    return available(metrics, scores), scores


def right_answers(lines: list[dict[str, Any]], file: TaskFile, name: str) -> Iterator[str]:
    """The right answers of all lines, as texts; `name` as for `score_lines`.

    Raises:
        DataError: as `score_lines`.
    """
    return (reference for row, _ in pairs(name, lines, file) for reference in row.references)


def in_order_of(
    first: Path, first_lines: list[dict[str, Any]], second: Path, second_lines: list[dict[str, Any]]
) -> list[int]:
    """Return for each line of the first file the place of its row in the second, 0 for the second's first line.

    Raises:
        DataError: the two do not hold the same rows with the same right answers.
    """
    ours, theirs = _by_id(first, first_lines), _by_id(second, second_lines)
    for name, (_, reference) in ours.items():
        if name not in theirs:
            raise DataError(f"{second}: no prediction for row '{name}' of {first}{nearest(name, theirs)}")
        if theirs[name][1] != reference:
            raise DataError(f"{second}: row '{name}' has another right answer than in {first}")
    if len(theirs) > len(ours):
        name = next(name for name in theirs if name not in ours)
        raise DataError(f"{first}: no prediction for row '{name}' of {second}")
    return [theirs[name][0] for name in ours]


def _by_id(path: Path, lines: list[dict[str, Any]]) -> dict[str, tuple[int, Any]]:
    """Place and right answer of each line by the id of its row, which without one is the line's number."""
    found: dict[str, tuple[int, Any]] = {}
    for place, line in enumerate(lines):
        name = _id(line, place + 1)
        if name in found:
            raise DataError(f"{path}:{place + 1}: the id '{name}' is listed twice")
        found[name] = (place, line.get("reference"))
    return found


def _id(line: Mapping[str, Any], number: int) -> str:
    """The id of a line's row, which without one (or with null) is the line's number."""
    name = line.get("id")
    return str(number if name is None else name)


def column(path: Path, lines: list[dict[str, Any]], name: str) -> list[str]:
    """Return a column's value in each line, as text: a key beside `prediction`, or one of a reference's object.

    Different values have different texts: beside a null, the text "null" is in quotation marks.

    Raises:
        DataError: a line has no such key.
    """
    values = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if name not in row:
            known = [key for key in row if key not in ("prediction", "reference")]
            raise DataError(f"{path}:{number}: no column '{name}' to group by{nearest(name, known)}")
        values.append(row[name])
    written = {_text(value) for value in values if not isinstance(value, str)}
    return [json.dumps(value) if isinstance(value, str) and value in written else _text(value) for value in values]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file of predictions.

    Raises:
        DataError: there is no such file, or a line is not a JSON object.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return list(jsonl(path))


def pairs(path: str, lines: list[dict[str, Any]], file: TaskFile) -> Iterator[tuple[EvaluationRow, Answers]]:
    """Yield each line as a row with its answer; the name of the file stands in errors.

    Raises:
        DataError: as `score_lines`.
    """
    prompts = Prompts(file)
    kept = kept_columns(file, prompts)
    for number, line in enumerate(lines, start=1):
        for key in ("prediction", "reference"):
            if key not in line:
                raise DataError(f"{path}:{number}: missing key '{key}' (a line holds prediction, reference, id)")
        prediction = line["prediction"]
        if file.task.answer.type in _STRUCTURED and isinstance(prediction, list | dict):
            prediction = _text(prediction)
        elif _is_set(file) and _is_list_of_texts(prediction):
            prediction = "\n".join(prediction)
        if not isinstance(prediction, str | None):
            raise DataError(f"{path}:{number}: prediction: expected a text, found {type(prediction).__name__}")
        try:
            references, fields = _references(line["reference"], file, prompts, kept)
            for reference in references:
                read_gold(reference, file.task.answer)
        except ValueError as error:
            raise DataError(f"{path}:{number}: reference: {error}") from None
        if isinstance(sliced := line.get("slices"), Mapping):
            fields = {**sliced, **fields}
        name, columns = file.task.evaluation.cluster, _row(line)
        cluster = row_id(columns, [name]) if name in columns else None
        row = EvaluationRow(_id(line, number), "", references, fields, cluster=cluster)
        status = line.get("status", "ok")
        if status not in get_args(ResponseStatus):
            known = nearest(str(status), get_args(ResponseStatus))
            raise DataError(f"{path}:{number}: status '{status}' is not valid{known}")
        key = digest(str(number))
        yield row, (None if prediction is None else Response(key, row.id, status, prediction),)


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row: the keys of its line, and of its reference where that is an object."""
    reference = line.get("reference")
    return {**(reference if isinstance(reference, Mapping) else {}), **line}


def _references(
    value: Any, file: TaskFile, prompts: Prompts, kept: frozenset[str]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The right answers as texts, and the columns that metrics need."""
    if isinstance(value, Mapping):
        fields = {name: value[name] for name in kept if name in value}
        return tuple(_of_object(value, file, prompts)), fields
    if isinstance(value, list) and not _is_one_answer(value, file):
        return tuple(_several(value, file)), {}
    return (_one(value, file),), {}


def _is_set(file: TaskFile) -> bool:
    """Whether the answers of a task are sets of labels, which a list of texts writes."""
    return isinstance(file.task.answer, LabelAnswer) and file.task.answer.many


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _of_object(value: Mapping[str, Any], file: TaskFile, prompts: Prompts) -> list[str]:
    """The right answers in an object: named in it, rendered from it as a row of the task, or the object itself.

    In an object that may itself be the answer, a name counts only where its value is a text or a list of answers.
    """
    names = NAMED[:3] if file.task.answer.type in _STRUCTURED else NAMED
    for key in names:
        if key not in value:
            continue
        named = value[key]
        if isinstance(named, Mapping) and isinstance(named.get("text"), list):  # SQuAD's form
            named = named["text"]
        if isinstance(named, list) and key.endswith("s"):
            return _several(named, file)
        if key not in prompts.answer_columns and (isinstance(named, str) or not _may_be_object(file)):
            return [_one(named, file)]
    if prompts.answer_columns <= set(value):
        try:
            return prompts.references(value)
        except SpecError:
            texts = [value[name] for name in sorted(prompts.answer_columns) if isinstance(value[name], str)]
            if len(texts) == 1:
                return texts
            raise
    if not (_may_be_object(file) or isinstance(file.task.answer, CodeAnswer)):  # code is judged by its row's tests
        columns = ", ".join(sorted(prompts.answer_columns))
        raise ValueError(f"expected an object with one of the keys {', '.join(names)}, or with the columns {columns}")
    return [_text(value)]


def _may_be_object(file: TaskFile) -> bool:
    """Whether a right answer may be a JSON value that is no plain text or number."""
    answer = file.task.answer
    return answer.type in _STRUCTURED or isinstance(answer, InstructionsAnswer | CustomAnswer)


def _is_one_answer(value: list[Any], file: TaskFile) -> bool:
    """Whether a list is a right answer by itself: a JSON value, the tags of a sentence, or a set of labels."""
    kind = file.task.answer.type
    return kind == "json" or (kind == "entities" and is_tags(value)) or (_is_set(file) and _is_list_of_texts(value))


def _several(values: list[Any], file: TaskFile) -> list[str]:
    if not values:
        raise ValueError("an empty list holds no right answer")
    return [_one(value, file) for value in values]


def _one(value: Any, file: TaskFile) -> str:
    """One right answer as text; a number or a truth value is the text that JSON writes."""
    if _is_set(file) and _is_list_of_texts(value) and value:
        return "\n".join(value)
    if value is None or (isinstance(value, list | dict) and not _may_be_object(file)):
        found = "null" if value is None else "a list" if isinstance(value, list) else "an object"
        raise ValueError(f"expected a text, a number, a list of them or an object that names one, found {found}")
    return _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
