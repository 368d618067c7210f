"""`results/` on disk: the rows asked, the answers as they arrived, and what each run was.

results/<task>/_rows/<fingerprint>.jsonl        the evaluation rows of a run, rendered
results/<task>/<model>/responses.jsonl          one line for each answer, appended as it arrives
results/<task>/<model>/run.json                 the manifest of the last benchmark run and of the last sample run
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import BusyError, UserError, invalid, nearest, warn
from harness.hashing import Digest, digest, digest_all
from harness.models.entry import Thinking
from harness.models.prices import Priced
from harness.rows.evaluation import EvaluationRow
from harness.rows.origin import KINDS, Kind, Place
from harness.store.atomic import LineFile, replace_file, utf8
from harness.tasks.task import Task

RESPONSES = "responses.jsonl"
RESERVE = 1 << 16  # bytes
SMALL_FILE = 1 << 26
"""Bytes of rows up to which they are kept in memory for the next model; more are read from disk each time."""
FEW_ANSWERS = 1 << 23
"""Bytes of answers up to which they are kept in memory while rows are joined to them; of more, only their places."""
LABELS_ONLY = "no answer but one of the task's labels was allowed (decode: labels)"
"""What is said of a run wherever its score is shown with others, when `Manifest.labels_only`."""
_encode = json.JSONEncoder(ensure_ascii=False).encode
ResponseStatus = Literal["ok", "truncated", "truncated_prompt", "refused", "failed"]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Lost = tuple[Count, Count, Seconds]
"""Tokens read and written, and seconds, of attempts without an answer that may have to be paid for."""


@dataclass(frozen=True, slots=True)
class Response:
    """What became of one request.

    `key` names everything that determines the answer; `latency_s` is the time of the last attempt, in seconds, without
    its wait for its turn; `ttft_s` that to its first token and `tpot_s` for each one after it, where it was streamed.
    `lost` is of all attempts without an answer.
    """

    key: str
    row: str
    status: ResponseStatus
    completion: str = ""
    model: str | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    latency_s: Seconds | None = None
    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    attempts: Count = 1
    at: str = ""
    error: str | None = None
    lost: Lost | None = None


FIELDS = tuple(field.name for field in fields(Response))
_RESPONSE, _ROW = TypeAdapter(Response), TypeAdapter(EvaluationRow)


class Manifest(BaseModel):
    """All that is needed to repeat a run and to score it again. What a newer version says beyond it is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

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
    served: str | None = None
    proof: dict[str, Any] | None = None
    proof_after: dict[str, Any] | None = None
    note: str | None = None

    @property
    def labels_only(self) -> bool:
        """Whether no answer but a label was allowed: another question than the one that other models were asked."""
        return self.model_settings.get("decode") == "labels" and bool(self.spec.choices)

    @property
    def samples(self) -> int:
        """The answers that the model was asked for of each row."""
        return int(self.model_settings.get("samples", 1))

    @property
    def asked_for(self) -> str:
        """The name of the model or adapter that a server was asked for, "" where there is none."""
        settings = self.model_settings
        name = settings.get("model") if settings.get("backend") in ("openai", "anthropic") else None
        return str(name or "").replace("{task}", self.task)

    @property
    def thinking(self) -> Thinking | None:
        """The markers around the model's thinking, where its entry names some."""
        written = self.model_settings.get("thinking")
        return None if written is None else Thinking.model_validate(written)


def lost_in_all(before: Lost | None, more: Lost) -> Lost:
    """What was lost on a row, and what another attempt without an answer, or several, lost."""
    return more if before is None else (before[0] + more[0], before[1] + more[1], before[2] + more[2])


def response_key(settings: str, prompt: str, sample: int = 0) -> str:
    """Return the key of an answer: the model with all its settings, the prompt, and which of its answers to it."""
    return digest(settings, prompt, *([str(sample)] if sample else []))


