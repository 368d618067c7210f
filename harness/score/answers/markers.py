"""Where a completion marks its answer by itself: `####`, `\\boxed{}`, `<answer>`, "the answer is", "Answer:".

What is marked is the answer, also where it cannot be read and where other candidates follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_IS = r"(?:\s{0,3}(?::|=(?!=))|\s{1,3}(?:is|are|would\sbe|should\sbe|must\sbe)\b(?:\s?:)?)"
# The choice that a prompt offers: "Answer (yes/no): no". "(B)" is an answer itself.
_CHOICE = r"(?:\s?\([^()\n/|]{1,30}(?:/|\||\sor\s)[^()\n]{1,30}\))?"
_MARK = re.compile(
    r"(?P<box>\\(?:boxed|fbox)\s?\{)|(?P<tag><answer>)|(?P<hash>(?<!\#)\#{4}(?!\#))"
    r"|(?P<stated>\b(?:final|correct|right|best)\s{1,3}(?:answer|choice|option|label|category|class|result|value|number)"
    rf"[\"'*_`)]{{0,4}}{_CHOICE}{_IS})"
    r"|(?P<answer>\banswers?(?:\s(?:choice|option|letter|to\s(?:the|this|that|your)\s(?:question|problem)))?"
    rf"[\"'*_`)]{{0,4}}{_CHOICE}{_IS})"
    r"|(?P<native>(?:答案|答え|정답|답변|답)\s?(?:应该)?(?:是|为|為|は|은|는|:)"
    r"|\b(?:antwort|réponse|respuesta|risposta|resposta)(?:\s{1,3}(?:ist|lautet|est|es|è|é)\b|\s{0,3}:))",
    re.IGNORECASE,
)
# "If the answer is A, then …" marks nothing.
_SUPPOSED = re.compile(r"\b(?:if|whether|suppose|assume|assuming|unless|because|why|how|when)\s(?:\w+\s){0,2}$", re.I)
_SKIPPED = re.compile(r"[\s*_`\"':=]*+")
_SENTENCE = re.compile(r"[.!?](?=\s{1,4}[\"'(*]{0,2}[A-Z])|[\n。！？]")
_NUMBER_BEHIND = re.compile(r"\s{0,3}[$€£¥₹]?\s?[-+]?[$€£¥₹]?\.?[0-9]")
_NOTHING_BEHIND = re.compile(r"\s*+\Z")
_BRACES = re.compile(r"[{}]")


@dataclass(frozen=True, slots=True)
class Marked:
    """What a marker marks. A `cue` is no more than an "Answer:", which a model also writes when it asks on.

    `boxed`: in a box of LaTeX, so that its end is known.
    """

    text: str
    cue: bool = False
    boxed: bool = False


def sentence(text: str) -> str:
    """Return the first sentence of a text, which also ends with its line; leading markup is left out."""
    text = _SKIPPED.sub("", text, count=1)
    end = _SENTENCE.search(text)
    return text[: end.start() + 1] if end else text


def marked(text: str, *, first: bool = False) -> Marked | None:
    """Return what the last marker of a folded text marks, or the first one; None when there is none.

    `####` followed by words is a heading, unless nothing stands on a later line.
    """
    found: re.Match[str] | None = None
    for mark in _MARK.finditer(text):
        if mark["hash"] is not None and not _is_marker(text, mark.end()):
            continue
        if mark["box"] is None and _SUPPOSED.search(text, max(0, mark.start() - 30), mark.start()):
            continue
        found = mark
        if first:
            break
    if found is None:
        return None
    if found["box"] is not None:
        return Marked(_in_braces(text, found.end()), boxed=True)
    if found["tag"] is not None:
        return Marked(text[found.end() :].partition("</answer>")[0])
    cue = found["answer"] is not None and found[0].endswith((":", "=")) and " is" not in found[0].lower()
    return Marked(sentence(text[found.end() :]), cue)


def _is_marker(text: str, place: int) -> bool:
    """Whether the `####` in front is GSM8K's: a number follows, or its line is the last."""
    if _NUMBER_BEHIND.match(text, place):
        return True
    end = text.find("\n", place)
    return end < 0 or _NOTHING_BEHIND.match(text, end) is not None


def _in_braces(text: str, begin: int) -> str:
    """The text up to the brace that closes the one in front of it."""
    depth = 1
    for brace in _BRACES.finditer(text, begin):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return text[begin : brace.start()]
    return text[begin:]
