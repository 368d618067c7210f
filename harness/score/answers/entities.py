"""Entities out of a text: a JSON object from types to texts, or the tags of a sentence's tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.errors import nearest
from harness.score.answers.structured import Members, Number, Unreadable, json_tree
from harness.tasks.tags import is_tags
from harness.tasks.task import EntitiesAnswer

Entities = dict[str, tuple[str, ...]]
_TEXT_KEYS = ("text", "name", "full name", "entity", "entity name", "entity text", "value", "word", "mention", "span")
_TYPE_KEYS = ("type", "label", "category", "entity type", "tag")
_SHORTEST_PREFIX = 3
_MOST_LEVELS = 20


def read_entities(text: str, spec: EntitiesAnswer) -> Entities | tuple[str, ...] | None:
    """Return the entities of every type of `spec`, () for absent ones, or the sentence's tags; None without either.

    Types are compared without case; unknown ones are dropped, but an object with unknown types alone is None. A type
    that is written twice has both lists. A single value counts as a list of one; null and empty texts are left out;
    numbers become text as written. An object in place of a text is the text that it names (`{"text": "Ann", "start":
    0}`), and so is a list of a text and its two offsets (`["Ann", 0, 3]`). Where any part has no such reading (true, an
    object with two texts), all is None: no entity is ever lost from an answer that counts as read.

    A list of tags (`["B-person", "I-person", "O"]`) is returned as a tuple of tags with the types of `spec`; a tag may
    shorten a type to three or more of its first letters (PER for person).
    """
    try:
        tree = json_tree(text, kind=Members)
        found, known, unknown = _read(json_tree(text, kind=list) if tree is None else tree, spec)
    except Unreadable:
        return None
    return None if unknown and not known else found


def gold_entities(text: str, spec: EntitiesAnswer) -> Entities | tuple[str, ...]:
    """Return the entities that a right answer is: the whole text, or its only fenced block.

    Raises:
        ValueError: it is neither an object nor a list of tags, or has a type that is not one of `spec`.
    """
    found, _, unknown = _read(json_tree(text, strict=True), spec)
    if unknown:
        raise Unreadable(f"unknown type '{unknown[0]}'{nearest(unknown[0], spec.types)}")
    return found


def _read(tree: Any, spec: EntitiesAnswer) -> tuple[Entities | tuple[str, ...], int, list[str]]:
    """The entities or tags of a tree, how many of its types are known, and those that are not.

    Raises:
        Unreadable: it is neither, or a part of it has no reading.
    """
    if isinstance(tree, Members):
        return _entities(tree, spec)
    if isinstance(tree, list) and is_tags(tree):
        return _tags(tree, spec)
    raise Unreadable("it is neither a JSON object from types to lists of texts nor a list of tags")


def _entities(members: Members, spec: EntitiesAnswer) -> tuple[Entities, int, list[str]]:
    names = {_folded(name): name for name in spec.types}
    found: dict[str, list[str]] = {name: [] for name in spec.types}
    unknown = [key for key, _ in members if _folded(key) not in names]
    for key, value in members:
        name = names.get(_folded(key))
        if name is not None:
            found[name].extend(_texts(value, name))
    return {name: tuple(items) for name, items in found.items()}, len(members) - len(unknown), unknown


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
        if levels and any(isinstance(item, Number) for item in value):
            value = _located(value)
        for item in value:
            yield from _texts(item, name, levels + 1)
    elif isinstance(value, str):
        if value.strip():
            yield str(value.strip())
    elif value is not None:
        raise Unreadable(f"{value} is no text")


def _located(items: list[Any]) -> list[str]:
    """The text of an entity that is written with its offsets, or the numbers of a list of nothing else.

    Raises:
        Unreadable: it is neither.
    """
    texts = [item for item in items if not isinstance(item, Number)]
    if not texts:
        return items
    if len(items) != 3 or len(texts) != 1 or not isinstance(texts[0], str):
        raise Unreadable("a list of texts and numbers")
    return texts


def _named(members: Members, name: str) -> str:
    """The text of an entity that is written as an object: its only text, numbers and its own type aside.

    Raises:
        Unreadable: it has none or several, or one of which its key does not say that it is the entity's.
    """
    rest = [
        (key, value)
        for key, value in members
        if not (isinstance(value, Number) and _folded(key) not in _TEXT_KEYS)
        and not (_folded(key) in _TYPE_KEYS and isinstance(value, str) and _folded(value) == _folded(name))
    ]
    if len(rest) != 1 or _folded(rest[0][0]) not in (*_TEXT_KEYS, _folded(name)) or not isinstance(rest[0][1], str):
        raise Unreadable("an object with no single text")
    return rest[0][1]


def _tags(items: list[str], spec: EntitiesAnswer) -> tuple[tuple[str, ...], int, list[str]]:
    read, unknown = [], []
    for item in items:
        part, _, kind = item.partition("-")
        name = _type_of(kind, spec) if kind else None
        if kind and name is None:
            unknown.append(kind)
        # A tag of an unknown type stays as it is: it ends the entity in front of it, and is none that is asked for.
        read.append(f"{part}-{name}" if name else item)
    return tuple(read), sum(item != "O" for item in items) - len(unknown), unknown


def _type_of(tag: str, spec: EntitiesAnswer) -> str | None:
    folded = _folded(tag)
    exact = [name for name in spec.types if _folded(name) == folded]
    longer = [name for name in spec.types if len(folded) >= _SHORTEST_PREFIX and _folded(name).startswith(folded)]
    found = exact or longer
    return found[0] if len(found) == 1 else None
