"""The tasks of one or more folders, loaded by name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SpecError, UserError, nearest
from harness.hashing import digest
from harness.shipped import TASKS, TaskFolders
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


def task_folders(folders: TaskFolders) -> list[Path]:
    """Return the folders in which a task is looked for, in this order.

    Those that are named; without a name `tasks/` of the current folder, where there is one. Then the shipped tasks.
    """
    found = own_folders(folders)
    return found if any(place.resolve() == TASKS.resolve() for place in found) else [*found, TASKS]


def own_folders(folders: TaskFolders) -> list[Path]:
    """Return the folders that come before the shipped tasks, each once."""
    if not folders:
        return [OWN] if OWN.is_dir() else []
    named = [folders] if isinstance(folders, Path) else folders
    return list({place.resolve(): place for place in reversed(named)}.values())[::-1]


def task_files(folders: TaskFolders) -> dict[str, Path]:
    """Return the file of every task that can be named, by name; an own task comes before a shipped one of that name.

    Raises:
        UserError: a folder that is named does not exist, or has no task.
    """
    found: dict[str, Path] = {}
    for place in reversed(task_folders(folders)):
        here = {path.stem: path for path in place.glob("*.yaml")}
        if not here and (folders or place == TASKS):
            raise UserError(f"{place}: no task files (*.yaml) in this folder; name another with --tasks")
        found |= here
    return dict(sorted(found.items()))


def task_names(folders: TaskFolders) -> list[str]:
    """Return the names of the tasks that a command takes when none is named, sorted.

    Those of the folders that are named, else of `tasks/` of the current folder, else of the package.

    Raises:
        UserError: a folder that is named does not exist, or has no task.
    """
    files = task_files(folders)
    own = own_folders(folders)
    return [name for name, path in files.items() if path.parent in own] or list(files)


def load_task(folders: TaskFolders, name: str) -> TaskFile:
    """Load one task by name, as `task_files` finds it.

    Raises:
        UserError: there is no task of that name, or several of the folders that are named have one.
        SpecError: the file is wrong.
    """
    known, places = task_files(folders), task_folders(folders)
    if name not in known:
        shown = " or ".join("the shipped tasks" if place == TASKS else str(place) for place in places)
        raise UserError(f"no task '{name}' in {shown}{nearest(name, known)}")
    having = [path for place in own_folders(folders) if (path := place / f"{name}.yaml").is_file()]
    if len(having) > 1:
        both = " and ".join(map(str, having))
        raise UserError(f"the task '{name}' is in several folders of --tasks: {both}; rename one of them")
    source = read(known[name])
    if not NAME.fullmatch(name):
        raise SpecError(source.problem((), f"the name '{name}' may hold letters, digits, '.', '_' and '-' only"))
    return TaskFile(name, validate(source, Task), source)
