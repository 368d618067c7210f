"""Metrics of entity and JSON answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.score.metrics.base import Example, FloatArray, Metric, MetricFactory, ratio
from harness.tasks.task import AnswerFormat, EntitiesAnswer


def entity_f1(answer: EntitiesAnswer, *, ignore_case: bool = False) -> Metric:
    """Micro F1 of entities over all rows: 2 x found / (answered + gold). Range [0, 1].

    Strict: an entity counts when its type is right and its text is equal, letter for letter (spaces around it aside;
    `ignore_case` compares case-folded). Repetitions count: a name that stands twice in the gold list must be answered
    twice. A row without valid JSON answers no entity. As the CoNLL score (E. F. Tjong Kim Sang and F. De Meulder,
    2003), but over texts, since written lists have no positions. 0 when nobody answers or expects any entity.
    """

    def stats(example: Example) -> tuple[float, float, float]:
        found = _entities(example.answer, ignore_case)
        golds = [_entities(gold, ignore_case) for gold in example.gold if gold is not None]
        # With several right lists the one that fits the answer best is the gold one.
        gold = max(golds, key=lambda one: _f1(found, one), default=Counter())
        return float(gold.total()), float(found.total()), float((found & gold).total())

    def summary(means: FloatArray) -> FloatArray:
        return ratio(2 * means[..., 2], means[..., 0] + means[..., 1])

    return Metric("entity_f1", stats, summary, kind="corpus")


def _f1(found: Counter[tuple[str, str]], gold: Counter[tuple[str, str]]) -> float:
    total = found.total() + gold.total()
    return 2 * (found & gold).total() / total if total else 1.0


def _entities(value: Mapping[str, Sequence[str]] | None, ignore_case: bool) -> Counter[tuple[str, str]]:
    return Counter(
        (kind, text.casefold() if ignore_case else text) for kind, texts in (value or {}).items() for text in texts
    )


def valid_json(answer: AnswerFormat) -> Metric:
    """Share of rows whose answer is JSON (or its Python look-alike) of the form asked for. Range [0, 1]."""

    def stats(example: Example) -> tuple[float]:
        return (float(example.answer is not None),)

    return Metric("valid_json", stats, kind="binary")


RECIPES = {
    "entity_f1": MetricFactory(entity_f1, frozenset({"entities"})),
    "valid_json": MetricFactory(valid_json, frozenset({"entities", "json"})),
}
