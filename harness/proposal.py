"""A task file proposed from rows: columns, labels, type of answer and metrics as the data suggests them."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError, nearest
from harness.folding import label_form
from harness.rows.files import Row, local

MOST_READ = 5_000
"""Rows from which a task is proposed."""
MOST_LABELS, LONGEST_LABEL, LEAST_OF_A_LABEL = 50, 60, 3
"""Targets are labels where there are no more than these, no longer in characters, with so many rows each on average."""
RARE = 0.25
SENTENCE = 4
"""Words of a target from which it is compared word by word, with ROUGE-L."""
_TARGETS = (
    "label labels target answer output completion response expected gold class category intent sentiment summary y"
)
_NO_INPUT = re.compile(r"_?(id|uuid|idx|index|row|split)|.*_(id|uuid)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Proposal:
    """The text of a task file, and what should be known of how it came about."""

    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the targets are: the lines of `answer`, metrics, the sentence that asks for it, the target's template."""

    lines: str
    metrics: str
    asks: str
    template: str
    max_tokens: int


def propose(name: str, rows: Path, held_out: Path | None, target: str | None, folder: Path) -> Proposal:
    """Propose the task file `folder/name.yaml` for a file of rows; the rows to evaluate may have a file of their own.

    Raises:
        UserError: a file cannot be read, has no rows or lacks the target's column.
    """
    split = local(rows, {})
    found = list(itertools.islice(split.read(split.columns), MOST_READ))
    if not found:
        raise UserError(f"{rows}: it has no rows; expected one row an example, with the input and the right answer")
    column = _target(split.columns, target, rows)
    if held_out is not None and column not in (columns := local(held_out, {}).columns):
        raise UserError(f"{held_out}: no column '{column}' (it has: {', '.join(columns)})")
    values = [row[column] for row in found if row.get(column) not in (None, "")]
    if not values:
        raise UserError(f"{rows}: the column '{column}' is empty in every row; name the right answers' with --target")
    inputs, left_out = _inputs(found, split.columns, column)
    if not inputs:
        raise UserError(f"{rows}: there is no column beside '{column}' that a prompt could show")
    ours = _template_names([*inputs, column])
    answer, doubts = _answer(values, ours[column])
    notes = [f"the right answers are those in column '{column}'" + ("" if target else "; --target names another")]
    notes += [
        f"column '{one}' is not in the prompt: it looks like a row's number or part of a split" for one in left_out
    ]
    if len(values) < len(found):
        notes.append(f"{len(found) - len(values)} rows have no '{column}'; `harness check` names them")
    renamed = {name: theirs for theirs, name in ours.items() if name != theirs}
    text = _file(
        name, rows, held_out, folder, renamed, [(one, ours[one]) for one in inputs], column, answer, len(found)
    )
    return Proposal(text, (*notes, *doubts))


def _target(columns: Sequence[str], named: str | None, rows: Path) -> str:
    """The column of right answers: the one named, one that is called so, else the last."""
    if named is not None:
        if named not in columns:
            raise UserError(f"{rows}: no column '{named}'{nearest(named, columns)}")
        return named
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    telling = [column for column in columns if not _NO_INPUT.fullmatch(column.strip())] or columns
    return next((by_name[word] for word in _TARGETS.split() if word in by_name), telling[-1])


def _inputs(rows: Sequence[Row], columns: Sequence[str], target: str) -> tuple[list[str], list[str]]:
    """The columns that a prompt shows, and those that say nothing about a row."""
    others = [name for name in columns if name != target and any(row.get(name) not in (None, "") for row in rows)]
    numbers = [name for name in others if _NO_INPUT.fullmatch(name.strip())]
    return [name for name in others if name not in numbers], numbers


def _template_names(columns: Sequence[str]) -> dict[str, str]:
    """By column, a name that a template can hold."""
    taken: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"\W+", "_", column).strip("_") or "column"
        name = plain if plain[0].isalpha() or plain[0] == "_" else f"column_{plain}"
        while name in taken.values():
            name += "_"
        taken[column] = name
    return taken