class ResponseLog:
    """The answers of one model to one task. Open it as a context manager to append; only one process may.

    Attributes:
        failed: The keys of rows that had failed before it was opened.

    Raises:
        BusyError: another process holds it.
        UserError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reserve = folder / ".reserve"
        self._answered: set[str] = set()
        self.failed: set[str] = set()

    def __enter__(self) -> Self:
        from filelock import FileLock, Timeout

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._folder / ".lock")
            self._lock.acquire(blocking=False)
            # Given up when the disk is full, so that the answers that are still on their way find room.
            self._reserve.write_bytes(os.urandom(RESERVE))
            self._lines = LineFile(self._folder / RESPONSES)
        except Timeout:
            raise BusyError(f"{self._folder}: another process is asking this model; wait for it or stop it") from None
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written: {error.strerror}") from None
        for line in read_responses(self._folder):
            (self.failed if line.status == "failed" else self._answered).add(line.key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
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
        data = utf8(_encode(line) + "\n")
        try:
            self._lines.append(data)
        except OSError:
            self._reserve.unlink(missing_ok=True)
            raise
        if response.status != "failed":
            self._answered.add(response.key)

    def adopt(self, renamed: Mapping[str, str]) -> int:
        """Record the answers under old keys under their new ones, too; return how many."""
        count = 0
        for response in read_responses(self._folder) if renamed else ():
            key = renamed.get(response.key)
            if key is not None and response.status != "failed" and key not in self:
                self.append(replace(response, key=key))
                count += 1
        return count


def read_responses(folder: Path) -> Iterator[Response]:
    """Yield the answers of a pair in the order they arrived; a damaged line is left out, with a warning."""
    path = folder / RESPONSES
    if not path.is_file():
        return
    with path.open("rb") as file:
        for _, response in _readable(file, path):
            yield response


def _readable(file: BinaryIO, path: Path) -> Iterator[tuple[int, Response]]:
    """Each answer that can be read, with the byte at which its line begins; the others are counted in a warning.

    A last line without its end is what a kill in the middle of a write leaves: its row is asked again.
    """
    start = damaged = 0
    first = ""
    for number, line in enumerate(file, start=1):
        try:
            yield start, _parsed(line)
        except ValueError as error:
            if line.endswith(b"\n") and line.strip():
                damaged += 1
                first = first or f"{path}:{number}: {error}"
        start += len(line)
    if damaged:
        lines = "this line is" if damaged == 1 else f"this line and {damaged - 1} more of the file are"
        warn(f"{first}; {lines} left out, and a row without another answer counts as failed")


def _parsed(line: bytes) -> Response:
    """The answer in a line; keys of a newer version are ignored.

    Raises:
        ValueError: the line holds no answer; says why.
    """
    with contextlib.suppress(ValidationError):
        return _RESPONSE.validate_json(line)
    # Half a surrogate pair, which is valid here, and what is wrong with a line are only known to the slower parser.
    try:
        return _RESPONSE.validate_python(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise ValueError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """In a few words why JSON could not be read as what it should be."""
    if isinstance(error, ValidationError):
        return invalid(error)
    if isinstance(error, RecursionError):
        return "its values are nested too deeply"
    return f"not valid JSON: {error}" if isinstance(error, json.JSONDecodeError) else str(error)


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
            file.write(utf8(line + "\n"))
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


def drop_rows(results: Path, task: str, fingerprints: Iterable[str]) -> None:
    """Remove stored rows that no run of the task names: those of the steps of a run that names them all together.

    Raises:
        UserError: they cannot be removed.
    """
    named = {run.rows for run in read_manifests(results) if run.task == task}
    for fingerprint in set(fingerprints) - named:
        _remove(rows_path(results, task, fingerprint))


def read_rows(results: Path, task: str, fingerprint: str) -> Iterator[EvaluationRow]:
    """Yield the rows of a run, from memory while they are few, because all models of a task share them.

    Raises:
        UserError: the file is missing, or at its end: it is not the one that was written, by its hash.
    """
    path = rows_path(results, task, fingerprint)
    few = path.is_file() and path.stat().st_size <= SMALL_FILE
    yield from _few_rows(results, task, fingerprint) if few else _rows_of_file(results, task, fingerprint)


def _rows_of_file(results: Path, task: str, fingerprint: str) -> Iterator[EvaluationRow]:
    path = rows_path(results, task, fingerprint)
    running, number = Digest(), 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                content = json.loads(line)
                row = _ROW.validate_python(content)
                # Half a surrogate pair is written as an escape, and hashed as it was.
                running.add(json.dumps(content, ensure_ascii=False) if "\\ud" in line else line.removesuffix("\n"))
                yield row
    except (OSError, ValueError, RecursionError) as error:
        where = f"{path}:{number}" if number else path
        raise UserError(f"{where}: cannot be read ({_reason(error)}); run bench again to write it") from None
    if str(running) != fingerprint:
        raise UserError(
            f"{path}: its {number} lines are not the rows that were asked (the file was cut or edited); "
            "run bench again to write it"
        )


def keyed_rows(
    results: Path, task: str, rows: str, settings: str, samples: int = 1
) -> Iterator[tuple[EvaluationRow, list[str]]]:
    """Yield the stored rows of this fingerprint, each with the keys of its answers by a model of these settings.

    Rows with the same prompt share their keys, and so their answers.

    Raises:
        UserError: the rows are missing or were cut.
    """
    for row in read_rows(results, task, rows):
        yield row, [response_key(settings, row.prompt, sample) for sample in range(samples)]


Answers = tuple[Response | None, ...]
"""What a model answered to one row, once for each time it was asked; None: there is no answer."""
AnsweredRow = tuple[EvaluationRow, Answers]


def completions(answers: Answers, shown: Callable[[str], str] = str) -> str | None:
    """The completions of a row as one text, each as `shown` makes it, numbered where they are several; None: none."""
    texts = [(place, shown(one.completion)) for place, one in enumerate(answers, 1) if one and one.status != "failed"]
    if len(answers) == 1:
        return texts[0][1] if texts else None
    return "\n".join(f"[answer {place} of {len(answers)}] {text}" for place, text in texts) or None


def answered_rows(results: Path, manifest: Manifest) -> Iterator[AnsweredRow]:
    """Yield each row of a run, in the order asked, with its last answer, which may be a failure; several if sampled.

    This is the one place where rows and answers meet. Of many answers, memory holds one at a time and where the others
    are in their file. What attempts without an answer took is summed over all that is recorded of the row.

    Raises:
        UserError: the rows are missing, or not those that were asked.
    """
    path = results / manifest.task / manifest.model / RESPONSES
    keyed = keyed_rows(results, manifest.task, manifest.rows, manifest.settings, manifest.samples)
    asked = _counted(keyed, results, manifest)
    if not path.is_file():
        yield from ((row, (None,) * len(keys)) for row, keys in asked)
        return
    with path.open("rb") as file:
        last, lost = _last_answers(file, path, few=path.stat().st_size <= FEW_ANSWERS)

        def answer(key: str) -> Response | None:
            found = last.get(key)
            if isinstance(found, int):
                file.seek(found)
                found = _parsed(file.readline())
            return replace(found, lost=lost[key]) if found is not None and key in lost else found

        for row, keys in asked:
            yield row, tuple(map(answer, keys))


def _counted(
    asked: Iterable[tuple[EvaluationRow, list[str]]], results: Path, manifest: Manifest
) -> Iterator[tuple[EvaluationRow, list[str]]]:
    """The rows of a run; an error at their end where they are not as many as its manifest says."""
    count = 0
    for one in asked:
        count += 1
        yield one
    if count != manifest.n:
        path = _manifest_path(results, manifest.task, manifest.model)
        raise UserError(f"{path}: {manifest.kind}.n is {manifest.n}, but the run has {count} rows; it was edited")


def _last_answers(file: BinaryIO, path: Path, *, few: bool) -> tuple[dict[str, Response | int], dict[str, Lost]]:
    """The last answer to each key, or the byte at which it begins, and all that was lost on it, where anything was."""
    last: dict[str, Response | int] = {}
    lost: dict[str, Lost] = {}
    for place, response in _readable(file, path):
        last[response.key] = response if few else place
        if response.lost:
            lost[response.key] = lost_in_all(lost.get(response.key), response.lost)
    return last, lost


@lru_cache(maxsize=2)
def _few_rows(results: Path, task: str, fingerprint: str) -> tuple[EvaluationRow, ...]:
    """Rows in memory; the fingerprint is the hash of what they hold."""
    return tuple(_rows_of_file(results, task, fingerprint))


def _manifest_path(results: Path, task: str, model: str) -> Path:
    return results / task / model / "run.json"


def write_manifest(results: Path, manifest: Manifest) -> None:
    """Store a manifest beside the answers, in place of the last one of the same kind."""
    path = _manifest_path(results, manifest.task, manifest.model)
    kept: dict[str, Any] = {}
    if path.is_file():
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            kept = dict(json.loads(path.read_text(encoding="utf-8")))
    kept[manifest.kind] = manifest.model_dump(mode="json", exclude_defaults=False)
    replace_file(path, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")


def last_served(folder: Path) -> str | None:
    """Return what the server of a pair said of its weights in the last run, None where nothing is known of it."""
    try:
        runs = json.loads((folder / "run.json").read_text(encoding="utf-8")).values()
        last = max(runs, key=lambda run: str(run["finished"]))
        return str(last["served"]) if last.get("served") else None
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None


def read_manifests(results: Path) -> Iterator[Manifest]:
    """Yield the manifests of all runs under a results folder, by task and model.

    One that cannot be read is left out, with a warning.
    """
    for path in sorted(results.glob("*/*/run.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, Mapping):
                raise ValueError(f"expected an object, found {type(found).__name__}")
        except (OSError, ValueError, RecursionError) as error:
            warn(f"{path}: left out: {_reason(error)}; run bench again to write it")
            continue
        for kind in KINDS:
            try:
                if kind in found:
                    yield _manifest(found[kind], path)
            except (ValueError, RecursionError) as error:
                warn(f"{path}: {kind}: left out: {_reason(error)}; run bench again to write it")


def _manifest(found: Any, path: Path) -> Manifest:
    """One manifest of a file. Its names are those of its folders: no other folder is read or written for it."""
    manifest = Manifest.model_validate(found)
    if not re.fullmatch("[0-9a-f]{16}", manifest.rows):
        raise ValueError("rows: expected the 16 hex digits of a hash")
    for key, folder in (("task", path.parent.parent), ("model", path.parent)):
        if (name := getattr(manifest, key)) != folder.name:
            raise ValueError(f"{key} is '{name}', but the folder is named '{folder.name}'")
    _ = manifest.thinking  # raises where it is malformed
    return manifest


def chosen_runs(results: Path, tasks: Sequence[str], models: Sequence[str]) -> list[Manifest]:
    """Return the manifests of all runs of these tasks and models (empty: of all), by task and model.

    Raises:
        UserError: there is no run, or a name has none.
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
