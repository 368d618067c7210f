"""SQL answers: run on the row's table, and compared part by part."""

from __future__ import annotations

import resource

import pytest

from harness.score.metrics import sql
from harness.score.metrics.base import Example
from harness.score.metrics.sql_engine import MOST_ROWS, open_table, query
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


def test_only_the_order_of_the_gold_query_itself_counts() -> None:
    inner = 'SELECT "Name" FROM (SELECT "Name" FROM "table" ORDER BY "Height (m)")'
    literal = """SELECT "Name" FROM "table" WHERE "Name" <> 'order by'"""
    for gold in (inner, literal):
        assert executed(f'{gold} ORDER BY "Name" DESC', gold) == 1
    union = 'SELECT "Name" FROM "table" UNION SELECT \'x\' ORDER BY 1'
    assert executed(union.replace("ORDER BY 1", "ORDER BY 1 DESC"), union) == 0


TIES = {"header": ["Name", "Score"], "types": ["text", "real"], "rows": [["Ann", 5], ["Bob", 5], ["Cy", 3], ["Di", 3]]}
BY_SCORE = 'SELECT "Name" FROM "table" ORDER BY "Score" DESC'


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        (f'{BY_SCORE}, "Name" DESC', BY_SCORE, 1),
        (f'{BY_SCORE}, "Name"', BY_SCORE, 1),
        ('SELECT "Name" FROM "table" ORDER BY "Score", "Name"', BY_SCORE, 0),
        ('SELECT "Name" FROM "table" ORDER BY "Name" DESC', f'{BY_SCORE}, "Name"', 0),
        (f'{BY_SCORE}, "Name" DESC LIMIT 1', f"{BY_SCORE} LIMIT 1", 1),
        (f'{BY_SCORE}, "Name" DESC LIMIT 3', f"{BY_SCORE} LIMIT 3", 1),
        (f'{BY_SCORE}, "Name" DESC LIMIT 2 OFFSET 1', f"{BY_SCORE} LIMIT 1, 2", 1),
        (f"{BY_SCORE} LIMIT 2", f"{BY_SCORE} LIMIT 1", 0),
        ('SELECT "Name" FROM "table" WHERE "Name" = \'Cy\'', f"{BY_SCORE} LIMIT 1", 0),
        ("SELECT 'Ann' UNION ALL SELECT 'Ann' UNION ALL SELECT 'Cy' UNION ALL SELECT 'Di'", BY_SCORE, 0),
        (
            'SELECT DISTINCT "Score" FROM "table" ORDER BY "Score" DESC',
            'SELECT DISTINCT "Score" FROM "table" ORDER BY 1',
            0,
        ),
        (
            'SELECT "Name" AS n FROM "table" ORDER BY n -- by name',
            'SELECT "Name" AS n FROM "table" ORDER BY n -- by name',
            1,
        ),
        (f"{BY_SCORE} LIMIT 1 + 1", f"{BY_SCORE} LIMIT 1 + 1", 1),
    ],
)
def test_rows_that_the_gold_order_does_not_tell_apart_may_come_in_any_order(
    answer: str, gold: str, right: float
) -> None:
    assert executed(answer, gold, TIES) == right


def test_literals_are_never_rewritten() -> None:
    table = {"header": ["Note", "N"], "types": ["text", "real"], "rows": [["moved from table 3", 1], ["x", 2]]}
    gold = """SELECT "N" FROM table WHERE "Note" = 'moved from table 3'"""
    assert executed(gold.replace("FROM table W", 'FROM "table" W'), gold, table) == 1
    assert executed("""SELECT "N" FROM "table" WHERE "Note" = 'nothing like it'""", gold, table) == 0


