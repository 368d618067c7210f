"""A sweep of one base and four tuned cells, two at once, whose commands are those of stand_in.py.

    python -m tests.sweep.with_stand_ins FOLDER

The sweep, its processes and its files are the real ones. Results go to FOLDER/runs; FOLDER/ledger.txt has a line
for each command that began or ended.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import BusyError
from harness.store.atomic import replace_file
from harness.sweep.cell import Work
from harness.sweep.places import Place
from harness.sweep.sweep import Threads, found_before, run_sweep
from harness.train.card import Card
from tests.sweep import stand_in
from tests.sweep.cells import CELL, tuned

CELLS = 5
CARD = Card(
    task=CELL.task, task_sha256="", prompt_hash="", base=CELL.base, engine="peft", recipe={}, data="sample",
    training_fingerprint="0" * 16, borrowed_from=None, rows=5, too_long=0, also_evaluated=0, longest_tokens=9, step=1,
    steps=1, curve={"training": [1.0], "validation": [1.0]}, hardware="", hours=0.0, cpu_minutes=None, usd=None,
    versions={}, git={},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StandIn(Work):
    """A cell with the stand-ins as its commands; `data` is the folder of the ledger."""

    @property
    def commands(self) -> dict[str, list[str]]:
        run, about = [sys.executable, "-S", stand_in.__file__], [str(self.data), self.cell.name, CELL.task, self.model]
        return {step: [*run, step, *about] for step in (["train", "bench"] if self.cell.tuned else ["bench"])}


def main(folder: Path) -> None:
    """Run what is left of the sweep."""
    replace_file(folder / "card.json", json.dumps(asdict(CARD)))
    cells = [CELL, *(tuned(f"seed{seed}", seed=seed).cell for seed in range(CELLS - 1))]
    works = [StandIn(cell, cell.base, str(folder), "tasks", 1, None) for cell in cells]
    place = Place(str(folder / "runs"))
    with place.alone():
        progress = found_before(place, works, print)
        ended = run_sweep(works, progress, Threads(2, place), None, None, print, lambda *_: None)
    sys.exit(3 if ended.failed else 0)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BusyError:
        sys.exit(2)