def _answer(values: Sequence[Any], name: str) -> tuple[_Answer, list[str]]:
    """What kind of answer these values are, and what is doubtful about that."""
    plain = all(isinstance(value, str) for value in values)
    template = f"{{{{ {name} }}}}" if plain else f"{{{{ {name} | tojson }}}}"
    texts = [value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    longest = max(map(len, texts))
    counts = Counter(texts)
    few = len(counts) <= MOST_LABELS and len(counts) * LEAST_OF_A_LABEL <= len(texts) and longest <= LONGEST_LABEL
    doubts = []
    if len(counts) >= 2 and few and not isinstance(values[0], dict | list):
        forms: dict[str, str] = {}
        twins = [(forms.setdefault(label_form(text), text), text) for text in counts]
        same = [f"'{one}' and '{other}'" for one, other in twins if one != other]
        if not same:
            return _labels(counts, template, longest), []
        doubts = [f"{same[0]} would be the same label, so the answers are read as texts; make them one in the data"]
    if all(_is_object(text) for text in texts):
        asks = "Answer with one JSON object, and nothing else."
        return _Answer("  type: json", "[json_f1, exact_match, valid_json]", asks, template, longest // 2 + 16), doubts
    if all(_NUMBER.fullmatch(text) for text in texts):
        asks = "Answer with one number, and nothing else."
        return _Answer("  type: number", "[number_match]", asks, template, 16), doubts
    words = sum(len(text.split()) for text in texts) / len(texts)
    metrics = "[rouge_l, exact_match]" if words >= SENTENCE else "[exact_match, qa_f1]"
    return _Answer("  type: text", metrics, "Answer with it alone.", template, longest // 2 + 16), doubts


def _labels(counts: Counter[str], template: str, longest: int) -> _Answer:
    quoted = [json.dumps(label, ensure_ascii=False) for label in sorted(counts)]
    lines = "  type: label\n  labels:\n" + "\n".join(f"    - {label}" for label in quoted)
    metrics = "[accuracy, macro_f1]"
    if len(counts) == 2:
        rarer = min(counts, key=lambda label: counts[label])
        lines += f"\n  positive: {json.dumps(rarer, ensure_ascii=False)}"
        metrics = "[f1, accuracy, macro_f1]" if counts[rarer] < RARE * counts.total() else "[accuracy, macro_f1, f1]"
    asks = (
        f"It is one of: {', '.join(sorted(counts))}.\n  Answer with one of these, exactly as written, and nothing else."
    )
    return _Answer(lines, metrics, asks, template, longest // 2 + 4)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _file(
    name: str,
    rows: Path,
    held_out: Path | None,
    folder: Path,
    renamed: Mapping[str, str],
    inputs: Sequence[tuple[str, str]],
    target: str,
    answer: _Answer,
    read: int,
) -> str:
    def place(path: Path) -> str:
        return json.dumps(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix(), ensure_ascii=False)

    if held_out is None:
        files = f"{{test: {place(rows)}}}"
        evaluation = (
            f"# {rows.name} holds all rows: these many are evaluated, and the others can be learned from.\n"
            f"evaluation: {{split: test, rows: {min(1000, max(1, read // 2))}}}"
        )
    else:
        files = f"{{train: {place(rows)}, test: {place(held_out)}}}"
        evaluation = "evaluation: {split: test, rows: 1000}"
    columns = f"\n  columns: {json.dumps(renamed, ensure_ascii=False)}" if renamed else ""
    given = "\n".join(f"  {_title(theirs)}: {{{{ {ours} }}}}" for theirs, ours in inputs)
    title, shown = json.dumps(_title(name)), " and ".join(_title(theirs).lower() for theirs, _ in inputs)
    category = "classification" if "type: label" in answer.lines else "generation"
    return f"""\
# Proposed by `harness new` from {rows.name}. Say in the prompt what you would tell a person who does the task.
title: {title}
category: {category}
dataset:
  files: {files}{columns}
prompt: |
  Read the {shown} below, and give the {_title(target).lower()}.
  {answer.asks}

{given}

  {_title(target)}:
target: "{answer.template}"
answer:
{answer.lines}
metrics: {answer.metrics}
max_tokens: {answer.max_tokens}
{evaluation}
"""


def _title(name: str) -> str:
    words = re.sub(r"[\W_]+", " ", name).strip() or name
    return words[:1].upper() + words[1:]
