"""SQL queries and Python source out of a text, without fences and chatter."""

from __future__ import annotations

import ast
import re
import warnings

from harness.score.answers.text import fenced

_QUERY_STARTS = (
    re.compile(r"^[ \t]*(?=select\b|with\s+\w+\s+as\b)", re.IGNORECASE | re.MULTILINE),
    re.compile(r"\b(?=SELECT\b)"),
    re.compile(r"\b(?=select\b)", re.IGNORECASE),
)
_STATEMENT = re.compile(r"(?:'[^']*'|\"[^\"]*\"|`[^`]*`|[^;'\"`]|['\"`])*")
_CLAUSE = re.compile(r"\s*(?:from|where|group|order|having|limit|union|intersect|except|and|or|join|\))", re.IGNORECASE)
_CODE_LINE = re.compile(r"(?:def|async def|class|import|from|@)\b|@\w")


def read_sql(text: str) -> str | None:
    """Return the first query of a text, without the semicolon; None when no SELECT (or WITH ... AS) stands in it.

    It is taken from the first fenced block that has one, ends at a semicolon outside quotation marks, and otherwise at
    an empty line that no clause of a query follows.
    """
    for candidate in (*fenced(text), text):
        for start in _QUERY_STARTS:
            match = start.search(candidate)
            if match:
                return _statement(candidate[match.end() :])
    return None


def _statement(text: str) -> str | None:
    match = _STATEMENT.match(text)
    statement = match[0] if match else ""
    kept, *others = re.split(r"\n[ \t]*\n|\n```", statement)
    for part in others:
        if not _CLAUSE.match(part):
            break
        kept += "\n" + part
    return kept.strip().rstrip("`").strip() or None


def read_code(text: str) -> str | None:
    """Return the Python source in a text; None when it is blank.

    It is the first fenced block with a function in it, else the first block, else the text. In a text without fences,
    prose before and after the source is cut off where the whole does not parse. A function's body alone keeps its
    indentation.
    """
    blocks = fenced(text)
    whole = next((block for block in blocks if "def " in block), blocks[0]) if blocks else _without_prose(text)
    source = whole.strip("\r\n").rstrip()
    return source if source.strip() else None


def _without_prose(text: str) -> str:
    if _parses(text) or _parses_as_body(text):
        return text
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if _CODE_LINE.match(line)), None)
    if first is None or lines[0][:1].isspace():
        return text
    for last in range(len(lines), first, -1):
        source = "\n".join(lines[first:last])
        if _parses(source):
            return source
    return "\n".join(lines[first:])


def _parses_as_body(text: str) -> bool:
    """Whether it is a function's body, also when the first line's indentation was lost on the way."""
    return _parses("def f():\n" + text) or _parses("def f():\n    " + text.lstrip())


def _parses(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the model's source may deserve warnings; they are not the user's
            ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True
