"""Training rows as evaluation renders them, none of them a row that is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.origin import Origin
from harness.data.subset import choose, digest, training_rows
from harness.errors import UserError
from harness.local.decoding import behind
from harness.prompts import Prompts
from harness.spec.catalog import TaskFile


@dataclass(frozen=True, slots=True)
class Pair:
    """A rendered prompt and the answer to learn."""

    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows to learn from; `dropped` had the prompt of a row that is evaluated.

    `borrowed_from` is the fingerprint of the evaluated split, where they are rows of it.
    """

    pairs: tuple[Pair, ...]
    fingerprint: str
    dropped: int
    borrowed_from: str | None


def completion(pair: Pair) -> str:
    """The answer as it follows the prompt, with the space between them."""
    return behind(pair.prompt, pair.target)


def load(file: TaskFile, prompts: Prompts, origin: Origin) -> TrainingRows:
    """Return the training rows of a task, at most 20,000, in an order that does not depend on the files'.

    A row whose prompt is that of an evaluated row, by hash, is left out. `choose` drops such rows from the evaluation
    of a task with a training split; this holds whatever was chosen. Where training rows are borrowed from the
    evaluation split, the evaluated rows are those that `harness bench` chooses by default: its `--seed` takes others.

    Raises:
        UserError: there are none.
        SpecError: the rows do not fit the task's file.
    """
    subset = choose(file, prompts, origin)
    evaluated = {digest(row.prompt) for row in subset.rows}
    if subset.training is None:
        raise UserError(f"{file.name} has no training rows: its data holds no row that is not evaluated")
    found, targets = training_rows(file, prompts, origin, frozenset(row.id for row in subset.rows))
    pairs = [Pair(prompt, target) for prompt, target in zip(found, targets, strict=True)]
    kept = tuple(pair for pair in pairs if digest(pair.prompt) not in evaluated)
    if not kept:
        raise UserError(f"{file.name} has no training rows: all of them are evaluated")
    borrowed_from = subset.fingerprint if subset.borrowed else None
    return TrainingRows(kept, subset.training, len(pairs) - len(kept), borrowed_from)
