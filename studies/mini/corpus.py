"""What the miniature's base learns from: training rows, most as plain text and some as prompts with answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.rows.origin import locate
from harness.rows.training import Pair, load
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts, without_frame

RAW_CHARACTERS = 1_200_000
FORMATTED_ROWS = 4_000
LONGEST = 2_500


@dataclass(frozen=True, slots=True)
class Share:
    """What one task gave: rows as plain text and their characters, and rows to answer."""

    task: str
    raw_rows: int
    raw_characters: int
    formatted_rows: int


def real_pairs(task: str, tasks_folder: Path | None, data: str) -> Sequence[Pair]:
    """Return a task's training rows; the shipped samples are none.

    Raises:
        UserError: the task has no rows at this place, or none that is not evaluated.
    """
    file = load_task(tasks_folder, task)
    origin = locate(file, data)
    if origin.kind == "sample":
        raise UserError(f"{task} has no rows in {data}")
    return load(file, Prompts(file), origin).pairs


@dataclass(frozen=True, slots=True)
class Corpus:
    """Plain texts in random order; for each task the rows whose prompts and answers are learned; what each gave."""

    documents: tuple[str, ...]
    formatted: Mapping[str, Sequence[Pair]]
    shares: tuple[Share, ...]


def corpus(tasks: Sequence[tuple[str, Sequence[Pair]]], seed: int = 0) -> Corpus:
    """Divide training rows into plain text and rows to answer.

    A plain text is a row's part of the prompt, without the instructions that all prompts of its task share; a written
    target follows it when it is longer than a label. `FORMATTED_ROWS` further rows of each task, at most a quarter,
    are given as prompt and answer, so that the base has seen what an answer looks like.

    Args:
        tasks: Names with their training rows, none of which may be evaluated.
        seed: Decides the order and which rows are answered.
    """
    draw = random.Random(seed)
    documents: list[str] = []
    formatted = {}
    shares = []
    for name, pairs in tasks:
        rows = list(pairs)
        draw.shuffle(rows)
        # A small task keeps most of its rows for plain text.
        split = min(FORMATTED_ROWS, len(rows) // 4)
        formatted[name] = tuple(rows[:split])
        raw = _plain(rows[split:], [pair.prompt for pair in rows])
        documents += raw
        shares.append(Share(name, len(raw), sum(map(len, raw)), split))
    draw.shuffle(documents)
    return Corpus(tuple(documents), formatted, tuple(shares))


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
