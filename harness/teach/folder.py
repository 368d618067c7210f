"""The folder of a student's rows: for TRL, OpenAI's fine-tuning, Ludwig, `datasets`, with a data card; or of chunks."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.hashing import digest_all
from harness.models.prices import usd_of
from harness.printable import printable
from harness.rows import chunks
from harness.rows.examples import CARD
from harness.rows.origin import KINDS
from harness.rows.training import TrainingExample, completion
from harness.store.atomic import new_folder
from harness.store.results import Manifest, read_responses
from harness.tasks.catalog import TaskFile
from harness.teach.answers import TeacherAnswer
from harness.teach.distill import Distilled

_README = """---
configs:
{configs}
---
# {task}: answers of {teachers}

{train:,} rows to train a student for `tasks/{task}.yaml`, and {validation:,} to validate it, made by `harness distill`.
None of them is an evaluated row of the task, or shares 13 words in sequence with one.

| step | answers left | left out |
|---|---:|---:|
{steps}

`dropped.jsonl` names each answer that was left out, with the reason.

- Teacher: {teachers}. {tokens}; {cost}.
- Prompts: {prompts}.
- **The terms of the teacher's vendor may forbid training other models on its answers, or restrict what they may be used
  for.** The licence of the data holds for the prompts, too. Read both before you publish these rows or a student.

`train.jsonl` and `validation.jsonl` hold a prompt and a completion (TRL), `chat/` OpenAI's messages, in which earlier
turns of the assistant have weight 0, `ludwig.csv` both splits for Ludwig (split 0 and 1).
"""


def check(out: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        UserError: it does.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"{out}: it is not empty; name another --out, or remove it")


def write(found: Distilled, file: TaskFile, folders: Sequence[Path], out: Path) -> None:
    """Write the folder, whole or not at all.

    Raises:
        UserError: there is something in its place, or it cannot be written.
    """
    check(out)
    with new_folder(out) as part:
        (part / "chat").mkdir()
        for name, answers in _splits(found):
            _jsonl(part / f"{name}.jsonl", map(_pair_line, answers))
            _jsonl(part / "chat" / f"{name}.jsonl", map(_chat_line, answers))
        dropped = ((one.answer, one.step, one.why) for one in found.dropped)
        lines = ({"id": answer.id, "from": answer.place, "step": step, "why": why} for answer, step, why in dropped)
        _jsonl(part / "dropped.jsonl", lines)
        with (part / "ludwig.csv").open("w", encoding="utf-8", errors="backslashreplace", newline="") as table:
            rows = csv.writer(table)
            rows.writerow(["prompt", "completion", "split"])
            for split, answers in ((0, found.train), (1, found.validation)):
                rows.writerows([*_pair_line(answer).values(), split] for answer in answers)
        about = _about(found, file, folders)
        (part / "README.md").write_text(printable(_readme(found, about)), encoding="utf-8", errors="backslashreplace")
        _jsonl(part / CARD, [about])


def write_chunks(found: Sequence[chunks.Chunk], out: Path, settings: Mapping[str, Any]) -> None:
    """Write a folder of chunks, whole or not at all; `settings` say how they were cut.

    Raises:
        UserError: there is something in its place, or it cannot be written.
    """
    check(out)
    about = {
        **settings,
        "rows": len(found),
        "sources": sorted({chunk.source for chunk in found}),
        "fingerprint": digest_all(chunk.text for chunk in found),
    }
    with new_folder(out) as part:
        _jsonl(part / "train.jsonl", map(asdict, found))
        _jsonl(part / chunks.CARD, [about])


def _splits(found: Distilled) -> Iterator[tuple[str, Sequence[TeacherAnswer]]]:
    yield "train", found.train
    if found.validation:
        yield "validation", found.validation


def _jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _pair_line(answer: TeacherAnswer) -> dict[str, str]:
    return {"prompt": answer.prompt, "completion": completion(TrainingExample(answer.prompt, answer.text))}


def _chat_line(answer: TeacherAnswer) -> dict[str, Any]:
    context = [{**one, "weight": 0} if one["role"] == "assistant" else dict(one) for one in answer.messages]
    return {"messages": [*context, dict(answer.said)], **answer.tools}


def _about(found: Distilled, file: TaskFile, folders: Sequence[Path]) -> dict[str, Any]:
    """What programs read of the folder; it is written last."""
    answers = [*found.train, *found.validation, *(one.answer for one in found.dropped)]
    costs = [_usd(folder) for folder in folders]
    return {
        "task": file.name,
        "task_sha256": file.sha256,
        "prompt_hash": file.prompt_hash,
        "teachers": sorted({answer.teacher for answer in answers}),
        "from": [folder.name for folder in folders],
        "read": found.read,
        "steps": dict(found.steps),
        "rows": {name: len(rows) for name, rows in _splits(found)},
        "input_tokens": sum(answer.tokens[0] for answer in answers),
        "output_tokens": sum(answer.tokens[1] for answer in answers),
        "usd": None if None in costs else round(sum(cost or 0.0 for cost in costs), 6),
        "prune": found.prune.as_json() if found.prune else None,
    }


def _usd(folder: Path) -> float | None:
    """What the answers of a folder have cost, None where it is not known."""
    try:
        kinds = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        run = Manifest.model_validate(next(kinds[kind] for kind in KINDS if kind in kinds))
    except (OSError, ValueError, StopIteration, TypeError):
        return None
    return usd_of(run.price, list(read_responses(folder)))


def _readme(found: Distilled, about: Mapping[str, Any]) -> str:
    names = [name for name, _ in _splits(found)]
    configs = [
        f"- config_name: {config}\n  data_files:\n"
        + "\n".join(f"  - {{split: {name}, path: {folder}{name}.jsonl}}" for name in names)
        for config, folder in (("default", ""), ("chat", "chat/"))
    ]
    before = [found.read, *(left for _, left in found.steps)]
    steps = [f"| {name} | {left:,} | {was - left:,} |" for was, (name, left) in zip(before, found.steps, strict=False)]
    usd = about["usd"]
    return _README.format(
        configs="\n".join(configs),
        task=about["task"],
        teachers=", ".join(about["teachers"]),
        train=len(found.train),
        validation=len(found.validation),
        steps="\n".join([f"| read | {found.read:,} | |", *steps]),
        tokens=f"{about['input_tokens']:,} tokens read, {about['output_tokens']:,} written",
        cost="the cost is not known" if usd is None else f"{usd:.4f} USD",
        prompts="without the fixed text that `distill.json` holds under `prune`"
        if found.prune
        else "as the task asks them",
    )
