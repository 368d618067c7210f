"""Rows as a metric sees them, made from texts through the task's own extraction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from harness.score.answers import read, read_gold, text_of
from harness.score.metrics.base import Example, Metric
from harness.score.metrics.registry import build
from harness.tasks.task import AnswerFormat, MetricSpec

_ANSWER: TypeAdapter[AnswerFormat] = TypeAdapter(AnswerFormat)


def spec(kind: str, **keys: Any) -> AnswerFormat:
    """An answer spec as a task file would declare it."""
    return _ANSWER.validate_python({"type": kind, **keys})


def metric(name: str, answer: AnswerFormat, **options: Any) -> Metric:
    """A metric as a task file would ask for it."""
    return build(MetricSpec(name=name, options=options), answer)


def example(
    answer: AnswerFormat, completion: str, *references: str, fields: Mapping[str, Any] | None = None
) -> Example:
    """One answered row; an empty completion is a row without an answer."""
    right = read_gold if answer.type == "instructions" else read  # not an answer itself
    gold = tuple(right(reference, answer) for reference in references)
    return Example(read(completion, answer), text_of(completion), references, gold, fields or {})


def examples(answer: AnswerFormat, completions: Sequence[str], references: Sequence[str]) -> list[Example]:
    """Rows with one reference each."""
    return [example(answer, one, gold) for one, gold in zip(completions, references, strict=True)]


def score(
    name: str, answer: AnswerFormat, completions: Sequence[str], references: Sequence[str], **options: Any
) -> float:
    """The score of these completions against these references."""
    return metric(name, answer, **options).score(examples(answer, completions, references))
