"""A YAML 1.2 file as plain data that remembers its lines, and pydantic's errors reported with those lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import SpecError, nearest
from harness.plugins import hint

Location = Sequence[str | int]
MOST_BYTES = 1_000_000
MOST_DEPTH = 50
"""Lists and mappings inside each other."""
TOO_DEEP = f"lists or mappings are nested more than {MOST_DEPTH} deep"
MOST_VALUES = 50_000
"""Values of a file, those that an alias repeats counted each time."""


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file: `data` is plain Python data, `positions` the line of each location, counted from 1."""

    path: Path
    text: str
    data: Any
    positions: Mapping[tuple[str | int, ...], int]

    def line(self, location: Location) -> int:
        """Return the line of a location, or of the nearest parent that is in the file."""
        known = list(location)
        while known and tuple(known) not in self.positions:
            known.pop()
        return self.positions.get(tuple(known), 1)

    def problem(self, location: Location, message: str) -> str:
        """Return `message` with file, line and key in front."""
        key = ".".join(str(part) for part in location)
        return f"{self.path}:{self.line(location)}: {key + ': ' if key else ''}{message}"


def read(path: Path, rewrite: Callable[[str], str] = str) -> Source:
    """Read a YAML 1.2 file, in which a bare `yes` or `no` is a string and a repeated key is an error.

    `rewrite` is applied to the text first; it must keep the lines.

    Raises:
        SpecError: the file cannot be read or is not a YAML mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.scanner import RoundTripScanner, ScannerError

    class Scanner(RoundTripScanner):
        """Refuses brackets inside brackets before the time for them grows with the square of their number."""

        def fetch_flow_collection_start(self, *token: Any, **to_push: Any) -> None:
            if len(self.flow_context) >= MOST_DEPTH:
                raise ScannerError(None, None, TOO_DEEP, self.reader.get_mark())
            super().fetch_flow_collection_start(*token, **to_push)

    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise SpecError(f"{path}: larger than {MOST_BYTES:,} bytes, which no file of tasks or models is")
        text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    try:
        yaml = YAML(typ="rt", pure=True)
        yaml.Scanner = Scanner
        yaml.composer.warn_double_anchors = False  # the last one of a name holds, as YAML has it
        tree = yaml.load(rewrite(text))
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = str(error.problem).partition(" with value")[0]
        raise SpecError(f"{path}:{line}: {problem}: each key may occur only once") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}") from None
    except (YAMLError, ValueError, OverflowError) as error:
        raise SpecError(f"{path}: not valid YAML: {error}") from None
    except RecursionError:
        raise SpecError(f"{path}: {TOO_DEEP}") from None
    if not isinstance(tree, Mapping):
        raise SpecError(f"{path}:1: expected a mapping of keys, found {type(tree).__name__}")
    positions: dict[tuple[str | int, ...], int] = {}
    return Source(path, text, _plain(path, tree, (), positions), positions)


def _plain(path: Path, node: Any, location: tuple[str | int, ...], positions: dict[tuple[str | int, ...], int]) -> Any:
    """A parsed value as plain data; `positions` is filled.

    Raises:
        SpecError: it has a tag, or is nested too deeply or too large, as aliases that repeat others make it.
    """
    tag = getattr(getattr(node, "tag", None), "value", None)
    if tag is not None:
        raise _refused(path, location, positions, f"the tag {tag} is not allowed, only plain values are")
    if len(location) > MOST_DEPTH:
        raise _refused(path, location, positions, TOO_DEEP)
    if len(positions) > MOST_VALUES:
        raise _refused(path, location, positions, f"more than {MOST_VALUES:,} values; does an alias repeat others?")
    if isinstance(node, Mapping):
        # What `<<: *other` brings along has no line of its own here; its parent's is used.
        for key, (line, *_) in (node.lc.data or {}).items():  # type: ignore[attr-defined]
            positions[*location, key] = line + 1
        return {key: _plain(path, value, (*location, key), positions) for key, value in node.items()}
    if isinstance(node, list):
        for index in range(len(node)):
            positions[*location, index] = node.lc.item(index)[0] + 1  # type: ignore[attr-defined]
        return [_plain(path, value, (*location, index), positions) for index, value in enumerate(node)]
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node


def _refused(path: Path, location: Location, positions: Mapping[tuple[str | int, ...], int], message: str) -> SpecError:
    return SpecError(Source(path, "", None, positions).problem(location[:3], message))


def validate(source: Source, kind: Any, location: Location = (), hidden: Mapping[str, str] | None = None) -> Any:
    """Return the data at `location` as `kind`, a pydantic model or a union of them.

    `hidden` holds texts that no message may show, each with what stands for it.

    Raises:
        SpecError: with one line for every problem in the file.
    """
    data = source.data
    for part in location:
        data = data[part]
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        problems = [_say(source, kind, location, detail, hidden or {}) for detail in error.errors(include_url=False)]
        raise SpecError("\n".join(dict.fromkeys(problems))) from None


def _say(source: Source, kind: Any, start: Location, detail: ErrorDetails, hidden: Mapping[str, str]) -> str:
    def shown(text: str) -> str:
        for secret in sorted(hidden, key=len, reverse=True):
            text = text.replace(secret, hidden[secret])
        return text

    real = _without_tags(source, [*start, *detail["loc"]])
    match detail["type"]:
        case "extra_forbidden":
            unknown = str(real[-1])
            message = f"unknown key '{unknown}'{nearest(unknown, _fields(kind, detail['loc'][:-1]))}"
        case "missing":
            message = f"missing key '{detail['loc'][-1]}'"
            real = real[:-1]
        case "literal_error" | "union_tag_invalid":
            context = detail.get("ctx", {})
            expected = str(context.get("expected") or context.get("expected_tags")).replace(" or ", ", ")
            found = shown(str(context.get("tag") or detail["input"]))
            if "tag" in context:
                real.append(str(context["discriminator"]).strip("'"))
            choices = [choice.strip(" '") for choice in expected.split(",")]
            named = nearest(found, choices)
            message = f"'{found}' is not valid{named}{hint(named) if 'tag' in context else ''}"
        case "union_tag_not_found":
            message = f"missing key {detail['ctx']['discriminator']}"
        case _:
            message = f"{shown(detail['msg']).removeprefix('Value error, ')} (found {shown(repr(detail['input'])):.80})"
    return source.problem(real, message)


def _without_tags(source: Source, location: Location) -> list[str | int]:
    """Leave out of pydantic's location what names a union's member, which is not in the file."""
    node, entered, real = source.data, True, list[str | int]()
    for part in location:
        if entered and isinstance(node, Mapping) and part in (node.get("type"), node.get("backend")):
            entered = False
        else:
            node, entered = _inside(node, part), True
            real.append(part)
    return real


def _inside(node: Any, part: str | int) -> Any:
    """The value of a key or an index; the node itself where the part is not in the file."""
    if isinstance(node, Mapping):
        return node.get(part, node)
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return node


def _fields(kind: Any, location: Iterable[str | int]) -> list[str]:
    """The keys that a mapping at this location may have."""
    options = _models(kind)
    for part in location:
        tagged = [model for model in options if part in _tags(model)]
        options = tagged or [
            inner
            for model in options
            if isinstance(part, str) and part in model.model_fields
            for inner in _models(model.model_fields[part].annotation)
        ]
    return [name for model in options for name in model.model_fields]


def _models(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if get_origin(kind) in (Union, UnionType, Annotated, list, dict):
        return [model for inner in get_args(kind) for model in _models(inner)]
    return []


def _tags(model: type[BaseModel]) -> list[Any]:
    return [
        value
        for name in ("type", "backend")
        if name in model.model_fields and get_origin(model.model_fields[name].annotation) is Literal
        for value in get_args(model.model_fields[name].annotation)
    ]
