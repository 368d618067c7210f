"""Cells for tests, of a base that is made in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.sweep.cell import Work
from harness.sweep.grid import Cell

ROOT = Path(__file__).parents[2]
CELL = Cell(
    name="one-glue_sst2-base-1", base="one.gguf", task="glue_sst2", task_sha256="", rows=None, seed=None, train={},
    bench_rows=3, learned=None,
)  # fmt: skip
WORK = Work(CELL, base="one.gguf", data="sample", tasks=str(ROOT / "tasks"), cpus=1, timeout=None)


def tuned(name: str = "one-glue_sst2-rows5-seed0-1", **changed: Any) -> Work:
    """A cell that is trained."""
    given = {"rows": 5, "seed": 0, "train": {"rank": 2}, "learned": "0" * 16, **changed}
    return replace(WORK, cell=replace(CELL, name=name, **given))


def finished(work: Work, **changed: Any) -> dict[str, Any]:
    """What the `done.json` of a cell says, as far as other parts read it."""
    score = {"metric": "accuracy", "score": 0.5, "low": 0.2, "high": 0.8, "n": 10}
    seconds = {"train": 2.0 if work.cell.tuned else 0.0, "bench": 1.0, "rest": 1.0}
    said = {"train": {}, "scores": [score], "usd": None, "seconds": seconds}
    return {"cell": work.cell.name, **work.cell.point, **said, **changed}


def write_finished(work: Work, folder: Path) -> None:
    """Write files of a finished cell into its folder."""
    import json

    for name in work.files[1:]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / work.files[0]).write_text(json.dumps(finished(work)))
