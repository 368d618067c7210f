"""Where a SQL statement ends in a text, told by its tokens and by SQLite's own grammar."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

from harness.score.answers.sql_tokens import Token, tokens, with_table_quoted

MOST_CHARACTERS = 10_000
"""A longer query is not read."""
_CLOSES_SENTENCE = frozenset(".!?`\"'”’»*:")
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
SET_OPERATORS = frozenset({"UNION", "INTERSECT", "EXCEPT", "ALL"})
CONTINUES = frozenset({
    "AND", "AS", "ASC", "BETWEEN", "COLLATE", "CROSS", "DESC", "ELSE", "END", "ESCAPE", "EXCEPT", "EXISTS", "FETCH",
    "FILTER", "FROM", "FULL", "GLOB", "GROUP", "HAVING", "ILIKE", "IN", "INNER", "INTERSECT", "IS", "JOIN", "LEFT",
    "LIKE", "LIMIT", "NATURAL", "NOT", "NULLS", "OFFSET", "ON", "OR", "ORDER", "OUTER", "OVER", "QUALIFY", "REGEXP",
    "RIGHT", "SELECT", "THEN", "UNION", "USING", "VALUES", "WHEN", "WHERE", "WINDOW", "WITH",
})  # fmt: skip
# Words behind which a query cannot end.
_UNFINISHED = CONTINUES - {"END", "ASC", "DESC"} | {"BY", "DISTINCT", "CASE", "ALL"}
_OPERATORS = frozenset(",.=<>+-/|%*(") | {"||", "<>", "<=", ">=", "!=", "==", "::"}
# Behind a line break these continue a query; other operators begin a list or a new paragraph.
_LINKS = frozenset(",)=</>%") | {"||", "<>", "<=", ">=", "!=", "==", ";"}
_LINKS_BEFORE_FROM = frozenset("+-*(")
_COMPARISONS = frozenset({"=", "<", ">", "<=", ">=", "<>", "!=", "=="})
_SPACE = r"(?:[\s\u200b\u2060\ufeff]|--[^\n]*+|/\*.*?\*/)"
_NAME = r"(?:[^\W\d][\w$]*+|\"(?:[^\"]|\"\")*+\"|'(?:[^']|'')*+'|`(?:[^`]|``)*+`|\[[^\]]*+\])"
# The WITH that begins a query and is no word of prose.
_WITH = re.compile(
    rf"WITH{_SPACE}++(?:RECURSIVE{_SPACE}++)?+{_NAME}{_SPACE}*+(?:\((?:{_NAME}|{_SPACE}|,)*+\){_SPACE}*+)?"
    rf"AS\b{_SPACE}*+(?:(?:NOT|MATERIALIZED)\b{_SPACE}*+)*+\(",
    re.IGNORECASE | re.DOTALL,
)
_NOT_SQL = (
    "syntax error",
    "incomplete input",
    "unrecognized token",
    "stack overflow",
    "one statement",
)


def is_query(statement: str) -> bool:
    """Return whether SQLite parses a statement as one query; whether its tables exist does not matter.

    Without a table to choose from, a name in it is no column but a word of prose ("select the best").
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("EXPLAIN " + with_table_quoted(statement))
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            word = "no such column" in str(error) and not _FROM.search(statement)
            return isinstance(error, sqlite3.Error) and not word and not any(sign in str(error) for sign in _NOT_SQL)
    return True


def whole_statement(text: str) -> str | None:
    """The text as one query with nothing around it but comments and semicolons."""
    first = next((one for one in tokens(text) if one.kind not in ("space", "comment")), None)
    if first is None or first.keyword not in ("SELECT", "WITH") or len(text) - first.start > MOST_CHARACTERS:
        return None
    found = [one for one in tokens(text, first.start) if one.kind != "space"]
    while found and (found[-1].kind == "comment" or found[-1].text == ";"):
        del found[-1]
    if any(one.text == ";" for one in found) or (first.keyword == "WITH" and not _WITH.match(text, first.start)):
        return None
    return _joined(text, found) if len(found) > 1 else None


def unfinished(query: str) -> str | None:
    """What shows that a query is cut off: an open quotation mark or bracket, or an end that demands more; else None.

    A mark behind a letter or digit (`O'Shea`, `5' 10"`) and a word behind a comparison may be a value without quotes.
    """
    found = list(significant(query, 0))
    depth = 0
    for token in found:
        if token.text in ("'", '"', "`") and not query[token.start - 1 : token.start].isalnum():
            return f"{token.text} at character {token.start + 1} is never closed"
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth < 0:
            return f"the bracket at character {token.start + 1} was never opened"
    if depth:
        return "a bracket is never closed"
    last = found[-1]
    is_value = len(found) > 1 and found[-2].text in _COMPARISONS
    if (last.keyword in _UNFINISHED and not is_value) or last.text in _OPERATORS - {"*", "."}:
        return f"it ends in {last.text}"
    return None


