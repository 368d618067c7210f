"""A task made ready to be asked: its rows fixed, and the models opened that are to answer them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import DataError, SpecError, UserError, nearest
from harness.hashing import digest, row_id
from harness.models.backend import Backend, Request
from harness.models.baseline import Objective
from harness.models.connect import Connections
from harness.models.entry import InProcess, ModelEntry
from harness.rows.evaluation import EvaluationRow, Subset, identify, identity, select
from harness.rows.examples import CARD
from harness.rows.explained import explained
from harness.rows.origin import Origin, locate
from harness.rows.training import training_rows
from harness.score.answers import read_gold
from harness.store.results import Manifest, write_rows
from harness.tasks.catalog import TaskFile
from harness.tasks.prompts import Prompts
from harness.tasks.pruning import Prune
from harness.tasks.task import LabelAnswer, Task

_PROBE = "\x00prompt\x00"


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """A task whose `n` rows are fixed and stored under the fingerprint `rows`; `subset` is without the rows.

    `evaluated` holds their ids where baselines are fitted on other rows of the same split.
    """

    file: TaskFile
    prompts: Prompts
    origin: Origin
    subset: Subset
    rows: str
    n: int
    evaluated: frozenset[str] = frozenset()
    seed: int = 0


def settings_of(backend: Backend, file: TaskFile, *stamps: str | None) -> str:
    """Return the hash of everything but the prompt that determines a model's answers to a task.

    `stamps` name the model's weights, where that is known of them.
    """
    request = Request(file.name, _PROBE, _PROBE, file.task.max_tokens, tuple(file.task.stop))
    frame = [file.task.frame] if file.task.frame else []  # as messages, the same text is another question
    known = [stamp for stamp in stamps if stamp]
    return digest(repr(sorted(backend.identity.items())), repr(backend.body(request)), *frame, *known)


def prepare_task(
    results: Path, file: TaskFile, data: str | None, seed: int, rows: int | None, *, strict: bool
) -> PreparedTask:
    """Choose a task's evaluation rows and store them one by one as they are rendered: memory does not grow with them.

    Raises:
        UserError: the rows cannot be had, rendered or written.
    """
    prepared, rendered = select_rows(file, data, seed, rows, strict=strict, results=results)
    return replace(prepared, rows=write_rows(results, file.name, rendered))


def prepared_again(run: Manifest, file: TaskFile) -> PreparedTask:
    """A run's task with the rows that were asked, from the manifest alone: its data need not be there."""
    seen = run.dataset
    subset = Subset(
        rows=(),
        total=seen["rows"],
        repeated=seen["repeated"],
        in_training=seen["in_training"],
        fingerprint=seen["fingerprint"],
        training=seen["training_fingerprint"],
        borrowed=str(seen.get("baselines_fitted_on")).startswith("evaluation"),
    )
    origin = Origin(run.place, {}, run.note)
    return PreparedTask(file, Prompts(file), origin, subset, run.rows, run.n, seed=run.seed)


def prepare_rows(
    file: TaskFile, data: str | None, seed: int, rows: int | None = None, *, strict: bool = True
) -> tuple[PreparedTask, tuple[EvaluationRow, ...]]:
    """Choose a task's evaluation rows, without storing them; return the task, and the rows in memory.

    Raises:
        UserError: the rows cannot be had or rendered.
    """
    prepared, rendered = select_rows(file, data, seed, rows, strict=strict)
    return prepared, tuple(rendered)


def select_rows(
    file: TaskFile, data: str | None, seed: int, rows: int | None, *, strict: bool, results: Path | None = None
) -> tuple[PreparedTask, Iterator[EvaluationRow]]:
    """The same, with the rows one by one, as they are rendered.

    What a teacher wrote for their right answers is taken from `results`; without it, it is empty.

    Raises:
        UserError: the rows cannot be had or, only when they are read, rendered, or their right answers not understood.
    """
    prompts = Prompts(file)
    origin = locate(file, data, strict=strict)
    if results is not None and (origin := _explained(file, prompts, origin, results, strict=strict)).teacher:
        title = f"{file.task.title}, {file.task.teacher and file.task.teacher.answer} by {origin.teacher}"
        file = replace(file, task=file.task.model_copy(update={"title": title}))
    subset, ids, rendered = select(file, prompts, origin, seed, rows)
    evaluated = frozenset(ids) if subset.borrowed else frozenset()
    return PreparedTask(file, prompts, origin, subset, "", len(ids), evaluated, seed), _with_readable_gold(
        file, rendered
    )


def _explained(file: TaskFile, prompts: Prompts, origin: Origin, results: Path, *, strict: bool) -> Origin:
    """The rows with what a teacher wrote; where it was not asked, sample rows stand in unless that is an error."""
    try:
        return explained(file, prompts, origin, results)
    except UserError as error:
        if strict:
            raise
        return replace(locate(file, "sample"), note=str(error))


def _with_readable_gold(file: TaskFile, rows: Iterable[EvaluationRow]) -> Iterator[EvaluationRow]:
    """The rows one by one, as long as each of their right answers is understood.

    Raises:
        SpecError: a right answer is not, so that no model's answer to its row could be scored.
    """
    for row in rows:
        for reference in row.references:
            try:
                read_gold(reference, file.task.answer)
            except ValueError as error:
                raise SpecError(unreadable_gold(file, f"row {row.id}", reference, error)) from None
        yield row


