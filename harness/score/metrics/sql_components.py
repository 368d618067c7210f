"""The components of a SQL query as nested tuples and sets, which are equal where two queries match."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from harness.score.answers.sql_tokens import tokens, with_table_quoted

if TYPE_CHECKING:
    from sqlglot import exp

COMPONENTS = ("select", "from", "where", "group", "having", "order", "limit", "set_operation")
_MOST_CHARACTERS = 10_000
_MOST_LEVELS = 16
"""Deeper queries are not parsed: whether the parser's own recursion ends must not depend on where it was called."""
_PLAIN_NUMBER = re.compile(r"(-?)((?:0|[1-9][0-9]*)?)((?:\.[0-9]+)?)")


@dataclass(frozen=True, slots=True)
class Components:
    """The components of a query by name, and whether the table of each column in it is known."""

    forms: Mapping[str, Any]
    qualified: bool


@lru_cache(maxsize=4096)
def components(statement: str, values: bool, distinct: bool, join_conditions: bool) -> Components | None:
    """Return the components of a query in comparable form, None when it cannot be parsed.

    What does not count (values, DISTINCT, the conditions of joins) is left out of them.
    """
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    if len(statement) > _MOST_CHARACTERS or _levels(statement) > _MOST_LEVELS:
        return None
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        statement = with_table_quoted(statement)
        tree = _with_values(parse_one(statement, dialect="sqlite"), statement)
        reader = _Reader(values, distinct, join_conditions)
        return Components(reader.query(tree, {}, {}), reader.qualified) if isinstance(tree, exp.Query) else None
    except (SqlglotError, RecursionError):
        return None


def agree(one: Components, other: Components, names: Sequence[str]) -> bool:
    """Return whether two queries have the same components of these names.

    Where the table of a column is not known in one of them, columns are compared by name alone in both.
    """
    if one.qualified and other.qualified:
        return all(one.forms[name] == other.forms[name] for name in names)
    return all(_without_tables(one.forms[name]) == _without_tables(other.forms[name]) for name in names)


def number_or_text(text: str) -> str:
    """Return a plain number (7, -7.50, .5) in its one form, any other value (007, 1_0, 7e0) as it is."""
    match = _PLAIN_NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        return text
    number = (match[2] or "0") + match[3].rstrip("0").rstrip(".")
    return number if number == "0" else match[1] + number


def _levels(statement: str) -> int:
    depth = deepest = 0
    for token in tokens(statement):
        depth += (token.text == "(" or token.keyword == "CASE") - (token.text == ")" or token.keyword == "END")
        deepest = max(deepest, depth)
    return deepest


def _with_values(tree: exp.Expr, statement: str) -> exp.Expr:
    """The tree with texts in double quotes that something is compared to as the values that SQLite takes them for.

    SQLite does so where no column has the name, which is how much of Spider's gold writes its values.
    """
    from sqlglot import exp

    for condition in list(tree.find_all(exp.Predicate)):
        if isinstance(condition, exp.Binary):
            operands = [condition.expression]
        else:  # IN, BETWEEN
            operands = [*condition.expressions, condition.args.get("low"), condition.args.get("high")]
        for operand in operands:
            value = operand and operand.unnest()
            if isinstance(value, exp.Column) and not value.table:
                start = value.this.meta.get("start")
                if start is not None and statement[start] == '"':
                    value.replace(exp.Literal.string(value.name))
    return tree


def _without_tables(form: Any) -> Any:
    """A form with the tables of its columns left out."""
    if isinstance(form, frozenset):
        return _counted(_without_tables(item) for item in form)
    if isinstance(form, tuple):
        if len(form) == 3 and form[0] == "column":
            return "column", form[2]
        return tuple(_without_tables(item) for item in form)
    return form


def _counted(forms: Iterable[Any]) -> frozenset[tuple[Any, int]]:
    return frozenset(Counter(forms).items())