def test_results_keep_every_digit_and_every_leading_zero() -> None:
    phones = {"header": ["P"], "types": ["real"], "rows": [[5551234567], [5551234568]]}
    low, high = 'SELECT MIN("P") FROM "table"', 'SELECT MAX("P") FROM "table"'
    assert executed(low, low, phones) == 1
    assert executed(low, high, phones) == 0
    assert executed("SELECT 0.1234567891", "SELECT 0.1234567892") == 0
    assert executed("SELECT 9007199254740993", "SELECT 9007199254740992") == 0
    assert executed("SELECT 0.1 + 0.2", "SELECT 0.3") == 1
    large = {"header": ["N", "M"], "types": ["real", "real"], "rows": [[9007199254740993, 1], ["9007199254740995", 2]]}
    for number in (9007199254740993, 9007199254740995):
        for other, same in ((number, 1), (number - 1, 0)):
            assert executed(f'SELECT "N" FROM "table" WHERE "N" = {number}', f"SELECT {other}", large) == same
    assert executed('SELECT 1 / "M" FROM "table"', "SELECT 1.0 UNION ALL SELECT 0.5", large) == 1
    assert executed("SELECT ' x'", "SELECT 'x'") == 0
    codes = {"header": ["Code"], "types": ["text"], "rows": [["007"], ["7"]]}
    gold = """SELECT "Code" FROM "table" WHERE "Code" = '007'"""
    assert executed(gold.replace("007", "7"), gold, codes) == 0


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


COUNTED = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {}) "
HUNGRY = {
    "many values of a megabyte": COUNTED.format(9_999) + "SELECT zeroblob(1000000) FROM n",
    "many long texts": COUNTED.format(9_999) + "SELECT hex(zeroblob(400000)) FROM n",
    "a sorted pile": COUNTED.format(9_999) + "SELECT x FROM n ORDER BY zeroblob(1000000 - x)",
    "distinct values": COUNTED.format(9_999) + "SELECT COUNT(DISTINCT randomblob(1000000)) FROM n",
    "steps that take long": COUNTED.format(9_000_000) + "SELECT MAX(hex(randomblob(499999))) FROM n",
    "a pattern": "SELECT '" + "a" * 90_000 + "' LIKE '" + "%a" * 20_000 + "b'",
}


@pytest.mark.parametrize("name", HUNGRY)
def test_a_query_that_wants_too_much_is_wrong_and_costs_no_other_row(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.score.metrics.sql.SECONDS", 3.0)
    simple = 'SELECT COUNT(*) FROM "table"'
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = [row(simple, simple), row(HUNGRY[name], simple), row(simple, simple), row(simple, HUNGRY[name])]
    stats = metric("execution_accuracy", SQL).table(rows)
    assert stats.tolist() == [[1, 1], [0, 1], [1, 1], [0, 0]]  # a gold query that cannot be run judges nothing
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_query_that_ends_its_process_is_wrong_and_costs_no_other_row(monkeypatch: pytest.MonkeyPatch) -> None:
    simple = 'SELECT COUNT(*) FROM "table"'
    assert executed(simple, simple) == 1
    engine = sql._ENGINE
    assert engine._process is not None
    engine._process.kill()
    engine._process.wait()
    assert executed(simple, simple) == 1


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
        ("SELECT a FROM t WHERE b = '007'", "SELECT a FROM t WHERE b = '7'", False),
        ("SELECT a FROM t WHERE b = '1_0'", "SELECT a FROM t WHERE b = '10'", False),
        ("SELECT a FROM t WHERE b = 'nan'", "SELECT a FROM t WHERE b = 'nan'", True),
        ("SELECT a FROM t WHERE b = '-7.50'", "SELECT a FROM t WHERE b = -7.5", True),
        ("SELECT a FROM t WHERE b = 9007199254740993", "SELECT a FROM t WHERE b = 9007199254740992", False),
        ("SELECT a FROM t WHERE b = 'x, y' -- why", "SELECT a /* what */ FROM t WHERE b = 'x, y'", True),
        (
            "SELECT Height (m) FROM table WHERE Name = O'Shea",
            'SELECT "Height (m)" FROM "table" WHERE "Name" = "O\'Shea"',
            True,
        ),
        (
            "SELECT a FROM t WHERE Order = 1 AND Limit No. = 2",
            "SELECT a FROM t WHERE Limit No. = 2 AND Order = 1",
            False,
        ),
    ],
)
def test_queries_are_equal_when_their_parts_are(one: str, other: str, same: bool) -> None:
    assert (parts(one) == parts(other)) is same
    assert score("sql_set_match", SQL, [one], [other]) == float(same)


