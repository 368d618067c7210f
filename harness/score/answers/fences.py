"""Fenced blocks of a text, as CommonMark has them, and as models write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

_OPENING = re.compile(
    r"(?P<prefix>[ \t]*+(?:>[ \t]?|[-*+][ \t]++|[0-9]{1,9}[.)][ \t]++)*+)(?P<mark>`{3,}+|~{3,}+)[ \t]*+(?P<info>[^`]*+)"
)
_FENCE_LINE = re.compile(r"[ \t>]*+(?P<mark>`{3,}+|~{3,}+)(?P<rest>[^`]*+)")
_ONE_LINE = re.compile(r"(?<!`)(?P<mark>`{3,}+)(?P<body>[^`]++)(?P=mark)(?!`)")
_LATE_OPENING = re.compile(r"(?P<mark>`{3,}+)(?P<info>[\w+#-]*+)[ \t]*+\Z")
_QUOTES = re.compile(r"[\"'#\\]")
_ATTRIBUTES = re.compile(r"[\w-]+=\S|\{[.#\w]")
LANGUAGES = frozenset(
    {"sql", "sqlite", "sqlite3", "mysql", "postgresql", "json", "json5", "jsonc", "python", "py", "python3"}
)
MOST_BLOCKS = 200
"""No more blocks are read; a text with so many is no answer."""
_MOST_MISLED = 8
"""So often a string that is never closed may hide a closing fence, which bounds the time on a text full of them."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the first word of its info string in lower case ("" without one) and its text."""

    language: str
    text: str


@dataclass(slots=True)
class _Open:
    """A block that is being read."""

    mark: str
    language: str
    indent: int
    quoted: bool
    lines: list[str]
    hidden: int | None = None
    """The index of the first line that is a closing fence inside a Python string."""


def fenced_blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a text in their order; the last one may lack its closing fence.

    A block may be indented, in a list or in a quotation: the indentation of its fence is taken off its lines. A fence
    inside a triple-quoted Python string (a docstring with an example) belongs to the block. A block on a single line
    counts, too. At most `MOST_BLOCKS` are returned.
    """
    if "```" not in text and "~~~" not in text:
        return []
    return list(islice(_blocks(text.splitlines() if "\r" in text else text.split("\n")), MOST_BLOCKS))


def only_block(text: str) -> str:
    """Return what is in the fence around a text, or the text when there is none, or anything besides it."""
    stripped = text.strip()
    blocks = fenced_blocks(text) if stripped[:3] in ("```", "~~~") and stripped[-3:] == stripped[:3] else []
    return blocks[0].text if len(blocks) == 1 else text


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    place = misled = 0
    while place < len(lines):
        line = lines[place]
        place += 1
        if "```" not in line and "~~~" not in line:
            continue
        found = _opened(line)
        if found is None:
            yield from _one_line_blocks(line)
            found = _opened_late(line)
        if found is not None:
            place, was_misled = _read(lines, place, found, trust_strings=misled < _MOST_MISLED)
            misled += was_misled
            yield Block(found.language, "\n".join(found.lines))


def _opened(line: str) -> _Open | None:
    match = _OPENING.fullmatch(line)
    if match is None:
        return None
    language, content = _info(match["info"])
    prefix = match["prefix"]
    return _Open(match["mark"], language, len(prefix), ">" in prefix, [content] if content else [])


def _opened_late(line: str) -> _Open | None:
    """A fence at the end of a line of prose: `Here it is: ```python`."""
    match = _LATE_OPENING.search(line)
    if match is None or line[: match.start()].count("```") % 2:
        return None
    return _Open(match["mark"], match["info"].lower(), 0, quoted=False, lines=[])


def _info(info: str) -> tuple[str, str]:
    """The language of an info string, and what follows it where that is content put on the line of the fence."""
    first, _, rest = info.strip().partition(" ")
    rest = rest.strip()
    if first.lower() in LANGUAGES:
        return first.lower(), "" if _ATTRIBUTES.match(rest) else rest
    return (first.lower(), "") if not rest or "=" in first else ("", info.strip())


def _one_line_blocks(line: str) -> Iterator[Block]:
    for match in _ONE_LINE.finditer(line):
        first, _, rest = match["body"].partition(" ")
        yield Block(first.lower(), rest) if first.lower() in LANGUAGES and rest.strip() else Block("", match["body"])


def _read(lines: Sequence[str], place: int, block: _Open, *, trust_strings: bool) -> tuple[int, bool]:
    """Read the lines of a block; return the index of the next line behind it, and whether a string misled us."""
    start, string = place, ""
    while place < len(lines):
        line = _without_indent(lines[place], block)
        fence = _FENCE_LINE.fullmatch(lines[place])
        if fence is not None and fence["mark"][0] == block.mark[0] and len(fence["mark"]) >= len(block.mark):
            if not (string and trust_strings):
                # A fence with a language behind it closes this block and opens the next.
                opens = re.fullmatch(r"[\w+#-]+", fence["rest"].strip()) is not None
                return (place if opens else place + 1), False
            if block.hidden is None:
                block.hidden = place
        string = string_after(line, string)
        block.lines.append(line)
        place += 1
    if block.hidden is not None:  # the string was never closed, so it was none
        del block.lines[len(block.lines) - (place - block.hidden) :]
        return block.hidden + 1, True
    if place > start and block.lines[-1].rstrip().endswith(block.mark):
        block.lines[-1] = block.lines[-1].rstrip().removesuffix(block.mark)
    return place, False


def _without_indent(line: str, block: _Open) -> str:
    if block.quoted:
        return re.sub(r"^[ \t]*>[ \t]?", "", line)
    kept = len(line) - len(line.lstrip(" \t"))
    return line[min(kept, block.indent) :]


def string_after(line: str, string: str) -> str:
    """Which triple quotation mark is open after a line of Python, "" for none, given the one before it."""
    place = 0
    while (match := _QUOTES.search(line, place)) is not None:
        char, place = match[0], match.end()
        if char == "\\":
            place += 1
        elif string:
            if line.startswith(string, match.start()):
                place, string = match.start() + 3, ""
        elif char == "#":
            return ""
        elif line.startswith(char * 3, match.start()):
            string, place = char * 3, match.start() + 3
        else:
            place = _closing_quote(line, char, place)
    return string


def _closing_quote(line: str, quote: str, place: int) -> int:
    """Where a string of one line ends; behind its opening mark when it does not, for then it is an apostrophe."""
    start = place
    while (found := line.find(quote, place)) >= 0:
        if line[found - 1] != "\\":
            return found + 1
        place = found + 1
    return start
