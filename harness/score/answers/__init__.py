"""What a completion's answer is: the thinking part taken off, then read by the task's answer type.

Reading a completion never raises, whatever a model wrote; what cannot be read is None and becomes the status
`unparsed`. A right answer is read strictly: one of which any part is not understood is an error of the task's data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import UserError
from harness.models.entry import Thinking
from harness.score.answers.entities import gold_entities, read_entities
from harness.score.answers.explained import gold_explained, read_explained
from harness.score.answers.instructions import gold_instructions, read_whole
from harness.score.answers.labels import gold_label, read_label
from harness.score.answers.numbers import gold_number, read_number
from harness.score.answers.source import gold_code, read_code
from harness.score.answers.sql import gold_sql, read_sql
from harness.score.answers.structured import gold_json, read_json
from harness.score.answers.text import gold_regex, gold_text, read_regex, read_text, text_of
from harness.tasks.task import AnswerFormat, CustomAnswer

__all__ = ["VERSION", "answer_in", "read", "read_gold", "text_of"]

VERSION = 6
"""Raised when answers are read in another way, so that scores kept from before are computed again."""

Reader = Callable[[str, Any], Any]


def _of_text(reader: Callable[[str], Any]) -> Reader:
    """A reader for which the spec holds nothing but its type."""
    return lambda text, spec: reader(text)


_READERS: Mapping[str, tuple[Reader, Reader]] = {
    "label": (read_label, gold_label),
    "number": (read_number, gold_number),
    "text": (read_text, gold_text),
    "regex": (read_regex, gold_regex),
    "json": (_of_text(read_json), _of_text(gold_json)),
    "entities": (read_entities, gold_entities),
    "sql": (_of_text(read_sql), _of_text(gold_sql)),
    "code": (_of_text(read_code), _of_text(gold_code)),
    "label_and_explanation": (read_explained, gold_explained),
    "instructions": (_of_text(read_whole), _of_text(gold_instructions)),
}
"""Of completions and of right answers, by the answer's type."""


def read(completion: str, spec: AnswerFormat, thinking: Thinking | None = None) -> Any | None:
    """Return the answer in a completion, or None when it holds no valid one.

    By `spec.type`: label: str (with `many` a sorted tuple of str); number: Fraction; text, regex, sql, code and
    instructions: str; json: dict, list or scalar; entities: dict from every type of the spec to a tuple of str, or a
    tuple of tags; label_and_explanation: a pair of str; a plugin's: what its reader returns. `thinking` are the markers
    of a model of one's own.

    Raises:
        UserError: only for a regular expression of the spec that does not compile, or when a plugin's reader fails.
    """
    return answer_in(text_of(completion, thinking), spec)


def answer_in(text: str, spec: AnswerFormat) -> Any | None:
    """Return the answer in a text that `text_of` has taken out of a completion, as `read` does."""
    return _read_custom(text, spec) if isinstance(spec, CustomAnswer) else _READERS[spec.type][0](text, spec)


def _read_custom(text: str, spec: CustomAnswer) -> Any | None:
    try:
        return spec.read(text)
    except Exception as error:  # its author's mistake: to take it for a wrong answer would hide it
        raise UserError(f"the reader of answer type '{spec.type}' failed: {type(error).__name__}: {error}") from error


def read_gold(reference: str, spec: AnswerFormat) -> Any:
    """Return a right answer, which is read by the same type as a completion, but strictly.

    Raises:
        ValueError: a part of it is not understood; the message says which and what was expected.
        UserError: a plugin's reader fails.
    """
    if not isinstance(spec, CustomAnswer):
        return _READERS[spec.type][1](reference, spec)
    value = _read_custom(reference, spec)
    if value is None:
        raise ValueError(f"it holds no valid {spec.type}")
    return value
