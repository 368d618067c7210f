"""Labels out of a text.

A label counts where it stands as whole words, in any case, whatever punctuation, quotes or markup is around it. The
longest label at a place wins ("not toxic" is no mention of "toxic"). "unknown" does not hold "no", nor "10" a "1";
"non-toxic" does not hold "toxic", and "not toxic" does not either where only "toxic" is a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from harness.score.answers.text import after_marker
from harness.tasks.task import LabelAnswer

_LEAD_IN = re.compile(
    r"^\W*(?:(?:so|thus|therefore|hence)\W+)?(?:the\s+|my\s+)?(?:final\s+|correct\s+|best\s+|predicted\s+)?"
    r"(?:answer|label|class|category|classification|sentiment|topic|type|output|response|prediction)s?"
    r"(?:\W*[:=]\W*|\s+(?:is|are|would\s+be)\W+)",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"(?:\b(?:not|never|neither|nor|non|cannot\s+be)|n['’]t)\s+(?:(?:an?|the|really|clearly|necessarily|be)\s+)*[\"'“‘*(]*$",
    re.IGNORECASE,
)
# The article, which begins many sentences, unless a word follows that can only follow the label.
_ARTICLE = r"(?!\s+(?!(?:is|as|and|or|because|since|seems|would|makes)\b)[a-z])"
_SEPARATOR = re.compile(r"[,;|\n]|\s+(?:and|&)\s+")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")


@dataclass(frozen=True)
class _Reader:
    """Compiled patterns of a label set; group i of `mention` is the i-th spelling, which means `meanings[i]`."""

    mention: re.Pattern[str]
    whole: re.Pattern[str]
    meanings: tuple[str, ...]

    def exact(self, text: str) -> str | None:
        """The label that the text is, apart from punctuation and markup around it."""
        match = self.whole.fullmatch(text)
        return self.meanings[_group(match)] if match else None

    def mentions(self, text: str) -> Iterator[str]:
        """The labels in the text, in their order, without those denied by a "not" in front."""
        for match in self.mention.finditer(text):
            if not _NEGATION.search(text, max(0, match.start() - 60), match.start()):
                yield self.meanings[_group(match)]


def _group(match: re.Match[str]) -> int:
    return int(match.lastindex or 1) - 1


def read_label(text: str, spec: LabelAnswer) -> str | tuple[str, ...] | None:
    """Return the label, with `many` the sorted tuple of labels; None when there is none or no single one.

    An answer that is exactly a label counts, whatever `pick` says. With `pick: only`, a second different label makes
    it None, unless the first line is exactly a label, "Answer:" in front allowed: models often answer "yes" and then
    explain why there is "no doubt".
    """
    text = after_marker(text, spec.after).strip()
    reader = label_reader(tuple(spec.labels), tuple(spec.aliases.items()))
    if spec.many:
        return _many(text, reader)
    exact = reader.exact(text)
    if exact is not None:
        return exact
    found = list(reader.mentions(text))
    if not found:
        return None
    if spec.pick != "only":
        return found[0 if spec.pick == "first" else -1]
    if len(set(found)) == 1:
        return found[0]
    return reader.exact(_LEAD_IN.sub("", text.splitlines()[0]))


def _many(text: str, reader: _Reader) -> tuple[str, ...] | None:
    """Every item of a list that is exactly a label; other items are dropped, for free text holds labels by chance."""
    readings = (text, _LEAD_IN.sub("", text), re.split(r":|\b(?:are|is)\b", text, maxsplit=1)[-1])
    found = max((_items(reading, reader) for reading in readings), key=len)
    return tuple(sorted(found)) or None


def _items(text: str, reader: _Reader) -> set[str]:
    labels = (reader.exact(_BULLET.sub("", item)) for item in _SEPARATOR.split(text))
    return {label for label in labels if label is not None}


@lru_cache(maxsize=64)
def label_reader(labels: tuple[str, ...], aliases: tuple[tuple[str, str], ...] = ()) -> _Reader:
    """Return the patterns that find these labels and the other spellings that mean them."""
    spellings = dict(aliases) | {label: label for label in labels}
    ordered = sorted(spellings, key=len, reverse=True)
    mention = "|".join(f"({_pattern(spelling)})" for spelling in ordered)
    # Alone, a letter is a label in either case, and "A" is no article.
    alone = "|".join(f"({_pattern(spelling, alone=True)})" for spelling in ordered)
    return _Reader(
        re.compile(mention, re.IGNORECASE),
        re.compile(rf"[\W_]*?(?:{alone})[\W_]*", re.IGNORECASE),
        tuple(spellings[spelling] for spelling in ordered),
    )


def _pattern(spelling: str, *, alone: bool = False) -> str:
    """The pattern of one spelling: inner spaces, hyphens and underscores are one; words must not go on at its ends."""
    words = re.split(r"(?<=\w)([\s_-]+|\s*/\s*)(?=\w)", spelling.strip())
    body = "".join(
        (r"\s*/\s*" if "/" in part else r"[\s_-]+") if index % 2 else re.escape(part)
        for index, part in enumerate(words)
    )
    if len(spelling) == 1 and spelling.isalpha() and not alone:
        # In running text "a" is an article and "i" a pronoun; "(a)" and "a)" are labels.
        upper = re.escape(spelling.upper()) + (_ARTICLE if spelling in "aA" else "")
        body = rf"(?-i:{upper})|{body}(?=\s?\))"
        body = f"(?:{body})"
    before = r"(?<![^\W_])(?<![^\W_][-_‐‑])" if spelling[:1].isalnum() else ""
    after = r"(?![^\W_])(?![-_‐‑][^\W_])" if spelling[-1:].isalnum() else ""
    if spelling[:1].isdigit():
        before += r"(?<![0-9][.,/])(?<![-−])"
    if spelling[-1:].isdigit():
        after += r"(?![.,/][0-9])"
    return before + body + after
