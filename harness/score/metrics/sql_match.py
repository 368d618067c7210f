"""Metrics of SQL answers that compare the queries part by part, without running them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from harness.score.answers.sql_tokens import Token, tokens, unquoted
from harness.score.metrics.base import Metric, best, recipes
from harness.score.metrics.sql_components import COMPONENTS, agree, components, number_or_text
from harness.tasks.task import SqlAnswer

_AGGREGATES = frozenset({"MAX", "MIN", "COUNT", "SUM", "AVG"})
_BEYOND: frozenset[str | tuple[str, str]] = frozenset({
    "JOIN", ("GROUP", "BY"), ("ORDER", "BY"), "HAVING", "LIMIT", "UNION", "INTERSECT", "EXCEPT", "OR", "BETWEEN",
    "CASE",
})  # fmt: skip
_CLAUSES = ("SELECT", "FROM", "WHERE")
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
    words = [token.keyword for token in found if token.kind != "space"]
    if words[:1] != ["SELECT"] or words.count("SELECT") > 1 or _BEYOND & {*words, *pairwise(words)}:
        return "text", _plain(found)
    clauses: dict[str, list[list[Token]]] = {}
    for depth, token in _with_depth(found):
        clause = next(reversed(clauses), "")
        separates = token.text == "," if clause == "SELECT" else clause == "WHERE" and token.keyword == "AND"
        if depth == 0 and token.keyword in _CLAUSES and token.keyword not in clauses:
            clauses[token.keyword] = [[]]
        elif depth == 0 and separates:
            clauses[clause].append([])
        elif clause:
            clauses[clause][-1].append(token)
    if (*clauses, "WHERE")[:3] != _CLAUSES:
        return "text", _plain(found)
    columns, tables, conditions = ([_trimmed(one) for one in clauses.get(name, [])] for name in _CLAUSES)
    return (
        "parts",
        frozenset(_column(one) for one in columns if one),
        *map(_plain, tables),
        frozenset(_condition(one) for one in conditions if one),
    )


def _statement_tokens(statement: str) -> list[Token]:
    found = [Token("space", " ", one.start) if one.kind == "comment" else one for one in tokens(statement)]
    while found and (found[-1].kind == "space" or found[-1].text == ";"):
        found.pop()
    return found


def _text(statement: str) -> str:
    return _plain(_statement_tokens(statement))


def _with_depth(found: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """Each token with the number of brackets around it; a bracket itself is outside."""
    depth = 0
    for token in found:
        depth = max(0, depth - (token.text == ")"))
        yield depth, token
        depth += token.text == "("


def _trimmed(found: Sequence[Token]) -> list[Token]:
    places = [place for place, token in enumerate(found) if token.kind != "space"]
    return list(found[places[0] : places[-1] + 1]) if places else []


def _column(found: Sequence[Token]) -> tuple[str, str]:
    """Aggregate ("" for none) and column."""
    rest = _trimmed(found[1:])
    if len(rest) > 0 and found[0].keyword in _AGGREGATES:
        if rest[0].text == "(" and rest[-1].text == ")":
            return found[0].keyword, _plain(rest[1:-1])
        if rest[0].text != "(" and found[0].text.isupper():  # without brackets, as WikiSQL prints it
            return found[0].keyword, _plain(rest)
    return "", _plain(found)


def _condition(found: Sequence[Token]) -> tuple[str, ...]:
    if len(found) > 2 and found[0].text == "(" and found[-1].text == ")":
        found = _trimmed(found[1:-1])
    outside = (
        place for place, (depth, token) in enumerate(_with_depth(found)) if not depth and token.text in _OPERATORS
    )
    place = next(outside, None)
    if place is None:
        return (_plain(found),)
    return _plain(found[:place]), _OPERATORS[found[place].text], number_or_text(_plain(found[place + 1 :]))


def _plain(found: Sequence[Token]) -> str:
    """The tokens as a text without quotation marks, lower-cased and single-spaced."""
    return " ".join("".join(map(unquoted, found)).casefold().split())


RECIPES = recipes({"sql"}, sql_exact_set_match, sql_set_match)
