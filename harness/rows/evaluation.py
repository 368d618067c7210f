"""The fixed evaluation subset: the same rows on every machine, whatever the order of the files."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.errors import SpecError, nearest
from harness.hashing import digest, row_id
from harness.rows.files import Row, Split
from harness.rows.origin import Origin
from harness.rows.problems import RowProblems
from harness.tasks.catalog import TaskFile
from harness.tasks.messages import Message, Preamble, Shot
from harness.tasks.prompts import Prompts, question_hash

SPOOL = 1 << 24  # bytes that wait in memory before they go to disk


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One held-out row, rendered. `fields` are the columns that metrics and slices need.

    `prompt` is all that is asked, as plain text; `messages` the same for a chat model, empty where one message of the
    user's says it all. `cluster` is the hash of what the row shares with others, where the task names a column of it.
    """

    id: str
    prompt: str
    references: tuple[str, ...]
    fields: Mapping[str, Any]
    messages: tuple[Message, ...] = ()
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Subset:
    """The evaluation rows with what was left out of the split, and fingerprints of the evaluation and training splits.

    Baselines are fitted on the training split; where there is none (`borrowed`), on the rows of the evaluation split
    that were not chosen. `training` is the fingerprint of those rows, None when there are none either.
    """

    rows: tuple[EvaluationRow, ...]
    total: int
    repeated: int
    in_training: int
    fingerprint: str
    training: str | None
    borrowed: bool = False


def judging_columns(file: TaskFile, prompts: Prompts) -> frozenset[str]:
    """The columns besides the right answers that decide whether an answer is right: the SQL table, the code's tests."""
    answer = file.task.answer
    if answer.type == "sql":
        return frozenset({answer.table})
    if answer.type == "code":
        return prompts.names(answer.program) - {"completion"}
    return frozenset()


def kept_columns(file: TaskFile, prompts: Prompts) -> frozenset[str]:
    """The columns that stay with a row because a slice, the SQL table, the code's tests or a teacher need them."""
    return frozenset(file.task.slices) | judging_columns(file, prompts) | prompts.teacher_columns


def choose(file: TaskFile, prompts: Prompts, origin: Origin, seed: int = 0, rows: int | None = None) -> Subset:
    """Choose and render the evaluation rows of a task, as `select` does, all at once.

    Raises:
        SpecError: the split is empty, lacks a column, or a template fails.
    """
    subset, _, rendered = select(file, prompts, origin, seed, rows)
    return replace(subset, rows=tuple(rendered))


def select(
    file: TaskFile, prompts: Prompts, origin: Origin, seed: int = 0, rows: int | None = None
) -> tuple[Subset, Sequence[str], Iterator[EvaluationRow]]:
    """Choose the evaluation rows of a task; return the subset without them, their ids, and them, rendered one by one.

    Rows are ranked by a hash of `seed` and their content and the first `rows` of them (default: the task's number)
    are taken. A row whose prompt is also that of a training row is dropped, and so is a row that repeats another's
    prompt and right answers: what counts is what is rendered, not the columns it is rendered from.

    Raises:
        SpecError: the split is empty, lacks a column, rows of one group have different prompts, or, only when the rows
            are read, a template fails.
    """
    split = origin.splits[file.task.evaluation.split]
    kept = kept_columns(file, prompts)
    _check_columns(file, prompts, kept, split)
    training = origin.splits.get(file.task.training.split)
    if training is split:
        training = None
    seen, training_fingerprint = _training(training, prompts) if training else (set(), None)
    found = _distinct(file, prompts, split, seen)
    if not found.ids:
        reason = "every row is also in the training split" if found.total else "it has no rows"
        raise SpecError(file.source.problem(["evaluation", "split"], f"nothing to evaluate in this split: {reason}"))
    ranks = {name: int(digest(str(seed), name), 16) for name in found.ids}
    wanted = heapq.nsmallest(rows or file.task.evaluation.rows, ranks, key=ranks.__getitem__)
    left = sorted(ranks.keys() - set(wanted)) if training is None else []
    if not file.task.shows_answer:  # nothing can be learned from its targets
        left, training_fingerprint = [], None
    subset = Subset(
        rows=(),
        total=found.total,
        repeated=found.repeated,
        in_training=found.in_training,
        fingerprint=digest(*sorted(ranks)),
        training=digest(*left) if left else training_fingerprint,
        borrowed=bool(left),
    )
    return subset, wanted, _render(file, prompts, split, kept, wanted, preamble(file, prompts, origin))


