"""`results/` on disk: the rows asked, the answers as they arrived, and what each run was.

results/<task>/_rows/<fingerprint>.jsonl        the evaluation rows of a run, rendered
results/<task>/<model>/responses.jsonl          one line for each answer, appended as it arrives
results/<task>/<model>/run.json                 the manifest of the last benchmark run and of the last sample run
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

from pydantic import BaseModel, ConfigDict

from harness.errors import BusyError, UserError, nearest
from harness.hashing import digest, digest_all
from harness.models.entry import Thinking
from harness.models.prices import Priced
from harness.rows.evaluation import EvaluationRow
from harness.rows.origin import Kind, Place
from harness.tasks.messages import Message
from harness.tasks.task import Task

RESPONSES = "responses.jsonl"
RESERVE = 1 << 16  # bytes
SMALL_FILE = 1 << 25
"""Bytes of rows up to which they are kept in memory for the next model; more are read from disk each time."""
LABELS_ONLY = "no answer but one of the task's labels was allowed (decode: labels)"
"""What is said of a run wherever its score is shown with others, when `Manifest.labels_only`."""
_encode = json.JSONEncoder(ensure_ascii=False).encode
ResponseStatus = Literal["ok", "truncated", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Response:
    """What became of one request.

    `key` names everything that determines the answer; `latency_s` is the time of the last attempt, in seconds, without
    its wait for its turn; `ttft_s` that to its first token and `tpot_s` for each one after it, where it was streamed.
    """

    key: str
    row: str
    status: ResponseStatus
    completion: str = ""
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    attempts: int = 1
    at: str = ""
    error: str | None = None


FIELDS = tuple(field.name for field in fields(Response))


class Manifest(BaseModel):
    """All that is needed to repeat a run and to score it again."""

    model_config = ConfigDict(frozen=True)

    task: str
    model: str
    kind: Kind
    place: Place
    source: str
    spec: Task
    task_sha256: str
    prompt_hash: str
    settings: str
    model_settings: dict[str, Any]
    price: Priced | None = None
    dataset: dict[str, Any]
    rows: str
    n: int
    seed: int
    versions: dict[str, str]
    git: dict[str, Any]
    started: str
    finished: str
    seconds: float
    asked: int
    trouble: dict[str, int] = {}
    incomplete: bool = False
    stopped: str | None = None
    note: str | None = None

    @property
    def labels_only(self) -> bool:
        """Whether no answer but a label was allowed: another question than the one that other models were asked."""
        return self.model_settings.get("decode") == "labels" and bool(self.spec.choices)

    @property
    def thinking(self) -> Thinking | None:
        """The markers around the model's thinking, where its entry names some."""
        written = self.model_settings.get("thinking")
        return None if written is None else Thinking.model_validate(written)


def response_key(settings: str, prompt: str) -> str:
    """Return the key of an answer: the model with all its settings, and the prompt."""
    return digest(settings, prompt)


