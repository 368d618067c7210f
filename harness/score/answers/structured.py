"""JSON values and entity lists out of a text, also in the Python notation that models write instead of JSON."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from harness.score.answers.text import fenced
from harness.tasks.task import EntitiesAnswer

_CLOSERS = {"{": "}", "[": "]"}
_MOST_OPENERS = 32
"""Chatter is searched at so many opening brackets, which bounds the time on a text full of them."""
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}


def read_json(text: str) -> Any | None:
    """Return the value of the whole text, of a fenced block, or of the first balanced `{...}` or `[...]` that parses.

    Tuples and sets become lists, keys become strings. A bare `null` is None and thus no answer.
    """
    stripped = text.strip()
    for candidate in (stripped, *fenced(text)):
        value = _parse(candidate)
        if value is not None:
            return value
    return next((value for value in map(_parse, _balanced(text)) if value is not None), None)


def read_entities(text: str, spec: EntitiesAnswer) -> dict[str, tuple[str, ...]] | None:
    """Return the entities of every type of `spec`, () for absent ones; None when the text holds no JSON object.

    Types are compared without case; unknown ones are dropped, but an object with unknown types alone is None. A single
    value counts as a list of one; null and empty texts are left out; numbers become text.
    """
    value = read_json(text)
    if not isinstance(value, dict):
        return None
    known = {_key(name): name for name in spec.types}
    found: dict[str, list[str]] = {name: [] for name in spec.types}
    seen = False
    for key, items in value.items():
        name = known.get(_key(key))
        if name is not None:
            seen = True
            found[name].extend(_texts(items))
    if value and not seen:
        return None
    return {name: tuple(items) for name, items in found.items()}


def _key(name: str) -> str:
    return name.strip().casefold().replace("_", " ")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        if value.strip():
            yield value.strip()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _parse(text: str) -> Any | None:
    text = text.strip()
    if not text:
        return None
    try:
        return _plain(json.loads(text, parse_constant=_refuse, strict=False))
    except (ValueError, RecursionError):
        pass
    if text[0] not in "{[(\"'":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stray backslash in a model's text is no concern of the user's
            tree = _Constants().visit(ast.parse(text, mode="eval"))
            return _plain(ast.literal_eval(tree))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class _Constants(ast.NodeTransformer):
    """Turns JSON's `true`, `false` and `null` in an otherwise Python value into Python's."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace a name that is one of JSON's constants."""
        if node.id.lower() in _CONSTANTS:
            return ast.copy_location(ast.Constant(_CONSTANTS[node.id.lower()]), node)
        return node


def _plain(value: Any) -> Any:
    """The value in JSON's types.

    Raises:
        ValueError: a part of it has no counterpart in JSON.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and value - value == 0):
        return value
    raise ValueError(f"{type(value).__name__} is not JSON")


def _balanced(text: str) -> Iterator[str]:
    """The balanced bracketed parts of a text, from left to right, not those inside a part already tried."""
    start = tried = 0
    while tried < _MOST_OPENERS:
        openers = [place for place in (text.find("{", start), text.find("[", start)) if place >= 0]
        if not openers:
            return
        begin = min(openers)
        end = _closing(text, begin)
        if end is not None:
            yield text[begin:end]
        start, tried = begin + 1, tried + 1


def _closing(text: str, begin: int) -> int | None:
    """Where the bracket at `begin` is closed, brackets inside quotation marks not counted; None when it is not."""
    stack: list[str] = []
    quote = ""
    escaped = False
    for place in range(begin, len(text)):
        char = text[place]
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char == '"' or (char == "'" and not text[place - 1].isalnum()):
            quote = char
        elif char in _CLOSERS:
            stack.append(_CLOSERS[char])
        elif stack and char == stack[-1]:
            stack.pop()
            if not stack:
                return place + 1
    return None
