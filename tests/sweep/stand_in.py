"""Stand-ins for the two commands of a cell: they write what the real ones do, slowly, and keep a ledger.

Only of the standard library, so that they start at once.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

PART = 0.1
"""Seconds between the parts of what a command writes."""


def note(folder: Path, *words: str) -> None:
    """Add a line to the ledger."""
    with (folder / "ledger.txt").open("a") as ledger:
        ledger.write(" ".join(words) + "\n")


def train(folder: Path, cell: str) -> None:
    """Write a checkpoint, then the weights in parts, and the card last."""
    adapter = Path("adapter")
    adapter.mkdir(exist_ok=True)
    (adapter / "checkpoint.pt").write_text("state")
    with (adapter / "adapter_model.safetensors").open("w") as weights:
        for part in range(3):
            time.sleep(PART)
            weights.write(f"{cell} {part}\n")
            weights.flush()
    (adapter / "checkpoint.pt").unlink()
    (adapter / "card.json").write_bytes((folder / "card.json").read_bytes())


def bench(task: str, model: str) -> None:
    """Write answers in parts, and print a score that follows from the adapter."""
    answers = Path("results") / task / model
    answers.mkdir(parents=True, exist_ok=True)
    weights = Path("adapter/adapter_model.safetensors").read_bytes() if model == "tuned" else b""
    with (answers / "responses.jsonl").open("w") as responses:
        for part in range(2):
            time.sleep(PART)
            responses.write(f"{part}\n")
            responses.flush()
    (answers / "run.json").write_text(json.dumps({"greedy": {"seconds": 2 * PART}}))
    score = hashlib.sha256(weights).digest()[0] / 256
    shown = {"metric": "accuracy", "score": score, "low": 0.0, "high": 1.0, "n": 2, "incomplete": False}
    print(json.dumps({"results": [shown]}))


if __name__ == "__main__":
    step, ledger, name, task, model = sys.argv[1:]
    note(Path(ledger), name, step, "begins")
    train(Path(ledger), name) if step == "train" else bench(task, model)
    note(Path(ledger), name, step, "ends")