def _joined(text: str, found: Sequence[Token]) -> str:
    """The tokens with what stands between them, without its empty lines; odd white space is plain there."""
    parts, place = [], found[0].start
    for token in found:
        gap = text[place : token.start]
        if "--" not in gap and "/*" not in gap:
            gap = re.sub(r"\n\s*\n", "\n", re.sub(r"[^\x00-\x7f]", " ", gap))
        parts += [gap, token.text]
        place = token.end
    return "".join(parts)


def statement_at(
    text: str, start: int, *, bracketed: bool = False, titles_continue: bool = True
) -> tuple[str | None, int]:
    """The statement that begins at `start`, None when no query begins there, and where it, or the look at it, ends.

    `bracketed`: there is an opening bracket in front of it. `titles_continue`: a line that begins with a word like
    "Where" or "As" continues a query also when the query itself is not written in this way.
    """
    first = text[start : start + 6]
    is_with = first[:4].upper() == "WITH"
    if is_with and not _WITH.match(text, start):
        return None, start
    strict_titles = not titles_continue and first != "Select" and first[:4] != "With"
    found: list[Token] = []
    depth, before, seen_from = 0, "", False
    for token in significant(text, start):
        if depth == 0:
            gap = text[found[-1].end : token.start] if found else ""
            if token.text in (";", "```") or text.startswith("</", token.start) or (token.text == ")" and bracketed):
                break
            if gap and _breaks(gap, before, token, seen_from, strict_titles):
                break
            linked = before in SET_OPERATORS or (is_with and before == ")")
            if token.keyword == "SELECT" and found and not linked and (token.text != "Select" or first == "Select"):
                if "\n" in gap:
                    break
                return None, token.start  # a second query: the first word was one of the prose
        if token.end - start > MOST_CHARACTERS:
            return None, token.end
        found.append(token)
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        depth = max(depth, 0)
        before = token.keyword or token.text
        seen_from = seen_from or (depth == 0 and before == "FROM")
    found = _without_stop(found)
    return (_joined(text, found) if len(found) > 1 else None), (found[-1].end if found else start)


def _breaks(gap: str, before: str, token: Token, seen_from: bool, strict_titles: bool) -> bool:
    """Whether a query ends at a line break between two tokens outside brackets."""
    if "\n" not in gap or before in _UNFINISHED or before in _OPERATORS:
        return False
    if token.keyword:
        title = len(token.text) > 1 and token.text[0].isupper() and token.text[1:].islower()
        return token.keyword not in CONTINUES or (title and strict_titles)
    return token.text not in _LINKS and (seen_from or gap.count("\n") > 1 or token.text not in _LINKS_BEFORE_FROM)


def significant(text: str, start: int) -> Iterator[Token]:
    """Yield the tokens from `start` on, without white space and comments."""
    return (token for token in tokens(text, start) if token.kind not in ("space", "comment"))


def first_sentence(text: str, start: int, end: int) -> tuple[str | None, int]:
    """The statement up to a full stop with a capital behind it, where no comparison follows that may belong to it."""
    found: list[Token] = []
    cut = 0
    for token in significant(text[:end], start):
        ends = bool(found) and found[-1].text.endswith(".") and found[-1].end < token.start and token.text[0].isupper()
        if ends and not cut:
            if len(found) > 2 and found[-2].kind == "word" and found[-3].text in _COMPARISONS:
                return None, end  # a value without quotes, such as St. John's
            cut = len(found)
        if cut and token.text in _COMPARISONS:
            return None, end
        found.append(token)
    kept = _without_stop(found[:cut])
    return (_joined(text, kept), kept[-1].end) if len(kept) > 1 else (None, end)


def _without_stop(found: list[Token]) -> list[Token]:
    """The tokens without what closes a sentence, a quotation or bold behind a statement."""
    kept = list(found)
    while len(kept) > 1 and kept[-1].kind == "symbol" and kept[-1].text in _CLOSES_SENTENCE:
        if kept[-1].text == "*" and kept[-2].text != "*":
            break
        kept.pop()
        if kept[-1].text == "*":
            kept.pop()
    if kept and kept[-1].kind == "number" and kept[-1].text.endswith("."):
        kept[-1] = Token("number", kept[-1].text[:-1], kept[-1].start)
    return kept
