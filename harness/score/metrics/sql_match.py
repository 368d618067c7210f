"""Metrics of SQL answers that compare the queries part by part, without running them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from harness.score.answers.sql_tokens import Token, tokens, unquoted
from harness.score.metrics.base import Metric, best, recipes
from harness.score.metrics.sql_components import COMPONENTS, agree, components, number_or_text
from harness.tasks.task import SqlAnswer

_AGGREGATES = frozenset({"MAX", "MIN", "COUNT", "SUM", "AVG"})
_BEYOND: frozenset[str | tuple[str, str]] = frozenset(
    {
        "JOIN",
        ("GROUP", "BY"),
        ("ORDER", "BY"),
        "HAVING",
        "LIMIT",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "OR",
        "BETWEEN",
        "CASE",
    }
)
_OPERATORS = {"<=": "<=", ">=": ">=", "<>": "!=", "!=": "!=", "==": "=", "=": "=", "<": "<", ">": ">"}

Part = Literal["all", "select", "from", "where", "group", "having", "order", "limit", "set_operation"]


def sql_set_match(answer: SqlAnswer) -> Metric:
    """Share of rows whose query has the same columns, aggregates, table and conditions as a gold query. [0, 1].

    For queries of one table, as WikiSQL's are. Columns and conditions are compared as sets, names and values without
    case, quotes and surplus spaces; a value that is a plain number (7, 7.0, but not 007 or 1_0) is compared as a
    number. So also unquoted queries such as WikiSQL's own print (`SELECT COUNT School FROM table WHERE No. = 4`)
    compare. Queries with more than SELECT, FROM, WHERE and AND are compared as normalised text.
    """
    return best("sql_set_match", lambda ours, gold: parts(ours) == parts(gold), kind="binary")


def sql_exact_set_match(
    answer: SqlAnswer,
    *,
    component: Part = "all",
    values: bool = False,
    distinct: bool = False,
    join_conditions: bool = False,
) -> Metric:
    """Share of rows whose query has the same components as a gold query, for queries of several tables. Range [0, 1].

    The components are SELECT, FROM (the tables joined, and queries in their place), WHERE, GROUP BY, HAVING, ORDER BY
    with its directions, LIMIT and OFFSET, and UNION, INTERSECT or EXCEPT; inside each, what has no order is compared as
    a set, and nested queries in the same way. Aliases stand for their tables, names are compared without case, and a
    column without its table matches one with it. A text in double quotes that a column is compared to is a value.
    `component` compares a single one. Exact set match as defined for Spider (T. Yu et al., EMNLP 2018), where values,
    DISTINCT and the conditions of joins do not count;
    `values`, `distinct` and `join_conditions` let them count. Other than there, brackets around AND and OR matter.
    Queries that cannot be parsed are compared as normalised text.
    """
    chosen = COMPONENTS if component == "all" else (component,)

    def same(ours: str, gold: str) -> bool:
        one, other = (components(text, values, distinct, join_conditions) for text in (ours, gold))
        return _text(ours) == _text(gold) if one is None or other is None else agree(one, other, chosen)

    return best("sql_exact_set_match", same, kind="binary")


@lru_cache(maxsize=4096)
def parts(statement: str) -> tuple[Any, ...]:
    """Return the comparable parts of a query: columns, table and conditions, or its normalised text."""
    found = _statement_tokens(statement)
    keywords = [token.keyword for token in found]
    significant = [word for word, token in zip(keywords, found, strict=True) if token.kind != "space"]
    starts = _places(found, ("FROM", "WHERE"))
    if not significant or significant[0] != "SELECT" or "SELECT" in significant[1:] or "FROM" not in starts:
        return "text", _plain(found)
    words: set[str | tuple[str, str]] = {*significant, *pairwise(significant)}
    if words & _BEYOND:
        return "text", _plain(found)
    begin, where = keywords.index("SELECT") + 1, starts.get("WHERE", len(found))
    if not begin <= starts["FROM"] < where:
        return "text", _plain(found)
    columns = frozenset(map(_column, _split(found[begin : starts["FROM"]], lambda token: token.text == ",")))
    conditions = frozenset(map(_condition, _split(found[where + 1 :], lambda token: token.keyword == "AND")))
    return "parts", columns, _plain(found[starts["FROM"] + 1 : where]), conditions


def _statement_tokens(statement: str) -> list[Token]:
    found = [Token("space", " ", one.start) if one.kind == "comment" else one for one in tokens(statement)]
    while found and (found[-1].kind == "space" or found[-1].text == ";"):
        found.pop()
    return found


def _text(statement: str) -> str:
    return _plain(_statement_tokens(statement))


def _outside(found: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """The tokens that are not in brackets, with their places."""
    depth = 0
    for place, token in enumerate(found):
        depth = max(0, depth - (token.text == ")"))
        if depth == 0:
            yield place, token
        depth += token.text == "("


def _places(found: Sequence[Token], words: Iterable[str]) -> dict[str, int]:
    """Where each word first occurs outside brackets."""
    places: dict[str, int] = {}
    for place, token in _outside(found):
        if token.keyword in words:
            places.setdefault(token.keyword, place)
    return places


def _split(found: Sequence[Token], separates: Callable[[Token], bool]) -> list[list[Token]]:
    """The pieces between separators outside brackets; none of nothing."""
    cuts = [place for place, token in _outside(found) if separates(token)]
    bounds = [-1, *cuts, len(found)]
    pieces = [list(found[start + 1 : end]) for start, end in pairwise(bounds)]
    return [piece for piece in pieces if any(token.kind != "space" for token in piece)]


def _trimmed(found: Sequence[Token]) -> list[Token]:
    kept = list(found)
    while kept and kept[0].kind == "space":
        del kept[0]
    while kept and kept[-1].kind == "space":
        del kept[-1]
    return kept


def _column(found: Sequence[Token]) -> tuple[str, str]:
    """Aggregate ("" for none) and column."""
    found = _trimmed(found)
    rest = _trimmed(found[1:])
    if len(rest) > 0 and found[0].keyword in _AGGREGATES:
        if rest[0].text == "(" and rest[-1].text == ")":
            return found[0].keyword, _plain(rest[1:-1])
        if rest[0].text != "(" and found[0].text.isupper():  # without brackets, as WikiSQL prints it
            return found[0].keyword, _plain(rest)
    return "", _plain(found)


def _condition(found: Sequence[Token]) -> tuple[str, ...]:
    found = _trimmed(found)
    if len(found) > 2 and found[0].text == "(" and found[-1].text == ")":
        found = _trimmed(found[1:-1])
    place = next((place for place, token in _outside(found) if token.text in _OPERATORS), None)
    if place is None:
        return (_plain(found),)
    return _plain(found[:place]), _OPERATORS[found[place].text], number_or_text(_plain(found[place + 1 :]))


def _plain(found: Sequence[Token]) -> str:
    """The tokens as a text without quotation marks, lower-cased and single-spaced."""
    return " ".join("".join(map(unquoted, found)).casefold().split())


RECIPES = recipes({"sql"}, sql_exact_set_match, sql_set_match)
