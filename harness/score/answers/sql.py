"""SQL queries out of a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from harness.score.answers.fences import fenced_blocks, only_block
from harness.score.answers.sql_statement import (
    CONTINUES,
    MOST_CHARACTERS,
    SET_OPERATORS,
    first_sentence,
    is_query,
    significant,
    statement_at,
    unfinished,
    whole_statement,
)
from harness.score.answers.structured import Unreadable, json_tree

_START = re.compile(r"\b(?:select|with)\b", re.IGNORECASE)
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_MOST_STARTS = 256
_MOST_SCANNED = 2 * MOST_CHARACTERS
"""So many words "select" and "with" are looked at, and so much text behind them, before the search gives up."""
# A query may begin at the beginning of a line or behind a colon, with markup, a list's number or a label in front.
_INTRODUCED = re.compile(r"(?:\A|[\n:=>→])(?:[\s*_`\"'“”‘’(>#]|[-+] |[0-9]{1,3}[.)] )*\Z")
_NAME = r"(?:[\w.$]++|\"[^\"\n]*+\"|`[^`\n]*+`|\[[^\]\n]*+\])"
# A statement that writes, or explains, of which the query behind it is the last part, or that it comes after.
_WRITES = re.compile(
    rf"(?:\b(?:INSERT(?:\s+OR\s+\w+)?|REPLACE)\s+INTO\s+{_NAME}\s*+(?:\([^()]*+\)\s*+)?"
    rf"|\bCREATE\s[^;()]{{0,40}}?\b(?:TABLE|VIEW)\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*+(?:\([^()]*+\)\s*+)?AS\b"
    r"|(?:\A|[\n;:`*\"'>(])[^\S\n]*EXPLAIN(?:\s+QUERY\s+PLAN\b|\s+ANALYZE\b|[^\S\n]++(?!\n))"
    rf"|(?:\A|[\n;:`*\"'>])[^\S\n]*(?:(?:DELETE\s+FROM|(?:INSERT|REPLACE)\s+(?:OR\s+\w+\s+)?INTO|UPDATE"
    rf"|(?:ALTER|DROP|TRUNCATE)\s+TABLE(?:\s+IF\s+EXISTS)?)\s+{_NAME}[^;]*+;))[\s(]*+\Z",
    re.IGNORECASE,
)
_COMPARED = r"[^\s<>=!]{1,60}[^\S\n]*(?:[<>!=]=|<>|(?<![=-])[<>]|=)"
# What a query, or one in brackets, stands behind where it is a part of another statement.
_PART = re.compile(
    r"(?:\b(?:UNION|INTERSECT|EXCEPT)(?:\s+ALL)?|\b(?:EXISTS|FROM|IN|JOIN)"
    rf"|\b(?:AND|HAVING|NOT|ON|OR|SET|WHERE)\s+{_COMPARED}"
    r"|(?:\b(?:ALL|AND|ANY|AS|BETWEEN|BY|CASE|ELSE|HAVING|LIKE|LIMIT|NOT|ON|OR|SELECT|SET|SOME|THEN|USING|VALUES|WHEN"
    rf"|WHERE)|\S\s+{_COMPARED})\s*\([\s(]*+)[\s(]*+\Z",
    re.IGNORECASE,
)
_SQL_COMMENT = re.compile(r"--[^\n]*+|/\*.*?\*/", re.DOTALL)
_NEAR = 200
"""So many characters in front of a query say whether it is a part of another statement."""
_LABEL = re.compile(r"[\s*_#`>(\"']*+(?:\w++[\s*_]*+:)?[\s*_`>(\"']*+")
_WRAPPERS = dict(zip("\"'`“”‘«[$*_", "\"'`””’»]$*_", strict=True))


def read_sql(text: str) -> str | None:
    """Return the query in a text, without the semicolon behind it; None when there is none.

    It is looked for in a JSON object's text, then in fenced blocks, then in the whole text: at the beginning of a line,
    behind a colon, in inline code, quotation marks, brackets or bold, and in a sentence where SQLite parses it. It ends
    at a semicolon or a closing mark outside literals, at an empty line that no clause of a query follows, and at a line
    that cannot continue it. What SQLite parses goes before what it does not; of several queries, the first one counts.
    Literals are never changed; empty lines outside of them and comments in front are left out. A part of another
    statement is none: not a subquery of one that is broken or does not select, nor what a statement inserts, keeps as a
    view or explains, which is no answer even where a query follows.
    """
    if not _START.search(text):
        return None
    in_json = _in_json(text)
    if in_json is not None:
        return in_json
    try:
        candidates = (*(block.text for block in fenced_blocks(text)), text)
        return next((found for one in candidates if (found := _first(one)) is not None), None)
    except Unreadable:
        return None


def gold_sql(text: str) -> str:
    """Return the query that a right answer is: the whole text, or its only fenced block.

    Raises:
        ValueError: it is not one query, or is cut off.
    """
    query = whole_statement(only_block(text))
    if query is None:
        raise ValueError("it is not one query, beginning with SELECT or WITH")
    if reason := unfinished(query):
        raise ValueError(f"it is not one query: {reason}")
    return query


@dataclass(frozen=True, slots=True)
class _Found:
    """A query, where it ends in the text, whether it stands by itself there, whether SQLite parses it, and whether it
    is only a part of another statement."""

    text: str
    end: int
    alone: bool
    parses: bool
    part: bool = False


def _in_json(text: str) -> str | None:
    """The one query among the texts of a JSON object."""
    begin = text.find("{")
    if begin < 0 or _START.search(text, 0, begin):
        return None
    try:
        tree = json_tree(text)
    except Unreadable:
        return None
    queries = {whole_statement(value) for value in _texts(tree)} - {None}
    return queries.pop() if len(queries) == 1 else None


def _texts(tree: Any) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            waiting.extend(value)


def _first(text: str) -> str | None:
    """The text itself, or the first query in it that SQLite parses, else the first one that stands by itself.

    Raises:
        Unreadable: a statement that writes comes before it, with a query in it.
    """
    whole = whole_statement(text)
    if whole is not None and not whole.endswith(".") and is_query(whole):
        return whole
    others: list[str] = []
    end = scanned = 0
    part = False
    for match in islice(_START.finditer(text), _MOST_STARTS):
        if match.start() < end:
            continue
        found, looked_at = _at(text, match.start())
        scanned += looked_at
        if scanned > _MOST_SCANNED:
            return None
        if found is None:
            continue
        gap = text[end : match.start()]
        part = found.part or (part and not gap.strip(") \t\r\n") and "\n\n" not in gap)
        end = found.end
        if part:
            continue
        if found.parses:
            return found.text
        if found.alone:
            others.append(found.text)
    return others[0] if others else None


def _at(text: str, start: int) -> tuple[_Found | None, int]:
    """The query that begins at a place, None when none can, and how many characters were looked at."""
    before = text[start - 1 : start]
    line = text[text.rfind("\n", 0, start) + 1 : start].strip()
    introduced = start == 0 or line.endswith("*/") or _INTRODUCED.search(text[max(0, start - 80) : start]) is not None
    if line.startswith("--"):
        return None, 0
    near = _SQL_COMMENT.sub(" ", text[max(0, start - _NEAR) : start])
    if _WRITES.search(near):
        raise Unreadable("a part of a statement that writes")
    # In the middle of a sentence, "select" may be a word; WITH in its full form is none.
    is_word = not (introduced or before in _WRAPPERS or before == "(") and text[start : start + 6].islower()
    looked_at = 0
    if before in _WRAPPERS:
        inner, end = _inside(text, start, before)
        looked_at = end - start
        if inner is not None:
            return _Found(inner, end, alone=True, parses=True), looked_at
    bracketed = before == "("
    found, end = statement_at(text, start, bracketed=bracketed)
    if bracketed and found is not None and _behind(text, end).upper() in SET_OPERATORS | {"ORDER", "LIMIT"}:
        start, bracketed = start - 1, False  # "(SELECT …) UNION (SELECT …)" is one query
        found, end = statement_at(text, start)
    looked_at += end - start
    if found is None:
        return None, looked_at
    if _PART.search(near) or (bracketed and _behind(text, end) in CONTINUES):  # in small letters, words may be prose
        return _Found(found, end, alone=False, parses=False, part=True), looked_at
    if is_word and found[:4] != "with":
        return _Found(found, end, alone=False, parses=False), looked_at
    if is_query(found):
        return _Found(found, end, alone=True, parses=True), looked_at
    for shorter, cut in _shorter(text, start, end, bracketed):
        if shorter is not None and is_query(shorter):
            return _Found(shorter, cut, alone=True, parses=True), looked_at
    # What SQLite does not parse may be another dialect, or names without quotes: where it is all there is, or closed.
    is_all = _LABEL.fullmatch(text, 0, start) is not None and not text[end:].strip(" \t\r\n;.*_`\"'")
    alone = introduced and _FROM.search(found) is not None and (is_all or text[end : end + 1] == ";")
    return _Found((whole_statement(text[start:]) or found) if is_all else found, end, alone, parses=False), looked_at


def _shorter(text: str, start: int, end: int, bracketed: bool) -> Iterator[tuple[str | None, int]]:
    """What the statement may be when prose that looks like more of it follows."""
    statement = text[start:end]
    if re.search(r"\n\s*[A-Z][a-z]", statement):
        yield statement_at(text, start, bracketed=bracketed, titles_continue=False)
    if re.search(r"\.\s++[A-Z]", statement):
        yield first_sentence(text, start, end)


def _behind(text: str, bracket: int) -> str:
    """The token behind the closing bracket that follows, "" where there is none."""
    return next((token.text for token in islice(significant(text, bracket), 1, None)), "")


def _inside(text: str, start: int, mark: str) -> tuple[str | None, int]:
    """The query between the mark in front of `start` and the one that closes it, and where it, or the look at it, ends.

    The first mark that closes it counts, or the last one of the paragraph where marks are inside, too. An empty line
    may be part of a literal: where the paragraph has no such mark, the first one behind it counts.
    """
    width = 1
    while width < 3 and text[start - width - 1 : start - width] == mark and start > width:
        width += 1
    closing_mark = _WRAPPERS[mark] * width
    limit = min(len(text), start + MOST_CHARACTERS)
    paragraph, first = text.find("\n\n", start, limit), text.find(closing_mark, start, limit)
    ends = [first]
    if not 0 <= paragraph < first:
        ends.append(text.rfind(closing_mark, start, paragraph if paragraph >= 0 else limit))
    end = start
    for end in ends:
        if end < 0:
            return None, start
        inner = text[start:end]
        if mark == '"' and "\\" in inner:
            inner = _unescaped(inner)
        statement = whole_statement(inner)
        if statement is not None and is_query(statement):
            return statement, end + width
    return None, end


def _unescaped(inner: str) -> str:
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError:
        return inner
