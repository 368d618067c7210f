"""The evidence behind one task's numbers, as the page's row browser reads it: prompts, references, answers, scores.

Columns, not records, and the text that all prompts share is kept once: 1,000 rows of 8 models stay near a megabyte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from harness.rows.evaluation import EvaluationRow
from harness.score.answers import read, read_gold
from harness.score.metrics.base import FloatArray, Metric
from harness.score.metrics.labels import per_class
from harness.score.scoring import STATUSES, RowScores, ScoredRun
from harness.store.results import AnsweredRow, Response, completions
from harness.tasks.pruning import frame
from harness.tasks.task import LabelAnswer, Task

Reading = Callable[[str], Any]
"""Reads a text as an answer of the task."""


LONGEST = 8_000
"""Characters of a text that the page holds; of a longer one it shows beginning and end."""


_SHORT_ANSWERS = ("label", "number", "regex")
"""Answer types whose extracted value is worth showing beside the completion."""


def evidence(runs: Sequence[ScoredRun], answered: Sequence[Sequence[AnsweredRow]]) -> dict[str, Any]:
    """Return all rows of one task and kind with every model's answers, for `script_json`; `answered` has those of each.

    `rows` holds ids, prompts (without the shared `prefix` and `suffix`) and references; `models` for each run the
    answers in the order of `rows`, None where the model was not asked the row.
    """
    by_id = [{row.id: (row, line) for row, line in of_run} for of_run in answered]
    rows = {name: row for found in by_id for name, (row, _) in found.items()}
    ids = list(rows)
    prompts = [row.prompt for row in rows.values()]
    shared = frame(prompts)
    spec = runs[0].manifest.spec
    golds: Reading = cache(lambda text: read_gold(text, spec.answer))  # labels repeat by the thousand
    return {
        "ids": ids,
        "prefix": shared.start,
        "suffix": shared.end,
        "prompts": [clip(shared(prompt)) for prompt in prompts],
        "references": [[clip(reference) for reference in row.references] for row in rows.values()],
        "statuses": list(STATUSES),
        "models": [_answers(run, found, ids, golds) for run, found in zip(runs, by_id, strict=True)],
    }


def judge(task: Task, metrics: Sequence[Metric], rows: RowScores) -> tuple[str, FloatArray, bool]:
    """Return the metric by which rows are called right or wrong, each row's score, and whether all are 0 or 1.

    It is the leaderboard's metric where that scores rows; else accuracy where the task has it; else the leaderboard's
    metric of each row by itself.
    """
    main = metrics[0]
    named = {metric.name: metric for metric in metrics}
    chosen = main if main.kind != "corpus" else named.get("accuracy", main)
    stats = rows.stats[chosen.name]
    scores = stats[:, 0] if stats.shape[1:] == (1,) else chosen.summary(stats)
    binary = bool(np.isin(scores, (0.0, 1.0)).all()) and (chosen.kind == "binary" or task.answer.type == "label")
    return chosen.name, np.asarray(scores, dtype=np.float64), binary


def clip(text: str) -> str:
    """A text no longer than the page holds, saying what it leaves out."""
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters are left out of this page …]\n{text[-half:]}"


def _answers(run: ScoredRun, answered: Mapping[str, AnsweredRow], ids: Sequence[str], golds: Reading) -> dict[str, Any]:
    manifest = run.manifest
    lines = {name: answers[0] if len(answers) == 1 else None for name, (_, answers) in answered.items()}
    said = {name: completions(answers, clip) for name, (_, answers) in answered.items()}
    place = {row: index for index, row in enumerate(run.rows.ids)}
    places = [place.get(row) for row in ids]
    responses = [lines.get(row) for row in ids]
    statuses = run.rows.statuses
    name, scores, binary = judge(manifest.spec, run.metrics, run.rows)
    reads = _reads(run, place, lines)
    columns = {
        "status": [None if i is None else STATUSES.index(statuses[i]) for i in places],
        "score": [None if i is None else round(float(scores[i]), 4) for i in places],
        "answer": [said.get(row) for row in ids],
        "read": [reads.get(row) for row in ids],
        "seconds": [None if line is None or line.latency_s is None else round(line.latency_s, 3) for line in responses],
        "error": [None if line is None or not line.error else clip(line.error) for line in responses],
    }
    return {
        "name": manifest.model,
        "metric": name,
        "binary": binary,
        "higher": next(metric.higher_is_better for metric in run.metrics if metric.name == name),
        "others": _other_scores(run, name, places),
        **columns,
        **(
            _classes(manifest.spec, [row for row, _ in answered.values()], reads, golds)
            if manifest.samples == 1
            else {}
        ),
    }


def _other_scores(run: ScoredRun, shown: str, places: Sequence[int | None]) -> dict[str, list[float | None]]:
    """What the task's further metrics say of each row, of those that score rows."""
    return {
        metric.name: [None if i is None else round(float(run.rows.stats[metric.name][i, 0]), 4) for i in places]
        for metric in run.metrics
        if metric.name != shown and metric.kind != "corpus" and run.rows.stats[metric.name].shape[1] == 1
    }


def _reads(run: ScoredRun, place: Mapping[str, int], lines: Mapping[str, Response | None]) -> dict[str, str]:
    """What was taken from each valid answer, by row, for the answer types where that is short."""
    if run.manifest.spec.answer.type not in _SHORT_ANSWERS:
        return {}
    manifest = run.manifest
    reading: Reading = cache(lambda text: read(text, manifest.spec.answer, manifest.thinking))
    found = {}
    for row, line in lines.items():
        if line is not None and row in place and run.rows.statuses[place[row]] == "ok":
            value = reading(line.completion)
            if value is not None:
                found[row] = ", ".join(value) if isinstance(value, tuple) else _plain(value)
    return found


def _plain(value: Any) -> str:
    """A number with all its digits where these end, and any other value, as text."""
    if not isinstance(value, Fraction):
        return str(value)
    digits = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{digits:f}" if Fraction(digits) == value else f"{float(value):.12g}"


def _classes(task: Task, rows: Sequence[EvaluationRow], reads: Mapping[str, str], golds: Reading) -> dict[str, Any]:
    """The per-class report and confusion counts [gold, answered or -1, rows] of a task with one label a row."""
    if not isinstance(task.answer, LabelAnswer) or task.answer.many:
        return {}
    labels = task.answer.labels
    gold: list[str | None] = []
    answered: list[str | None] = []
    for row in rows:
        right = [golds(reference) for reference in row.references]
        answer = reads.get(row.id)
        gold.append(answer if answer is not None and answer in right else right[0])
        answered.append(answer)
    order = {label: place for place, label in enumerate(labels)}
    pairs = Counter((order[g], order.get(a or "", -1)) for g, a in zip(gold, answered, strict=True) if g in order)
    return {
        "labels": labels,
        "classes": [
            [one.label, round(one.precision, 4), round(one.recall, 4), round(one.f1, 4), one.support]
            for one in per_class(gold, answered, labels)
        ],
        "confusion": [[g, a, count] for (g, a), count in sorted(pairs.items())],
    }