@dataclass(frozen=True, slots=True)
class _Distinct:
    """The ids of the rows of a split that may be evaluated, and how many were not."""

    ids: Collection[str]
    total: int
    repeated: int
    in_training: int


def _distinct(file: TaskFile, prompts: Prompts, split: Split, seen: Collection[str]) -> _Distinct:
    """The rows of a split whose prompt is not in `seen`, each prompt once for each set of right answers."""
    group = file.task.dataset.group_by
    total = repeated = 0
    leaked: set[str] = set()
    kept: dict[str, str] = {}  # the hash of what is asked, and of its right answers, to the id of the row that asks it
    groups: dict[str, str] = {}
    judging = judging_columns(file, prompts)
    for row in split.read(identity(file, prompts) | judging):
        total += 1
        name, prompt = identify(file, prompts, row), asked_key(prompts, row)
        grouped = group is not None and not _missing(row.get(group))
        if group and grouped:
            if groups.setdefault(name, prompt) != prompt:
                reason = f"rows with the value {str(row[group])!r:.60} have different prompts, so they are not one row"
                raise SpecError(file.source.problem(["dataset", "group_by"], reason))
            key = prompt
        else:
            key = digest(prompt, _answers_key(prompts, row), *([row_id(row, judging)] if judging else []))
        if prompt in seen:
            leaked.add(name)
        elif key not in kept:
            kept[key] = name
        elif not grouped or kept[key] != name:
            # Which of them stays must not depend on the order of the file.
            kept[key] = min(kept[key], name)
            repeated += 1
    return _Distinct(kept.values(), total, repeated, len(leaked))


def preamble(file: TaskFile, prompts: Prompts, origin: Origin) -> Preamble:
    """Return what stands in front of every row of a task.

    The examples are the rows of `shots.split` that come first by a hash of `shots.seed` and their content, none of them
    with the prompt of a row of the evaluated split, whichever rows of it are asked, and no prompt twice.

    Raises:
        SpecError: the split is not there, or has fewer such rows.
    """
    spec = file.task.shots
    if spec is None:
        return Preamble(file.task.system)
    if spec.split not in origin.splits:
        problem = f"there are no rows of split '{spec.split}'{nearest(spec.split, origin.splits)}"
        raise SpecError(file.source.problem(["shots", "split"], problem))
    held_out = {asked_key(prompts, row) for row in origin.splits[file.task.evaluation.split].read(prompts.columns)}
    ranks: dict[str, str] = {}
    for row in origin.splits[spec.split].read(prompts.columns):
        key, rank = asked_key(prompts, row), _shot_rank(spec.seed, prompts, row)
        if key not in held_out and rank < ranks.get(key, "~") and _can_be_shown(prompts, row):
            ranks[key] = rank
    wanted = heapq.nsmallest(spec.n, ranks.values())
    if len(wanted) < spec.n:
        problem = f"split '{spec.split}' has only {len(wanted)} rows that are not evaluated, {spec.n} are asked for"
        raise SpecError(file.source.problem(["shots", "n"], problem))
    rows = origin.splits[spec.split].read(prompts.columns)
    found = {rank: row for row in rows if (rank := _shot_rank(spec.seed, prompts, row)) in wanted}
    shots = [
        Shot(prompts.messages(row), prompts.prompt(row), prompts.target(row)) for row in map(found.__getitem__, wanted)
    ]
    return Preamble(file.task.system, tuple(shots))


def _can_be_shown(prompts: Prompts, row: Row) -> bool:
    try:
        return bool(prompts.prompt(row) and prompts.target(row))
    except SpecError:
        return False


def _shot_rank(seed: int, prompts: Prompts, row: Row) -> str:
    return digest("shots", str(seed), row_id(row, prompts.columns))


def asked_key(prompts: Prompts, row: Row) -> str:
    """Return the hash of what a row asks, or of its columns where they cannot be rendered."""
    try:
        return question_hash(prompts.prompt(row))
    except SpecError:
        return digest("unrendered", row_id(row, prompts.prompt_columns))


