"""How much work a reader does on a text, counted and not timed.

A step is a line of Python that is run, a character that a regular expression passes over, or a character that is given
to a parser of the standard library.
"""

from __future__ import annotations

import ast
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import pytest

from harness.score.answers import entities, fences, source, sql, sql_statement, sql_tokens, structured

MODULES = (entities, fences, source, sql, sql_statement, sql_tokens, structured)


class _Pattern:
    """A regular expression that counts the characters it passes over."""

    def __init__(self, pattern: re.Pattern[str], count: Callable[[int], None]) -> None:
        self._pattern, self._count = pattern, count

    def match(self, text: str, *place: int) -> re.Match[str] | None:
        found = self._pattern.match(text, *place)
        self._count(1 if found is None else len(found[0]) + 1)
        return found

    def fullmatch(self, text: str, *place: int) -> re.Match[str] | None:
        self._count(len(text[slice(*place)] if place else text) + 1)
        return self._pattern.fullmatch(text, *place)

    def search(self, text: str, *place: int) -> re.Match[str] | None:
        found = self._pattern.search(text, *place)
        self._count((len(text) if found is None else found.end()) - (place[0] if place else 0) + 1)
        return found

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        place = 0
        for found in self._pattern.finditer(text):
            self._count(found.end() - place)
            place = found.end()
            yield found


class Steps:
    """Counts the steps of calls; regular expressions and parsers of the readers are replaced while it lives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._steps = 0
        for module in MODULES:
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern):
                    monkeypatch.setattr(module, name, _Pattern(value, self._add))
        decode, parse, connect = json.JSONDecoder.decode, ast.parse, sqlite3.connect
        counted = lambda call, text: (self._add(len(text)), call)[1]  # noqa: E731
        monkeypatch.setattr(json.JSONDecoder, "decode", lambda self, text: counted(decode, text)(self, text))
        monkeypatch.setattr(ast, "parse", lambda text, *rest, **names: counted(parse, text)(text, *rest, **names))
        monkeypatch.setattr(sql_statement, "sqlite3", _Sqlite(connect, self._add))

    def _add(self, steps: int) -> None:
        self._steps += steps

    def of(self, call: Callable[[str], object], text: str) -> int:
        """The steps that a call takes on a text."""
        self._steps = 0

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            self._steps += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call(text)
        finally:
            sys.settrace(before)
        return self._steps


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
