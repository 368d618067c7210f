"""SQL queries out of a text, and their tokens."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from harness.score.answers.fences import fenced_blocks, only_block
from harness.score.answers.structured import Unreadable, json_tree

Kind = Literal["word", "number", "string", "name", "space", "comment", "symbol"]

_PLAIN = re.compile(
    r"(?P<space>[\s\u200b\u2060\ufeff]++)|(?P<word>[^\W\d][\w$]*+)|(?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?)"
    r"|(?P<symbol>\|\||<>|<=|>=|!=|==|::|```|[^\w\s])|(?P<rest>.)",
    re.DOTALL,
)
_CLOSING = {"'": "'", '"': '"', "`": "`", "[": "]"}
_CLOSES_SENTENCE = frozenset(".!?`\"'”’»*:")
_START = re.compile(r"\b(?:select|with)\b", re.IGNORECASE)
MOST_CHARACTERS = 10_000
"""A longer query is not read."""
_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_MOST_STARTS = 256
_MOST_SCANNED = 2 * MOST_CHARACTERS
"""So many words "select" and "with" are looked at, and so much text behind them, before the search gives up."""
_SET_OPERATORS = frozenset({"UNION", "INTERSECT", "EXCEPT", "ALL"})
_CONTINUES = frozenset({
    "AND", "AS", "ASC", "BETWEEN", "COLLATE", "CROSS", "DESC", "ELSE", "END", "ESCAPE", "EXCEPT", "EXISTS", "FETCH",
    "FILTER", "FROM", "FULL", "GLOB", "GROUP", "HAVING", "ILIKE", "IN", "INNER", "INTERSECT", "IS", "JOIN", "LEFT",
    "LIKE", "LIMIT", "NATURAL", "NOT", "NULLS", "OFFSET", "ON", "OR", "ORDER", "OUTER", "OVER", "QUALIFY", "REGEXP",
    "RIGHT", "SELECT", "THEN", "UNION", "USING", "VALUES", "WHEN", "WHERE", "WINDOW", "WITH",
})  # fmt: skip
# Words behind which a query cannot end.
_UNFINISHED = _CONTINUES - {"END", "ASC", "DESC"} | {"BY", "DISTINCT", "CASE", "ALL"}
_OPERATORS = frozenset(",.=<>+-/|%*(") | {"||", "<>", "<=", ">=", "!=", "==", "::"}
# Behind a line break these continue a query; other operators begin a list or a new paragraph.
_LINKS = frozenset(",)=</>%") | {"||", "<>", "<=", ">=", "!=", "==", ";"}
_LINKS_BEFORE_FROM = frozenset("+-*(")
# A query may begin at the beginning of a line or behind a colon, with markup, a list's number or a label in front.
_INTRODUCED = re.compile(r"(?:\A|[\n:=>→])(?:[\s*_`\"'“”‘’(>#]|[-+] |[0-9]{1,3}[.)] )*\Z")
_LABEL = re.compile(r"[\s*_#`>(\"']*+(?:\w++[\s*_]*+:)?[\s*_`>(\"']*+")
_WRAPPERS = dict(zip("\"'`“”‘«[$*_", "\"'`””’»]$*_", strict=True))
_NOT_SQL = (
    "syntax error",
    "incomplete input",
    "unrecognized token",
    "stack overflow",
    "one statement",
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement; `text` is as written, quotation marks included."""

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        """The index behind it."""
        return self.start + len(self.text)

    @property
    def keyword(self) -> str:
        """An unquoted word in upper case, "" for everything else."""
        return self.text.upper() if self.kind == "word" else ""


def tokens(statement: str, place: int = 0) -> Iterator[Token]:
    """Yield the tokens of a statement, which joined are the statement.

    A quotation mark that is never closed, or stands behind a letter (`O'Shea` without quotes), is a symbol. A string is
    in single quotes, a name in double quotes, backticks or square brackets; a doubled mark inside stands for the mark.
    """
    lost: set[str] = set()
    while place < len(statement):
        token = _quoted(statement, place, lost) or _plain(statement, place)
        yield token
        place = token.end


