"""Execution of SQL answers: one table in an in-memory SQLite database that only answers queries, within limits."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.score.answers.sql_tokens import Token, tokens, with_table_quoted
from harness.score.metrics.base import Example, FloatArray, Metric, MetricFactory, ratio, share_of
from harness.tasks.task import SqlAnswer

MOST_ROWS = 10_000
MOST_STEPS = 20_000_000
"""Instructions of SQLite's virtual machine, about a second; a count, so that a score does not depend on the machine."""
MOST_BYTES = 1_000_000
"""Length of a single value or statement."""
_EVERY = 10_000
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_FAILURES = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError)
_DIGITS = 15
"""As many as a double holds for certain: sums of the same numbers in another order agree, different numbers do not."""
Row = tuple[str, ...]


def execution_accuracy(answer: SqlAnswer) -> Metric:
    """Share of rows whose query gives the same result as a gold query on the row's table. Range [0, 1].

    Both run in an in-memory SQLite database with the row's table under the name "table". Results are compared as
    multisets of rows. Where the gold query itself orders (an ORDER BY in a subquery does not), they are compared in
    order; rows that its ORDER BY does not tell apart may come in any order, and any of them may be those that its LIMIT
    lets through. Whole numbers are compared exactly, others to 15 digits, texts without case. Queries are read-only and
    limited in steps, rows and value size; one that fails or exceeds a limit is wrong. Rows that come without table
    rows, or whose gold query fails, cannot be judged and do not count. Two queries that both find nothing agree, as in
    WikiSQL's own scorer (V. Zhong et al., arXiv 1709.00103, 2017).
    """

    def stats(example: Example) -> tuple[float, float]:
        connection = open_table(example.fields.get(answer.table))
        if connection is None:
            return 0.0, 0.0
        try:
            golds = [expected(connection, gold) for gold in example.gold if gold is not None]
            judged = [gold for gold in golds if gold is not None]
            if not judged:
                return 0.0, 0.0
            found = None if example.answer is None else query(connection, example.answer)
        finally:
            connection.close()
        return float(found is not None and any(gold.accepts(found) for gold in judged)), 1.0

    def summary(means: FloatArray) -> FloatArray:
        return ratio(means[..., 0], means[..., 1])

    basis = share_of("judged rows", lambda s: (s[..., 0], s[..., 1]))
    return Metric("execution_accuracy", stats, summary, kind="corpus", scorable=1, basis=basis)


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of a query, values as comparable text, and how many columns it has."""

    rows: list[Row]
    columns: int


@dataclass(frozen=True, slots=True)
class Expected:
    """What a gold query demands of a result: its rows in any order, or in groups that come one after another.

    Without an ORDER BY there is one group. `skipped` and `count` are the rows that the query's LIMIT passes over and
    lets through.
    """

    groups: tuple[tuple[Row, ...], ...]
    skipped: int
    count: int

    def accepts(self, found: Result) -> bool:
        """Return whether a result has these rows, each group as a whole, or any part of it at the ends of the LIMIT."""
        if len(found.rows) != self.count:
            return False
        start = -self.skipped
        for group in self.groups:
            end = start + len(group)
            ours = Counter(found.rows[max(start, 0) : max(end, 0)])
            if not ours <= Counter(group):
                return False
            start = end
        return True


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
    """Run one query; None when it fails, does anything but read, or takes more than the limits allow.

    The bare word TABLE is taken for the table's name; literals stay as they are.
    """
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += _EVERY
        return steps > MOST_STEPS

    connection.set_progress_handler(count, _EVERY)
    try:
        cursor = connection.execute(with_table_quoted(statement))
        rows = cursor.fetchmany(MOST_ROWS + 1)
    except _FAILURES:
        return None
    if len(rows) > MOST_ROWS:
        return None
    return Result([tuple(map(_comparable, row)) for row in rows], len(cursor.description or ()))


def expected(connection: sqlite3.Connection, statement: str) -> Expected | None:
    """Run a gold query and return what a right result is; None when it fails, as `query`."""
    result = query(connection, statement)
    if result is None:
        return None
    order = _outer_order(statement)
    if order is None:
        return Expected((tuple(result.rows),), 0, len(result.rows))
    # Sorted further by every column, once up and once down, only what the query's own order does not tell apart moves.
    terms = [str(number) for number in range(1, result.columns + 1)]
    up, down = (
        query(connection, f"{statement[: order.end]}\n, {', '.join(f'{term} {way}' for term in terms)}")
        for way in ("ASC", "DESC")
    )
    skipped = order.skipped
    if up is None or down is None or skipped is None:
        return Expected(tuple((row,) for row in result.rows), 0, len(result.rows))
    return Expected(tuple(_groups(up.rows, down.rows)), skipped, len(result.rows))


def _groups(up: Sequence[Row], down: Sequence[Row]) -> list[tuple[Row, ...]]:
    """The shortest runs of `up` that hold the same rows as the same places of `down`."""
    groups, start = [], 0
    open_rows: Counter[Row] = Counter()
    for place, (one, other) in enumerate(zip(up, down, strict=True), start=1):
        for row, change in ((one, 1), (other, -1)):
            open_rows[row] += change
            if not open_rows[row]:
                del open_rows[row]
        if not open_rows:
            groups.append(tuple(up[start:place]))
            start = place
    return groups


@dataclass(frozen=True, slots=True)
class _Order:
    """Where the terms of a query's own ORDER BY end, and the rows that its LIMIT skips (None: they are computed)."""

    end: int
    skipped: int | None


def _outer_order(statement: str) -> _Order | None:
    """The ORDER BY of the query itself, not one inside brackets; None without one."""
    depth = 0
    outside: list[Token] = []
    for token in tokens(statement):
        if token.kind in ("space", "comment"):
            continue
        depth -= token.text == ")"
        if depth == 0:
            outside.append(token)
        depth += token.text == "("
    words = [token.keyword for token in outside]
    if "ORDER" not in words:
        return None
    if "LIMIT" not in words:
        return _Order(outside[-1].end, 0)
    limit = words.index("LIMIT")
    rest = [token.text.upper() for token in outside[limit + 1 :]]
    match rest:
        case [count] if count.isdecimal():
            skipped: int | None = 0
        case [count, "OFFSET", offset] if count.isdecimal() and offset.isdecimal():
            skipped = int(offset)
        case [offset, ",", count] if count.isdecimal() and offset.isdecimal():
            skipped = int(offset)
        case _:
            skipped = None
    return _Order(outside[limit - 1].end, skipped)


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
    if isinstance(value, float):
        rounded = float(f"{value:.{_DIGITS}g}")
        value = value if value.is_integer() else rounded
        return str(int(value)) if value.is_integer() else repr(value)
    return "\x00null" if value is None else str(value).strip().casefold()


RECIPES = {"execution_accuracy": MetricFactory(execution_accuracy, frozenset({"sql"}))}
