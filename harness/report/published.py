"""Figures from the literature, to show beside our own and never mixed with them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError

HEADLINE = ("mistral-7b-lora", "gpt-4", "gpt-3.5-turbo", "mistral-7b-instruct", "mistral-7b")
"""The five columns of the first published table; the paper's eight other base models would not fit in a plot."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published score. `metric` is the source's name for it; `source` is `blog`, `paper` or `OctoAI`."""

    model: str
    score: float
    metric: str
    source: str
    note: str = ""

    @property
    def label(self) -> str:
        """What a column or marker of this figure is called, without its metric."""
        return f"published: {self.model} ({self.source})"


def read(folder: Path) -> dict[str, list[Published]]:
    """Published scores by task, in the order of the sources; a file that is not there adds nothing.

    Raises:
        DataError: a file lacks a column or has a score that is not a number; names the file and the line.
    """
    found: dict[str, list[Published]] = {}
    for name, rows_of in _FILES.items():
        path = folder / name
        if path.exists():
            for task, figure in _parsed(path, rows_of):
                found.setdefault(task, []).append(figure)
    return _with_paper_metric(found)


def headline(figures: Iterable[Published]) -> list[Published]:
    """The figures that fit in a table or plot: the five published columns, and everything from small studies."""
    return [f for f in figures if f.model in HEADLINE or f.source == "OctoAI"]


def counterpart(figure: Published, metrics: Collection[str]) -> str | None:
    """Which of our metrics may be read beside a published figure, None when there is none.

    A `published_*` metric repeats the source's own calculation and wins; a metric of the same name, or ROUGE-L for
    `rouge`, is close enough. The blog's `stsb` and `dbpedia` are not the paper's: they were changed in between.
    """
    own = _REPEATED.get(figure.metric)
    repeated = [m for m in metrics if m.startswith("published_") and m not in _REPEATED.values()]
    if figure.source == "OctoAI":
        wanted: list[str] = [figure.metric]
    elif figure.metric == "accuracy":
        wanted = [*sorted(repeated), "accuracy"]
    elif figure.metric in CHANGED:
        wanted = []
    else:
        wanted = [*([own] if own else []), *_ALIKE.get(figure.metric, (figure.metric,))]
    return next((name for name in wanted if name in metrics), None)


CHANGED = ("stsb", "dbpedia")
_REPEATED = {
    "rouge": "published_rouge",
    "mae": "published_stsb",
    "label_and_explanation": "published_label_and_explanation",
}
_ALIKE = {"rouge": ("rouge_l",), "mae": ("stsb",), "humaneval": ("pass_at_1",)}

_Row = dict[str, str]
_Figures = Iterator[tuple[str, Published]]


def _parsed(path: Path, rows_of: Callable[[_Row], _Figures]) -> _Figures:
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        for row in reader:
            try:
                yield from rows_of(row)
            except (KeyError, ValueError) as error:
                problem = f"no column {error}" if isinstance(error, KeyError) else str(error)
                raise DataError(f"{path}, line {reader.line_num}: {problem}") from error


def _blog(row: _Row) -> _Figures:
    yield row["task"], Published(row["model"], float(row["score"]), row["metric"], "blog", row["note"])


def _paper(row: _Row) -> _Figures:
    base, metric = row["base_model"], row["metric"]
    yield row["task"], Published(f"{base}-lora", float(row["fine_tuned"]), metric, "paper")
    yield row["task"], Published(base, float(row["base"]), metric, "paper")


def _paper_gpt(row: _Row) -> _Figures:
    yield row["task"], Published(row["model"], float(row["score"]), "", "paper")


def _octoai(row: _Row) -> _Figures:
    if row["class"] == "accuracy":
        score, rows = float(row["f1"]), int(row["support"])
        note = "n = 30" if rows == 30 else f"n = {rows} of 30, the others unusable"
        model = "gpt-4" if row["model"] == "gpt4" else row["model"]
        yield "toxic_chat", Published(model, score, "accuracy", "OctoAI", note)


_FILES: dict[str, Callable[[_Row], _Figures]] = {
    "lora_land_blog.csv": _blog,
    "lora_land_paper.csv": _paper,
    "lora_land_paper_gpt.csv": _paper_gpt,
    "octoai_toxicity.csv": _octoai,
}


def _with_paper_metric(found: dict[str, list[Published]]) -> dict[str, list[Published]]:
    """The file of the paper's GPT scores names no metric: it is the one of the same task's other scores."""
    named = {(task, f.source): f.metric for task, figures in found.items() for f in figures if f.metric}
    return {
        task: [
            Published(f.model, f.score, f.metric or named.get((task, f.source), "unnamed"), f.source, f.note)
            for f in figures
        ]
        for task, figures in found.items()
    }
