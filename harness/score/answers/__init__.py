"""What a completion's answer is: the thinking part taken off, then read by the task's answer type.

Reading a completion never raises, whatever a model wrote; what cannot be read is None and becomes the status
`unparsed`. A right answer is read strictly: one of which any part is not understood is an error of the task's data.
"""

from __future__ import annotations

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
from harness.tasks.task import (
    AnswerFormat,
    CodeAnswer,
    CustomAnswer,
    EntitiesAnswer,
    InstructionsAnswer,
    JsonAnswer,
    LabelAndExplanationAnswer,
    LabelAnswer,
    NumberAnswer,
    RegexAnswer,
    SqlAnswer,
    TextAnswer,
)

__all__ = ["VERSION", "answer_in", "read", "read_gold", "text_of"]

VERSION = 6
"""Raised when answers are read in another way, so that scores kept from before are computed again."""


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
    match spec:
        case LabelAnswer():
            return read_label(text, spec)
        case NumberAnswer():
            return read_number(text, spec)
        case TextAnswer():
            return read_text(text, spec)
        case RegexAnswer():
            return read_regex(text, spec)
        case JsonAnswer():
            return read_json(text)
        case EntitiesAnswer():
            return read_entities(text, spec)
        case SqlAnswer():
            return read_sql(text)
        case CodeAnswer():
            return read_code(text)
        case LabelAndExplanationAnswer():
            return read_explained(text, spec)
        case InstructionsAnswer():
            return read_whole(text)
        case CustomAnswer():
            return _read_custom(text, spec)


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
    match spec:
        case LabelAnswer():
            return gold_label(reference, spec)
        case NumberAnswer():
            return gold_number(reference, spec)
        case TextAnswer():
            return gold_text(reference, spec)
        case RegexAnswer():
            return gold_regex(reference, spec)
        case JsonAnswer():
            return gold_json(reference)
        case EntitiesAnswer():
            return gold_entities(reference, spec)
        case SqlAnswer():
            return gold_sql(reference)
        case CodeAnswer():
            return gold_code(reference)
        case LabelAndExplanationAnswer():
            return gold_explained(reference, spec)
        case InstructionsAnswer():
            return gold_instructions(reference)
        case CustomAnswer():
            value = _read_custom(reference, spec)
            if value is None:
                raise ValueError(f"it holds no valid {spec.type}")
            return value
