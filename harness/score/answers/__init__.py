"""What a completion's answer is: the thinking part taken off, then read by the task's answer type.

Reading never raises, whatever a model wrote; what cannot be read is None and becomes the status `unparsed`.
"""

from __future__ import annotations

from typing import Any

from harness.errors import UserError
from harness.score.answers.entities import read_entities
from harness.score.answers.explained import read_explained
from harness.score.answers.labels import read_label
from harness.score.answers.numbers import read_number
from harness.score.answers.source import read_code
from harness.score.answers.sql import read_sql
from harness.score.answers.structured import read_json
from harness.score.answers.text import read_regex, read_text, text_of
from harness.tasks.task import (
    AnswerFormat,
    CodeAnswer,
    CustomAnswer,
    EntitiesAnswer,
    JsonAnswer,
    LabelAnswer,
    NumberAnswer,
    RegexAnswer,
    SqlAnswer,
    TextAnswer,
)

__all__ = ["read", "text_of"]


def read(completion: str, spec: AnswerFormat) -> Any | None:
    """Return the answer in a completion, or None when it holds no valid one.

    By `spec.type`: label: str (with `many` a sorted tuple of str); number: float; text, regex, sql, code: str; json:
    dict, list or scalar; entities: dict from every type of the spec to a tuple of str, or a tuple of tags;
    label_and_explanation: a pair of str.

    Raises:
        UserError: only for a regular expression of the spec that does not compile, or when a plugin's reader fails.
    """
    text = text_of(completion)
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
        case CustomAnswer():
            return _read_custom(text, spec)
        case _:
            return read_explained(text, spec)


def _read_custom(text: str, spec: CustomAnswer) -> Any | None:
    try:
        return spec.read(text)
    except Exception as error:  # its author's mistake: to take it for a wrong answer would hide it
        raise UserError(f"the reader of answer type '{spec.type}' failed: {type(error).__name__}: {error}") from error
