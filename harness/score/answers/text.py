"""Text out of a completion: without its thinking, behind a marker, or as a regular expression finds it."""

from __future__ import annotations

import re
from functools import lru_cache

from harness.tasks.task import RegexAnswer, TextAnswer

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.IGNORECASE | re.DOTALL)
_CLOSING = re.compile(r"^.*</think(?:ing)?>", re.IGNORECASE | re.DOTALL)
_OPENING = re.compile(r"<think(?:ing)?>.*$", re.IGNORECASE | re.DOTALL)


def text_of(completion: str) -> str:
    """Return a completion without its thinking part: `<think>` to `</think>`, or either tag without the other.

    A closing tag alone ends a thought whose opening stood in the prompt; an opening alone is a thought that was cut
    off before any answer.
    """
    lowered = completion.lower()
    if "</think" in lowered:
        completion = _CLOSING.sub("", _THOUGHT.sub("", completion))
    return _OPENING.sub("", completion) if "<think" in lowered else completion


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression of a task file, which was checked when it was loaded."""
    return re.compile(pattern)


def after_marker(text: str, pattern: str | None) -> str:
    """Return what follows the last match of `pattern`, or the whole text when nothing matches.

    Without the marker the text is read as a whole, because a model that answers at once writes no marker.
    """
    if pattern is None:
        return text
    end = None
    for match in compiled(pattern).finditer(text):
        end = match.end()
    return text if end is None else text[end:]


def read_text(text: str, spec: TextAnswer) -> str | None:
    """Return the stripped text behind the marker, only its first non-empty line if so declared; None when empty."""
    found = after_marker(text, spec.after).strip()
    if spec.first_line and found:
        found = found.splitlines()[0].strip()
    return found or None


def read_regex(text: str, spec: RegexAnswer) -> str | None:
    """Return the last match's group `answer`, else group 1, else the whole match, stripped; None when empty."""
    pattern = compiled(spec.pattern)
    last = None
    for match in pattern.finditer(text):
        last = match
    if last is None:
        return None
    group: str | int = "answer" if "answer" in pattern.groupindex else min(pattern.groups, 1)
    return (last[group] or "").strip() or None
