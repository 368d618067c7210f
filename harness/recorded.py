"""The pairs of task and model that have been run: found by name, and forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError, nearest
from harness.store import Manifest, ResponseLog, read_manifests


def chosen_runs(results: Path, tasks: Sequence[str], models: Sequence[str]) -> list[Manifest]:
    """Return the manifests of all runs of these tasks and models (empty: of all), by task and model.

    Raises:
        UserError: there is no run, or a name has none; a manifest cannot be read.
    """
    runs = list(read_manifests(results))
    if not runs:
        raise UserError(f"{results}: no runs are recorded here; run `harness bench` first")
    for kind, wanted in (("task", tasks), ("model", models)):
        known = {str(getattr(run, kind)) for run in runs}
        for name in wanted:
            if name not in known:
                raise UserError(f"no run of {kind} '{name}' in {results}{nearest(name, known)}")
    chosen = [run for run in runs if run.task in (tasks or [run.task]) and run.model in (models or [run.model])]
    if not chosen:
        raise UserError(f"{results}: none of these models has run one of these tasks")
    return chosen


def recorded(results: Path) -> list[tuple[str, str]]:
    """Return the tasks and models that have recorded answers or runs, sorted."""
    folders = {path.parent for name in ("responses.jsonl", "run.json") for path in results.glob(f"*/*/{name}")}
    return sorted((folder.parent.name, folder.name) for folder in folders)


def forget(results: Path, task: str, model: str) -> list[Path]:
    """Remove all that is recorded of a pair, and return the files removed.

    Raises:
        UserError: nothing is recorded of it, or it cannot be removed.
        BusyError: another process is asking it.
    """
    known = recorded(results)
    if (task, model) not in known:
        tasks = {name for name, _ in known}
        if task not in tasks:
            raise UserError(f"nothing is recorded of task '{task}' in {results}{nearest(task, tasks)}")
        models = [name for of, name in known if of == task]
        raise UserError(f"nothing is recorded of model '{model}' on {task}{nearest(model, models)}")
    folder = results / task / model
    with ResponseLog(folder):
        removed = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
        for path in removed:
            _remove(path)
    _remove(folder / ".lock")
    with contextlib.suppress(OSError):  # what else a user has put there stays
        folder.rmdir()
    return removed


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be removed: {error.strerror}") from None
