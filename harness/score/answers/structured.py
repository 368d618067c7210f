"""JSON values out of a text, also in the Python notation that models write instead of JSON."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

from harness.score.answers.fences import MOST_BLOCKS, fenced_blocks, only_block

_CLOSERS = {"{": "}", "[": "]"}
_PYTHON_CLOSERS = {**_CLOSERS, "(": ")", '"': '"', "'": "'"}
_MOST_BRACKETS = 1_000
"""A text with more pairs of brackets, or more that stay open, is not searched: it holds no single answer."""
_MOST_SCANS = 8
"""So often the search begins again behind a bracket in whose reach a quotation mark stays open."""
_MOST_LEVELS = 100
_MOST_MAGNITUDE = 308
_CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
_OPENER = re.compile(r"[{\[]")
_SIGNIFICANT = re.compile(r"[\"'{}\[\]\\]")
# What tells a broken value from a bracket of the prose.
_STRUCTURE = {"{": re.compile(r"[\"'{}\[\]:]"), "[": re.compile(r"[\"{}\[\]]|(?:\A|,)\s*+'")}
_BEGINS_VALUE = re.compile(r"\s*+(?:[\"'{\[]|[\w-]++\s*+:)")
# Where a bare list of numbers is an answer and no footnote: introduced, with nothing behind it on its line.
_INTRODUCED = re.compile(r"(?:\A|[:=]|\b(?:is|are))[\s*_`\"]*+\Z", re.IGNORECASE)
_FINISHED = re.compile(r"[ \t*_`\".]*+(?:\n|\Z)")


class Members(list[tuple[str, Any]]):
    """The members of a JSON object in their order, a key that is written twice included."""


class Number(str):
    """A number as it is written."""

    __slots__ = ()


class Unreadable(ValueError):
    """A text that holds a value which cannot be read."""


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=_refuse, strict=False
)


def read_json(text: str) -> Any | None:
    """Return the value of the whole text, of its fenced blocks, or of the one `{...}` or `[...]` in its prose.

    A value is read whole or not at all. None stands for: no value; several different ones; one that is broken or cut
    off, though a part of it could be read; an object in which a key is written twice. `[1]` in the middle of prose is a
    footnote and no value. Whole numbers are exact whatever their size, and a float without a fraction (1.0, 1e3) is the
    whole number. Tuples, and sets inside a value, become lists, keys become strings; more than 100 levels, NaN and
    infinity are not read. A bare `null` is None and thus no answer.
    """
    try:
        tree = json_tree(text)
        return None if tree is None else _plain(tree)
    except Unreadable:
        return None


def gold_json(text: str) -> Any:
    """Return the value that a right answer is: the whole text, or its only fenced block.

    Raises:
        ValueError: it is not one JSON value, or `null`.
    """
    tree = json_tree(text, strict=True)
    if tree is None:
        raise Unreadable("it is not a JSON value as a whole")
    return _plain(tree)


def json_tree(text: str, *, strict: bool = False, kind: type = object) -> Any | None:
    """Return the value in a text with objects as `Members` and numbers as `Number`; None when there is none.

    Values that are not of this `kind` (`Members`, `list`) are passed over where the text holds several.

    Raises:
        Unreadable: there is a value, but it is broken or cut off, or there are different ones.
    """
    found, tree = _parse(text)
    if found:
        return tree
    if strict:
        return _parse(only_block(text))[1]
    blocks = [block.text for block in fenced_blocks(text)]
    if len(blocks) == MOST_BLOCKS:
        raise Unreadable("too many blocks")
    parsed = [_parse(block) for block in blocks]
    if any(not ok and block.lstrip()[:1] in _CLOSERS for (ok, _), block in zip(parsed, blocks, strict=True)):
        raise Unreadable("a fenced value is broken")
    values = [value for ok, value in parsed if ok and isinstance(value, kind)]
    return _only(values) if values else _only(_in_prose(text, kind))


def canonical(value: Any) -> str:
    """Return a text that is equal for equal JSON values only: true is not 1, and the order of keys does not matter."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def _only(values: list[Any]) -> Any | None:
    try:
        different = len({canonical(_comparable(value)) for value in values}) > 1
    except RecursionError:
        raise Unreadable("too many levels") from None
    if different:
        raise Unreadable("several different values")
    return values[0] if values else None


def _comparable(tree: Any) -> Any:
    """The tree with objects as objects again, as far as that goes."""
    if isinstance(tree, Members):
        return {"members": [[key, _comparable(item)] for key, item in tree]}
    if isinstance(tree, Number):
        return {"number": tree}
    return [_comparable(item) for item in tree] if isinstance(tree, list) else tree


def _in_prose(text: str, kind: type) -> list[Any]:
    """The values between brackets in a text; lists of numbers only where there is nothing else and they are introduced.

    An index (`x[0]`), the text of a link and the arguments of LaTeX commands are prose.

    Raises:
        Unreadable: a bracket begins a value that is broken or never ends.
    """
    values: list[Any] = []
    light: list[Any] = []
    for begin, end in _bracketed(text):
        ok, value = _parse(text[begin:end])
        before = text[begin - 1 : begin]
        attached = (before.isascii() and before.isalnum()) or before in tuple(")]}\\_^")
        if (text[begin] == "[" and (attached or text[end : end + 1] == "(")) or (attached and not ok):
            continue
        if not ok:
            if _STRUCTURE[text[begin]].search(text[begin + 1 : end - 1]):
                raise Unreadable("a value is broken")
            continue
        wanted = isinstance(value, kind)
        if wanted and not _is_light(value):
            values.append(value)
        elif wanted and _stands_alone(text, begin, end, len(value)):
            light.append(value)
    return values or light


