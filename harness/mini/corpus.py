"""What the miniature's base reads: the tasks' training rows, as plain text and some as whole prompts with answers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.backends.baseline import without_frame
from harness.data.origin import locate
from harness.errors import UserError
from harness.prompts import Prompts
from harness.spec.catalog import load_task
from harness.train.rows import Pair, completion, load

RAW_CHARACTERS = 900_000
FORMATTED_ROWS = 250
LONGEST = 2_500


@dataclass(frozen=True, slots=True)
class Share:
    """What one task gave: rows as plain text and their characters, and rows as prompt with answer."""

    task: str
    raw_rows: int
    raw_characters: int
    formatted_rows: int


def real_pairs(task: str, tasks_folder: Path, data: str) -> Sequence[Pair]:
    """Return a task's training rows; the shipped samples are none.

    Raises:
        UserError: the task has no rows at this place, or none that is not evaluated.
    """
    file = load_task(tasks_folder, task)
    origin = locate(file, data)
    if origin.kind == "sample":
        raise UserError(f"{task} has no rows in {data}")
    return load(file, Prompts(file), origin).pairs


def corpus(tasks: Sequence[tuple[str, Sequence[Pair]]], seed: int = 0) -> tuple[list[str], list[Share]]:
    """Return the documents in random order, and what each task gave.

    A plain text is a row's part of the prompt, without the instructions that all prompts of its task share; a written
    target follows it when it is longer than a label. `FORMATTED_ROWS` further rows of each task are given whole, prompt
    and answer, so that the base has seen what an answer looks like.

    Args:
        tasks: Names with their training rows, none of which may be evaluated.
        seed: Decides the order and which rows are whole.
    """
    draw = random.Random(seed)
    documents: list[str] = []
    shares = []
    for name, pairs in tasks:
        rows = list(pairs)
        draw.shuffle(rows)
        # A small task keeps most of its rows for plain text.
        whole = rows[: min(FORMATTED_ROWS, len(rows) // 4)]
        formatted = [pair.prompt + completion(pair) for pair in whole if len(pair.prompt) <= 2 * LONGEST]
        raw = _plain(rows[len(whole) :], [pair.prompt for pair in rows])
        documents += formatted + raw
        shares.append(Share(name, len(raw), sum(map(len, raw)), len(formatted)))
    draw.shuffle(documents)
    return documents, shares


def _plain(pairs: Sequence[Pair], prompts: Sequence[str]) -> list[str]:
    cut = without_frame(prompts) if prompts else str
    found: dict[str, None] = {}
    characters = 0
    for pair in pairs:
        text = cut(pair.prompt)[:LONGEST].strip()
        if len(pair.target) > 40:
            text = f"{text}\n{pair.target[:LONGEST]}"
        if text and text not in found:
            found[text] = None
            characters += len(text)
        if characters >= RAW_CHARACTERS:
            break
    return list(found)