SINGERS = (
    "SELECT T1.name, count(*) FROM singer AS T1 JOIN concert AS T2 ON T1.id = T2.singer_id "
    "WHERE T1.age > 30 AND T2.year = 2014 GROUP BY T1.name HAVING count(*) > 2 ORDER BY count(*) DESC LIMIT 3"
)


@pytest.mark.parametrize(
    ("answer", "same", "with_values"),
    [
        (SINGERS, 1, 1),
        (
            "SELECT COUNT(*), singer.name FROM concert JOIN singer ON concert.singer_id = singer.id WHERE concert.year "
            "= 2014 AND 30 < singer.age GROUP BY singer.name HAVING COUNT(*) > 2 ORDER BY COUNT(*) DESC LIMIT 3",
            1,
            1,
        ),
        (
            "SELECT name, count(*) AS n FROM singer JOIN concert ON singer.id = singer_id WHERE age > 30 AND year "
            "= 2014 GROUP BY 1 HAVING count(*) > 2 ORDER BY n DESC LIMIT 3",
            1,
            1,
        ),
        (SINGERS.replace("> 30", "> 31"), 1, 0),
        (SINGERS.replace("LIMIT 3", "LIMIT 4"), 1, 0),
        (SINGERS.replace(" LIMIT 3", ""), 0, 0),
        (f"{SINGERS} OFFSET 1", 0, 0),
        (SINGERS.replace("DESC", "ASC"), 0, 0),
        (SINGERS.replace("AND", "OR"), 0, 0),
        (SINGERS.replace("> 30", ">= 30"), 0, 0),
        (SINGERS.replace("T1.age", "T2.age"), 0, 0),
        (SINGERS.replace("concert AS", "stadium AS"), 0, 0),
        (SINGERS.replace("HAVING count(*) > 2 ", ""), 0, 0),
        (SINGERS.replace("GROUP BY T1.name", "GROUP BY T1.age"), 0, 0),
        (SINGERS.replace("count(*) FROM", "sum(T1.age) FROM"), 0, 0),
        ("SELECT name FROM (", 0, 0),
        ("sorry", 0, 0),
    ],
)
def test_queries_of_several_tables_match_component_by_component(answer: str, same: float, with_values: float) -> None:
    assert score("sql_exact_set_match", SQL, [answer], [SINGERS]) == same
    assert score("sql_exact_set_match", SQL, [answer], [SINGERS], values=True) == with_values


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT a FROM t WHERE b IN (SELECT c FROM u)", "SELECT t.a FROM t WHERE t.b IN (SELECT u.c FROM u)", True),
        ("SELECT a FROM t WHERE b IN (SELECT c FROM u)", "SELECT a FROM t WHERE b IN (SELECT d FROM u)", False),
        ("SELECT a FROM t WHERE b NOT IN (1, 2)", "SELECT a FROM t WHERE b IN (1, 2)", False),
        ("SELECT a FROM t EXCEPT SELECT b FROM u", "SELECT b FROM u EXCEPT SELECT a FROM t", False),
        ("SELECT a FROM t UNION SELECT b FROM u", "SELECT a FROM t UNION ALL SELECT b FROM u", False),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY a", "select a from t union select b from u order by a", True),
        ("WITH x AS (SELECT a FROM t) SELECT a FROM x", "SELECT y.a FROM (SELECT t.a FROM t) AS y", True),
        ("SELECT a FROM t WHERE x = 1 AND (y = 2 OR z = 3)", "SELECT a FROM t WHERE (z = 3 OR y = 2) AND x = 1", True),
        ("SELECT a FROM t WHERE x = 1 AND (y = 2 OR z = 3)", "SELECT a FROM t WHERE x = 1 AND y = 2 OR z = 3", False),
        ("SELECT * FROM t, u", "SELECT * FROM u JOIN t", True),
        ("SELECT * FROM t, t AS v", "SELECT * FROM t", False),
        (
            "SELECT a FROM t AS x WHERE EXISTS (SELECT 1 FROM u WHERE u.i = x.i)",
            "SELECT t.a FROM t WHERE EXISTS (SELECT 1 FROM u AS y WHERE t.i = y.i)",
            True,
        ),
        ("SELECT a FROM table WHERE b = 'from table'", "SELECT a FROM \"table\" WHERE b = 'x'", True),
        ("SELECT COUNT a FROM t WHERE No. = 4", "select count a from t where no. = 4;", True),
        (f"SELECT {'(' * 60}a{')' * 60} FROM t", f"select {'(' * 60}a{')' * 60} from t", True),
    ],
)
def test_nested_queries_match_by_their_components(one: str, other: str, same: bool) -> None:
    assert score("sql_exact_set_match", SQL, [one, other], [other, one]) == float(same)


