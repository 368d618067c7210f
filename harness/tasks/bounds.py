"""How much a template may do for one row.

A template comes with a task, which may be a stranger's. Jinja's sandbox keeps it from the machine, but not from loops
inside loops, strings that double, or lists that hold themselves many times over. Here each is an error, and at the same
place on every machine, because work is counted and not timed.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import jinja2

MOST_STEPS = 200_000
"""Turns of loops and filters of one rendering, and 64 characters or one item that a filter goes through; a call is
`CALL` of them."""
CALL = 4
MOST_CHARACTERS = 10_000_000
"""Characters that a template prints, or puts into one text."""
MOST_ITEMS = 100_000
"""Values in a list or mapping that a template makes, those inside it included."""
MOST_BITS = 4_096
"""Size of a whole number that a template computes."""
_WIDE = re.compile(r"%[^a-zA-Z%]*\*|\d{5,}|\{[^{}]*\{")
"""A width of five digits in a format, or one that is computed."""
TOO_WIDE = "a format fills up to more than 9,999 places, or to a computed number of them"
_LINES = frozenset({"indent", "expandtabs"})
_WIDTHS = frozenset({"center", "ljust", "rjust", "zfill", "batch", "slice", "round"})
_NEVER = frozenset({"translate", "maketrans", "to_bytes", "from_bytes"})


class TooMuchError(jinja2.TemplateRuntimeError):
    """A template does more than any prompt needs."""


class Spent:
    """What one rendering has done so far. Every method raises `TooMuchError` when that is too much."""

    def __init__(self) -> None:
        self.steps = self.characters = 0

    def step(self, count: int = 1, printed: int = 0) -> None:
        """Count steps, and characters that are printed."""
        self.steps += count
        self.characters += printed
        if self.steps > MOST_STEPS:
            raise TooMuchError(f"it takes more than {MOST_STEPS:,} steps for one row (loops inside loops?)")
        if self.characters > MOST_CHARACTERS:
            raise TooMuchError(f"it prints more than {MOST_CHARACTERS:,} characters for one row")

    def each(self, items: Iterable[Any], printed: int) -> Iterator[Any]:
        """The items of a loop, which prints so many characters beside them in each turn."""
        source = iter(items)

        def counted() -> Iterator[Any]:
            for item in source:
                self.step(1, printed)
                yield item

        return counted()

    def call(self, name: str, given: tuple[Any, ...]) -> None:
        """Count a filter, or the method of a value, which is the first argument, before it is called."""
        if name in _NEVER:
            raise TooMuchError(f"'{name}' is not for templates")
        if name in ("format", "format_map") and given and _WIDE.search(str(given[0])):
            raise TooMuchError(TOO_WIDE)
        self.step(CALL + sum(map(_size, given)) + (_made(name, given) >> 6))


def _size(value: Any) -> int:
    """The steps of going through a value once."""
    if isinstance(value, str | bytes):
        return len(value) >> 6
    return len(value) if isinstance(value, list | tuple | range | Mapping) else 0


def _made(name: str, given: tuple[Any, ...]) -> int:
    """About how many characters or values a filter or method makes of its arguments beyond what it is given."""
    text, rest = (given[0], given[1:]) if given else ("", ())
    width = max((len(one) if isinstance(one, str) else one for one in rest if isinstance(one, str | int)), default=8)
    if name == "join":
        items = next((one for one in given if isinstance(one, list | tuple)), ())
        between = sum(len(one) for one in given if isinstance(one, str))
        return between * len(items) + sum(len(item) for item in items if isinstance(item, str))
    if name == "sum" and isinstance(text, list | tuple):
        return len(text) * sum(len(item) for item in text if isinstance(item, Sized))
    if name in _WIDTHS:
        return width
    if not isinstance(text, str):
        return 0
    if name in _LINES:
        return (1 + text.count("\n") + text.count("\t")) * width
    if name == "replace" and len(rest) > 1 and isinstance(rest[0], str) and isinstance(rest[1], str):
        return text.count(rest[0]) * len(rest[1])
    if name == "wordwrap" and any(isinstance(one, str) for one in rest):
        return len(text) * max(len(one) for one in rest if isinstance(one, str))
    return 0


def check_size(made: Any) -> Any:
    """Return what a template has made.

    Raises:
        TooMuchError: it is larger than any prompt needs.
    """
    if isinstance(made, str | bytes):
        if len(made) > MOST_CHARACTERS:
            raise TooMuchError(f"it makes a text of more than {MOST_CHARACTERS:,} characters")
    elif isinstance(made, list | tuple | Mapping):
        waiting, seen = [made], 0
        while waiting:
            value = waiting.pop()
            seen += len(value)
            if seen > MOST_ITEMS:
                raise TooMuchError(f"it makes a list of more than {MOST_ITEMS:,} values")
            inner = value.values() if isinstance(value, Mapping) else value
            waiting += [one for one in inner if isinstance(one, list | tuple | Mapping)]
    return made


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Check what `left operator right` would make, before it is made.

    Raises:
        TooMuchError: it would be larger than any prompt needs.
    """
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * max(right, 1) if operator == "**" else left.bit_length() + right.bit_length()
        if operator in ("**", "*") and bits > MOST_BITS:
            raise TooMuchError(f"it computes a number of more than {MOST_BITS:,} bits")
    elif operator == "*":
        value, times = (left, right) if isinstance(right, int) else (right, left)
        most = MOST_CHARACTERS if isinstance(value, str | bytes) else MOST_ITEMS
        if isinstance(value, Sized) and isinstance(times, int) and len(value) * times > most:
            raise TooMuchError(f"it repeats a text or a list to more than {most:,} characters or values")
    elif operator == "%" and isinstance(left, str | bytes) and _WIDE.search(str(left)):
        raise TooMuchError(TOO_WIDE)


def bounded(name: str, function: Callable[..., Any], spent: Callable[[], Spent]) -> Callable[..., Any]:
    """Return a filter that counts its work and whose result is checked."""
    # Jinja hands some filters its own state first.
    own = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        values = given[own:]
        if name == "join" and values and inspect.isgenerator(values[0]):
            values = ([*values[0]], *values[1:])
        spent().call(name, (*values, *named.values()))
        return check_size(function(*given[:own], *values, **named))

    return call
