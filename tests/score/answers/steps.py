"""Counts what a reader does: the steps of a backtracking regex engine, and the lines of Python it runs.

Time depends on the machine; the number of steps does not. The readers' modules are imported a second time with every
pattern they compile replaced by one that is also walked here, in pure Python, the way `re` walks it.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import FrameType, ModuleType
from typing import Any

Next = Callable[[int], bool]
Node = Callable[[int, Next], bool]
READERS = "harness.score.answers"


class Counter:
    """The steps so far."""

    def __init__(self) -> None:
        self.steps = 0


class Pattern:
    """A compiled pattern whose searches are also counted."""

    def __init__(self, real: re.Pattern[str], counter: Counter) -> None:
        self.real, self.counter = real, counter
        self._text = ""
        self._end = 0
        self._ends: list[int] = []
        self._node = self._sequence(list(_parser.parse(real.pattern, real.flags)), real.flags)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def match(self, text: str, *place: int) -> re.Match[str] | None:
        self._walk(text, place, anchored=True)
        return self.real.match(text, *place)

    def fullmatch(self, text: str, *place: int) -> re.Match[str] | None:
        self._walk(text, place, anchored=True)
        return self.real.fullmatch(text, *place)

    def search(self, text: str, *place: int) -> re.Match[str] | None:
        self._walk(text, place)
        return self.real.search(text, *place)

    def finditer(self, text: str, *place: int) -> Iterator[re.Match[str]]:
        self._walk_all(text, place)
        return self.real.finditer(text, *place)

    def sub(self, new: Any, text: str) -> str:
        self._walk_all(text, ())
        return self.real.sub(new, text)

    def _walk_all(self, text: str, place: tuple[int, ...]) -> None:
        begin = place[0] if place else 0
        while (found := self._walk(text, (begin, *place[1:]))) is not None:
            begin = max(found, begin + 1)

    def _walk(self, text: str, place: tuple[int, ...], *, anchored: bool = False) -> int | None:
        """Count a search; return where the match ends."""
        self._text, begin = text, place[0] if place else 0
        self._end = min(place[1], len(text)) if len(place) > 1 else len(text)
        self._ends = []

        def done(at: int) -> bool:
            self._ends.append(at)
            return True

        for start in [begin] if anchored else range(begin, self._end + 1):
            self.counter.steps += 1
            if self._node(start, done):
                return self._ends[-1]
        return None

    def _sequence(self, items: list[Any], flags: int) -> Node:
        nodes = [self._of(op, value, flags) for op, value in items]

        def run(index: int, at: int, then: Next) -> bool:
            if index == len(nodes):
                return then(at)
            return nodes[index](at, lambda after: run(index + 1, after, then))

        return lambda at, then: run(0, at, then)

    def _of(self, op: Any, value: Any, flags: int) -> Node:
        if op in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN):
            return self._char(op, value, flags)
        if op is c.BRANCH:
            options = [self._sequence(list(option), flags) for option in value[1]]
            return lambda at, then: any(option(at, then) for option in options)
        if op is c.SUBPATTERN:
            _, add, remove, inner = value
            return self._sequence(list(inner), (flags | add) & ~remove)
        if op in (c.ASSERT, c.ASSERT_NOT):
            direction, inner = value
            node, width = self._sequence(list(inner), flags), inner.getwidth()[0] if direction < 0 else 0

            def look(at: int, then: Next) -> bool:
                seen = at - width >= 0 and node(at - width, lambda _: True)
                return seen == (op is c.ASSERT) and then(at)

            return look
        if op is c.AT:
            return lambda at, then: self._at(value, at, flags) and then(at)
        if op is c.ATOMIC_GROUP:
            return self._atomic(self._sequence(list(value), flags))
        if op is c.FAILURE:
            return lambda at, then: False
        return self._repeat(op, *value, flags)

    def _repeat(self, op: Any, low: int, high: Any, items: Any, flags: int) -> Node:
        most = sys.maxsize if high is c.MAXREPEAT else int(high)
        inner = list(items)
        node = self._sequence(inner, flags)
        if op is c.MIN_REPEAT:

            def lazy(at: int, then: Next, count: int = 0) -> bool:
                if count >= low and then(at):
                    return True
                return count < most and node(at, lambda after: after > at and lazy(after, then, count + 1))

            return lazy
        single = len(inner) == 1 and inner[0][0] in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN)
        if not single and op is c.MAX_REPEAT:

            def greedy(at: int, then: Next, count: int = 0) -> bool:
                if count < most and node(at, lambda after: after > at and greedy(after, then, count + 1)):
                    return True
                return count >= low and then(at)

            return greedy

        def run(at: int, then: Next) -> bool:
            ends = [at]
            while len(ends) <= most and node(ends[-1], lambda after: ends.append(after) or True):  # type: ignore[func-returns-value]
                if ends[-1] == ends[-2]:
                    break
            if len(ends) <= low:
                return False
            if op is c.POSSESSIVE_REPEAT:
                return then(ends[-1])
            for end in reversed(ends[low:]):
                self.counter.steps += 1
                if then(end):
                    return True
            return False

        return run

    def _atomic(self, node: Node) -> Node:
        def run(at: int, then: Next) -> bool:
            ends: list[int] = []
            return node(at, lambda after: ends.append(after) or True) and then(ends[-1])  # type: ignore[func-returns-value]

        return run

    def _char(self, op: Any, value: Any, flags: int) -> Node:
        def fits(char: str) -> bool:
            forms = {char, char.lower(), char.upper()} if flags & re.IGNORECASE else {char}
            if op is c.ANY:
                return bool(flags & re.DOTALL) or char != "\n"
            if op is c.LITERAL:
                return any(form == chr(value) for form in forms)
            if op is c.NOT_LITERAL:
                return all(form != chr(value) for form in forms)
            negated = value[0][0] is c.NEGATE
            return any(_in(item, form) for item in value for form in forms) != negated

        known: dict[str, bool] = {}

        def run(at: int, then: Next) -> bool:
            self.counter.steps += 1
            if at >= self._end:
                return False
            char = self._text[at]
            if char not in known:
                known[char] = fits(char)
            return known[char] and then(at + 1)

        return run

    def _at(self, kind: Any, at: int, flags: int) -> bool:
        text = self._text
        if kind in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
            return at == 0 or (bool(flags & re.MULTILINE) and kind is c.AT_BEGINNING and text[at - 1] == "\n")
        if kind is c.AT_END_STRING:
            return at == self._end
        if kind is c.AT_END:
            return at == self._end or text[at : self._end] == "\n" or (bool(flags & re.MULTILINE) and text[at] == "\n")
        edge = (at > 0 and _word(text[at - 1])) != (at < self._end and _word(text[at]))
        return edge == (kind is c.AT_BOUNDARY)


def _word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _in(item: tuple[Any, Any], char: str) -> bool:
    op, value = item
    if op is c.LITERAL:
        return char == chr(value)
    if op is c.RANGE:
        return value[0] <= ord(char) <= value[1]
    if op is c.CATEGORY:
        kinds = {
            c.CATEGORY_DIGIT: char.isdecimal(), c.CATEGORY_NOT_DIGIT: not char.isdecimal(),
            c.CATEGORY_SPACE: char.isspace(), c.CATEGORY_NOT_SPACE: not char.isspace(),
            c.CATEGORY_WORD: _word(char), c.CATEGORY_NOT_WORD: not _word(char),
        }  # fmt: skip
        return kinds[value]
    return False


@contextmanager
def counted_readers() -> Iterator[tuple[ModuleType, Counter]]:
    """The readers, imported anew so that all they do is counted, and the counter."""
    counter, compiling = Counter(), re.compile
    names = [name for name in sys.modules if name == "harness.folding" or name.startswith(READERS)]
    kept = {name: sys.modules.pop(name) for name in names}

    def compile_counted(pattern: Any, flags: int = 0) -> Any:
        real = compiling(pattern, flags)
        module = sys._getframe(1).f_globals.get("__name__", "")
        return Pattern(real, counter) if module == "harness.folding" or module.startswith(READERS) else real

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    re.compile = compile_counted  # type: ignore[assignment]
    try:
        yield importlib.import_module(READERS), counter
    finally:
        re.compile = compiling
        sys.setrecursionlimit(limit)
        for name in [name for name in sys.modules if name == "harness.folding" or name.startswith(READERS)]:
            del sys.modules[name]
        sys.modules.update(kept)
        for name, module in kept.items():
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, module)


def lines_of(run: Callable[[], Any]) -> int:
    """How many lines of the readers' own code a call runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "call":
            ours = "/harness/" in frame.f_code.co_filename
            return trace if ours else None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count