@pytest.mark.parametrize(
    ("condition", "same_column", "other"),
    [
        ("x = 'A'", 'x = "A"', 'y = "A"'),
        ("NOT x != ('A')", 'NOT x <> ("A")', 'x <> "A"'),
        ("x NOT LIKE '%A%'", 'x NOT LIKE "%A%"', 'x LIKE "%A%"'),
        ("x IN ('A', 'B')", 'x IN ("A", "B")', 'x NOT IN ("A", "B")'),
        ("x BETWEEN '1' AND '2'", 'x BETWEEN "1" AND "2"', 'y BETWEEN "1" AND "2"'),
        ("\"x y\" >= 'A' AND z IS 'B'", '"x y" >= "A" AND z IS "B"', '"x z" >= "A" AND z IS "B"'),
        ("x = 'A'", 'x = "A"', "x = `A`"),
        ("x = 'A'", 'x = "A"', "x = [A]"),
        ("x = 'A'", 'x = "A"', 'x = t."A"'),
        ("x = 'A'", 'x = "A"', "x = A"),
    ],
)
def test_a_text_in_double_quotes_that_is_compared_to_is_a_value(condition: str, same_column: str, other: str) -> None:
    gold = f"SELECT a FROM t WHERE {condition}"
    answers = [f"SELECT a FROM t WHERE {one}" for one in (condition, same_column, other)]
    for values in (False, True):
        for one, right in zip(answers, (1, 1, 0), strict=True):
            assert score("sql_exact_set_match", SQL, [one], [gold], values=values) == right, one
            assert score("sql_exact_set_match", SQL, [gold], [one], values=values) == right, one
    changed = same_column.replace('"A"', '"C"')
    for values in (False, True):
        same = not values or changed == same_column
        assert score("sql_exact_set_match", SQL, [f"SELECT a FROM t WHERE {changed}"], [gold], values=values) == same


def test_one_component_and_what_else_may_count() -> None:
    wrong_where = SINGERS.replace("T1.age > 30 AND ", "")
    for component, same in (("select", 1), ("from", 1), ("where", 0), ("group", 1), ("order", 1)):
        assert score("sql_exact_set_match", SQL, [wrong_where], [SINGERS], component=component) == same
    one, other = "SELECT DISTINCT a FROM t JOIN u ON t.i = u.i", "SELECT a FROM t JOIN u ON t.j = u.i"
    assert score("sql_exact_set_match", SQL, [one], [other]) == 1
    assert score("sql_exact_set_match", SQL, [one], [other], distinct=True) == 0
    assert score("sql_exact_set_match", SQL, [one], [other], join_conditions=True) == 0
    count = "SELECT COUNT(DISTINCT a) FROM t"
    assert score("sql_exact_set_match", SQL, [count], ["SELECT COUNT(a) FROM t"]) == 1
    assert score("sql_exact_set_match", SQL, [count], ["SELECT COUNT(a) FROM t"], distinct=True) == 0


def test_no_query_matches_nothing() -> None:
    assert score("sql_set_match", SQL, ["sorry", ""], [GOLD, GOLD]) == 0
