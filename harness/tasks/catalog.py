"""The tasks of a folder, loaded by name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SpecError, UserError, nearest
from harness.hashing import digest
from harness.shipped import TASKS
from harness.tasks.task import Task
from harness.tasks.yaml import Source, read, validate

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OWN = Path("tasks")


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
    def prompt_hash(self) -> str:
        """Hash of the prompt template, by which runs and adapters know it again."""
        return digest(self.task.prompt)

    @property
    def samples(self) -> Path:
        """The sample rows shipped beside the task."""
        return self.source.path.parent / "samples" / f"{self.name}.jsonl"


def task_folders(folder: Path | None) -> list[Path]:
    """Return the folders in which a task is looked for, in this order.

    The one that is named; without a name `tasks/` of the current folder, where there is one, and the shipped tasks.
    """
    if folder is not None:
        return [folder]
    if not OWN.is_dir():
        return [TASKS]
    return [OWN] if TASKS.is_dir() and OWN.samefile(TASKS) else [OWN, TASKS]


def task_files(folder: Path | None) -> dict[str, Path]:
    """Return the file of every task that can be named, by name; an own task comes before a shipped one of that name.

    Raises:
        UserError: there is no such folder, or no task in it.
    """
    found: dict[str, Path] = {}
    for place in reversed(task_folders(folder)):
        found |= {path.stem: path for path in place.glob("*.yaml")}
    if not found:
        raise UserError(f"{folder or TASKS}: no task files (*.yaml) in this folder; name another with --tasks")
    return dict(sorted(found.items()))


def task_names(folder: Path | None) -> list[str]:
    """Return the names of the tasks that a command takes when none is named, sorted.

    Those of the folder; without a folder those of `tasks/` of the current folder, or of the package if there are none.

    Raises:
        UserError: there is no such folder, or no task in it.
    """
    for place in task_folders(folder):
        if any(place.glob("*.yaml")):
            return list(task_files(place))
    return list(task_files(folder))


def load_task(folder: Path | None, name: str) -> TaskFile:
    """Load one task by name, from the folder or, without one, as `task_files` finds it.

    Raises:
        UserError: there is no task of that name.
        SpecError: the file is wrong.
    """
    known = task_files(folder)
    if name not in known:
        places = " or ".join("the shipped tasks" if place == TASKS else str(place) for place in task_folders(folder))
        raise UserError(f"no task '{name}' in {places}{nearest(name, known)}")
    source = read(known[name])
    if not NAME.fullmatch(name):
        raise SpecError(source.problem((), f"the name '{name}' may hold letters, digits, '.', '_' and '-' only"))
    return TaskFile(name, validate(source, Task), source)
