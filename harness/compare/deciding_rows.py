"""The rows that separate two models most, with what each of them answered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.compare.intervals import leave_one_out
from harness.rows.evaluation import EvaluationRow
from harness.score.answers import text_of
from harness.score.metrics.base import FloatArray, Metric, only_mean
from harness.score.scoring import ScoredRun, Status
from harness.store.results import Answers, Manifest, answered_rows, completions
from harness.tasks.prompts import without_frame

MOST = 10


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row on which two models differ; `difference` is A minus B in the metric's unit, positive where A scores more.

    For a metric that only has a score of the whole set it is how much leaving the row out changes the difference of the
    two scores. An answer is None where there is none. `input` is the prompt without what all prompts of the task begin
    and end with.
    """

    row: str
    prompt: str
    input: str
    references: tuple[str, ...]
    answer_a: str | None
    answer_b: str | None
    status_a: Status
    status_b: Status
    difference: float


def deciding_rows(results: Path, a: ScoredRun, b: ScoredRun, most: int = MOST) -> list[RowDifference]:
    """The rows with the largest difference in score, at most so many, the largest first; equal rows give none.

    A row that two answer differently is one of them even where leaving it out changes nothing.

    Where more rows differ as much, as with every metric that scores 0 or 1, they are taken in the order of their ids.
    Ids are hashes of the rows, so these are a fair draw and their signs show how often each model was ahead.

    Raises:
        ValueError: the two were asked different rows.
        UserError: the rows are not there any more.
    """
    if a.rows.ids != b.rows.ids:
        raise ValueError(f"{a.manifest.model} and {b.manifest.model} were not asked the same rows")
    metric = a.metrics[0]
    ours, theirs = a.rows.stats[metric.name], b.rows.stats[metric.name]
    gaps = row_differences(metric, ours, theirs)
    sizes = np.abs(gaps).round(9).tolist()
    differing = np.flatnonzero((ours != theirs).any(axis=1)).tolist()
    chosen = sorted(differing, key=lambda i: (-sizes[i], a.rows.ids[i]))[:most]
    texts, cut = _texts(results, a, b, frozenset(chosen))
    return [
        RowDifference(
            texts[i][0].id,
            texts[i][0].prompt,
            cut(texts[i][0].prompt) or texts[i][0].prompt,
            texts[i][0].references,
            *texts[i][1],
            a.rows.statuses[i],
            b.rows.statuses[i],
            float(gaps[i]),
        )
        for i in chosen
    ]


def _texts(
    results: Path, a: ScoredRun, b: ScoredRun, places: Collection[int]
) -> tuple[dict[int, tuple[EvaluationRow, tuple[str | None, str | None]]], Callable[[str], str]]:
    """By place, these rows of both runs with what the two models answered, without its thinking; what cuts a prompt."""
    both = zip(*(answered_rows(results, run.manifest) for run in (a, b)), strict=True)
    found: dict[int, tuple[EvaluationRow, tuple[str | None, str | None]]] = {}

    def prompts() -> Iterator[str]:
        for i, ((row, one), (_, two)) in enumerate(both):
            if i in places:
                found[i] = row, (_said(one, a.manifest), _said(two, b.manifest))
            yield row.prompt

    cut = without_frame(prompts())
    return found, cut


def _said(answers: Answers, manifest: Manifest) -> str | None:
    return completions(answers, lambda text: text_of(text, manifest.thinking))


def row_differences(metric: Metric, a: FloatArray, b: FloatArray) -> FloatArray:
    """How much each row favours A over B, shape [n]: its scores' difference, or what leaving it out changes."""
    if metric.summary is only_mean:
        return a[:, 0] - b[:, 0]
    if len(a) < 2:
        return metric.summary(a) - metric.summary(b)
    without = leave_one_out(a, metric.summary) - leave_one_out(b, metric.summary)
    influence: FloatArray = metric.of(a) - metric.of(b) - without
    # Rows that the two answer alike move the difference a little too, because they change what the others weigh.
    return np.where((a == b).all(axis=1), 0.0, influence)
