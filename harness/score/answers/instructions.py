"""The verifiable instructions of a row (IFEval). What answers them is a whole text, as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import invalid, nearest

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = {
    "change_case:capital_word_frequency": ("capital_frequency", "capital_relation"),
    "change_case:english_capital": (),
    "change_case:english_lowercase": (),
    "combination:repeat_prompt": ("prompt_to_repeat",),
    "combination:two_responses": (),
    "detectable_content:number_placeholders": ("num_placeholders",),
    "detectable_content:postscript": ("postscript_marker",),
    "detectable_format:constrained_response": (),
    "detectable_format:json_format": (),
    "detectable_format:multiple_sections": ("section_spliter", "num_sections"),
    "detectable_format:number_bullet_lists": ("num_bullets",),
    "detectable_format:number_highlighted_sections": ("num_highlights",),
    "detectable_format:title": (),
    "keywords:existence": ("keywords",),
    "keywords:forbidden_words": ("forbidden_words",),
    "keywords:frequency": ("keyword", "frequency", "relation"),
    "keywords:letter_frequency": ("letter", "let_frequency", "let_relation"),
    "language:response_language": ("language",),
    "length_constraints:nth_paragraph_first_word": ("num_paragraphs", "nth_paragraph", "first_word"),
    "length_constraints:number_paragraphs": ("num_paragraphs",),
    "length_constraints:number_sentences": ("num_sentences", "relation"),
    "length_constraints:number_words": ("num_words", "relation"),
    "punctuation:no_comma": (),
    "startend:end_checker": ("end_phrase",),
    "startend:quotation": (),
}
"""The names of each instruction's arguments, spelt as in google/IFEval."""
_RELATIONS = ("at least", "less than")
# Those that langdetect knows.
_LANGUAGES = tuple(
    "af ar bg bn ca cs cy da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr ne "  # noqa: SIM905
    "nl no pa pl pt ro ru sk sl so sq sv sw ta te th tl tr uk ur vi zh-cn zh-tw".split()
)
_CHOICES = {
    "relation": _RELATIONS,
    "let_relation": _RELATIONS,
    "capital_relation": _RELATIONS,
    "language": _LANGUAGES,
}
_Text = Annotated[str, Field(min_length=1)]
_TEXT: TypeAdapter[str] = TypeAdapter(_Text)
_TEXTS: TypeAdapter[list[str]] = TypeAdapter(Annotated[list[_Text], Field(min_length=1)])
_COUNT: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1)])
_KINDS: Mapping[str, TypeAdapter[Any]] = {
    "end_phrase": _TEXT,
    "first_word": _TEXT,
    "forbidden_words": _TEXTS,
    "keyword": _TEXT,
    "keywords": _TEXTS,
    "letter": TypeAdapter(Annotated[str, Field(min_length=1, max_length=1)]),
    "postscript_marker": _TEXT,
    "prompt_to_repeat": _TEXT,
    "section_spliter": _TEXT,
}  # the other arguments without choices are counts


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its id, and its arguments by name."""

    id: str
    arguments: Mapping[str, Any]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    instruction_id_list: list[str] = Field(min_length=1)
    kwargs: list[dict[str, Any] | None]


def read_whole(text: str) -> str | None:
    """Return a text as it stands, None when nothing is in it."""
    return text if text.strip() else None


def gold_instructions(reference: str) -> tuple[Instruction, ...]:
    """Return the instructions of a row, written as JSON: `{"instruction_id_list": [...], "kwargs": [{...}, ...]}`.

    A null is an argument that is not given, as the columns of google/IFEval have it.

    Raises:
        ValueError: it is not such an object, or an instruction or argument is unknown, missing or of a wrong kind.
    """
    try:
        row = _Row.model_validate(json.loads(reference))
    except ValidationError as error:
        raise ValueError(invalid(error)) from None
    if len(row.instruction_id_list) != len(row.kwargs):
        raise ValueError(f"it has {len(row.instruction_id_list)} instructions and {len(row.kwargs)} sets of arguments")
    return tuple(
        _instruction(name, {key: value for key, value in (given or {}).items() if value is not None})
        for name, given in zip(row.instruction_id_list, row.kwargs, strict=True)
    )


def _instruction(name: str, given: Mapping[str, Any]) -> Instruction:
    if name not in INSTRUCTIONS:
        raise ValueError(f"unknown instruction '{name}'{nearest(name, INSTRUCTIONS)}")
    wanted = INSTRUCTIONS[name]
    for argument, value in given.items():
        if argument not in wanted:
            choices = nearest(argument, wanted) or " (it has none)"
            raise ValueError(f"instruction '{name}' has no argument '{argument}'{choices}")
        if problem := _problem(argument, value):
            raise ValueError(f"instruction '{name}', argument '{argument}': {problem}, found {value!r:.80}")
    missing = [argument for argument in wanted if argument not in given]
    if missing:
        raise ValueError(f"instruction '{name}' needs the argument '{missing[0]}'")
    return Instruction(name, given)


def _problem(argument: str, value: Any) -> str | None:
    """What is wrong with the value of an argument, None when nothing is."""
    if argument in _CHOICES:
        choices = _CHOICES[argument]
        return None if value in choices else f"not a valid value{nearest(str(value), choices)}"
    try:
        _KINDS.get(argument, _COUNT).validate_python(value, strict=True)
    except ValidationError as error:
        return invalid(error)
    return None
