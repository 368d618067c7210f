"""Runs SQL answers on a row's table, in SQLite and within limits. It is also the program of the process that does so.

As a program it reads tasks as lines of JSON, {"table", "golds", "answer"}, and writes for each a line that says whether
a gold query could be run, and one whether the answer's result is right.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.score.answers.sql_tokens import Token, tokens, with_table_quoted

MOST_ROWS = 10_000
MOST_STEPS = 20_000_000
"""Instructions of SQLite's virtual machine, about a second; a count, so that a score does not depend on the machine."""
MOST_BYTES = 1_000_000
"""Length of a single value or statement."""
MOST_RESULT = 64_000_000
"""Characters and bytes of all values of a result."""
MOST_MEMORY = 1 << 30
_EVERY = 10_000
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_FAILURES = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError)
_DIGITS = 15
"""As many as a double holds for certain: sums of the same numbers in another order agree, different numbers do not."""
Row = tuple[str, ...]


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

    Columns of type `real` hold numbers where they can, as whole numbers where a float would not hold one of them; all
    others hold text that compares without case, because WikiSQL's conditions are in lower case. A repeated column name
    gets a number.
    """
    header, rows = _part(table, "header"), _part(table, "rows")
    if not header or not rows or any(len(row) != len(header) for row in rows):
        return None
    types = _part(table, "types") or ["text"] * len(header)
    columns = []
    seen: dict[str, int] = {}
    for place, (name, kind) in enumerate(zip(map(str, header), types, strict=False)):
        seen[name.lower()] = count = seen.get(name.lower(), 0) + 1
        unique = (name if count == 1 else f"{name} {count}").replace('"', '""')
        number = "NUMERIC" if any(_is_beyond_floats(row[place]) for row in rows) else "REAL"
        columns.append(f'"{unique}" {number if kind in ("real", "number") else "TEXT COLLATE NOCASE"}')
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute("PRAGMA temp_store = MEMORY")  # what is sorted goes into memory, which is bounded
        connection.execute(f'CREATE TABLE "table" ({", ".join(columns)})')
        marks = ", ".join("?" * len(columns))
        values = [[one if isinstance(one, int | float | None) else str(one) for one in row] for row in rows]
        connection.executemany(f'INSERT INTO "table" VALUES ({marks})', values)  # noqa: S608 (marks are "?")
    except _FAILURES:
        connection.close()
        return None
    _restrict(connection)
    return connection


def _is_beyond_floats(value: Any) -> bool:
    """Whether it is a whole number, or the text of one, that a float does not hold."""
    text = str(value).strip()
    return re.fullmatch("[-+]?[0-9]{16,19}", text) is not None and int(text) != int(float(text))


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
        rows: list[Row] = []
        size = 0
        for row in cursor:
            size += sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(rows) == MOST_ROWS or size > MOST_RESULT:
                return None
            rows.append(tuple(map(_comparable, row)))
    except _FAILURES:
        return None
    return Result(rows, len(cursor.description or ()))


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
    return "\x00null" if value is None else str(value).casefold()


def judge(table: Any, golds: Sequence[str], answer: str | None) -> Iterator[bool]:
    """Yield whether a gold query can be run on the table, and if so, whether the answer's result is right."""
    connection = open_table(table)
    if connection is None:
        yield False
        return
    with contextlib.closing(connection):
        judged = [one for gold in golds if (one := expected(connection, gold)) is not None]
        yield bool(judged)
        if judged:
            found = None if answer is None else query(connection, answer)
            yield found is not None and any(gold.accepts(found) for gold in judged)


def main() -> None:
    """Judge what is read from stdin until it ends."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # there are no such limits on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("true", flush=True)  # ready
    for line in sys.stdin:
        for verdict in judge(**json.loads(line)):
            print(json.dumps(verdict), flush=True)


if __name__ == "__main__":
    main()