def _plain(statement: str, place: int) -> Token:
    match = _PLAIN.match(statement, place)
    if match is None:
        return Token("symbol", statement[place], place)
    kind: Any = match.lastgroup if match.lastgroup != "rest" else "symbol"
    return Token(kind, match[0], place)


def _quoted(statement: str, place: int, lost: set[str]) -> Token | None:
    """The string, quoted name or comment at a place; `lost` remembers which marks are not closed any more."""
    char = statement[place]
    if char in "-/":
        return _comment(statement, place, lost)
    closing_mark = _CLOSING.get(char)
    attached = place > 0 and (statement[place - 1].isalnum() or statement[place - 1] == "_")
    if closing_mark is None or char in lost or (attached and not _prefixed(statement, place)):
        return None
    end = statement.find(closing_mark, place + 1)
    while end >= 0 and char != "[" and statement.startswith(closing_mark, end + 1):
        end = statement.find(closing_mark, end + 2)
    if end < 0:
        lost.add(char)
        return None
    return Token("string" if char == "'" else "name", statement[place : end + 1], place)


def _prefixed(statement: str, place: int) -> bool:
    """Whether the letter in front makes it a literal of a kind, such as x'00'."""
    letter = statement[place - 1 : place]
    return (
        statement[place] == "'"
        and letter in "xXnNeEbB"
        and not re.search(r"\w", statement[max(0, place - 2) : place - 1])
    )


def _comment(statement: str, place: int, lost: set[str]) -> Token | None:
    if statement.startswith("--", place):
        end = statement.find("\n", place)
        return Token("comment", statement[place : end if end >= 0 else len(statement)], place)
    if statement.startswith("/*", place) and "/*" not in lost:
        end = statement.find("*/", place + 2)
        if end >= 0:
            return Token("comment", statement[place : end + 2], place)
        lost.add("/*")
    return None


def unquoted(token: Token) -> str:
    """Return what a string or a quoted name stands for, any other token as written."""
    if token.kind not in ("string", "name"):
        return token.text
    mark = _CLOSING[token.text[0]]
    inner = token.text[1:-1]
    return inner if mark == "]" else inner.replace(mark * 2, mark)


def with_table_quoted(statement: str) -> str:
    """Return the statement with the bare keyword TABLE, which models use as the name of the one table, in quotes."""
    if "table" not in statement.casefold():
        return statement
    return "".join('"table"' if token.keyword == "TABLE" else token.text for token in tokens(statement))


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


def read_sql(text: str) -> str | None:
    """Return the query in a text, without the semicolon behind it; None when there is none.

    It is looked for in a JSON object's text, then in fenced blocks, then in the whole text: at the beginning of a line,
    behind a colon, in inline code, quotation marks, brackets or bold, and in a sentence where SQLite parses it. It ends
    at a semicolon or a closing mark outside literals, at an empty line that no clause of a query follows, and at a line
    that cannot continue it. What SQLite parses goes before what it does not; of several queries, the first one counts.
    Literals are never changed; empty lines outside of them and comments in front are left out.
    """
    if not _START.search(text):
        return None
    in_json = _in_json(text)
    if in_json is not None:
        return in_json
    for candidate in (*(block.text for block in fenced_blocks(text)), text):
        found = _first(candidate)
        if found is not None:
            return found
    return None


def gold_sql(text: str) -> str:
    """Return the query that a right answer is: the whole text, or its only fenced block.

    Raises:
        ValueError: it is not one query.
    """
    query = _whole(only_block(text))
    if query is None:
        raise ValueError("it is not one query, beginning with SELECT or WITH")
    return query


