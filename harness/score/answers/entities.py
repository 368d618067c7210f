"""Entities out of a text: a JSON object from types to texts, or the tags of a sentence's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.score.answers.structured import Members, Number, Unreadable, json_tree
from harness.tasks.tags import is_tags
from harness.tasks.task import EntitiesAnswer

Entities = dict[str, tuple[str, ...]]
_TEXT_KEYS = ("text", "name", "entity", "value", "word", "mention", "span")
_TYPE_KEYS = ("type", "label", "category", "entity_type", "tag")
_SHORTEST_PREFIX = 3
_MOST_LEVELS = 20


def read_entities(text: str, spec: EntitiesAnswer, *, strict: bool = False) -> Entities | tuple[str, ...] | None:
    """Return the entities of every type of `spec`, () for absent ones, or the sentence's tags; None without either.

    Types are compared without case; unknown ones are dropped, but an object with unknown types alone is None. A type
    that is written twice has both lists. A single value counts as a list of one; null and empty texts are left out;
    numbers become text as written. An object in place of a text is the text that it names (`{"text": "Ann", "start":
    0}`). Where any part has no such reading (true, an object with two texts), all is None: no entity is ever lost from
    an answer that counts as read.

    A list of tags (`["B-person", "I-person", "O"]`) is returned as a tuple of tags with the types of `spec`; a tag may
    shorten a type to three or more of its first letters (PER for person).

    `strict` is for a right answer: it must be the whole text or its only fenced block, and every type one of `spec`.
    """
    try:
        tree = json_tree(text, strict=strict, kind=Members)
        if tree is None:
            tree = json_tree(text, strict=strict, kind=list)
        if isinstance(tree, list) and not isinstance(tree, Members):
            return _tags(tree, spec, strict=strict)
        return _entities(tree, spec, strict=strict) if isinstance(tree, Members) else None
    except Unreadable:
        return None


def _entities(members: Members, spec: EntitiesAnswer, *, strict: bool) -> Entities | None:
    known = {_folded(name): name for name in spec.types}
    found: dict[str, list[str]] = {name: [] for name in spec.types}
    names = [known.get(_folded(key)) for key, _ in members]
    if members and (None in names if strict else not any(names)):
        return None
    for name, (_, value) in zip(names, members, strict=True):
        if name is not None:
            found[name].extend(_texts(value, name))
    return {name: tuple(items) for name, items in found.items()}


def _folded(name: str) -> str:
    return name.strip().casefold().replace("_", " ")


def _texts(value: Any, name: str, levels: int = 0) -> Iterator[str]:
    """The texts of one type.

    Raises:
        Unreadable: a part of the value is neither a text nor names one.
    """
    if isinstance(value, Members):
        value = _named(value, name)
    if isinstance(value, list):
        if levels > _MOST_LEVELS:
            raise Unreadable("too many levels")
        for item in value:
            yield from _texts(item, name, levels + 1)
    elif isinstance(value, str):
        if value.strip():
            yield str(value.strip())
    elif value is not None:
        raise Unreadable(f"{value} is no text")


def _named(members: Members, name: str) -> str:
    """The text of an entity that is written as an object: its only text, numbers and its own type aside.

    Raises:
        Unreadable: it has none, or several.
    """
    rest = [
        (key, value)
        for key, value in members
        if not (isinstance(value, Number) and _folded(key) not in _TEXT_KEYS)
        and not (_folded(key) in _TYPE_KEYS and isinstance(value, str) and _folded(value) == _folded(name))
    ]
    if len(rest) != 1 or not isinstance(rest[0][1], str):
        raise Unreadable("an object with no single text")
    return rest[0][1]


def _tags(items: list[Any], spec: EntitiesAnswer, *, strict: bool) -> tuple[str, ...] | None:
    if not is_tags(items):
        return None
    names = [_type_of(item.partition("-")[2], spec) if item != "O" else "" for item in items]
    if None in names and (strict or not any(names)):
        return None
    # A tag of an unknown type stays as it is: it ends the entity in front of it, and is none that the task asks for.
    return tuple(
        item if not name else f"{item.partition('-')[0]}-{name}" for item, name in zip(items, names, strict=True)
    )


def _type_of(tag: str, spec: EntitiesAnswer) -> str | None:
    folded = _folded(tag)
    exact = [name for name in spec.types if _folded(name) == folded]
    longer = [name for name in spec.types if len(folded) >= _SHORTEST_PREFIX and _folded(name).startswith(folded)]
    found = exact or longer
    return found[0] if len(found) == 1 else None
