"""Asks the hub at HF_ENDPOINT, which its client reads once, on import: hence a process of its own.

    python -m tests.rows.ask_hub FOLDER < CASES > OUTCOMES

A case is `{"spec": a task's dataset, "split": the hub's name}`, an outcome `{"rows": …}` or `{"error": …}`. After the
cases the task in FOLDER is mirrored and located; the last outcome is of that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.rows import hub, mirror
from harness.rows.origin import locate
from harness.tasks.catalog import load_task
from harness.tasks.task import Dataset


def rows(case: dict[str, Any]) -> dict[str, Any]:
    """Load what a case names."""
    try:
        split = hub.split(Dataset(**case["spec"]), case["split"])
    except DataError as error:
        return {"error": str(error)}
    return {"columns": split.columns, "rows": list(split.read(["text"]))}


def mirrored(folder: Path) -> dict[str, Any]:
    """Mirror the task, then locate its rows on the hub and in the mirror."""
    file = load_task(folder, "small")
    written = mirror.write(file, folder / "mirror")
    found = {place: locate(file, place) for place in ("hub", str(folder / "mirror"))}
    return {
        "written": [str(path.relative_to(folder)) for path in written],
        "left": sorted(path.name for path in folder.glob("mirror/**/*.part")),
        "places": [origin.place for origin in found.values()],
        "rows": [
            {name: list(split.read(["text"])) for name, split in origin.splits.items()} for origin in found.values()
        ],
    }


if __name__ == "__main__":
    outcomes = [rows(case) for case in json.load(sys.stdin)]
    print(json.dumps([*outcomes, mirrored(Path(sys.argv[1]))]))
