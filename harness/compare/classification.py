"""Labels as published tables show them: precision, recall and F1 of each class, their averages, and agreement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from harness.compare.intervals import Estimate, Sample, estimate_all
from harness.models.entry import Thinking
from harness.rows.evaluation import EvaluationRow
from harness.score.metrics.labels import ClassReport, accuracy, gold_and_answer, kappa, per_class
from harness.score.scoring import example_of, numbered
from harness.store.results import Answers
from harness.tasks.task import LabelAnswer, Task


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of some rows against the right ones.

    `classes` has a line for each label, `macro` and `weighted` are their averages, as scikit-learn's. `kappa` is
    Cohen's (Educational and Psychological Measurement 20, 1960), an unusable answer being a category of its own; None
    where both sides are constant. `unusable` of the `n` rows have no valid answer; they count as wrong.
    """

    n: int
    unusable: int
    classes: tuple[ClassReport, ...]
    macro: ClassReport
    weighted: ClassReport
    accuracy: Estimate
    kappa: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """A task's rows, or those of one slice: over all of them, and with unusable answers dropped, as published.

    `dropped` is None where no answer is usable.
    """

    name: str
    whole: Classification
    dropped: Classification | None


def parts(
    task: Task, answered: Iterable[tuple[EvaluationRow, Answers]], thinking: Thinking | None = None
) -> list[Part]:
    """Return the tables of a task of single labels: all rows first, then each value of its slices.

    Of several answers to a row the first counts. Empty for a task of other answers.

    Raises:
        UserError: a right answer is not understood.
    """
    spec = task.answer
    if not isinstance(spec, LabelAnswer) or spec.many:
        return []
    read: dict[Any, tuple[str, str | None]] = {}  # labels repeat by the thousand
    found: dict[str, list[_Row]] = {"all rows": []}
    for row, answers in answered:
        said = row.references, answers[0] and (answers[0].status, answers[0].completion)
        if said not in read:
            read[said] = gold_and_answer(example_of(task, row, answers[0], thinking)[1])
        gold, answer = read[said]
        pair = _Row(gold, answer, row.cluster if task.evaluation.cluster else None)
        names = [f"{column} = {row.fields[column]}" for column in task.slices if column in row.fields]
        for name in ("all rows", *names):
            found.setdefault(name, []).append(pair)
    first, *others = found
    return [_part(name, found[name], spec) for name in (first, *sorted(others)) if found[name]]


class _Row(NamedTuple):
    gold: str
    answer: str | None
    cluster: str | None


def _part(name: str, rows: Sequence[_Row], spec: LabelAnswer) -> Part:
    usable = [row for row in rows if row.answer is not None]
    return Part(name, _classification(rows, spec), _classification(usable, spec) if usable else None)


def _classification(rows: Sequence[_Row], spec: LabelAnswer) -> Classification:
    gold, answers, clusters = [row.gold for row in rows], [row.answer for row in rows], [row.cluster for row in rows]
    classes = per_class(gold, answers, spec.labels)
    occurring = {*gold, *answers}
    even = [float(one.label in occurring) for one in classes]  # as sklearn: what occurs nowhere does not count as 0
    right = np.array([[float(row.gold == row.answer)] for row in rows])
    sample = Sample(accuracy(spec), right, None if None in clusters else numbered(clusters))
    return Classification(
        n=len(rows),
        unusable=answers.count(None),
        classes=tuple(classes),
        macro=_average("macro average", classes, even),
        weighted=_average("weighted average", classes, [one.support for one in classes]),
        accuracy=estimate_all([sample])[0],
        kappa=_kappa(gold, answers),
    )


def _average(name: str, classes: Sequence[ClassReport], weights: Sequence[float]) -> ClassReport:
    table = np.array([[one.precision, one.recall, one.f1] for one in classes])
    precision, recall, f1 = (float(value) for value in np.average(table, axis=0, weights=weights))
    return ClassReport(name, precision, recall, f1, sum(one.support for one in classes))


def _kappa(gold: Sequence[str], answers: Sequence[str | None]) -> float | None:
    places = numbered([*gold, *answers])
    size = int(places.max()) + 1
    table = np.bincount(size * places[: len(gold)] + places[len(gold) :], minlength=size**2)
    return float(kappa(table / len(gold))) if size > 1 else None
