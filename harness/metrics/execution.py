"""One table in an in-memory SQLite database that only answers queries, within limits."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
