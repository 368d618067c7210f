"""Metrics of JSON answers, part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import UserError
from harness.score.answers.structured import canonical
from harness.score.metrics.base import Example, Metric, best, f1, of_share, recipes
from harness.tasks.task import AnswerFormat, JsonAnswer

Leaf = tuple[tuple[str, ...], str]
ITEM = "[]"
"""Stands in a path for the place of an item in a list."""


def json_f1(answer: JsonAnswer, *, ordered: bool = False) -> Metric:
    """F1 of the leaves of JSON values over all rows: 2 x found / (answered + gold). Range [0, 1].

    A leaf is a path of keys with the value at its end, as in the slot F1 of spoken language understanding, but over a
    value of any depth. It counts when path and value are equal: true is not 1, 1.0 is 1, texts letter for letter.
    Leaves that repeat must repeat in the answer. The items of a list may come in any order, unless `ordered`, where an
    item's place belongs to its path. An empty object or list is a leaf. A row without valid JSON answers no leaf.
    """

    def stats(example: Example) -> tuple[float, float, float]:
        found = Counter(leaves(example.answer, ordered=ordered)) if example.answer is not None else Counter[Leaf]()
        golds = [Counter(leaves(gold, ordered=ordered)) for gold in example.gold if gold is not None]
        # With several right values the one that fits the answer best is the gold one.
        gold = max(golds, key=lambda one: (found & one).total() / (found.total() + one.total()), default=Counter())
        return float(gold.total()), float(found.total()), float((found & gold).total())

    return of_share("json_f1", stats, "leaves, gold or answered", f1)


def leaves(value: Any, path: tuple[str, ...] = (), *, ordered: bool = False) -> Iterator[Leaf]:
    """Yield each leaf of a JSON value: the path to it, and its value as canonical JSON."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)), ordered=ordered)
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from leaves(item, (*path, f"[{place}]" if ordered else ITEM), ordered=ordered)
    else:
        yield path, canonical(value)


def field_accuracy(answer: JsonAnswer, *, path: str) -> Metric:
    """Share of rows whose JSON value has the gold value in one field. Range [0, 1].

    `path` names the field: keys, and places in lists counted from 0, with dots between them (`slots.city`,
    `items.0.name`). Compared as by `exact_match`. Where the gold value lacks the field, so must the answer.
    """
    if not path.strip("."):
        raise UserError("metric 'field_accuracy': path is empty; expected the keys to a field, as in `slots.city`")
    keys = path.split(".")

    def same(ours: Any, gold: Any) -> bool:
        return _field(ours, keys) == _field(gold, keys)

    return best(f"field_accuracy(path={path})", same, kind="binary")


def _field(value: Any, keys: list[str]) -> str | None:
    """The field as canonical JSON; None where it is absent."""
    for key in keys:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return canonical(value)


def valid_json(answer: AnswerFormat) -> Metric:
    """Share of rows whose answer is JSON (or its Python look-alike) of the form asked for. Range [0, 1]."""

    def stats(example: Example) -> tuple[float]:
        return (float(example.answer is not None),)

    return Metric("valid_json", stats, kind="binary")


def json_schema(answer: JsonAnswer, *, schema: dict[str, Any]) -> Metric:
    """Share of rows whose answer is JSON that a JSON Schema (draft 2020-12, or its `$schema`) accepts. Range [0, 1].

    References lead inside the schema only: nothing is fetched.
    """
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = ".".join(str(part) for part in error.absolute_path)
        raise UserError(f"metric 'json_schema': schema{'.' + where if where else ''}: {error.message}") from None
    validator = kind(schema, registry=Registry())

    def stats(example: Example) -> tuple[float]:
        if example.answer is None:
            return (0.0,)
        try:
            return (float(validator.is_valid(example.answer)),)
        except Unresolvable as error:
            raise UserError(f"metric 'json_schema': the reference {error.ref} leads out of the schema") from None

    return Metric("json_schema", stats, kind="binary")


RECIPES = {**recipes({"json"}, field_accuracy, json_f1, json_schema), **recipes({"json", "entities"}, valid_json)}