def unreadable_gold(file: TaskFile, where: str, reference: str, error: ValueError) -> str:
    """The message on a right answer that cannot be read, with the file and the key that gives it."""
    key = "references" if file.task.references else "target"
    kind = file.task.answer.type
    return file.source.problem([key], f"the right answer '{reference:.60}' of {where} is not a valid {kind}: {error}")


def request_for(file: TaskFile, row: EvaluationRow, sample: int = 0, prune: Prune | None = None) -> Request:
    """The request that asks a row of a task, for this one of its answers, without what the model learned without.

    Raises:
        DataError: the row's prompt does not hold that text: the model has learned from other prompts.
    """
    if prune is not None:
        try:
            pruned = prune(row.prompt)
        except ValueError as error:
            raise DataError(
                f"{file.name}, row {row.id}: {error}; the model has learned from other prompts than the task has now, "
                "so its answers would say nothing: train it again, or take `prune` out of its entry"
            ) from None
        return Request(file.name, row.id, pruned, file.task.max_tokens, tuple(file.task.stop), sample=sample)
    return Request(file.name, row.id, row.prompt, file.task.max_tokens, tuple(file.task.stop), row.messages, sample)


def prune_of(entry: ModelEntry, task: str) -> Prune | None:
    """Return what is taken out of a model's prompts: as its adapter's card says, or the card that its entry names.

    Raises:
        DataError: a card is not there or cannot be read, or the two contradict each other.
    """
    from harness.models.local import adapter_of, learned_without

    adapter = adapter_of(entry.model, task) if isinstance(entry.model, InProcess) else None
    learned = learned_without(Path(adapter)) if adapter else None
    if (written := getattr(entry.model, "prune", None)) is None:
        return learned
    folder = Path(written.replace("{task}", task)).expanduser()
    if not folder.is_dir():
        raise DataError(f"model '{entry.name}': prune: there is no folder {folder}")
    named = learned_without(folder, CARD)
    if adapter and Path(adapter).is_dir() and named != learned:
        raise DataError(
            f"model '{entry.name}': prune: {folder} says other text than the card of {adapter}, which is what counts; "
            "take `prune` out of the entry"
        )
    return named


def open_backend(
    connections: Connections, task: PreparedTask, entry: ModelEntry, folder: Path | None = None
) -> Backend:
    """Open a model for a prepared task, with the folder of its results where batches are to be sent.

    Raises:
        DataError: a baseline has no training rows, a local model no adapter, or one that may have learned these very
            rows, or recorded answers cannot be read.
    """
    spec = task.file.task
    _refuse_learned(task, entry)
    return connections.open(
        entry,
        task.file.name,
        objective=_objective(spec),
        labels=spec.choices,
        fingerprint=task.subset.training,
        training=lambda: training_rows(task.file, task.prompts, task.origin, task.evaluated),
        column=lambda name: column_of(task, name),
        folder=folder,
    )


def _objective(task: Task) -> Objective | None:
    """What a baseline that answers labels is fitted for: the metric on the leaderboard."""
    if not isinstance(task.answer, LabelAnswer):
        return None
    first = task.metrics[0]
    return Objective(first.name, first.options.get("positive") or task.answer.positive)


def column_of(task: PreparedTask, name: str) -> dict[str, str]:
    """Return the texts of a column by the id of the row that they stand in, of all splits; empty ones are left out.

    Raises:
        DataError: no split has such a column.
    """
    splits = task.origin.splits.values()
    if not any(name in split.columns for split in splits):
        known = {column for split in splits for column in split.columns}
        raise DataError(f"{task.file.name}: the rows have no column '{name}'{nearest(name, known)}")
    file, prompts = task.file, task.prompts
    found: dict[str, str] = {}
    for split in splits:
        for row in split.read(identity(file, prompts) | {name}):
            if (text := row.get(name)) is not None:
                for key in (identify(file, prompts, row), row_id(row, prompts.columns)):
                    found.setdefault(key, str(text))
    return found


def _refuse_learned(task: PreparedTask, entry: ModelEntry) -> None:
    """An adapter that learned from the evaluated split may be asked only what `harness train` kept from it.

    Raises:
        DataError: it may have learned some of these rows.
    """
    if not isinstance(entry.model, InProcess) or task.origin.kind == "sample":
        return
    from harness.models.local import adapter_of, borrowed_from

    adapter = adapter_of(entry.model, task.file.name)
    split = borrowed_from(Path(adapter), task.file.name) if adapter else None
    kept = task.subset.fingerprint == split and task.seed == 0 and task.n <= task.file.task.evaluation.rows
    if split and not kept:
        raise DataError(
            f"{adapter} learned from rows of the evaluated split, and may have learned these: it can be asked only the "
            f"rows that were kept from it, {task.file.task.evaluation.rows:,} at most of the same data, with --seed 0"
        )


def described(task: PreparedTask) -> dict[str, object]:
    """Where the rows of a task are from, as the manifest says it."""
    spec, subset = task.file.task.dataset, task.subset
    return {
        "hub": spec.hub,
        "config": spec.config,
        "revision": spec.revision,
        "split": task.file.task.evaluation.split,
        "fingerprint": subset.fingerprint,
        "training_fingerprint": subset.training,
        "baselines_fitted_on": "evaluation split, rows not evaluated" if subset.borrowed else "training split",
        "rows": subset.total,
        "repeated": subset.repeated,
        "in_training": subset.in_training,
    }