def _whole(text: str) -> str | None:
    """The text as one query with nothing around it but comments and semicolons."""
    first = next((one for one in tokens(text) if one.kind not in ("space", "comment")), None)
    if first is None or first.keyword not in ("SELECT", "WITH") or len(text) - first.start > MOST_CHARACTERS:
        return None
    found = [one for one in tokens(text, first.start) if one.kind != "space"]
    while found and (found[-1].kind == "comment" or found[-1].text == ";"):
        del found[-1]
    if any(one.text == ";" for one in found) or (first.keyword == "WITH" and not _is_with(text, first.start)):
        return None
    return _joined(text, found) if len(found) > 1 else None


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


@dataclass(frozen=True, slots=True)
class _Found:
    """A query, where it ends in the text, whether it stands by itself there, and whether SQLite parses it."""

    text: str
    end: int
    alone: bool
    parses: bool


def _in_json(text: str) -> str | None:
    """The one query among the texts of a JSON object."""
    begin = text.find("{")
    if begin < 0 or _START.search(text, 0, begin):
        return None
    try:
        tree = json_tree(text)
    except Unreadable:
        return None
    queries = {_whole(value) for value in _texts(tree)} - {None}
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
    """The text itself, or the first query in it that SQLite parses, else the first one that stands by itself."""
    whole = _whole(text)
    if whole is not None and not whole.endswith(".") and is_query(whole):
        return whole
    others: list[str] = []
    end = scanned = 0
    for match in islice(_START.finditer(text), _MOST_STARTS):
        if match.start() < end:
            continue
        found, looked_at = _at(text, match.start())
        scanned += looked_at
        if scanned > _MOST_SCANNED:
            return None
        if found is None:
            continue
        end = found.end
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
    # In the middle of a sentence, "select" may be a word; WITH in its full form is none.
    is_word = not (introduced or before in _WRAPPERS or before == "(") and text[start : start + 6].islower()
    looked_at = 0
    if before in _WRAPPERS:
        inner, end = _inside(text, start, before)
        looked_at = end - start
        if inner is not None:
            return _Found(inner, end, alone=True, parses=True), looked_at
    bracketed = before == "("
    found, end = _statement(text, start, bracketed=bracketed)
    if bracketed and found is not None and _goes_on(text, end):
        start, bracketed = start - 1, False  # "(SELECT …) UNION (SELECT …)" is one query
        found, end = _statement(text, start)
    looked_at += end - start
    if found is None:
        return None, looked_at
    if is_word and found[:4] != "with":
        return _Found(found, end, alone=False, parses=False), looked_at
    if is_query(found):
        return _Found(found, end, alone=True, parses=True), looked_at
    for shorter, cut in _shorter(text, start, end, bracketed):
        if shorter is not None and is_query(shorter):
            return _Found(shorter, cut, alone=True, parses=True), looked_at
    # What SQLite does not parse may be another dialect, or names without quotes: where it is all there is, or closed.
    is_all = _LABEL.fullmatch(text, 0, start) is not None and not text[end:].strip(" \t\r\n;.*_`\"'")
    alone = introduced and (is_all or text[end : end + 1] == ";")
    alone = alone and _FROM.search(found) is not None
    return _Found(found, end, alone, parses=False), looked_at


def _shorter(text: str, start: int, end: int, bracketed: bool) -> Iterator[tuple[str | None, int]]:
    """What the statement may be when prose that looks like more of it follows."""
    statement = text[start:end]
    if re.search(r"\n\s*[A-Z][a-z]", statement):
        yield _statement(text, start, bracketed=bracketed, titles_continue=False)
    if re.search(r"\.\s++[A-Z]", statement):
        yield _first_sentence(text, start, end)


def _first_sentence(text: str, start: int, end: int) -> tuple[str | None, int]:
    """The statement up to a full stop with a capital behind it, where no comparison follows that may belong to it."""
    found: list[Token] = []
    cut = 0
    for token in _significant(text[:end], start):
        if (
            not cut
            and found
            and found[-1].text.endswith(".")
            and found[-1].end < token.start
            and token.text[0].isupper()
        ):
            cut = len(found)
        if cut and token.text in ("=", "<", ">", "<=", ">=", "<>", "!=", "=="):
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


