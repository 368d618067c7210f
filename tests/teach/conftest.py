"""What tests of teachers and students share: a project with rows that may be learned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.conftest import harness  # noqa: F401  the fixture
from tests.runs import Small

LEARNED, EVALUATED = 40, 10
WORDS = list("abcdefghijklm")


def own_text(number: int) -> str:
    """A text of 20 words that shares no 13 words in sequence with that of another number."""
    return " ".join(f"{WORDS[(number + place) % len(WORDS)]}{number}x{place}" for place in range(20))


class Taught(Small):
    """The task `small` with 40 rows of a training split, 4 of validation and 10 of a test split."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        splits = ["train"] * LEARNED + ["test"] * EVALUATED + ["validation"] * 4
        self.rows([row(number, split) for number, split in enumerate(splits)])

    def rows(self, rows: list[dict[str, object]]) -> None:
        """Replace the rows of the task."""
        path = self.folder / "tasks" / "samples" / "small.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.task()

    def teacher(self, name: str = "m") -> Path:
        """The folder of what a teacher has answered."""
        return self.results / "small" / "_teacher" / name

    def lines(self, name: str = "m") -> list[dict[str, object]]:
        """The answers collected from a teacher."""
        return [json.loads(line) for line in (self.teacher(name) / "answers.jsonl").read_text().splitlines()]


def row(number: int, split: str) -> dict[str, object]:
    """A row with its label, another one by a person who is wrong now and then, and a group."""
    label = ("yes", "no")[number % 2]
    said = label if number % 5 else ("no", "yes")[number % 2]
    return {"text": own_text(number), "label": label, "said": said, "group": number % 3, "_split": split}


@pytest.fixture
def taught(tmp_path: Path) -> Taught:
    """A project with rows to learn and to evaluate, and no models yet."""
    return Taught(tmp_path)