def _stands_alone(text: str, begin: int, end: int, size: int) -> bool:
    """Whether a list of numbers is introduced and ends its line, one of a single number (or none) the text."""
    introduced = _INTRODUCED.search(text[max(0, begin - 80) : begin]) is not None
    finished = _FINISHED.match(text, end)
    return introduced and finished is not None and (size > 1 or not text[finished.end() :].strip())


def _is_light(value: Any) -> bool:
    """Whether it may as well be a footnote, or an empty pair of brackets."""
    return not value or (not isinstance(value, Members) and all(isinstance(item, Number) for item in value))


def _bracketed(text: str) -> Iterator[tuple[int, int]]:
    """Where the outermost balanced brackets of a text begin and end.

    Raises:
        Unreadable: a bracket that begins a value is never closed, or there are too many.
    """
    place = scans = 0
    ends: dict[int, int | None] = {}
    for _ in range(_MOST_BRACKETS):
        match = _OPENER.search(text, place)
        if match is None:
            return
        begin = match.start()
        if begin not in ends:
            # What a scan finds out about the brackets inside one that stays open holds for them, too.
            ends, closed = _closings(text, begin)
            scans += not closed
            if scans > _MOST_SCANS:
                break
        end = ends[begin]
        if end is not None:
            yield begin, end
        elif _BEGINS_VALUE.match(text, begin + 1):
            raise Unreadable("a value is cut off")
        place = end or begin + 1
    raise Unreadable("too many brackets")


def _closings(text: str, begin: int) -> tuple[dict[int, int | None], bool]:
    """Where the bracket at `begin` and those inside it are closed, None for those that are not; whether `begin` is.

    Brackets inside quotation marks do not count.
    """
    ends: dict[int, int | None] = {}
    stack: list[int] = []
    quote, place = "", begin
    while (match := _SIGNIFICANT.search(text, place)) is not None:
        char, place = match[0], match.end()
        if char == "\\":
            place += 1 if quote else 0
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char if char == '"' or not text[place - 2].isalnum() else ""
        elif char in _CLOSERS:
            stack.append(place - 1)
            ends[place - 1] = None
        elif char == _CLOSERS[text[stack[-1]]]:
            ends[stack.pop()] = place
            if not stack:
                return ends, True
    return ends, False


def _parse(text: str) -> tuple[bool, Any]:
    """Whether a text is a JSON value, or its Python look-alike, and its tree."""
    text = text.strip()
    if not text:
        return False, None
    try:
        decoded = _DECODER.decode(text)
    except (ValueError, RecursionError):
        pass
    else:
        return True, decoded
    if _PYTHON_CLOSERS.get(text[0]) != text[-1]:
        return False, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stray backslash in a model's text is no concern of the user's
            node = ast.parse(text, mode="eval").body
        if isinstance(node, ast.Set):  # `{1}` in prose is LaTeX or a set of mathematics
            return False, None
        return True, _literal(node)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False, None


def _literal(node: ast.expr) -> Any:
    """The tree of a Python literal.

    Raises:
        ValueError: it holds something that has no counterpart in JSON.
    """
    match node:
        case ast.Dict(keys=keys, values=values):
            return Members((_key(key), _literal(value)) for key, value in zip(keys, values, strict=True))
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_literal(item) for item in items]
        case ast.Constant(value=bool() | None | str() as value):
            return value
        case ast.Constant(value=int() | float() as value):
            return Number(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if not isinstance(
            value, bool
        ):
            return Number(-value)
        case ast.Name(id=name) if name.lower() in _CONSTANTS:
            return _CONSTANTS[name.lower()]
    raise ValueError(f"{type(node).__name__} is not JSON")


def _key(node: ast.expr | None) -> str:
    key = None if node is None else _literal(node)
    if not isinstance(key, str):
        raise ValueError("not a key of JSON")
    return str(key)


def _plain(tree: Any, levels: int = 0) -> Any:
    """The value of a tree in JSON's types.

    Raises:
        Unreadable: it is too deep, a key is written twice, or a number is out of range.
    """
    if levels >= _MOST_LEVELS and isinstance(tree, list):
        raise Unreadable("too many levels")
    if isinstance(tree, Members):
        value = {key: _plain(item, levels + 1) for key, item in tree}
        if len(value) != len(tree):
            raise Unreadable("a key is written twice")
        return value
    if isinstance(tree, list):
        return [_plain(item, levels + 1) for item in tree]
    return _number(tree) if isinstance(tree, Number) else tree


def _number(text: str) -> int | float:
    try:
        if text.lstrip("-").isdigit():
            return int(text)
        value = Decimal(text)
    except (ValueError, ArithmeticError):
        raise Unreadable("a number is out of range") from None
    if not value.is_finite() or value.adjusted() > _MOST_MAGNITUDE or (value and not float(value)):
        raise Unreadable("a number is out of range")
    return int(value) if value == value.to_integral_value() else float(value)