class ResponseLog:
    """The answers of one model to one task. Open it as a context manager to append; only one process may.

    Raises:
        BusyError: another process holds it.
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / RESPONSES
        self._reserve = folder / ".reserve"
        self._descriptor = -1
        self._answered: set[str] = set()

    def __enter__(self) -> Self:
        from filelock import FileLock, Timeout

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._folder / ".lock")
            self._lock.acquire(blocking=False)
            # Given up when the disk is full, so that the answers that are still on their way find room.
            self._reserve.write_bytes(os.urandom(RESERVE))
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except Timeout:
            raise BusyError(f"{self._folder}: another process is asking this model; wait for it or stop it") from None
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written: {error.strerror}") from None
        self._mend()
        self._answered = {line.key for line in read_responses(self._folder) if line.status != "failed"}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self._reserve.unlink(missing_ok=True)
        self._lock.release()

    def __contains__(self, key: str) -> bool:
        return key in self._answered

    def append(self, response: Response) -> None:
        """Write one answer so that it survives the end of this process at any moment.

        Raises:
            OSError: the disk is full or gone. A full one then takes some more answers, from a reserve.
        """
        line = {name: value for name in FIELDS if (value := getattr(response, name)) is not None}
        data = _utf8(_encode(line) + "\n")
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the file has been deleted", str(self._path))
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            if written:  # half a line on a full disk would swallow the next one
                os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            self._reserve.unlink(missing_ok=True)
            raise
        if response.status != "failed":
            self._answered.add(response.key)

    def _mend(self) -> None:
        """Drop a last line that a killed process left half written."""
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            file.seek(max(0, size - 1))
            if size == 0 or file.read(1) == b"\n":
                return
            file.seek(0)
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
        os.truncate(self._path, whole)


def read_responses(folder: Path) -> Iterator[Response]:
    """Yield the answers of a pair in the order they arrived; an unreadable line is skipped."""
    path = folder / RESPONSES
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if (response := _parsed(line)) is not None:
                yield response


def _parsed(line: bytes) -> Response | None:
    """The answer in a line; None for one that only a kill in the middle of a write leaves: its row is asked again."""
    try:
        return Response(**json.loads(line))
    except (ValueError, TypeError):
        return None


def write_rows(results: Path, task: str, rows: Iterable[EvaluationRow]) -> str:
    """Store the rendered rows of a task under their own hash, one by one as they come, and return the hash.

    Raises:
        UserError: the folder cannot be written.
    """
    part = rows_path(results, task, f".{os.getpid()}")

    def written(file: BinaryIO) -> Iterator[str]:
        for row in rows:
            content = asdict(row)
            for name in ("messages", "cluster"):
                if not content[name]:
                    del content[name]
            line = json.dumps(content, ensure_ascii=False, default=str)
            file.write(_utf8(line + "\n"))
            yield line

    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            fingerprint = digest_all(written(file))
        os.replace(part, rows_path(results, task, fingerprint))
    except OSError as error:
        raise UserError(f"{part}: cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return fingerprint


def rows_path(results: Path, task: str, fingerprint: str) -> Path:
    """The file of the rows with this hash."""
    return results / task / "_rows" / f"{fingerprint}.jsonl"


def read_rows(results: Path, task: str, fingerprint: str) -> Iterator[EvaluationRow]:
    """Yield the rows of a run.

    Raises:
        UserError: the file is missing or was cut.
    """
    path = rows_path(results, task, fingerprint)
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                given = (row["id"], row["prompt"], tuple(row["references"]), row["fields"])
                messages = tuple(Message(**message) for message in row.get("messages", ()))
                yield EvaluationRow(*given, messages, row.get("cluster"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run bench again to write it") from None


def keyed_rows(results: Path, task: str, rows: str, settings: str) -> Iterator[tuple[str, EvaluationRow]]:
    """Yield the stored rows of this fingerprint, each with the key of its answer by a model of these settings.

    Rows with the same prompt share a key, and so an answer.

    Raises:
        UserError: the rows are missing or were cut.
    """
    for row in _rows(results, task, rows):
        yield response_key(settings, row.prompt), row


def answered_rows(results: Path, manifest: Manifest) -> Iterator[tuple[EvaluationRow, Response | None]]:
    """Yield each row of a run, in the order asked, with its last answer, which may be a failure; None: it has none.

    This is the one place where rows and answers meet. Of the answers, memory holds one at a time and where the others
    are in their file.

    Raises:
        UserError: the rows are missing or were cut.
    """
    path = results / manifest.task / manifest.model / RESPONSES
    asked = keyed_rows(results, manifest.task, manifest.rows, manifest.settings)
    if not path.is_file():
        yield from ((row, None) for _, row in asked)
        return
    with path.open("rb") as file:
        places = _places(file)
        for key, row in asked:
            if (place := places.get(key)) is None:
                yield row, None
            else:
                file.seek(place)
                yield row, _parsed(file.readline())


def _places(file: BinaryIO) -> dict[str, int]:
    """Where the last answer to each key begins, in bytes."""
    places = {}
    start = 0
    for line in file:
        if (response := _parsed(line)) is not None:
            places[response.key] = start
        start += len(line)
    return places


def _rows(results: Path, task: str, fingerprint: str) -> Iterable[EvaluationRow]:
    """The rows of a run, from memory while they are few, because all models of a task share them."""
    path = rows_path(results, task, fingerprint)
    few = path.is_file() and path.stat().st_size <= SMALL_FILE
    return _few_rows(results, task, fingerprint) if few else read_rows(results, task, fingerprint)


@lru_cache(maxsize=2)
def _few_rows(results: Path, task: str, fingerprint: str) -> tuple[EvaluationRow, ...]:
    """Rows in memory; the fingerprint is the hash of what they hold."""
    return tuple(read_rows(results, task, fingerprint))


def write_manifest(results: Path, manifest: Manifest) -> None:
    """Store a manifest beside the answers, in place of the last one of the same kind."""
    path = results / manifest.task / manifest.model / "run.json"
    kept: dict[str, Any] = {}
    if path.is_file():
        try:
            kept = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            kept = {}
    kept[manifest.kind] = manifest.model_dump(mode="json", exclude_defaults=False)
    _replace(path, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")


def read_manifests(results: Path) -> Iterator[Manifest]:
    """Yield the manifests of all runs under a results folder, by task and model.

    Raises:
        UserError: a manifest cannot be read.
    """
    for path in sorted(results.glob("*/*/run.json")):
        try:
            found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            yield from (Manifest.model_validate(value) for value in found.values())
        except (OSError, ValueError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: not a manifest of this version ({reason}); run bench again to write it") from None


def chosen_runs(results: Path, tasks: Sequence[str], models: Sequence[str]) -> list[Manifest]:
    """Return the manifests of all runs of these tasks and models (empty: of all), by task and model.

    Raises:
        UserError: there is no run, or a name has none; a manifest cannot be read.
    """
    runs = list(read_manifests(results))
    if not runs:
        raise UserError(f"{results}: no runs are recorded here; run `harness bench` first")
    for kind, wanted in (("task", tasks), ("model", models)):
        known = {str(getattr(run, kind)) for run in runs}
        for name in wanted:
            if name not in known:
                raise UserError(f"no run of {kind} '{name}' in {results}{nearest(name, known)}")
    chosen = [run for run in runs if run.task in (tasks or [run.task]) and run.model in (models or [run.model])]
    if not chosen:
        raise UserError(f"{results}: none of these models has run one of these tasks")
    return chosen


def recorded(results: Path) -> list[tuple[str, str]]:
    """Return the tasks and models that have recorded answers or runs, sorted."""
    folders = {path.parent for name in (RESPONSES, "run.json") for path in results.glob(f"*/*/{name}")}
    return sorted((folder.parent.name, folder.name) for folder in folders)


def forget(results: Path, task: str, model: str) -> list[Path]:
    """Remove all that is recorded of a pair, and return the files removed.

    Raises:
        UserError: nothing is recorded of it, or it cannot be removed.
        BusyError: another process is asking it.
    """
    known = recorded(results)
    if (task, model) not in known:
        tasks = {name for name, _ in known}
        if task not in tasks:
            raise UserError(f"nothing is recorded of task '{task}' in {results}{nearest(task, tasks)}")
        models = [name for of, name in known if of == task]
        raise UserError(f"nothing is recorded of model '{model}' on {task}{nearest(model, models)}")
    folder = results / task / model
    with ResponseLog(folder):
        removed = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
        for path in removed:
            _remove(path)
    _remove(folder / ".lock")
    with contextlib.suppress(OSError):  # what else a user has put there stays
        folder.rmdir()
    return removed


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be removed: {error.strerror}") from None


def _utf8(text: str) -> bytes:
    """JSON as UTF-8; half a surrogate pair, which UTF-8 cannot carry, becomes its JSON escape."""
    return text.encode("utf-8", "backslashreplace")


def _replace(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_bytes(_utf8(text))
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
