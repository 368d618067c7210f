"""Which models are served, and by which names: entries of the models file, and folders of adapters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

from harness.errors import DataError, UserError, warn
from harness.models.engines.adapter_files import CONFIG, WEIGHTS
from harness.models.entry import (
    AnthropicModel,
    CustomModel,
    LlamaCppModel,
    LocalModel,
    LoraxModel,
    ModelEntry,
    OpenAIModel,
    load_models,
)

TASK = "{task}"
SERVED = (LlamaCppModel, OpenAIModel, LoraxModel, AnthropicModel, LocalModel, CustomModel)
"""Entries with a model behind them; others answer known rows only."""


@dataclass
class ServedBase:
    """A GGUF file of this process with its adapters, folders by name.

    `entries` are those without an adapter, by whose names the base is asked.
    """

    model: str
    threads: int | None = None
    entries: list[str] = field(default_factory=list)
    adapters: dict[str, Path] = field(default_factory=dict)

    @property
    def names(self) -> Sequence[str]:
        """What the base is asked by: its entries' names, else that of its file."""
        return self.entries or [Path(self.model).stem]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A model that another server has, or transformers in this process: an entry, for one task."""

    name: str
    entry: ModelEntry
    task: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """All that is served; no name stands for two models."""

    bases: Sequence[ServedBase]
    elsewhere: Sequence[Elsewhere]


def served_name(entry: ModelEntry, task: str, chosen: Chosen) -> str | None:
    """Return the name by which an entry's model for a task is served; None where it has no adapter for the task."""
    if not isinstance(model := entry.model, LlamaCppModel):
        names = (one.name for one in chosen.elsewhere if one.entry.name == entry.name and one.task in ("", task))
        return next(names, None)
    base = next(base for base in chosen.bases if base.model == model.model)
    if model.adapter is None:
        return entry.name
    name = task if TASK in model.adapter else entry.name
    return name if name in base.adapters else None


def choose(models_file: Path, names: Sequence[str], adapters: Path | None, tasks: Iterable[str]) -> Chosen:
    """Return what is served: the entries named, or those of llama.cpp, and the adapters of a folder.

    With a folder of adapters and no names it is the first base of llama.cpp in the file. An adapter with `{task}` in
    its folder is asked by the task's name, other models by the entry's; a model of a server with `{task}` in its name
    by ENTRY/TASK.

    Raises:
        UserError: an entry does not exist, cannot be served or lacks something; two models have one name; a folder
            holds no adapter.
    """
    entries = load_models(models_file, names, os.environ)
    if not names:
        entries = [entry for entry in entries if isinstance(entry.model, LlamaCppModel)]
        if adapters is not None:
            entries = [entry for entry in entries if not getattr(entry.model, "adapter", None)][:1]
    if not entries:
        raise UserError(f"{models_file} has no model with `backend: llamacpp`; name others with --models")
    bases: dict[str, ServedBase] = {}
    known = sorted(tasks)
    elsewhere: list[Elsewhere] = []
    for entry in entries:
        match entry.model:
            case LlamaCppModel() as model:
                base = bases.setdefault(model.model, ServedBase(model.model, model.threads))
                if model.adapter is None:
                    base.entries.append(entry.name)
                elif found := adapters_of(entry.name, model.adapter):
                    _add(base, found)
                else:
                    warn(f"'{entry.name}': there is no adapter at {model.adapter}")
            case model if isinstance(model, SERVED):
                elsewhere += _of_tasks(entry, known)
            case _:
                raise UserError(
                    f"'{entry.name}' has no model behind it: `backend: {entry.model.backend}` answers known rows only"
                )
    if adapters is not None:
        if len(bases) != 1:
            raise UserError(
                f"the adapters in {adapters} are of one base with `backend: llamacpp`, and {len(bases)} are chosen: "
                "name one with --models"
            )
        _add(next(iter(bases.values())), folders_of_adapters(adapters))
    chosen = Chosen(list(bases.values()), elsewhere)
    _check_names(chosen)
    return chosen


def folders_of_adapters(folder: Path) -> dict[str, Path]:
    """Return the adapters in a folder, each a folder with `adapter_config.json`, by name.

    Raises:
        DataError: there is none, or one has no weights.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    found = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))}
    if not found:
        raise DataError(f"{folder} holds no adapters: expected folders in it, each with an {CONFIG}")
    for path in found.values():
        check_adapter(path)
    return found


def check_adapter(folder: Path) -> None:
    """See to it that a folder is an adapter's.

    Raises:
        DataError: it has no settings or no weights.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise DataError(f"the adapter in {folder} has no {name}")


def adapters_of(name: str, adapter: str) -> dict[str, Path]:
    """Return the adapters of an entry by name: by task where its folder holds `{task}`, of which there may be none.

    Raises:
        DataError: one has no settings or no weights.
    """
    place = str(Path(adapter).expanduser())
    if TASK not in place:
        check_adapter(Path(place))
        return {name: Path(place)}
    pattern = re.compile(re.escape(place).replace(re.escape(TASK), "([^/]+)", 1).replace(re.escape(TASK), r"\1"))
    found = {}
    for path in sorted(glob(f"{place.replace(TASK, '*')}/{CONFIG}")):  # noqa: PTH207  Path.glob takes no absolute one
        folder = path.removesuffix(f"/{CONFIG}")
        if match := pattern.fullmatch(folder):
            check_adapter(Path(folder))
            found[match[1]] = Path(folder)
    return found


def _add(base: ServedBase, adapters: Mapping[str, Path]) -> None:
    for name, folder in adapters.items():
        if name in base.adapters:
            raise UserError(
                f"two adapters have the name '{name}': {base.adapters[name]} and {folder}; rename one folder, or serve "
                "one of them"
            )
        base.adapters[name] = folder


def _of_tasks(entry: ModelEntry, tasks: Sequence[str]) -> list[Elsewhere]:
    """An entry as one model, or as one for each task where its name on the server says so."""
    model = entry.model
    if isinstance(model, LocalModel) and model.adapter and TASK in model.adapter:
        return [Elsewhere(f"{entry.name}/{name}", entry, name) for name in adapters_of(entry.name, model.adapter)]
    if TASK not in entry.served(TASK):
        return [Elsewhere(entry.name, entry)]
    return [Elsewhere(f"{entry.name}/{task}", entry, task) for task in tasks]


def _check_names(chosen: Chosen) -> None:
    seen: dict[str, str] = {}
    for base in chosen.bases:
        for name in base.names:
            if name in base.adapters:
                raise UserError(f"the base {base.model} and the adapter {base.adapters[name]} have one name")
        _distinct(seen, dict.fromkeys(base.names, f"the base {base.model}"))
        _distinct(seen, {name: str(path) for name, path in base.adapters.items()})
    _distinct(seen, {model.name: f"the entry {model.entry.name}" for model in chosen.elsewhere})


def _distinct(seen: dict[str, str], more: Mapping[str, str]) -> None:
    for name, what in more.items():
        if name in seen:
            raise UserError(f"two models have the name '{name}': {seen[name]} and {what}; choose with --models")
        seen[name] = what
