"""The verifiable instructions of a row (IFEval). What answers them is a whole text, as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import invalid, nearest
from harness.score.answers.ifeval_checks import CHECKS


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
    if name not in CHECKS:
        raise ValueError(f"unknown instruction '{name}'{nearest(name, CHECKS)}")
    hints = get_type_hints(CHECKS[name], include_extras=True)
    wanted = {argument: kind for argument, kind in hints.items() if argument not in ("text", "return")}
    for argument, value in given.items():
        if argument not in wanted:
            choices = nearest(argument, wanted) or " (it has none)"
            raise ValueError(f"instruction '{name}' has no argument '{argument}'{choices}")
        if problem := _problem(wanted[argument], value):
            raise ValueError(f"instruction '{name}', argument '{argument}': {problem}, found {value!r:.80}")
    missing = [argument for argument in wanted if argument not in given]
    if missing:
        raise ValueError(f"instruction '{name}' needs the argument '{missing[0]}'")
    return Instruction(name, given)


def _problem(kind: Any, value: Any) -> str | None:
    """What is wrong with the value of an argument of this type, None when nothing is."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return None if value in choices else f"not a valid value{nearest(str(value), choices)}"
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        return invalid(error)
    return None
