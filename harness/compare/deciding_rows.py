"""The rows that tell two models apart, with what each of them answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.score.answers import text_of
from harness.score.metrics.base import FloatArray, Metric, only_mean
from harness.score.scoring import ScoredRun, Status
from harness.store.results import Manifest, read_responses, read_rows, response_key

MOST = 10


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row on which two models differ; `difference` is A minus B in the metric's unit, positive where A scores more.

    For a metric that only has a score of the whole set it is how much leaving the row out changes the difference of the
    two scores. An answer is None where there is none.
    """

    row: str
    prompt: str
    references: tuple[str, ...]
    answer_a: str | None
    answer_b: str | None
    status_a: Status
    status_b: Status
    difference: float


def deciding_rows(results: Path, a: ScoredRun, b: ScoredRun, most: int = MOST) -> list[RowDifference]:
    """The rows with the largest difference in score, at most so many, the largest first; equal rows give none.

    Where more rows differ as much, as with every metric that scores 0 or 1, they are taken in the order of their ids.
    Ids are hashes of the rows, so these are a fair draw and their signs show how often each model was ahead.

    Raises:
        ValueError: the two were asked different rows.
        UserError: the rows are not there any more.
    """
    if a.rows.ids != b.rows.ids:
        raise ValueError(f"{a.manifest.model} and {b.manifest.model} were not asked the same rows")
    metric = a.metrics[0]
    gaps = row_differences(metric, a.rows.stats[metric.name], b.rows.stats[metric.name])
    sizes = np.abs(gaps).round(9).tolist()
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], a.rows.ids[i]))
    chosen = [i for i in order[:most] if sizes[i]]
    rows = list(read_rows(results, a.manifest.task, a.manifest.rows))
    said_a, said_b = (_answers(results, run.manifest) for run in (a, b))
    return [
        RowDifference(
            rows[i].id,
            rows[i].prompt,
            rows[i].references,
            said_a.get(response_key(a.manifest.settings, rows[i].prompt)),
            said_b.get(response_key(b.manifest.settings, rows[i].prompt)),
            a.rows.statuses[i],
            b.rows.statuses[i],
            float(gaps[i]),
        )
        for i in chosen
    ]


def row_differences(metric: Metric, a: FloatArray, b: FloatArray) -> FloatArray:
    """How much each row speaks for A over B, shape [n]: its scores' difference, or what leaving it out changes."""
    if metric.summary is only_mean:
        return a[:, 0] - b[:, 0]
    n = len(a)
    if n < 2:
        return metric.summary(a) - metric.summary(b)
    without = [metric.summary((stats.sum(axis=0) - stats) / (n - 1)) for stats in (a, b)]
    whole = metric.summary(a.mean(axis=0)) - metric.summary(b.mean(axis=0))
    influence: FloatArray = whole - (without[0] - without[1])
    # Rows that the two answer alike move the difference a little too, because they change what the others weigh.
    return np.where((a == b).all(axis=1), 0.0, influence)


def _answers(results: Path, manifest: Manifest) -> Mapping[str, str]:
    """What a model said, without its thinking, by the key of the answer."""
    given = read_responses(results / manifest.task / manifest.model)
    return {line.key: text_of(line.completion, manifest.thinking) for line in given if line.status != "failed"}
