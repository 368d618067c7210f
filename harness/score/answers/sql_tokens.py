"""The tokens of a SQL statement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["word", "number", "string", "name", "space", "comment", "symbol"]

_PLAIN = re.compile(
    r"(?P<space>[\s\u200b\u2060\ufeff]++)|(?P<word>[^\W\d][\w$]*+)|(?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?)"
    r"|(?P<symbol>\|\||<>|<=|>=|!=|==|::|```|[^\w\s])|(?P<rest>.)",
    re.DOTALL,
)
_CLOSING = {"'": "'", '"': '"', "`": "`", "[": "]"}


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
