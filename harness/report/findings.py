"""What recorded runs show: the long form with each run's scores, and for each kind of runs scoreboard and slices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.compare.intervals import Estimate, Sample, estimate_all
from harness.compare.slices import Slice, slices
from harness.errors import UserError, nearest
from harness.report.scoreboard import Scoreboard, is_timed, percentiles
from harness.rows.origin import KINDS
from harness.score.scoring import ScoredRun

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Findings:
    """The runs of one kind, how their models compare, and by task the slices."""

    kind: str
    runs: Sequence[ScoredRun]
    board: Scoreboard
    slices: Mapping[str, Sequence[Slice]]


def find(
    results: Path, runs: Sequence[ScoredRun], subject: str | None = None, against: str | None = None
) -> list[Findings]:
    """The findings of each kind of runs there is, benchmark runs first; the two models are those of the headline.

    Raises:
        UserError: the rows of a run are not there any more, or a model did not run.
    """
    known = sorted({run.manifest.model for run in runs})
    for name in (subject, against):
        if name is not None and name not in known:
            raise UserError(f"no runs of a model '{name}'{nearest(name, known)}")
    if subject is not None and subject == against:
        raise UserError(f"--subject and --against both name {subject}: a comparison needs two models")
    of = {kind: [run for run in runs if run.manifest.kind == kind] for kind in KINDS}
    return [
        _of_kind(results, kind, chosen, Scoreboard(chosen, subject, against)) for kind, chosen in of.items() if chosen
    ]


def _of_kind(results: Path, kind: str, runs: Sequence[ScoredRun], board: Scoreboard) -> Findings:
    parts = {task: slices(results, list(found.values())) for task, found in board.tasks.items()}
    return Findings(kind, runs, board, parts)


def long_frame(runs: Sequence[ScoredRun]) -> pd.DataFrame:
    """Return one row for each run and metric, in the order of the runs; absent figures are None."""
    import pandas as pd

    # All at once, because runs on the same number of rows share the work of their intervals.
    samples = [Sample(m, run.rows.stats[m.name], run.rows.clusters) for run in runs for m in run.metrics]
    scores = iter(estimate_all(samples))
    return pd.DataFrame([row for run in runs for row in _rows(run, scores)])


def _rows(run: ScoredRun, scores: Iterator[Estimate]) -> Iterable[dict[str, Any]]:
    manifest, rows = run.manifest, run.rows
    answered = rows.answered()
    p50, p95 = percentiles(run.latencies) if is_timed(run) else (math.nan, math.nan)
    for index, metric in enumerate(run.metrics):
        stats = rows.stats[metric.name]
        score = next(scores)
        yield {
            "task": manifest.task,
            "title": manifest.spec.title,
            "category": manifest.spec.category,
            "model": manifest.model,
            "metric": metric.name,
            "is_main": index == 0,
            "metric_kind": metric.kind,
            "higher_is_better": metric.higher_is_better,
            "highest": metric.high if math.isfinite(metric.high) else math.nan,
            "score": score.value,
            "low": score.low,
            "high": score.high,
            "rests_on": score.rests_on,
            "reason": score.reason,
            "n": score.n if metric.scorable is None else int(stats[:, metric.scorable].sum()),
            "score_answered": _point(metric.summary, stats[answered]),
            "n_answered": int(answered.sum()),
            **{str(status): count for status, count in rows.counts().items()},
            "source": manifest.source,
            "kind": manifest.kind,
            "p50_s": p50,
            "p95_s": p95,
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
            "usd": run.usd,
            "base": manifest.model_settings.get("base"),
            "backend": manifest.model_settings.get("backend"),
            "labels_only": manifest.labels_only,
            "incomplete": run.incomplete,
            "asking_version": manifest.spec.asking_version,
            "scoring_version": manifest.spec.scoring_version,
        }


def _point(summary: Any, stats: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    return float(summary(stats.mean(axis=0))) if len(stats) else math.nan
