"""A local mirror of hub datasets: `<hub id with / as __>/<config or default>/<split>.parquet`."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import DataError
from harness.rows import hub
from harness.rows.files import Split, parquet
from harness.tasks.catalog import TaskFile
from harness.tasks.task import Dataset


def paths(folder: Path, spec: Dataset, split: str) -> list[Path]:
    """Where the files of a split (by the hub's name) stand in a mirror, one for each configuration."""
    assert spec.hub is not None
    dataset = folder / spec.hub.replace("/", "__")
    return [dataset / (config or "default") / f"{split}.parquet" for config in hub.configs(spec)]


def split(folder: Path, spec: Dataset, name: str) -> Split | None:
    """Open a split of a mirror; None when the mirror does not hold all of it."""
    if spec.hub is None:
        return None
    files = paths(folder, spec, name)
    return parquet(files) if all(file.is_file() for file in files) else None


def write(file: TaskFile, folder: Path) -> list[Path]:
    """Copy the splits that a task uses from the hub into a mirror; return the files.

    Raises:
        DataError: the hub cannot be reached or does not hold a split.
    """
    spec = file.task.dataset
    if spec.hub is None or spec.obtain:
        raise DataError(f"{file.name}'s data is not on the hub" + (f"\n{spec.obtain.strip()}" if spec.obtain else ""))
    if not hub.reachable():
        raise DataError(f"{file.name}: the Hugging Face hub cannot be reached")
    written = []
    for name in dict.fromkeys(spec.splits.values()):
        for config, path in zip(hub.configs(spec), paths(folder, spec, name), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            hub.load(spec.model_copy(update={"config": config}), name).to_parquet(part)
            os.replace(part, path)
            written.append(path)
    return written
