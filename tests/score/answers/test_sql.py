"""A query is found whatever is around it, and is never changed or cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.score.answers.sql import gold_sql, read_sql
from harness.score.answers.sql_tokens import tokens, unquoted, with_table_quoted
from tests.score.answers.chatter import around

QUERY = "SELECT a FROM t WHERE b = 1"


@pytest.mark.parametrize(
    "text",
    [
        f"`{QUERY}`",
        f"Use `{QUERY}` for that.",
        f"``{QUERY}``",
        f"```{QUERY}```",
        f"```sql\n{QUERY};\n```",
        f"~~~sql\n{QUERY}\n~~~",
        f"1. Here:\n   ```sql\n   {QUERY}\n   ```",
        f"```sql {QUERY}\n```",
        f"**{QUERY}**",
        f"*{QUERY}*",
        f"**Query:** {QUERY}",
        f"({QUERY})",
        f"[{QUERY}]",
        f'"{QUERY}"',
        f"“{QUERY}”",
        f"'{QUERY}'",
        f"<sql>{QUERY}</sql>",
        f"> {QUERY}",
        f"1. {QUERY}",
        f"SQL: {QUERY}",
        f"The query is {QUERY}.",
        f"Here is the query:\n{QUERY}",
        f"Here is the query:\n\n{QUERY}\n\nIt finds a.",
        f"{QUERY}\nThis finds a.",
        f"{QUERY}\n- It finds a.",
        f"{QUERY}. It finds a.",
        f"{QUERY}\nWhere possible, use an index.",
        f"{QUERY}; It finds a.",
        f"-- finds a\n{QUERY}",
        f"/* select all of it */ {QUERY}",
        f"You need a SELECT statement: {QUERY}",
        f"SELECT statements are easy:\n{QUERY}",
        f"Select the best way:\n\n{QUERY}",
        f"I would select it with care. {QUERY}",
        f'{{"query": "{QUERY}"}}',
        f'{{"sql": "{QUERY};", "why": "it finds a"}}',
        f'```json\n{{"sql": "{QUERY}"}}\n```',
        f'Here: {{"answer": {{"sql": "{QUERY}"}}}}',
        QUERY.replace("a FROM", "a\N{NO-BREAK SPACE}FROM"),
        QUERY.replace("a FROM", "a\u200b FROM"),
    ],
)
def test_wrappers_and_prose_are_no_part_of_a_query(text: str) -> None:
    found = read_sql(text)
    assert found is not None
    assert " ".join(found.split()) == QUERY


@pytest.mark.parametrize(
    "query",
    [
        "WITH x AS (SELECT 1 AS a) SELECT a FROM x",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 9) SELECT x FROM c",
        "WITH c(x, y) AS (SELECT 1, 2), d AS (SELECT 3) SELECT * FROM c, d",
        "with x as materialized (select 1) select * from x",
        "with x as not materialized (select 1) select * from x",
        "WITH -- the numbers\n x AS (SELECT 1) SELECT * FROM x",
        'WITH "my x" AS (SELECT 1)\nSELECT * FROM "my x"',
        "WITH x /* one */ AS (VALUES (1)) SELECT * FROM x",
    ],
)
@pytest.mark.parametrize("before", ["", "Here it is: ", "Sure!\n", "-- the answer\n", "With pleasure! "])
def test_every_form_of_with_begins_a_query(query: str, before: str) -> None:
    assert read_sql(before + query) == query


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM t WHERE b = 'x; y'",
        "SELECT a FROM t WHERE b = 'moved from table 3'",
        "SELECT a FROM t WHERE b = 'one\n\nThis is two'",
        "SELECT a FROM t WHERE b = 'it''s; ok'",
        "SELECT a FROM t WHERE b = '`select x`'",
        'SELECT "select" FROM "with" WHERE "a;b" = \'{"a": "select x"}\'',
        "SELECT a FROM t WHERE b = '--' AND c = '/*'",
        "SELECT `a b` FROM `t`",
        "SELECT [a b] FROM [t]",
        "SELECT a, (SELECT MAX(b) FROM u) FROM (SELECT a FROM t) UNION SELECT c, d FROM v ORDER BY 1 LIMIT 3",
        "SELECT a\nFROM t\nWHERE b = 1\n  AND c = 2\nORDER BY\n  a",
        "SELECT a\n  , b\nFROM t\nWHERE x\n  = 1",
        "SELECT COUNT School FROM table WHERE No. = 4 AND Name = O'Shea",
        "SELECT a FROM t WHERE b ILIKE 'x%'",
        "SELECT Capital (exonym) FROM table WHERE Capital (endonym) = St. John's",
        "SELECT Playoffs FROM table WHERE League = USL Pro Select League",
        "(SELECT a FROM t) UNION (SELECT b FROM u)",
    ],
)
def test_a_query_is_read_to_its_end_and_as_it_stands(query: str) -> None:
    assert read_sql(query) == query
    assert read_sql(f"Here it is:\n{query};") == query
    assert read_sql(f"```sql\n{query}\n```\nDone.") == query


def test_marks_of_a_value_without_quotes_are_kept_where_the_query_is_the_whole_answer() -> None:
    query = "SELECT Player FROM table WHERE Height = 5' 10\""
    assert read_sql(query) == query


@pytest.mark.parametrize(
    "text",
    [
        "I cannot select anything from that table",
        "Please select one of them.",
        "With this you can do it",
        "Select the best",
        "",
        "```json\n{}\n```",
        "The (select few) are from here",
    ],
)
def test_prose_is_no_query(text: str) -> None:
    assert read_sql(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM t WHERE a IN (SELECT a FROM t)",
        "delete from t where exists (with x as (select 1) select * from x)",
        "UPDATE t SET a=(SELECT 1)",
        "UPDATE t\nSET a = 1\nFROM (SELECT b FROM u) AS s",
        "INSERT INTO x SELECT a FROM t",
        "insert or replace into x (a, b) -- all\nselect a, b from t",
        "INSERT INTO x VALUES ((SELECT MAX(a) FROM t))",
        "CREATE VIEW v AS SELECT a FROM t; SELECT * FROM v",
        "CREATE TEMP TABLE IF NOT EXISTS x AS (SELECT a FROM t);\n\nSELECT * FROM x",
        "```sql\nCREATE TABLE x AS\nSELECT a FROM t;\n```\n```sql\nSELECT * FROM x\n```",
        "DROP TABLE t; SELECT a FROM u",
        "DELETE FROM t WHERE a = 1;\nSELECT a FROM t",
        "UPDATE t SET a = 1; SELECT a FROM t",
        "INSERT INTO t VALUES (1);\n\nSELECT a FROM t",
        "EXPLAIN SELECT a FROM t",
        "```sql\nEXPLAIN QUERY PLAN\nSELECT a FROM t\n```",
        "SELEC name FROM t WHERE a = (SELECT max(a) FROM t)",
        "SELEC name, (SELECT max(a) FROM t) FROM t",
        "SELEC a FROM t UNION ALL SELECT b FROM u",
        "SELECT a FROM t WHERE x = SELECT max(x) FROM u",
        "SELECT a FROM t WHERE id IN SELECT id FROM u",
        "select a from t where b = 1 and x >\n  select avg(x) from u",
        "SELECT a FROM SELECT b FROM u",
        "x AS (SELECT 1) SELECT * FROM x",
        "WHERE id IN (SELECT id FROM u)",
        "FROM (SELECT a FROM t) AS x",
        '{"sql": "DELETE FROM t WHERE a IN (SELECT a FROM t)"}',
    ],
)
def test_a_query_inside_another_statement_is_no_answer(text: str) -> None:
    assert read_sql(text) is None
    assert read_sql(f"Here it is:\n\n{text}\n\nDone.") is None


@pytest.mark.parametrize(
    "text",
    [
        f"Keep WHERE id IN (SELECT id FROM u):\n\n{QUERY}",
        f"CREATE TABLE t (a INT, b INT);\n\n{QUERY}",
        f"{QUERY}\n\nThis is none: INSERT INTO x SELECT a FROM t",
        f"Let me explain\n{QUERY}",
        f"sql = ({QUERY})",
        f"The final query = {QUERY}",
        f"The query => ({QUERY})",
        f"It is <sql>({QUERY})</sql>",
        f"Here it is:\n> ({QUERY})",
    ],
)
def test_a_query_beside_such_a_statement_or_behind_a_word_of_prose_is_one(text: str) -> None:
    assert read_sql(text) == QUERY


def test_a_commented_query_is_no_query() -> None:
    assert read_sql("-- SELECT old FROM t\nSELECT new FROM t") == "SELECT new FROM t"


@pytest.mark.parametrize("text", [QUERY, f" {QUERY};\n", f"```sql\n{QUERY}\n```", f"-- why\n{QUERY} -- because"])
def test_a_right_answer_is_one_query_as_a_whole(text: str) -> None:
    assert gold_sql(text) == QUERY


@pytest.mark.parametrize("text", ["", "SELECT", f"Use {QUERY}", f"{QUERY}; {QUERY}", "DROP TABLE t", "With pleasure"])
def test_a_right_answer_with_anything_else_in_it_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not one query"):
        gold_sql(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{QUERY} AND", "it ends in AND"),
        ("SELECT a FROM t WHERE", "it ends in WHERE"),
        ("SELECT a FROM t WHERE b =", "it ends in ="),
        ("SELECT a,", "it ends in ,"),
        ("SELECT a FROM t WHERE b = 'x", "' at character 27 is never closed"),
        ('SELECT "a FROM t', '" at character 8 is never closed'),
        ("SELECT a FROM t WHERE b IN (1, 2", "a bracket is never closed"),
        ("SELECT a FROM t)", "the bracket at character 16 was never opened"),
    ],
)
def test_a_right_answer_that_is_cut_off_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"not one query: {re.escape(reason)}"):
        gold_sql(text)


@pytest.mark.parametrize("value", ["O'Shea", "5' 10\"", "Left", "St. John's", "'('", "')'", "(1)", "t.*"])
def test_a_right_answer_may_end_in_any_value(value: str) -> None:
    assert gold_sql(f"SELECT a FROM t WHERE b = {value}") == f"SELECT a FROM t WHERE b = {value}"


@pytest.mark.parametrize(
    ("statement", "quoted"),
    [
        ("SELECT a FROM table", 'SELECT a FROM "table"'),
        ("select a from Table join TABLE", 'select a from "table" join "table"'),
        ("SELECT table.a FROM table", 'SELECT "table".a FROM "table"'),
        ("SELECT a FROM \"table\" WHERE b = 'moved from table 3' -- from table", None),
        ("SELECT a FROM [table], `table`, tables", None),
    ],
)
def test_only_the_bare_word_table_is_quoted(statement: str, quoted: str | None) -> None:
    assert with_table_quoted(statement) == (quoted or statement)


@given(st.text("ab'\"`[]-/* \n;(=x1.", max_size=40))
def test_tokens_joined_are_the_statement(statement: str) -> None:
    assert "".join(token.text for token in tokens(statement)) == statement


@given(st.text(max_size=12))
def test_a_literal_is_one_token_whatever_is_in_it(value: str) -> None:
    literal = "'" + value.replace("'", "''") + "'"
    found = [token for token in tokens(f"SELECT {literal} FROM t") if token.kind == "string"]
    assert [token.text for token in found] == [literal]
    assert unquoted(found[0]) == value


WORDS = st.sampled_from(["a", "b", '"Year built"', "t.a", "COUNT(a)", "MAX(b) AS m"])
LITERALS = st.text("ab;\n '`*-/\"(){}SELECTfromtable.", max_size=8).map(
    lambda text: "'" + text.replace("'", "''") + "'"
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    select, source = draw(st.lists(WORDS, min_size=1, max_size=2)), draw(st.sampled_from(["t", '"table"', "table"]))
    gap = draw(st.sampled_from([" ", "\n", "\n  "]))
    query = f"SELECT {', '.join(select)}{gap}FROM {source}"
    if draw(st.booleans()):
        query += f"{gap}WHERE a = {draw(LITERALS)}{gap}AND b > 2"
    if draw(st.booleans()):
        query += draw(st.sampled_from([f"{gap}ORDER BY a", f"{gap}UNION{gap}SELECT c FROM u", f"{gap}LIMIT 3"]))
    if draw(st.booleans()):
        query = f"WITH t AS (SELECT 1 AS a){gap}{query}"
    return query if draw(st.booleans()) else query.replace("SELECT", "select").replace("FROM", "from")


MARKS = (("", ""), ("", ";"), ("```sql\n", "\n```"), ("`", "`"), ("**", "**"), ('"', '"'), ("(", ")"))


@example("select a from t WHERE a = '\n\n' AND b > 2", ("`", "` It's done. "))  # an empty line in a literal
@given(queries(), around(MARKS))
def test_a_query_in_chatter_is_itself_or_unparsed(query: str, around: tuple[str, str]) -> None:
    opening = around[0][-1:]
    assume(opening not in '`*"' or opening not in query)  # marks inside marks have no one reading
    found = read_sql(around[0] + query + around[1])
    assert found is None or found == gold_sql(query)


@given(
    queries(),
    st.sampled_from(["", "Sure!\n", "Here is the query:\n\n", "SQL: "]),
    st.sampled_from(["", ";", ";\n\nDone."]),
)
def test_a_query_with_little_around_it_is_read(query: str, before: str, after: str) -> None:
    assert read_sql(before + query + after) == gold_sql(query)
