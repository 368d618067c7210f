"""How much work a reader does on a text, counted and not timed.

A step is a line of Python that is run, a place of the text that a regular expression looks at or begins at, going back
included, or a character that is given to a parser of the standard library. The readers are imported again with regular
expressions that count; these have their own backtracking matcher, and `re` still says what matches.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from types import FrameType, ModuleType
from typing import Any

import pytest

Next = Callable[[int], bool]
Node = Callable[[int, Next], bool]
COUNTED = ("harness.folding", "harness.score.answers", "harness.score.metrics.sql")
"""Modules whose regular expressions count, with all those whose names begin with one of these."""
SINGLE = (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN)


class Steps:
    """Counts the steps of calls. `exact` says whether regular expressions count every place they look at.

    Otherwise they count the characters they pass over, which takes a hundredth of the time.
    """

    def __init__(self) -> None:
        self.count = 0
        self.exact = True

    def of(self, call: Callable[[str], object], text: str, *, exact: bool = True) -> int:
        """The steps that a call takes on a text."""
        self.count, self.exact = 0, exact

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "call" and frame.f_code.co_filename == __file__:
                return None
            self.count += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call(text)
        finally:
            sys.settrace(before)
        return self.count


@contextmanager
def counting() -> Iterator[Steps]:
    """Import the readers again, so that all they do is counted; `importlib.import_module` gives them while it lasts."""
    steps = Steps()
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(COUNTED)}
    compiling = re._compile  # type: ignore[attr-defined]
    patterns: dict[tuple[str, int], Pattern] = {}

    def compile_counted(pattern: Any, flags: int) -> Any:
        found = compiling(pattern, flags)
        caller = sys._getframe(2).f_globals
        name = caller.get("__name__", "")
        if not name.startswith(COUNTED) or caller is not getattr(sys.modules.get(name), "__dict__", None):
            return found
        return patterns.setdefault((found.pattern, found.flags), Pattern(found, steps))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(re, "_compile", compile_counted)
        _count_parsers(patch, steps)
        try:
            yield steps
        finally:
            for name in [name for name in sys.modules if name.startswith(COUNTED)]:
                del sys.modules[name]
            sys.modules.update(kept)
            for name, module in kept.items():
                parent, _, child = name.rpartition(".")
                setattr(sys.modules[parent], child, module)


def _count_parsers(patch: pytest.MonkeyPatch, steps: Steps) -> None:
    decode, parse, connect = json.JSONDecoder.decode, ast.parse, sqlite3.connect

    def add(size: int) -> None:
        steps.count += size

    def counted(call: Callable[..., Any], text: str) -> Callable[..., Any]:
        add(len(text))
        return call

    patch.setattr(json.JSONDecoder, "decode", lambda self, text: counted(decode, text)(self, text))
    patch.setattr(ast, "parse", lambda text, *rest, **names: counted(parse, text)(text, *rest, **names))
    statement = importlib.import_module("harness.score.answers.sql_statement")
    patch.setattr(statement, "sqlite3", _Sqlite(connect, add))


class _Sqlite(ModuleType):
    def __init__(self, connect: Callable[..., sqlite3.Connection], count: Callable[[int], None]) -> None:
        super().__init__("sqlite3")
        self.__dict__.update(vars(sqlite3))
        self._connect, self._count = connect, count
        self.connect = self._counted

    def _counted(self, *arguments: Any) -> Any:
        connection = self._connect(*arguments)
        count = self._count

        class Counted:
            def execute(self, statement: str) -> object:
                count(len(statement))
                return connection.execute(statement)

            def close(self) -> None:
                connection.close()

        return Counted()


class Pattern:
    """A compiled pattern whose searches are also counted."""

    def __init__(self, real: re.Pattern[str], steps: Steps) -> None:
        self.real, self.steps = real, steps
        self._text = ""
        self._end = 0
        self._groups: dict[int, str] = {}
        self._node = self._sequence(list(_parser.parse(real.pattern, real.flags)), real.flags)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def match(self, text: str, *place: int) -> re.Match[str] | None:
        return self._counted(self.real.match(text, *place), text, place, anchored=True)

    def fullmatch(self, text: str, *place: int) -> re.Match[str] | None:
        return self._counted(self.real.fullmatch(text, *place), text, place, anchored=True)

    def search(self, text: str, *place: int) -> re.Match[str] | None:
        return self._counted(self.real.search(text, *place), text, place)

    def finditer(self, text: str, *place: int) -> Iterator[re.Match[str]]:
        begin = place[0] if place else 0
        for found in self.real.finditer(text, *place):
            self._counted(found, text, (begin, *place[1:]))
            yield found
            begin = found.end() + (found.start() == found.end())
        self._counted(None, text, (begin, *place[1:]))

    def sub(self, new: Any, text: str, count: int = 0) -> str:
        for _ in self.finditer(text):
            pass
        return self.real.sub(new, text, count)

    def split(self, text: str, maxsplit: int = 0) -> list[Any]:
        for _ in self.finditer(text):
            pass
        return self.real.split(text, maxsplit)

    def _counted(
        self, found: re.Match[str] | None, text: str, place: tuple[int, ...], *, anchored: bool = False
    ) -> re.Match[str] | None:
        """Count the search that found this, and return it."""
        begin = place[0] if place else 0
        end = min(place[1], len(text)) if len(place) > 1 else len(text)
        if self.steps.exact:
            traced, limit = sys.gettrace(), sys.getrecursionlimit()
            sys.settrace(None)
            sys.setrecursionlimit(100_000)
            try:
                self._walk(text, begin, end, anchored)
            finally:
                sys.setrecursionlimit(limit)
                sys.settrace(traced)
        elif found is not None:
            self.steps.count += found.end() - begin + 1
        else:
            self.steps.count += 1 if anchored else end - begin + 1
        return found

    def _walk(self, text: str, begin: int, end: int, anchored: bool) -> bool:
        self._text, self._end, self._groups = text, end, {}
        for start in [begin] if anchored else range(begin, end + 1):
            self.steps.count += 1
            if self._node(start, lambda _: True):
                return True
        return False

    def _sequence(self, items: list[Any], flags: int) -> Node:
        nodes = [self._of(op, value, flags) for op, value in items]

        def run(index: int, at: int, then: Next) -> bool:
            if index == len(nodes):
                return then(at)
            return nodes[index](at, lambda after: run(index + 1, after, then))

        return nodes[0] if len(nodes) == 1 else lambda at, then: run(0, at, then)

    def _of(self, op: Any, value: Any, flags: int) -> Node:
        if op in SINGLE:
            return self._char(op, value, flags)
        if op is c.BRANCH:
            return self._branch([self._sequence(list(option), flags) for option in value[1]])
        if op is c.SUBPATTERN:
            group, add, remove, inner = value
            return self._group(group, self._sequence(list(inner), (flags | add) & ~remove))
        if op is c.GROUPREF:
            return self._again(value)
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
        assert op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT), f"{op} of {self.real.pattern} is not counted"
        return self._repeat(op, *value, flags)

    def _branch(self, options: list[Node]) -> Node:
        def run(at: int, then: Next) -> bool:
            for option in options:  # noqa: SIM110 (`any` would take the interpreter's own stack)
                if option(at, then):
                    return True
            return False

        return run

    def _group(self, group: int | None, node: Node) -> Node:
        if group is None:
            return node

        def run(at: int, then: Next) -> bool:
            def after(end: int) -> bool:
                self._groups[group] = self._text[at:end]
                return then(end)

            return node(at, after)

        return run

    def _again(self, group: int) -> Node:
        def run(at: int, then: Next) -> bool:
            wanted = self._groups.get(group)
            self.steps.count += len(wanted or "")
            return wanted is not None and self._text.startswith(wanted, at, self._end) and then(at + len(wanted))

        return run

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
        single = len(inner) == 1 and inner[0][0] in SINGLE
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
                self.steps.count += 1
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
            self.steps.count += 1
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
