"""Metrics of entity answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from harness.score.metrics.base import (
    Basis,
    Example,
    Metric,
    Share,
    f1,
    occurs,
    of_share,
    over_classes,
    precision,
    recall,
    recipes,
)
from harness.tasks.tags import Scheme, spans
from harness.tasks.task import EntitiesAnswer

Average = Literal["micro", "macro"]
Found = Counter[tuple[str, ...]]


def entity_f1(
    answer: EntitiesAnswer, *, ignore_case: bool = False, average: Average = "micro", scheme: Scheme = "conlleval"
) -> Metric:
    """F1 of entities over all rows: 2 x found / (answered + gold). Range [0, 1].

    Strict: an entity counts when its type is right and its text is equal, letter for letter (spaces around it aside;
    `ignore_case` compares case-folded). Repetitions count: a name that stands twice in the gold list must be answered
    twice. A row without valid JSON answers no entity. As the CoNLL score (E. F. Tjong Kim Sang and F. De Meulder,
    2003), but over texts, since written lists have no positions. Where answer and gold are lists of tags, entities are
    compared by type and position, which is the CoNLL score itself; `scheme` says how tags are read that break the form:
    `conlleval` as its script does, `iob2` strictly (`harness.tasks.tags`). `average: macro` is the mean over the types
    that occur as gold or as an answer. 0 when nobody answers or expects any entity.
    """
    return _metric("entity_f1", answer, "entities, gold or answered", f1, ignore_case, average, scheme)


def entity_precision(
    answer: EntitiesAnswer, *, ignore_case: bool = False, average: Average = "micro", scheme: Scheme = "conlleval"
) -> Metric:
    """Of the entities answered, the share that is right. Range [0, 1], 0 when none is answered.

    Entities and options as for `entity_f1`.
    """
    return _metric("entity_precision", answer, "entities answered", precision, ignore_case, average, scheme)


def entity_recall(
    answer: EntitiesAnswer, *, ignore_case: bool = False, average: Average = "micro", scheme: Scheme = "conlleval"
) -> Metric:
    """Of the gold entities, the share that is answered. Range [0, 1], 0 when there is none.

    Entities and options as for `entity_f1`.
    """
    return _metric("entity_recall", answer, "gold entities", recall, ignore_case, average, scheme)


def _metric(
    name: str,
    answer: EntitiesAnswer,
    unit: str,
    share: Share,
    ignore_case: bool,
    average: Average,
    scheme: Scheme,
) -> Metric:
    """A metric whose statistics are entities in gold, answered and right, for each type with `average: macro`."""
    types = [None] if average == "micro" else answer.types

    def stats(example: Example) -> list[float]:
        found = _entities(example.answer, answer, ignore_case, scheme)
        golds = [_entities(gold, answer, ignore_case, scheme) for gold in example.gold if gold is not None]
        # With several right lists the one that fits the answer best is the gold one.
        gold = max(golds, key=lambda one: _f1(found, one), default=Counter())
        return [float(_count(one, kind)) for one in (gold, found, found & gold) for kind in types]

    if average == "micro":
        return of_share(name, stats, unit, share)
    basis = Basis("gold entities of the rarest type", lambda s: float(np.split(s, 3, axis=-1)[0].sum(axis=0).min()))
    return Metric(name, stats, over_classes(share, occurs), kind="corpus", basis=basis)


def _count(found: Found, kind: str | None) -> int:
    return sum(count for entity, count in found.items() if kind is None or entity[0] == kind)


def _f1(found: Found, gold: Found) -> float:
    total = found.total() + gold.total()
    return 2 * (found & gold).total() / total if total else 1.0


def _entities(
    value: Mapping[str, Sequence[str]] | Sequence[str] | None, answer: EntitiesAnswer, ignore_case: bool, scheme: Scheme
) -> Found:
    """The entities of an answer: type and text, or type and the places of the first and last token of tags."""
    if value is None:
        return Counter()
    if not isinstance(value, Mapping):
        found = spans(value, scheme)
        return Counter((kind, str(start), str(end)) for kind, start, end in found if kind in answer.types)
    return Counter((kind, text.casefold() if ignore_case else text) for kind, texts in value.items() for text in texts)


RECIPES = recipes({"entities"}, entity_f1, entity_precision, entity_recall)
