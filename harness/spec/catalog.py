"""The tasks of a folder and the models of a file, loaded by name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SpecError, UserError, nearest
from harness.spec.model import Model
from harness.spec.source import Source, read, validate
from harness.spec.task import Task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The user, password, query and fragment of an address, where people put keys.
_PRIVATE = re.compile(r"(?<=://)[^/?#]*@|[?#].*", re.DOTALL)
# YAML forbids braces in an unquoted value of a {flow: mapping}, where people write ${KEY} all the same. So the file is
# parsed with other characters in their place, from the range that Unicode leaves for private use.
_WRITTEN = re.compile(r"\$\{(\w+)\}")
_VARIABLE = re.compile("\ue000(\\w+)\ue001")


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A task with the file it came from; `name` is the file's name."""

    name: str
    task: Task
    source: Source

    @property
    def sha256(self) -> str:
        """Hash of the file's text."""
        return hashlib.sha256(self.source.text.encode()).hexdigest()

    @property
    def samples(self) -> Path:
        """The sample rows shipped beside the task."""
        return self.source.path.parent / "samples" / f"{self.name}.jsonl"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model of the file. `unset` names the environment variables it needs and does not find.

    `extra` is that setting as the file writes it, with its variables not replaced.
    """

    name: str
    model: Model
    unset: tuple[str, ...]
    extra: Mapping[str, Any] | None = None

    @property
    def endpoint(self) -> str:
        """What shares limits with this model: the server, or the process itself for models that run in it."""
        return _PRIVATE.sub("", str(getattr(self.model, "base_url", self.model.backend))).rstrip("/")

    def public(self) -> dict[str, Any]:
        """The settings as they may be shown and stored: without secrets, and without what is at its default."""
        shown = self.model.model_dump(mode="json", exclude_defaults=True, exclude={"api_key", "api_token"})
        if "base_url" in shown:
            shown["base_url"] = _PRIVATE.sub("", shown["base_url"])
        # A key that goes into the request body is known by its variable only.
        return {**shown, "extra": self.extra} if self.extra else shown


def task_names(folder: Path) -> list[str]:
    """Return the names of all task files in a folder, sorted.

    Raises:
        UserError: there is no such folder, or no task in it.
    """
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if not names:
        raise UserError(f"{folder}: no task files (*.yaml) in this folder; name another with --tasks")
    return names


def load_task(folder: Path, name: str) -> TaskFile:
    """Load one task by name.

    Raises:
        UserError: there is no task of that name.
        SpecError: the file is wrong.
    """
    known = task_names(folder)
    if name not in known:
        raise UserError(f"no task '{name}' in {folder}{nearest(name, known)}")
    source = read(folder / f"{name}.yaml")
    if not NAME.fullmatch(name):
        raise SpecError(source.problem((), f"the name '{name}' may hold letters, digits, '.', '_' and '-' only"))
    return TaskFile(name, validate(source, Task), source)


def load_models(
    path: Path, names: Sequence[str], environment: Mapping[str, str], *, ready: bool = True
) -> list[ModelEntry]:
    """Load the models of a file: those named, or all when `names` is empty.

    `${VAR}` in a value is replaced from `environment`. With `ready` unset, a named model may lack its variables.

    Raises:
        UserError: a model asked for by name does not exist, or a variable it needs is not set.
        SpecError: the file is wrong.
    """
    source = read(path, lambda text: _WRITTEN.sub("\ue000\\1\ue001", text))
    known = [name for name in source.data if isinstance(name, str)]
    problems = [
        source.problem([name], "a model's name must be a text; write it in quotes")
        for name in source.data
        if not isinstance(name, str)
    ]
    entries: list[ModelEntry] = []
    for name in known:
        try:
            entries.append(_entry(source, name, known, environment))
        except SpecError as error:
            problems.append(str(error))
    if problems:
        raise SpecError("\n".join(problems))
    for name in names:
        if name not in known:
            raise UserError(f"no model '{name}' in {path}{nearest(name, known)}")
    chosen = [entry for entry in entries if not names or entry.name in names]
    for entry in chosen:
        if names and entry.unset and ready:
            variables = " and ".join(entry.unset)
            raise UserError(
                f"model '{entry.name}' needs {variables} in the environment ({path}:{source.line([entry.name])})"
            )
    return chosen


def _entry(source: Source, name: str, known: Sequence[str], environment: Mapping[str, str]) -> ModelEntry:
    if not NAME.fullmatch(name):
        raise SpecError(source.problem([name], "a model's name may hold letters, digits, '.', '_' and '-' only"))
    unset: dict[str, None] = {}
    written = _fill(source.data[name], {}, {})
    data = {**source.data, name: _fill(source.data[name], environment, unset)}
    filled = Source(source.path, source.text, data, source.positions)
    used = _VARIABLE.findall(json.dumps(source.data[name], ensure_ascii=False, default=str))
    hidden = {value: f"${{{variable}}}" for variable in used if len(value := environment.get(variable, "")) > 3}
    model = validate(filled, Model, [name], hidden)
    if model.base is not None and model.base not in known:
        raise SpecError(source.problem([name, "base"], f"no model '{model.base}'{nearest(model.base, known)}"))
    return ModelEntry(name, model, tuple(unset), written.get("extra"))


def _fill(value: Any, environment: Mapping[str, str], unset: dict[str, None]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(inner, environment, unset) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, environment, unset) for inner in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = environment.get(match[1], "")
        if not found:
            unset[match[1]] = None
        return found or f"${{{match[1]}}}"

    return _VARIABLE.sub(variable, value)
