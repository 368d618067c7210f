"""Metrics of SQL answers about one table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from harness.metrics.base import Example, FloatArray, Metric, Recipe, ratio
from harness.metrics.execution import Result, open_table, query
from harness.spec.task import SqlAnswer

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

    return Metric("execution_accuracy", stats, summary, kind="corpus", judged=1)


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
    "execution_accuracy": Recipe(execution_accuracy, _SQL),
    "sql_set_match": Recipe(sql_set_match, _SQL),
}
