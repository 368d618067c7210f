"""Scores of parts of a task's rows: by the columns it names in `slices`, and by the length of the input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.compare.intervals import Estimate, Sample, estimate_all
from harness.rows.evaluation import EvaluationRow
from harness.score.metrics.base import IntArray
from harness.score.scoring import ScoredRun
from harness.store.results import read_rows

LENGTH = "input length"
FEW = 30
"""Below this many rows an interval is so wide that a slice should not be read at all."""
MOST_VALUES = 12
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows with one value of a column: how many, and each model's score on the task's first metric."""

    column: str
    value: str
    n: int
    scores: Mapping[str, Estimate]

    @property
    def few(self) -> bool:
        """Whether there are fewer than 30 rows, too few to draw a conclusion from."""
        return self.n < FEW


def slices(results: Path, runs: Sequence[ScoredRun]) -> list[Slice]:
    """Return the slices of a task for the runs of one kind, in the order of the task's `slices`, input length last.

    A column with more than 12 values keeps the 11 most frequent; the others are one slice. Input length is that of the
    prompt in characters, cut at the quartiles. Where models were asked different rows, only those asked the same ones
    as most others are shown.

    Raises:
        UserError: the rows of a run are not there any more.
    """
    if not runs:
        return []
    fingerprint = Counter(run.manifest.rows for run in runs).most_common(1)[0][0]
    shown = [run for run in runs if run.manifest.rows == fingerprint]
    manifest = shown[0].manifest
    rows = list(read_rows(results, manifest.task, fingerprint))
    columns = {name: _values(rows, name) for name in manifest.spec.slices}
    columns[LENGTH] = _lengths([len(row.prompt) for row in rows])
    return [found for name, values in columns.items() for found in _of_column(name, values, shown)]


def _of_column(column: str, values: Sequence[str], runs: Sequence[ScoredRun]) -> list[Slice]:
    """The slices of a column, in the order in which `_values` and `_lengths` sort them."""
    known = np.array(values, dtype=object)  # as texts of its own, numpy would drop a NUL at their end
    masks = {value: known == value for value in dict.fromkeys(sorted(values, key=_order))}
    asked = [_sample(run, np.flatnonzero(mask)) for mask in masks.values() for run in runs]
    scores = iter(estimate_all(asked, resamples=RESAMPLES))
    return [
        Slice(column, value, int(mask.sum()), {run.manifest.model: next(scores) for run in runs})
        for value, mask in masks.items()
    ]


def _sample(run: ScoredRun, places: IntArray) -> Sample:
    """The rows at these places by the task's first metric."""
    rows, metric = run.rows, run.metrics[0]
    clusters = None if rows.clusters is None else np.unique(rows.clusters[places], return_inverse=True)[1]
    return Sample(metric, rows.stats[metric.name][places], clusters)


def _order(value: str) -> tuple[bool, float, str]:
    """Numbers by size, then words, the rest of a long list last."""
    if value.startswith(_REST):
        return True, float("inf"), value
    number = _NUMBER.match(value)
    return (False, float(number[0].replace(",", "")), value) if number else (True, 0.0, value)


_REST = "other values ("
# A number in front of a value, with or without commas between thousands. Not every digit of Unicode is one: ① is none.
_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?!\S)")


def _values(rows: Sequence[EvaluationRow], column: str) -> list[str]:
    texts = [_shown(row.fields.get(column)) for row in rows]
    counts = Counter(texts)
    if len(counts) <= MOST_VALUES:
        return texts
    kept = {text for text, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: MOST_VALUES - 1]}
    rest = f"{_REST}{len(counts) - len(kept)})"
    return [text if text in kept else rest for text in texts]


def _shown(value: Any) -> str:
    """A value on one line; a null is not the text "None"."""
    if value is None:
        return "(no value)"
    return " ".join(str(value).split()) or "(empty)"


def _lengths(lengths: Sequence[int]) -> list[str]:
    """Name the quartile of each length by its bounds; equal lengths share a quartile."""
    edges = sorted({int(edge) for edge in np.quantile(lengths, [0.25, 0.5, 0.75, 1.0], method="inverted_cdf")})
    names, start = [], min(lengths)
    for edge in edges:
        names.append(f"{start:,} to {edge:,} characters" if start < edge else f"{edge:,} characters")
        start = edge + 1
    return [names[int(np.searchsorted(edges, length))] for length in lengths]
