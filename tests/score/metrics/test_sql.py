"""SQL answers: run on the row's table, and compared part by part."""

from __future__ import annotations

import pytest

from harness.score.metrics.base import Example
from harness.score.metrics.sql import MOST_ROWS, open_table, query
from harness.score.metrics.sql_match import parts
from tests.score.metrics.rows import example, metric, score, spec

SQL = spec("sql")
TABLE = {
    "header": ["Name", "Year built", "Height (m)"],
    "types": ["text", "real", "real"],
    "rows": [["Gull Point", "1854", "21"], ["Saint Bride", "1871", "34.5"], ["Black Skerry", "1889", "29"]],
}
GOLD = """SELECT "Name" FROM "table" WHERE "Year built" > '1860' AND "Height (m)" > '30'"""


def row(answer: str, gold: str = GOLD, table: object = TABLE) -> Example:
    return example(SQL, answer, gold, fields={"table": table})


def executed(answer: str, gold: str = GOLD, table: object = TABLE) -> float:
    return metric("execution_accuracy", SQL).score([row(answer, gold, table)])


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (GOLD, 1),
        ("""SELECT Name FROM table WHERE "Height (m)" > 30 AND "Year built" > 1860;""", 1),
        ("""```sql\nselect "name" from "table" where "Name" = 'saint bride'\n```""", 1),
        ("""SELECT "Name" FROM "table" ORDER BY "Height (m)" DESC LIMIT 1""", 1),
        ("""SELECT "Name" FROM "table" WHERE "Year built" > '1860'""", 0),
        ("""SELECT "Year built" FROM "table" WHERE "Name" = 'Saint Bride'""", 0),
        ("""SELECT "Keeper" FROM "table" """, 0),
        ("SELECT", 0),
        ("I do not know", 0),
    ],
)
def test_a_query_is_right_when_its_result_is(answer: str, right: float) -> None:
    assert executed(answer) == right


def test_the_order_of_the_result_counts_only_where_the_gold_query_asks_for_one() -> None:
    any_order, ordered = 'SELECT "Name" FROM "table"', 'SELECT "Name" FROM "table" ORDER BY "Name"'
    assert executed(f'{any_order} ORDER BY "Name" DESC', any_order) == 1
    assert executed(f'{any_order} ORDER BY "Name" DESC', ordered) == 0
    assert executed(ordered, ordered) == 1


def test_numbers_compare_as_numbers_and_rows_as_often_as_they_occur() -> None:
    assert executed('SELECT COUNT(*) * 1.0 FROM "table"', 'SELECT COUNT("Name") FROM "table"') == 1
    assert executed('SELECT 1 FROM "table"', "SELECT 1") == 0


@pytest.mark.parametrize("table", [None, {}, {"header": ["a"], "rows": None}, {"header": ["a"], "rows": [["1", "2"]]}])
def test_rows_without_a_table_cannot_be_judged(table: object) -> None:
    judged, unjudged = row(GOLD), row("SELECT 1", table=table)
    assert metric("execution_accuracy", SQL).score([judged, unjudged, unjudged]) == 1
    assert metric("execution_accuracy", SQL).score([unjudged]) == 0


@pytest.mark.parametrize(
    "statement",
    [
        'DELETE FROM "table"',
        'DROP TABLE "table"',
        "CREATE TABLE other (a)",
        "ATTACH DATABASE '/tmp/x.db' AS x",
        "PRAGMA writable_schema = 1",
        "INSERT INTO \"table\" VALUES ('a', 1, 2)",
        "SELECT 1; SELECT 2",
        "SELECT load_extension('x')",
        "SELECT zeroblob(2000000000)",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n",
        f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {MOST_ROWS + 1}) SELECT x FROM n",
        "SELECT '\ud800'",
        "SELECT \x00",
    ],
)
def test_queries_only_read_and_within_limits(statement: str) -> None:
    connection = open_table(TABLE)
    assert connection is not None
    assert query(connection, statement) is None
    kept = query(connection, 'SELECT COUNT(*) FROM "table"')
    assert kept is not None
    assert kept.rows == [("3",)]
    connection.close()


def test_repeated_and_odd_column_names_make_a_table() -> None:
    table = {"header": ["a", "A", 'say "x"'], "types": None, "rows": [[1, None, "z"]]}
    connection = open_table(table)
    assert connection is not None
    found = query(connection, 'SELECT "a", "A 2", "say ""x""" FROM "table"')
    assert found is not None
    assert found.rows == [("1", "\x00null", "z")]
    connection.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT a FROM t WHERE b = 1 AND c = 2", "select A from T where C=2 and B='1'", True),
        ('SELECT "a b" FROM "t"', "SELECT a b FROM t;", True),
        ("SELECT COUNT(a) FROM t", "SELECT COUNT a FROM t", True),
        ("SELECT a, b FROM t", "SELECT b, a FROM t", True),
        ("SELECT a FROM t WHERE b == 1.0", "SELECT a FROM t WHERE b = 1", True),
        ("SELECT a FROM t WHERE b <> 'x'", 'SELECT a FROM t WHERE b != "X"', True),
        ("SELECT a FROM t WHERE b = 'x and y' AND c = 1", "SELECT a FROM t WHERE c = 1 AND b = 'x and y'", True),
        ('SELECT "to from" FROM t', "SELECT a FROM t", False),
        ("SELECT a FROM t", "SELECT b FROM t", False),
        ("SELECT MAX(a) FROM t", "SELECT MIN(a) FROM t", False),
        ("SELECT MAX(a) FROM t", "SELECT a FROM t", False),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b > 1", False),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t", False),
        ("SELECT a FROM t", "SELECT a FROM u", False),
        ("SELECT a FROM t ORDER BY a", "select a\nfrom t  order by a;", True),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY b", False),
    ],
)
def test_queries_are_equal_when_their_parts_are(one: str, other: str, same: bool) -> None:
    assert (parts(one) == parts(other)) is same
    assert score("sql_set_match", SQL, [one], [other]) == float(same)


def test_no_query_matches_nothing() -> None:
    assert score("sql_set_match", SQL, ["sorry", ""], [GOLD, GOLD]) == 0
