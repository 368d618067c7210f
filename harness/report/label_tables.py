"""Tables of labels in the form of published ones: over all rows, and beside it as they are usually published."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from tabulate import tabulate

from harness.compare.classification import Classification, Part, parts
from harness.models.entry import Thinking
from harness.report.words import ABSENT, incomplete, interval, number
from harness.score.scoring import ScoredRun
from harness.store.results import AnsweredRow
from harness.tasks.task import Task

_INTRODUCTION = """\
# Precision, recall and F1 of each label

Figures are over all rows: an answer that is missing, refused, cut off or cannot be read counts as wrong. Where there
are such answers, "dropped" stands for the figures as they are usually published: without those rows. Brackets hold
95 % intervals. Kappa is Cohen's, between the answers and the right answers."""
_HEADERS = ("precision", "recall", "F1", "rows")


def page(of_runs: Iterable[str]) -> str:
    """Return the tables of all runs, each as `run_tables` makes them, as one Markdown text, "" where there is none."""
    found = [text for text in of_runs if text]
    return "\n\n".join([_INTRODUCTION, *found]) + "\n" if found else ""


def run_tables(run: ScoredRun, answered: Iterable[AnsweredRow]) -> str:
    """Return the tables of a run as Markdown below its title, "" where its task's answers are not single labels.

    Raises:
        UserError: a right answer is not understood.
    """
    manifest = run.manifest
    tables = label_tables(manifest.spec, answered, manifest.thinking, "github")
    if not tables:
        return ""
    title = f"## {manifest.task}: {manifest.model}, {manifest.source}"
    return "\n\n".join([title, *([incomplete(manifest.model, run.incomplete)] if run.incomplete else []), *tables])


def label_tables(
    task: Task,
    answered: Iterable[AnsweredRow],
    thinking: Thinking | None = None,
    form: str = "simple",
) -> list[str]:
    """Return the tables of a task of single labels, all rows first and then each slice, in a format of tabulate's.

    Raises:
        UserError: a right answer is not understood.
    """
    return [_table(part, form) for part in parts(task, answered, thinking)]


def _table(part: Part, form: str) -> str:
    whole = part.whole
    lines, headers = _lines(whole), ["", *_HEADERS]
    if whole.unusable:
        dropped = _lines(part.dropped) if part.dropped else []
        lines = [[*ours, *theirs] for ours, (_, *theirs) in zip_longest(lines, dropped, fillvalue=[ABSENT] * 5)]
        headers += [f"{_HEADERS[0]}, dropped", *(f"{name}, dropped" for name in _HEADERS[1:])]
    align = ["left", *["right"] * (len(headers) - 1)]
    made = tabulate(lines, headers=headers, tablefmt=form, disable_numparse=True, colalign=align)
    return f"{part.name}: n = {whole.n:,}, {whole.unusable:,} without a usable answer\n\n{made}"


def _lines(found: Classification) -> list[list[str]]:
    rows = [*found.classes, found.macro, found.weighted]
    figures = [[row.label, *map(number, (row.precision, row.recall, row.f1)), f"{row.support:,}"] for row in rows]
    n = f"{found.n:,}"
    return [*figures, ["accuracy", "", "", interval(found.accuracy), n], ["kappa", "", "", number(found.kappa), n]]
