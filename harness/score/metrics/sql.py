"""Metrics of SQL answers about one table."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from harness.score.metrics.base import Example, FloatArray, Metric, MetricFactory, ratio
from harness.tasks.task import SqlAnswer

_QUOTED = re.compile(r"(?<![^\s(=<>,])(?:'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\])(?![^\s)=<>,;])")


_SIMPLE = re.compile(
    r"select\s+(?P<columns>.+?)\s+from\s+(?P<table>.+?)(?:\s+where\s+(?P<where>.+))?", re.IGNORECASE | re.DOTALL
)


_BEYOND = re.compile(
    r"\b(?:join|group\s+by|order\s+by|having|limit|union|intersect|except|or|between|case)\b|\(\s*select\b",
    re.IGNORECASE,
)


_AGGREGATE = re.compile(r"(?i:(max|min|count|sum|avg)\s*\(\s*(.+?)\s*\))|(MAX|MIN|COUNT|SUM|AVG)\s+(.+)", re.DOTALL)


_CONDITION = re.compile(r"(.+?)\s*(<=|>=|<>|!=|==|=|<|>)\s*(.+)", re.DOTALL)


_OPERATORS = {"==": "=", "<>": "!="}


def execution_accuracy(answer: SqlAnswer) -> Metric:
    """Share of rows whose query gives the same result as a gold query on the row's table. Range [0, 1].

    Both run in an in-memory SQLite database with the row's table under the name "table". Results are compared as
    multisets of rows, in order where the gold query orders; numbers to nine digits, texts without case. Queries are
    read-only and limited in steps, rows and value size; one that fails or exceeds a limit is wrong. Rows that come
    without table rows, or whose gold query fails, cannot be judged and do not count. Two queries that both find nothing
    agree, as in WikiSQL's own scorer (V. Zhong et al., arXiv 1709.00103, 2017).
    """

    def stats(example: Example) -> tuple[float, float]:
        connection = open_table(example.fields.get(answer.table))
        if connection is None:
            return 0.0, 0.0
        try:
            golds = [query(connection, gold) for gold in example.gold if gold is not None]
            judged = [gold for gold in golds if gold is not None]
            if not judged:
                return 0.0, 0.0
            found = None if example.answer is None else query(connection, example.answer)
        finally:
            connection.close()
        return float(found is not None and any(_same(found, gold) for gold in judged)), 1.0

    def summary(means: FloatArray) -> FloatArray:
        return ratio(means[..., 0], means[..., 1])

    return Metric("execution_accuracy", stats, summary, kind="corpus", scorable=1)


def _same(found: Result, gold: Result) -> bool:
    return found.rows == gold.rows if gold.ordered else sorted(found.rows) == sorted(gold.rows)


def sql_set_match(answer: SqlAnswer) -> Metric:
    """Share of rows whose query has the same columns, aggregates, table and conditions as a gold query. [0, 1].

    Columns and conditions are compared as sets, names and values without case, quotes and surplus spaces, numbers as
    numbers; so also unquoted queries such as WikiSQL's own print (`SELECT COUNT School FROM table WHERE No. = 4`)
    compare. Queries with more than SELECT, FROM, WHERE and AND are compared as normalised text.
    """

    def stats(example: Example) -> tuple[float]:
        if example.answer is None:
            return (0.0,)
        ours = parts(example.answer)
        return (float(any(ours == parts(gold) for gold in example.gold if gold is not None)),)

    return Metric("sql_set_match", stats, kind="binary")


@lru_cache(maxsize=4096)
def parts(statement: str) -> tuple[Any, ...]:
    """Return the comparable parts of a query: columns, table and conditions, or its normalised text."""
    quoted: list[str] = []

    def mask(match: re.Match[str]) -> str:
        quoted.append(match[0])
        return f"\x00{len(quoted) - 1}\x00"

    masked = _QUOTED.sub(mask, statement.strip().rstrip(";").strip())
    simple = _SIMPLE.fullmatch(masked)
    if simple is None or _BEYOND.search(masked):
        return ("text", _plain(masked, quoted))
    columns = frozenset(_column(part, quoted) for part in simple["columns"].split(","))
    conditions = frozenset(
        _condition(part, quoted) for part in re.split(r"\s+and\s+", simple["where"] or "", flags=re.IGNORECASE) if part
    )
    return ("parts", columns, _plain(simple["table"], quoted), conditions)


def _column(text: str, quoted: Sequence[str]) -> tuple[str, str]:
    """Aggregate ("" for none) and column."""
    match = _AGGREGATE.fullmatch(text.strip())
    if match is None:
        return "", _plain(text, quoted)
    return (match[1] or match[3]).lower(), _plain(match[2] or match[4], quoted)


def _condition(text: str, quoted: Sequence[str]) -> tuple[str, ...]:
    match = _CONDITION.fullmatch(text.strip().removeprefix("(").removesuffix(")"))
    if match is None:
        return (_plain(text, quoted),)
    return _plain(match[1], quoted), _OPERATORS.get(match[2], match[2]), _value(_plain(match[3], quoted))


def _value(text: str) -> str:
    try:
        return str(float(text))
    except ValueError:
        return text


def _plain(text: str, quoted: Sequence[str]) -> str:
    """The text with what was quoted put back without its quotation marks, lower-cased and single-spaced."""

    def unquoted(match: re.Match[str]) -> str:
        literal = quoted[int(match[1])]
        mark = literal[0]
        return literal[1:-1].replace(mark * 2, mark)

    return " ".join(re.sub("\x00([0-9]+)\x00", unquoted, text).casefold().split())


_SQL = frozenset({"sql"})


RECIPES = {
    "execution_accuracy": MetricFactory(execution_accuracy, _SQL),
    "sql_set_match": MetricFactory(sql_set_match, _SQL),
}


MOST_ROWS = 10_000


MOST_STEPS = 20_000_000
"""Instructions of SQLite's virtual machine, about a second; a count, so that a score does not depend on the machine."""


