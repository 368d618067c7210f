"""Training rows as evaluation renders them, none of them a row that is evaluated."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from harness.errors import UserError, nearest
from harness.hashing import row_id
from harness.rows.evaluation import (
    EvaluationRow,
    asked_key,
    choose,
    identify,
    identity,
    kept_columns,
    preamble,
    rendered,
)
from harness.rows.files import Row
from harness.rows.origin import Origin
from harness.rows.problems import RowProblems
from harness.tasks.catalog import TaskFile
from harness.tasks.messages import as_continuation
from harness.tasks.prompts import Prompts, question_hash
from harness.tasks.pruning import Prune

TRAINING_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A rendered prompt and the answer to learn; plain text to learn has the prompt ""."""

    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows to learn from; `dropped` had the prompt of a row that is evaluated.

    `borrowed_from` is the fingerprint of the evaluated split, where they are rows of it. The first `held` rows are for
    validation, None for the share that the recipe says. `prune` was taken out of the prompts, and `teachers` gave the
    answers.
    """

    pairs: tuple[TrainingExample, ...]
    fingerprint: str
    dropped: int
    borrowed_from: str | None
    held: int | None = None
    prune: Prune | None = None
    teachers: tuple[str, ...] = ()


class NoTrainingRows(UserError):
    """A task has no row to learn from."""


def completion(pair: TrainingExample) -> str:
    """The answer as it follows the prompt, with the space between them."""
    return as_continuation(pair.prompt, pair.target)


def load(file: TaskFile, prompts: Prompts, origin: Origin, most: int | None = None) -> TrainingRows:
    """Return the training rows of a task, at most 20,000, in an order that does not depend on the files'.

    The first `most` of them are the first of any larger number.

    A row whose prompt or whose content is that of an evaluated row, by hash, is left out. `choose` drops such rows from
    the evaluation of a task with a training split; this holds whatever was chosen. Where training rows are borrowed
    from the evaluation split, the evaluated rows are those that `harness bench` chooses by default: its `--seed` takes
    others.

    Raises:
        NoTrainingRows: there are none.
        SpecError: the rows do not fit the task's file.
    """
    if _unwritten(file, origin):
        column = file.task.teacher.answer if file.task.teacher else ""
        raise UserError(
            f"{file.name} has no training rows: its data has no column '{column}', which a teacher writes; run "
            "`harness collect` and `harness distill`, and train with --train-on"
        )
    subset = choose(file, prompts, origin)
    evaluated = {question_hash(row.prompt) for row in subset.rows}
    if not file.task.shows_answer:
        raise NoTrainingRows(f"{file.name} has no training rows: its targets are {file.task.answer.type}, not answers")
    if subset.training is None:
        raise NoTrainingRows(f"{file.name} has no training rows: its data holds no row that is not evaluated")
    found, targets = training_rows(file, prompts, origin, frozenset(row.id for row in subset.rows))
    pairs = [TrainingExample(prompt, target) for prompt, target in zip(found, targets, strict=True)]
    kept = tuple(pair for pair in pairs if question_hash(pair.prompt) not in evaluated)
    if not kept:
        raise NoTrainingRows(f"{file.name} has no training rows: all of them are evaluated")
    borrowed_from = subset.fingerprint if subset.borrowed else None
    return TrainingRows(kept[:most], subset.training, len(pairs) - len(kept), borrowed_from)


def training_rows(
    file: TaskFile, prompts: Prompts, origin: Origin, evaluated: Collection[str] = frozenset()
) -> tuple[list[str], list[str]]:
    """Return the prompts and targets to fit a baseline on, at most 20,000 rows chosen by the hash of their content.

    They are the training split's, or without one those of the evaluation split whose prompt is not that of a row whose
    id is in `evaluated`. A row with such an id is never among them. A task whose targets are no answers has none.

    Raises:
        SpecError: rows cannot be rendered; all reasons at once.
    """
    if not file.task.shows_answer or _unwritten(file, origin):
        return [], []
    before = preamble(file, prompts, origin)
    shots = {question_hash(shot.prompt) for shot in before.shots}
    failures = RowProblems("training row")
    found: list[tuple[str, str]] = []
    for name, row in _ranked(file, prompts, origin, evaluated, file.task.training.split, prompts.columns):
        with failures.of(name):
            prompt = prompts.prompt(row)
            if not shots or question_hash(prompt) not in shots:
                found.append((before.text(prompt), prompts.target(row)))
    failures.raise_all()
    return [prompt for prompt, _ in found], [target for _, target in found]


def _unwritten(file: TaskFile, origin: Origin) -> bool:
    """Whether the right answers of the training rows lack what a teacher is to write."""
    name = file.task.training.split
    return (name if name in origin.splits else file.task.evaluation.split) in origin.lacking


def learnable_rows(
    file: TaskFile, prompts: Prompts, origin: Origin, most: int | None = None, split: str | None = None
) -> tuple[EvaluationRow, ...]:
    """Render the rows that may be learned, in the order of their hash, as evaluation renders its own: at most 20,000.

    The first `most` of them are the first of any larger number. `split` is read instead of the training split. No row
    is among them whose prompt or content is that of an evaluated row, or that is an example in front of every prompt.

    Raises:
        UserError: there are none, or the split is not there.
        SpecError: rows cannot be rendered; all reasons at once.
    """
    name = split or file.task.training.split
    if split is not None and split not in origin.splits:
        raise UserError(f"{file.name}: there are no rows of split '{split}'{nearest(split, origin.splits)}")
    subset, before = choose(file, prompts, origin), preamble(file, prompts, origin)
    shown = {question_hash(row.prompt) for row in subset.rows}
    examples = {question_hash(shot.prompt) for shot in before.shots}
    evaluated, kept = {row.id for row in subset.rows}, kept_columns(file, prompts)
    failures = RowProblems("training row")
    found: list[EvaluationRow] = []
    for key, row in _ranked(file, prompts, origin, evaluated, name, prompts.columns | kept):
        with failures.of(key):
            made = rendered(prompts, kept, key, [row], before)
            asked = question_hash(made.prompt)
            if asked not in shown and (not examples or question_hash(prompts.prompt(row)) not in examples):
                found.append(made)
        if len(found) == most:
            break
    failures.raise_all()
    if not found:
        raise UserError(f"{file.name} has no row of split '{name}' that may be learned: all of them are evaluated")
    return tuple(found)


def _ranked(
    file: TaskFile, prompts: Prompts, origin: Origin, evaluated: Collection[str], split: str, columns: frozenset[str]
) -> Iterator[tuple[str, Row]]:
    """The rows of a split, or without it the others of the evaluated split, by the hash of their content: id and row.

    None of them has an id that is in `evaluated`; of the evaluated split, none has the prompt of such a row.
    """
    evaluated = frozenset(evaluated)
    test, chosen = origin.splits[file.task.evaluation.split], origin.splits.get(split)
    shown: set[str] = set()
    if chosen is None or chosen is test:
        chosen = test
        rows = test.read(prompts.columns | identity(file, prompts))
        shown = {asked_key(prompts, row) for row in rows if identify(file, prompts, row) in evaluated}
    ranked = (
        (name, index, row)
        for index, row in enumerate(chosen.read(columns))
        if (name := row_id(row, prompts.columns)) not in evaluated and not (shown and asked_key(prompts, row) in shown)
    )
    return ((name, row) for name, _, row in heapq.nsmallest(TRAINING_ROWS, ranked))
