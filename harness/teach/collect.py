"""A teacher's answers to the rows that may be learned, kept as the answers of a run are kept.

results/<task>/_teacher/<model>/answers.jsonl     one line for each row and repeat, written when the asking has ended
results/<task>/_teacher/<model>/responses.jsonl   the answers as they arrive, with run.json, as of any run
results/<task>/_teacher/<model>/evaluated/        answers on evaluated rows, which are never learned
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.ask.budget import CapReached
from harness.ask.prepare import PreparedTask
from harness.ask.run import BenchOptions, ask_pairs
from harness.errors import UserError
from harness.models.entry import BaselineModel, ColumnModel, ModelEntry, Sampled, Thinking, load_models
from harness.rows.evaluation import EvaluationRow, choose
from harness.rows.explained import ANSWERS, EVALUATED, TEACHERS, WRITTEN
from harness.rows.files import jsonl
from harness.rows.origin import locate
from harness.rows.training import learnable_rows
from harness.score.answers import text_of
from harness.score.scoring import reading_of
from harness.store.atomic import replace_file
from harness.store.results import Manifest, Response, answered_rows, write_rows
from harness.tasks.catalog import TaskFile, load_task
from harness.tasks.messages import as_chat
from harness.tasks.prompts import Prompts
from harness.tasks.task import MetricSpec, TextAnswer

COLUMN = "column:"


@dataclass(frozen=True, slots=True)
class Collected:
    """What was collected: the folder, the manifest of the run, and why the asking stopped early, if it did.

    `written`: it is what the data lacks, with which no right answer can be compared.
    """

    folder: Path
    run: Manifest
    stopped: str | None = None
    written: bool = False


def collect(
    options: BenchOptions,
    say: Callable[[str], None],
    *,
    split: str | None = None,
    repeat: int = 1,
    temperature: float | None = None,
) -> Collected:
    """Ask the teacher, the one model of `options`, the first `options.rows` rows that may be learned of the one task.

    What has been answered is not asked again, so a larger number asks only what is new. The rows of the evaluated
    split, named as `split`, are the evaluated ones; their answers are kept apart.

    Raises:
        UserError: the task, the teacher, the column or the split is not there; nothing was asked.
        HarnessError: as `harness.ask.run.bench`, but for the cap on spending.
    """
    file = load_task(options.tasks_folder, options.tasks[0])
    entry = _teacher(options, temperature, repeat)
    prompts, origin = Prompts(file), locate(file, options.data, splits=[split] if split else [])
    evaluated = split == file.task.evaluation.split != file.task.training.split
    subset = choose(file, prompts, origin, rows=options.rows if evaluated else None)
    rows = subset.rows if evaluated else learnable_rows(file, prompts, origin, options.rows, split)
    note = f"; {origin.note}" if origin.note else ""
    say(f"{file.name}: {len(rows):,} rows ({origin.label(len(rows))}{note})")
    read = split or file.task.training.split
    gap = Gap(file, prompts, {row.id: row for row in rows}) if read in origin.lacking else None
    asked = map(gap.asked, rows) if gap else rows
    fingerprint = write_rows(options.results, file.name, asked)
    task = PreparedTask(gap.task if gap else file, prompts, origin, replace(subset, rows=()), fingerprint, len(rows))
    name = f"{TEACHERS}/{entry.name}" + (f"/{EVALUATED}" if evaluated else "")
    folder = options.results / file.name / name
    before = list(jsonl(folder / ANSWERS)) if (folder / ANSWERS).is_file() else []
    stopped = None
    try:
        runs = ask_pairs([(task, replace(entry, name=name))], options, say)
    except CapReached as stop:
        runs, stopped = list(stop.manifests), str(stop)
    if not runs:
        raise UserError(f"nothing was collected from {entry.name} on {file.name}" + (f": {stopped}" if stopped else ""))
    of_run = {"split": read, "asked": runs[0].prompt_hash}
    lines = [line | of_run for line in _lines(options.results, runs[0], gap)]
    # What was collected before from another split with the same prompt stays.
    lines += [one for one in before if one.get("asked") == of_run["asked"] and one.get("split") != of_run["split"]]
    replace_file(folder / ANSWERS, "".join(f"{json.dumps(line, ensure_ascii=False, default=str)}\n" for line in lines))
    return Collected(folder, runs[0], stopped, gap is not None)


@dataclass(frozen=True)
class Gap:
    """Rows whose right answers lack a column of the data, which the teacher writes, by id as the task asks them."""

    file: TaskFile
    prompts: Prompts
    rows: Mapping[str, EvaluationRow]

    @property
    def task(self) -> TaskFile:
        """The task of writing that column."""
        assert self.file.task.teacher is not None
        changed = {
            "prompt": self.file.task.teacher.prompt, "system": None, "messages": None, "stop": [],
            "answer": TextAnswer(type="text"), "metrics": [MetricSpec(name="exact_match")], "slices": [],
        }  # fmt: skip
        return replace(self.file, task=self.file.task.model_copy(update=changed))

    def asked(self, row: EvaluationRow) -> EvaluationRow:
        """A row as the teacher is asked it."""
        return replace(row, prompt=self.prompts.question(row.fields), messages=())

    def answered(self, row: EvaluationRow, answer: Response, thinking: Thinking | None) -> dict[str, Any]:
        """What a line of answers says of a row instead: the task's own question, and its right answer, completed."""
        assert self.file.task.teacher is not None
        own = self.rows[row.id]
        text = " ".join(text_of(answer.completion, thinking).split()) if answer.status == "ok" else ""
        whole = self.prompts.target({**own.fields, self.file.task.teacher.answer: text}) if text else None
        reading = reading_of(self.file.task, replace(answer, completion=whole or ""), None)[2]
        return {
            "messages": as_chat(own.prompt, own.messages),
            "prompt": own.prompt,
            "prediction": whole,
            WRITTEN: text,
            "status": "unparsed" if answer.status == "ok" and reading is None else answer.status,
            "reading": reading,
        }