def _answers_key(prompts: Prompts, row: Row) -> str:
    try:
        return digest(*sorted(set(prompts.references(row))))
    except SpecError:
        return digest("unrendered", row_id(row, prompts.answer_columns))


def identity(file: TaskFile, prompts: Prompts) -> frozenset[str]:
    """The columns from which `identify` makes a row's id."""
    group = file.task.dataset.group_by
    return prompts.columns | {group} if group else prompts.columns


def identify(file: TaskFile, prompts: Prompts, row: Row) -> str:
    """Return the id of the evaluation row that a row belongs to: of its group, or of its own content without one."""
    group = file.task.dataset.group_by
    grouped = group is not None and not _missing(row.get(group))
    return row_id(row, [group] if group and grouped else prompts.columns)


def _missing(value: Any) -> bool:
    return value is None or value != value


def _training(split: Split, prompts: Prompts) -> tuple[set[str], str]:
    """The hashes of what the training rows ask, and a fingerprint of the rows whatever their order."""
    seen: set[str] = set()
    total = 0
    for row in split.read(prompts.columns):
        seen.add(asked_key(prompts, row))
        total += int(row_id(row, prompts.columns), 16)
    return seen, digest(str(total))


def _check_columns(file: TaskFile, prompts: Prompts, kept: frozenset[str], split: Split) -> None:
    task = file.task
    keys: dict[str, Iterable[str | None]] = {
        "prompt": prompts.names(task.prompt),
        "messages": prompts.prompt_columns - prompts.names(task.prompt),
        "target": prompts.names(task.target),
        "references": prompts.answer_columns - prompts.names(task.target),
        "dataset.group_by": [task.dataset.group_by],
        "slices": task.slices,
        "evaluation.cluster": [task.evaluation.cluster],
        "answer": kept - set(task.slices),
    }
    problems = [
        file.source.problem(key.split("."), f"no column '{name}' in the rows{nearest(name, split.columns)}")
        for key, names in keys.items()
        for name in sorted(filter(None, names))
        if name not in split.columns
    ]
    if problems:
        raise SpecError("\n".join(problems))


def _render(
    file: TaskFile, prompts: Prompts, split: Split, kept: frozenset[str], wanted: Sequence[str], before: Preamble
) -> Iterator[EvaluationRow]:
    """Render the wanted rows in their order; rows of one group become one row with all their references.

    Rows of one group, or repeated rows that differ in a kept column, are ordered by their content, not by the file. The
    file has another order than the ranks, so the rows wait in a temporary file: memory holds only where in it.
    """
    columns, cluster = identity(file, prompts) | kept, file.task.evaluation.cluster
    places: dict[str, list[int]] = {name: [] for name in wanted}
    failures = RowProblems("row")
    with tempfile.SpooledTemporaryFile(max_size=SPOOL) as spool:
        for row in split.read(columns | {cluster} if cluster else columns):
            if (found := places.get(identify(file, prompts, row))) is not None:
                found.append(spool.tell())
                pickle.dump(row, spool)
        for name in wanted:
            alike: list[Row] = []
            for place in places.pop(name):
                spool.seek(place)
                alike.append(pickle.load(spool))  # noqa: S301  written above
            if len(alike) > 1:
                by_content = {row_id(row, columns): row for row in alike}
                alike = [by_content[key] for key in sorted(by_content)]
            merged = None
            with failures.of(name):
                merged = rendered(prompts, kept, name, alike, before)
            if merged:
                yield replace(merged, cluster=row_id(alike[0], [cluster])) if cluster else merged
    failures.raise_all()


def rendered(prompts: Prompts, kept: frozenset[str], name: str, rows: Sequence[Row], before: Preamble) -> EvaluationRow:
    """Render the rows of one group, or one row, as one row with all their references; of `kept` what there is.

    Raises:
        SpecError: a template fails.
    """
    references = dict.fromkeys(reference for row in rows for reference in prompts.references(row))
    fields = {column: rows[0][column] for column in sorted(kept) if column in rows[0]}
    text, messages = before.text(prompts.prompt(rows[0])), before.messages(prompts.messages(rows[0]))
    return EvaluationRow(name, text, tuple(references), fields, messages)
