"""Answers made elsewhere, by another tool or on another day: in a JSONL file, or in a column of the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from harness.errors import DataError, Rejected
from harness.hashing import digest_all
from harness.models.backend import FinishReason, Reply, Request
from harness.models.entry import RecordedModel

EXPECTED = (
    'expected {"row": the row\'s id, "completion": text} or {"prompt": the prompt as rendered, "completion": text}, '
    "with input_tokens, output_tokens, model and finish_reason if known"
)
_STATUS: dict[str, FinishReason] = {"truncated": "length", "refused": "refusal"}


Values = Callable[[str], Mapping[str, str]]
"""Gives the texts of a column by the ids of its rows."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The answers of one file by row id and by prompt, and the hash of its content."""

    rows: Mapping[str, Reply]
    prompts: Mapping[str, Reply]
    sha256: str


class LookedUp:
    """Answers that are looked up."""

    def body(self, request: Request) -> Mapping[str, Any]:
        """What the answer is looked up by."""
        return {"row": request.row, "prompt": request.prompt}

    async def aclose(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True)
class RecordedBackend(LookedUp):
    """The recorded answers for one task. The file is read once, when it is first needed.

    A `responses.jsonl` of another results folder is such a file: its failed rows count as not recorded.
    """

    model: RecordedModel
    task: str

    @property
    def identity(self) -> Mapping[str, Any]:
        """The hash of the file: where it lies does not matter, what it says does.

        Raises:
            DataError: the file cannot be read, or a line of it is wrong.
        """
        return {"backend": "recorded", "sha256": self._recording.sha256}

    async def ask(self, request: Request) -> Reply:
        """Look the answer up by row id, then by prompt.

        Raises:
            Rejected: the file has no answer for the row.
        """
        recording = self._recording
        reply = recording.rows.get(request.row) or recording.prompts.get(request.prompt)
        if reply is None:
            raise Rejected(f"no recorded answer for row {request.row} in {self._path}")
        return reply

    @property
    def _path(self) -> Path:
        return Path(self.model.path.replace("{task}", self.task)).expanduser()

    @cached_property
    def _recording(self) -> Recording:
        return read(self._path)


@dataclass(frozen=True)
class ColumnBackend(LookedUp):
    """The answers of one column for one task; `values` reads them, once, when they are first needed."""

    column: str
    values: Values

    @property
    def identity(self) -> Mapping[str, Any]:
        """The column and a hash of what it says.

        Raises:
            DataError: the rows have no such column.
        """
        said = (f"{row}\x1f{text}" for row, text in sorted(self._texts.items()))
        return {"backend": "column", "column": self.column, "said": digest_all(said)}

    async def ask(self, request: Request) -> Reply:
        """Look the answer up.

        Raises:
            Rejected: the column is empty in this row.
        """
        text = self._texts.get(request.row)
        if text is None:
            raise Rejected(f"the column '{self.column}' is empty in row {request.row}")
        return Reply(text)

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        return self.values(self.column)


def read(path: Path) -> Recording:
    """Read a file of recorded answers.

    Raises:
        DataError: the file cannot be read, or a line of it is wrong or contradicts another; names file and line.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot read the recorded answers: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the recorded answers are not UTF-8 text") from error
    found: dict[str, dict[str, Reply]] = {"row": {}, "prompt": {}}
    # Not splitlines(): U+2028 and others, which it also takes for line ends, may stand raw inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            _add(found, line, f"{path}:{number}")
    return Recording(found["row"], found["prompt"], hashlib.sha256(data).hexdigest())


def _add(found: dict[str, dict[str, Reply]], line: str, where: str) -> None:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}); {EXPECTED}") from error
    kind = next((name for name in ("row", "prompt") if isinstance(record, dict) and name in record), None)
    if kind is None or not isinstance(record[kind], str):
        raise DataError(f"{where}: no row or prompt that is a text; {EXPECTED}")
    if record.get("completion") is None and record.get("status") == "failed":
        return
    reply = _reply(record, where)
    if found[kind].setdefault(record[kind], reply) != reply:
        raise DataError(f"{where}: a second, different answer for the same {kind}; keep one of them")


def _reply(record: Mapping[str, Any], where: str) -> Reply:
    completion = record.get("completion")
    if not isinstance(completion, str):
        raise DataError(f"{where}: the completion is missing or not a text; {EXPECTED}")
    counts = [record.get("input_tokens"), record.get("output_tokens")]
    if any(value is not None and (type(value) is not int or value < 0) for value in counts):
        raise DataError(f"{where}: input_tokens and output_tokens must be whole numbers, 0 or more; {EXPECTED}")
    finish = record.get("finish_reason", _STATUS.get(str(record.get("status")), "stop"))
    if finish not in get_args(FinishReason):
        reasons = ", ".join(get_args(FinishReason))
        raise DataError(f"{where}: finish_reason must be one of {reasons}; {EXPECTED}")
    model = record.get("model")
    if model is not None and not isinstance(model, str):
        raise DataError(f"{where}: model must be a text; {EXPECTED}")
    return Reply(completion, finish, counts[0], counts[1], model)
