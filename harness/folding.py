"""One plain form of what looks alike or cannot be seen, for all readers of prose: labels, numbers, texts, patterns.

Queries, programs and JSON are read as they stand, because their literals must not change; `unwrapped` is for them, too.
Task files use the same form to tell whether two labels can be separated.
"""

from __future__ import annotations

import re
import unicodedata

HYPHENS = "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{MINUS SIGN}\N{SMALL HYPHEN-MINUS}"
APOSTROPHES = (
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{SINGLE HIGH-REVERSED-9 QUOTATION MARK}"
    "\N{MODIFIER LETTER APOSTROPHE}\N{PRIME}"
)
QUOTES = (
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{DOUBLE LOW-9 QUOTATION MARK}"
    "\N{DOUBLE HIGH-REVERSED-9 QUOTATION MARK}"
)
SPACES = "\N{NO-BREAK SPACE}\N{OGHAM SPACE MARK}\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a" + (
    "\N{NARROW NO-BREAK SPACE}\N{MEDIUM MATHEMATICAL SPACE}\N{IDEOGRAPHIC SPACE}"
)
# Soft hyphen, zero-width characters, marks of direction, byte order mark.
INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_ARABIC = {"\N{ARABIC DECIMAL SEPARATOR}": ".", "\N{ARABIC THOUSANDS SEPARATOR}": ",", "\N{ARABIC PERCENT SIGN}": "%"}


class _Plain(dict[int, str]):
    """The plain form of each character; what is looked up for the first time is worked out and kept."""

    def __missing__(self, code: int) -> str:
        plain = char = chr(code)
        if 0xFF01 <= code <= 0xFF5E:  # full-width forms of ASCII
            plain = chr(code - 0xFEE0)
        elif (digit := unicodedata.decimal(char, None)) is not None:
            plain = str(digit)
        self[code] = plain
        return plain


_PLAIN = _Plain(
    {ord(char): "-" for char in HYPHENS}
    | {ord(char): "'" for char in APOSTROPHES}
    | {ord(char): '"' for char in QUOTES}
    | {ord(char): " " for char in SPACES}
    | {ord(char): "" for char in INVISIBLE}
    | {ord(char): plain for char, plain in _ARABIC.items()}
)
# What Markdown lets a writer escape, without those that mean something else in LaTeX (`\,` `\!` `\;` `\:` `\\`).
_ESCAPED = re.compile(r"\\([_*#.+()\[\]{}$%&~>|`-])")
_LONG_RUN = re.compile(r"[^\w\s\x00-\x7f]{31,}")
_MOST_MARKS = 30

# Tokens that end or begin a turn and that some servers leave in the text.
_TOKEN = re.compile(
    r"<start_of_turn>model|<\|im_start\|>assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<\|start\|>assistant"
    r"|<\|[A-Za-z_]{2,40}\|>|<｜[^｜<>\n]{2,40}｜>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|end_of_utterance)>|\[/?INST\]"
    r"|\[EOS\]"
)
_LONGEST_TOKEN = 60
# Where a turn ends or the next one begins. `</s>` does not by itself: in HTML it ends what is struck out.
_END = re.compile(
    r"<(?:/s>(?=\s{0,3}(?:<s>|\[INST\]))|eos>|end_of_turn>|｜(?:end▁of▁sentence|User|Assistant)｜>"
    r"|\|(?:im_end|eot_id|endoftext|end_of_text|eom_id|end_of_turn|END_OF_TURN_TOKEN|return|end|EOT|eot|eos|user)\|>"
    r"|(?:\|im_start\||\|start_header_id\||start_of_turn)>user)"
)


_WORD = re.compile(r"[^\W_]")
_INNER = re.compile(r"[\s_-]+")


def fold(text: str) -> str:
    """Return prose in its plain form; ASCII without backslashes and end-of-text tokens is what it was.

    NFC; hyphens and minus signs (not the em dash), apostrophes and quotation marks of one kind; full-width forms and
    the digits of any script as ASCII; every space but line breaks a plain one, and nothing of no width; Markdown's
    escapes undone. What follows an end-of-text token is another turn, and goes.
    """
    if (end := _END.search(text)) is not None:
        text = text[: end.start()]
    if not text.isascii():
        text = unicodedata.normalize("NFC", _LONG_RUN.sub(_bounded, text)).translate(_PLAIN)
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _bounded(run: re.Match[str]) -> str:
    """At most 30 combining marks in a row (UAX #15, stream-safe text): normalising takes quadratic time of more."""
    kept: list[str] = []
    marks = 0
    for char in run[0]:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def unwrapped(text: str) -> str:
    """Return a text without the tokens of a chat template, and what has no width, at its beginning and end."""
    start, end = 0, len(text)
    while (match := _TOKEN.match(text, _over(text, start, end, 1), end)) is not None:
        start = match.end()
    while (token := _token_before(text, start, _over(text, start, end, -1))) is not None:
        end = token
    return text[start:end].strip("\ufeff\u200b\u2060")


def _over(text: str, start: int, end: int, step: int) -> int:
    """Where the first character that is no space stands, from the beginning or the end."""
    if step > 0:
        while start < end and (text[start].isspace() or text[start] in INVISIBLE):
            start += 1
        return start
    while end > start and (text[end - 1].isspace() or text[end - 1] in INVISIBLE):
        end -= 1
    return end


def _token_before(text: str, start: int, end: int) -> int | None:
    """Where the token begins that ends at `end`, None when there is none."""
    if end == start or text[end - 1] not in ">]":
        return None
    lowest = max(start, end - _LONGEST_TOKEN)
    for opening in "<", "[":
        place = text.rfind(opening, lowest, end)
        if place >= 0 and _TOKEN.fullmatch(text, place, end):
            return place
    return None


def core(text: str) -> tuple[str, str, str]:
    """Return a text in three: the punctuation it begins with, the rest, and the punctuation it ends with."""
    first = _WORD.search(text)
    if first is None:
        return text, "", ""
    last = _WORD.search(text[::-1])
    end = len(text) - (last.start() if last else 0)
    return text[: first.start()], text[first.start() : end], text[end:]


def label_core(text: str) -> str:
    """Return what spellings of one label have in common: case, and spaces, hyphens and underscores, do not count."""
    return _INNER.sub(" ", text.casefold()).replace(" /", "/").replace("/ ", "/")


def label_form(label: str) -> str:
    """Return the form in which a label is recognised; two labels of one form cannot be separated."""
    before, inner, after = core(fold(label).strip())
    return before.strip() + label_core(inner) + after.strip()
