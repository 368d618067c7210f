"""The tasks of a folder, loaded by name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SpecError, UserError, nearest
from harness.tasks.task import Task
from harness.tasks.yaml import Source, read, validate

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