class _Reader:
    """Reads the syntax trees of one query.

    `named` has what the names of WITH stand for, `scope` what each table's name or alias stands for: ("table", name) or
    a query; under "" where there is only one.
    """

    def __init__(self, values: bool, distinct: bool, join_conditions: bool) -> None:
        self._values, self._distinct, self._join_conditions = values, distinct, join_conditions
        self.qualified = True

    def query(self, tree: exp.Query, named: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
        """The components of a query; `outer` is the scope of the query around it."""
        from sqlglot import exp
        from sqlglot.errors import SqlglotError

        named = dict(named)
        with_ = tree.args.get("with_")
        for cte in with_.expressions if with_ else ():
            named[cte.alias.casefold()] = self._nested(cte.this, named, outer)
        if isinstance(tree, exp.Subquery):
            inner = tree.unnest()
            if not isinstance(inner, exp.Query):
                raise SqlglotError("brackets around something else than a query")
            return self.query(inner, named, outer)
        if isinstance(tree, exp.SetOperation):
            left = self.query(tree.left, named, outer)
            right = self._nested(tree.right, named, outer)
            operation = (type(tree).__name__, bool(tree.args.get("distinct")), left["set_operation"], right)
            return {**left, "set_operation": operation, **self._ordering(tree, {"": "result"}, named, {}, {})}
        return self._select(tree, named, outer)

    def _nested(self, tree: exp.Query, named: Mapping[str, Any], outer: Mapping[str, Any]) -> tuple[Any, ...]:
        return "query", tuple(sorted(self.query(tree, named, outer).items()))

    def _select(self, tree: exp.Query, named: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
        joins = tree.args.get("joins") or []
        from_ = tree.args.get("from_")
        sources = ([from_.this] if from_ else []) + [join.this for join in joins]
        tables = {source.alias_or_name.casefold(): self._source(source, named, outer) for source in sources}
        scope = {**outer, **tables}
        scope.pop("", None)
        if len(tables) == 1:
            scope[""] = next(iter(tables.values()))
        aliases = {one.alias.casefold(): one.this for one in tree.expressions if one.alias}
        places = {str(number): one for number, one in enumerate(tree.expressions, start=1)}
        where, having, group = (tree.args.get(name) for name in ("where", "having", "group"))

        def form(node: Any) -> Any:
            return self._form(node, scope, named)

        grouped = [places.get(one.name, one) if one.is_number else one for one in (group.expressions if group else ())]
        conditions = _counted(
            (join.side, form(join.args.get("on")), form(join.args.get("using") or [])) for join in joins
        )
        return {
            "select": (self._distinct and bool(tree.args.get("distinct")), _counted(map(form, tree.expressions))),
            "from": (_counted(tables.values()), conditions if self._join_conditions else None),
            "where": form(where.this) if where else None,
            "group": _counted(map(form, grouped)),
            "having": form(having.this) if having else None,
            "set_operation": None,
            **self._ordering(tree, scope, named, aliases, places),
        }

    def _ordering(
        self,
        tree: exp.Query,
        scope: Mapping[str, Any],
        named: Mapping[str, Any],
        aliases: Mapping[str, Any],
        places: Mapping[str, Any],
    ) -> dict[str, Any]:
        """ORDER BY, with numbers and aliases of columns resolved, LIMIT and OFFSET (whether there are any, or what)."""
        order, limit, offset = (tree.args.get(name) for name in ("order", "limit", "offset"))
        terms = []
        for term in order.expressions if order else ():
            known = places.get(term.this.name) if term.this.is_number else aliases.get(term.this.name.casefold())
            terms.append((self._form(known or term.this, scope, named), bool(term.args.get("desc"))))
        amounts = (
            one.expression.sql() if one and self._values and one.expression else bool(one) for one in (limit, offset)
        )
        return {"order": tuple(terms), "limit": tuple(amounts)}

    def _source(self, source: exp.Expression, named: Mapping[str, Any], outer: Mapping[str, Any]) -> Any:
        from sqlglot import exp

        if isinstance(source, exp.Subquery):
            inner = source.unnest()
            return (
                self._nested(inner, named, outer) if isinstance(inner, exp.Query) else ("table", inner.sql().casefold())
            )
        return named.get(source.name.casefold(), ("table", source.name.casefold()))

    def _form(self, node: Any, scope: Mapping[str, Any], named: Mapping[str, Any]) -> Any:
        """One expression."""
        from sqlglot import exp

        def form(one: Any) -> Any:
            return self._form(one, scope, named)

        match node:
            case exp.Alias() | exp.Paren():
                return form(node.this)
            case exp.Query():
                return self._nested(node, named, scope)
            case exp.Column():
                return self._column(node, scope)
            case exp.Literal() | exp.Boolean():
                return ("value", number_or_text(node.name.casefold())) if self._values else ("value",)
            case exp.Neg(this=exp.Literal()) if not self._values:
                return ("value",)
            case exp.Distinct() if not self._distinct and len(node.expressions) == 1:
                return form(node.expressions[0])
            case exp.And() | exp.Or():
                return type(node).__name__, frozenset(map(form, node.flatten()))
            case exp.EQ() | exp.NEQ():
                return type(node).__name__, _counted((form(node.left), form(node.right)))
            case exp.LT() | exp.LTE():
                return type(node).__name__, form(node.left), form(node.right)
            case exp.GT() | exp.GTE():
                return ("LT" if isinstance(node, exp.GT) else "LTE"), form(node.right), form(node.left)
            case exp.In() if not node.args.get("query"):
                return "In", form(node.this), frozenset(map(form, node.expressions))
            case exp.Expression():
                arguments = (node.args[name] for name in sorted(node.args))
                return type(node).__name__, *(form(one) for one in arguments if one not in (None, False, []))
            case list():
                return tuple(map(form, node))
        return str(node).casefold()

    def _column(self, node: exp.Column, scope: Mapping[str, Any]) -> tuple[Any, ...]:
        table = scope.get(node.table.casefold())
        if table is None and node.name != "*":
            self.qualified = False
        return "column", table, node.name.casefold()