MOST_BYTES = 1_000_000
"""Length of a single value or statement."""


_EVERY = 10_000


_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})


# Without quotation marks the name is a keyword, and no query about it could run.
_BARE_NAME = re.compile(r"\b(from|join)\s+table\b(?!['\"])", re.IGNORECASE)


_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)


_LITERAL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


_FAILURES = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of a query, values as comparable text; `ordered` when the query says in which order."""

    rows: list[tuple[str, ...]]
    ordered: bool


def open_table(table: Any) -> sqlite3.Connection | None:
    """Return a read-only database with the table `{header, rows, types}`; None when it has no rows or is malformed.

    Columns of type `real` hold numbers where they can; all others hold text that compares without case, because
    WikiSQL's conditions are in lower case. A repeated column name gets a number.
    """
    header, rows = _part(table, "header"), _part(table, "rows")
    if not header or not rows or any(len(row) != len(header) for row in rows):
        return None
    types = _part(table, "types") or ["text"] * len(header)
    columns = []
    seen: dict[str, int] = {}
    for name, kind in zip(map(str, header), types, strict=False):
        seen[name.lower()] = count = seen.get(name.lower(), 0) + 1
        unique = (name if count == 1 else f"{name} {count}").replace('"', '""')
        columns.append(f'"{unique}" {"REAL" if kind in ("real", "number") else "TEXT COLLATE NOCASE"}')
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute(f'CREATE TABLE "table" ({", ".join(columns)})')
        marks = ", ".join("?" * len(columns))
        values = [[one if isinstance(one, int | float | None) else str(one) for one in row] for row in rows]
        connection.executemany(f'INSERT INTO "table" VALUES ({marks})', values)  # noqa: S608 (marks are "?")
    except _FAILURES:
        connection.close()
        return None
    _restrict(connection)
    return connection


def query(connection: sqlite3.Connection, statement: str) -> Result | None:
    """Run one query; None when it fails, does anything but read, or takes more than the limits allow."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += _EVERY
        return steps > MOST_STEPS

    connection.set_progress_handler(count, _EVERY)
    try:
        rows = connection.execute(_BARE_NAME.sub(r'\1 "table"', statement)).fetchmany(MOST_ROWS + 1)
    except _FAILURES:
        return None
    if len(rows) > MOST_ROWS:
        return None
    ordered = _ORDERED.search(_LITERAL.sub("", statement)) is not None
    return Result([tuple(map(_comparable, row)) for row in rows], ordered)


def _restrict(connection: sqlite3.Connection) -> None:
    def authorise(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        harmless = action in _ALLOWED and second not in ("load_extension", "readfile", "writefile")
        return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorise)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MOST_BYTES)


def _part(table: Any, name: str) -> list[Any]:
    value = table.get(name) if isinstance(table, Mapping) else None
    return [] if value is None else list(value)


def _comparable(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:.9g}"
    return "\x00null" if value is None else str(value).strip().casefold()
