"""Training rows from a folder of `harness distill` or `harness chunk`, or any JSONL file of chats, prompts with
completions, or plain text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import DataError, UserError
from harness.hashing import digest, digest_all
from harness.rows import chunks
from harness.rows.evaluation import choose
from harness.rows.files import jsonl
from harness.rows.origin import Origin
from harness.rows.overlap import Evaluated, own_text
from harness.rows.training import TrainingExample, TrainingRows
from harness.tasks.catalog import TaskFile
from harness.tasks.messages import Message, only_text, plain
from harness.tasks.prompts import Prompts
from harness.tasks.pruning import Prune, prune_from

CARD = "distill.json"
EXPECTED = (
    'expected {"prompt": text, "completion": text}, {"messages": [{"role": …, "content": text}, …]} or {"text": text}'
)


def load_examples(file: TaskFile, prompts: Prompts, origin: Origin, path: Path) -> TrainingRows:
    """Return the rows of a folder or file, those to validate on first. None that an evaluated row would give away.

    Left out is what has the prompt of an evaluated row, with or without the text that was taken out of the prompts, or
    shares 13 words in sequence with what such a row has of its own. Plain text has an empty prompt and is ordered by
    its hash, so that the rows that a recipe holds out are from everywhere in a document.

    Raises:
        DataError: the folder is not a finished one, or a line is something else; names file and line.
        UserError: no row is left.
    """
    about = _about(path)
    if about and about["task"] != file.name:
        raise DataError(f"{path}: these rows were distilled for {about['task']}, not for {file.name}")
    held = list(_pairs(path / "validation.jsonl")) if (path / "validation.jsonl").is_file() else []
    found = [*held, *_pairs(path / "train.jsonl" if path.is_dir() else path)]
    if found and not any(pair.prompt for pair in found):
        found = [*held, *in_order(found[len(held) :])]
    for name, count in (about or {}).get("rows", {}).items() if path.is_dir() else ():
        if count != (len(held) if name == "validation" else len(found) - len(held)):
            raise DataError(f"{path / name}.jsonl: expected {count} rows, as {CARD} says; the file was cut or edited")
    prune = _prune(about, path)
    subset = choose(file, prompts, origin)
    guard = Evaluated([row.prompt for row in subset.rows], _unpruned(found, prune), prune)
    own = own_text([pair.prompt for pair in found])
    texts = [own(pair.prompt or pair.target) for pair in found]  # plain text has no prompt
    learned = [guard.why(pair.prompt, text) is None for pair, text in zip(found, texts, strict=True)]
    kept = tuple(pair for pair, free in zip(found, learned, strict=True) if free)
    if not found:
        raise UserError(f"{path}: it holds no rows")
    if len(kept) <= sum(learned[: len(held)]):
        raise UserError(
            f"{path}: no row is left to learn: all of them are evaluated, or share words with evaluated rows"
        )
    return TrainingRows(
        pairs=kept,
        fingerprint=digest_all(text for pair in kept for text in (pair.prompt, pair.target)),
        dropped=len(found) - len(kept),
        borrowed_from=subset.fingerprint if subset.borrowed else None,
        held=sum(learned[: len(held)]),
        prune=prune,
        teachers=tuple((about or {}).get("teachers", ())),
    )


def in_order(pairs: Iterable[TrainingExample]) -> list[TrainingExample]:
    """Rows of plain text in the order of their hash."""
    return sorted(pairs, key=lambda pair: digest(pair.target))


def _unpruned(found: list[TrainingExample], prune: Prune | None) -> Iterator[str]:
    """The prompts as the task asks them, with what was taken out of their start and end."""
    for pair in filter(lambda pair: pair.prompt, found):
        yield f"{prune.start}{pair.prompt}{prune.end}" if prune else pair.prompt


def _about(path: Path) -> dict[str, Any] | None:
    """What is known of rows that were distilled; None for a file from elsewhere.

    Raises:
        DataError: it is a folder that is not there or not finished.
    """
    places = [path] if path.is_dir() else [path.parent, path.parent.parent]
    card = next((place / CARD for place in places if (place / CARD).is_file()), None)
    if card is None:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if path.is_dir() and not (path / chunks.CARD).is_file():
            raise DataError(
                f"{path}: not a finished folder of `harness distill` or `harness chunk` ({CARD} or {chunks.CARD} is "
                "missing); name a JSONL file"
            )
        return None
    try:
        found = json.loads(card.read_text(encoding="utf-8"))
        return {"task": str(found["task"]), **found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{card}: not as `harness distill` writes it: {type(error).__name__}: {error}") from None


def _prune(about: dict[str, Any] | None, path: Path) -> Prune | None:
    try:
        return prune_from((about or {}).get("prune"))
    except ValueError as error:
        raise DataError(f"{path}: prune: {error}") from None


def _pairs(path: Path) -> Iterator[TrainingExample]:
    """The rows of a file.

    Raises:
        DataError: a line is none.
    """
    text: bool | None = None
    for number, line in enumerate(jsonl(path), start=1):
        pairs = _of_line(line)
        if pairs is None:
            raise DataError(f"{path}:{number}: {EXPECTED}")
        if not pairs:
            raise DataError(
                f"{path}:{number}: every turn of the assistant has weight 0, so nothing is learned; delete the line"
            )
        text = not pairs[0].prompt if text is None else text
        if text != (not pairs[0].prompt):
            raise DataError(f"{path}:{number}: {EXPECTED}, and plain text only where all rows are")
        if not all(pair.target for pair in pairs):
            raise DataError(f"{path}:{number}: the completion is empty; delete the line")
        yield from pairs


def _of_line(line: dict[str, Any]) -> list[TrainingExample] | None:
    """What is learned of a line: of a chat each turn of the assistant but those of weight 0, as OpenAI's servers do."""
    if isinstance(line.get("text"), str) and not {"prompt", "completion", "messages"} & line.keys():
        return [TrainingExample("", line["text"])]
    prompt, answer, messages = line.get("prompt"), line.get("completion"), line.get("messages")
    if messages is None and isinstance(prompt, list) and isinstance(answer, list):  # TRL's conversational form
        messages = [*prompt, *answer]
    if isinstance(prompt, str) and isinstance(answer, str):
        return [TrainingExample(prompt, answer.strip())]
    if not (isinstance(messages, list) and len(messages) > 1 and all(isinstance(one, dict) for one in messages)):
        return None
    turns = [(one.get("role"), only_text(one.get("content"))) for one in messages]
    if turns[-1][0] != "assistant" or not all(isinstance(role, str) and isinstance(said, str) for role, said in turns):
        return None
    asked = [Message("system" if role == "developer" else role, str(said)) for role, said in turns]
    learned = [
        n for n, (role, _) in enumerate(turns) if n and role == "assistant" and messages[n].get("weight", 1) != 0
    ]
    return [TrainingExample(plain(asked[:n]), str(turns[n][1]).strip()) for n in learned]
