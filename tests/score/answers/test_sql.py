"""A query is found whatever is around it, and is never changed or cut."""

from __future__ import annotations

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
