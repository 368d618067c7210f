"""Text out of a completion: without its thinking, behind a marker, or as a regular expression finds it."""

from __future__ import annotations

import re
from functools import lru_cache

from harness.folding import fold, unwrapped
from harness.models.entry import Thinking
from harness.score.answers.thinking import without_thinking
from harness.tasks.task import RegexAnswer, TextAnswer

MOST_CANDIDATES = 6_000
"""An answer with more labels, numbers or items of a list is not read: each is looked at with its surroundings."""
# A full stop that belongs to the word in front of it: "U.S.", an ellipsis, an initial; not the one behind "3.5".
_ABBREVIATED = re.compile(r"(?:\.|\.[^\W\d]|\b[A-Z])\.$")


def text_of(completion: str, thinking: Thinking | None = None) -> str:
    """Return a completion without its thinking part and without the tokens of a chat template around it.

    `thinking` are the markers of a model of one's own.
    """
    return unwrapped(without_thinking(completion, thinking))


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression of a task file, which was checked when it was loaded."""
    return re.compile(pattern)


def after_marker(text: str, pattern: str | None) -> str | None:
    """Return what follows the last match of `pattern`, folded, None when nothing matches.

    A pattern is looked for in the folded text, and then in the text as it stands, for it may hold what folding changes.
    """
    if pattern is None:
        return None
    for candidate in dict.fromkeys((fold(text), text)):
        ends = [match.end() for match in compiled(pattern).finditer(candidate)]
        if ends:
            return fold(candidate[ends[-1] :])
    return None


def read_text(text: str, spec: TextAnswer) -> str | None:
    """Return the stripped text behind the marker, only its first non-empty line if so declared; None when empty.

    With a marker declared, the full stop that ends the sentence is no part of it: "The answer is Paris."
    """
    marked = after_marker(text, spec.after)
    found = (fold(text) if marked is None else marked).strip()
    if spec.first_line and found:
        found = found.splitlines()[0].strip()
    if spec.after is not None and found.endswith(".") and not _ABBREVIATED.search(found[-5:]):
        found = found[:-1]
    return found or None


def gold_text(reference: str, spec: TextAnswer) -> str:
    """Return the text of a right answer.

    Raises:
        ValueError: it is empty, or only a part of it would be compared.
    """
    found = read_text(reference, spec)
    if found is None:
        raise ValueError("it is empty")
    if spec.first_line and len(reference.strip().splitlines()) > 1 and after_marker(reference, spec.after) is None:
        raise ValueError("it has several lines, of which only the first is read (first_line)")
    return found


def read_regex(text: str, spec: RegexAnswer) -> str | None:
    """Return the last match's group `answer`, else group 1, else the whole match, folded; None when empty."""
    pattern = compiled(spec.pattern)
    group: str | int = "answer" if "answer" in pattern.groupindex else min(pattern.groups, 1)
    for candidate in dict.fromkeys((fold(text), text)):
        found = [match[group] for match in pattern.finditer(candidate)]
        if found:
            return fold(found[-1] or "").strip() or None
    return None


def gold_regex(reference: str, spec: RegexAnswer) -> str:
    """Return what the pattern finds in a right answer.

    Raises:
        ValueError: it finds nothing.
    """
    found = read_regex(reference, spec)
    if found is None:
        raise ValueError(f"the pattern {spec.pattern!r} finds nothing in it")
    return found