def _teacher(options: BenchOptions, temperature: float | None, repeat: int) -> ModelEntry:
    """The teacher, at the temperature asked for.

    Raises:
        UserError: it is not there, cannot be asked, or cannot be asked so.
    """
    name = options.models[0]
    if name.startswith(COLUMN):
        column = name.removeprefix(COLUMN)
        folder = re.sub(r"[^\w.-]+", "-", column)
        entry = ModelEntry(f"column-{folder}", ColumnModel(backend="column", column=column), ())
    else:
        (entry,) = load_models(options.models_file, [name], os.environ)
    model = entry.model
    if isinstance(model, BaselineModel):
        raise UserError(f"'{name}' is a baseline, fitted on the very rows that it would answer; it is no teacher")
    if temperature is not None:
        if not isinstance(model, Sampled) or "temperature" in model.omit:
            raise UserError(f"'{name}' takes no temperature: leave out --temperature")
        entry = replace(entry, model=model.model_copy(update={"temperature": temperature}))
    if repeat > 1 and not getattr(entry.model, "temperature", None):
        raise UserError("--repeat asks for different answers to a row, so it needs --temperature above 0")
    if repeat > 1:
        entry = replace(entry, model=entry.model.model_copy(update={"samples": repeat}))
    return entry


def _lines(results: Path, run: Manifest, gap: Gap | None) -> Iterator[dict[str, Any]]:
    for row, answers in answered_rows(results, run):
        for number, response in enumerate(answers, start=1):
            line = _line(run, row, response)
            if gap and response:
                line |= gap.answered(row, response, run.thinking)
            yield {**line, **({"repeat": number} if len(answers) > 1 else {})}


def _line(run: Manifest, row: EvaluationRow, response: Response | None) -> dict[str, Any]:
    """All that is known of one answer. It is also a line of predictions, as `harness score` reads them."""
    answer = response or Response("", row.id, "failed", error="not asked yet")
    text = None if answer.status == "failed" else text_of(answer.completion, run.thinking)
    return {
        "id": row.id,
        "request": {"messages": as_chat(row.prompt, row.messages)},
        "prompt": row.prompt,
        "prediction": text,
        "status": answer.status,
        "reading": reading_of(run.spec, answer, run.thinking)[2],
        "reference": list(row.references),
        "slices": {name: row.fields[name] for name in run.spec.slices if name in row.fields},
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
        "model": answer.model or run.model.split("/")[1],
        "at": answer.at,
        **({"error": answer.error} if answer.error else {}),
    }