def _goes_on(text: str, bracket: int) -> bool:
    """Whether a query goes on behind the closing bracket that follows."""
    following = _significant(text, bracket)
    closing_bracket, token = next(following, None), next(following, None)
    return closing_bracket is not None and token is not None and token.keyword in _SET_OPERATORS | {"ORDER", "LIMIT"}


def _inside(text: str, start: int, mark: str) -> tuple[str | None, int]:
    """The query between the mark in front of `start` and the one that closes it, and where it, or the look at it, ends.

    The first mark that closes it counts, or the last one of the paragraph where marks are inside, too.
    """
    width = 1
    while width < 3 and text[start - width - 1 : start - width] == mark and start > width:
        width += 1
    closing_mark = _WRAPPERS[mark] * width
    limit = min(len(text), start + MOST_CHARACTERS)
    paragraph = text.find("\n\n", start, limit)
    limit = paragraph if paragraph >= 0 else limit
    end = start
    for end in (text.find(closing_mark, start, limit), text.rfind(closing_mark, start, limit)):
        if end < 0:
            return None, start
        inner = text[start:end]
        if mark == '"' and "\\" in inner:
            inner = _unescaped(inner)
        statement = _whole(inner)
        if statement is not None and is_query(statement):
            return statement, end + width
    return None, end


def _unescaped(inner: str) -> str:
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError:
        return inner


def _statement(
    text: str, start: int, *, bracketed: bool = False, titles_continue: bool = True
) -> tuple[str | None, int]:
    """The statement that begins at `start`, None when no query begins there, and where it, or the look at it, ends.

    `bracketed`: there is an opening bracket in front of it. `titles_continue`: a line that begins with a word like
    "Where" or "As" continues a query also when the query itself is not written in this way.
    """
    first = text[start : start + 6]
    is_with = first[:4].upper() == "WITH"
    if is_with and not _is_with(text, start):
        return None, start
    strict_titles = not titles_continue and first != "Select" and first[:4] != "With"
    found: list[Token] = []
    depth, before, seen_from = 0, "", False
    for token in _significant(text, start):
        if depth == 0:
            gap = text[found[-1].end : token.start] if found else ""
            if token.text in (";", "```") or text.startswith("</", token.start) or (token.text == ")" and bracketed):
                break
            if gap and _breaks(gap, before, token, seen_from, strict_titles):
                break
            if (
                token.keyword == "SELECT"
                and before
                and before not in _SET_OPERATORS
                and not (is_with and before == ")")
            ):
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
        return token.keyword not in _CONTINUES or (title and strict_titles)
    return token.text not in _LINKS and (seen_from or gap.count("\n") > 1 or token.text not in _LINKS_BEFORE_FROM)


def _is_with(text: str, start: int) -> bool:
    """Whether the WITH at a place begins a query: WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (."""
    expected = _significant(text, start)
    next(expected)
    token = next(expected, None)
    if token is not None and token.keyword == "RECURSIVE":
        token = next(expected, None)
    if token is None or token.kind not in ("word", "name", "string"):
        return False
    token = next(expected, None)
    if token is not None and token.text == "(":
        for token in expected:
            if token.text == ")":
                break
            if token.kind not in ("word", "name", "string") and token.text != ",":
                return False
        token = next(expected, None)
    if token is None or token.keyword != "AS":
        return False
    token = next(expected, None)
    while token is not None and token.keyword in ("NOT", "MATERIALIZED"):
        token = next(expected, None)
    return token is not None and token.text == "("


def _significant(text: str, start: int) -> Iterator[Token]:
    return (token for token in tokens(text, start) if token.kind not in ("space", "comment"))
