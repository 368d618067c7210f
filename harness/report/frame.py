"""Scored runs as one long table: a row for each task, model, kind of rows and metric."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.compare import Comparison, Estimate, corrected, estimate
from harness.errors import UserError
from harness.intervals import estimate_all
from harness.metrics.base import Metric
from harness.pairs import by_task, compare_runs, same_rows
from harness.scoring import STATUSES, RowScores, ScoredRun, score_run
from harness.store import Manifest

UNTIMED = ("baseline", "recorded")
"""Backends whose time is a fit's or a look-up's, not a user's wait."""

if TYPE_CHECKING:
    import pandas as pd


def score_all(results: Path, manifests: Iterable[Manifest], say: Callable[[str], None]) -> list[ScoredRun]:
    """Score runs from what is recorded; `say` gets a line for each run that cannot be scored here.

    One run whose rows are gone, or whose programs no sandbox can run, must not hide the others.
    """
    runs = []
    for manifest in manifests:
        try:
            runs.append(score_run(results, manifest))
        except UserError as error:
            say(f"not scored: {manifest.model} on {manifest.task}: {error}")
            continue
        for name in runs[-1].unavailable:
            say(f"no {name} of {manifest.model} on {manifest.task}: none of its {manifest.n} rows can be judged by it")
    return runs


def long_frame(runs: Sequence[ScoredRun]) -> pd.DataFrame:
    """Return one row for each run and metric, in the order of the runs; absent figures are None."""
    import pandas as pd

    # All at once, because runs on the same number of rows share the work of their intervals.
    scores = iter(estimate_all([(metric, run.rows.stats[metric.name]) for run in runs for metric in run.metrics]))
    return pd.DataFrame([row for run in runs for row in _rows(run, scores)])


def _rows(run: ScoredRun, scores: Iterator[Estimate]) -> Iterable[dict[str, Any]]:
    manifest, rows = run.manifest, run.rows
    answered = rows.answered()
    timed = len(run.latencies) and manifest.model_settings.get("backend") not in UNTIMED
    p50, p95 = np.percentile(run.latencies, [50, 95]) if timed else (math.nan, math.nan)
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
            "score": score.value,
            "low": score.low,
            "high": score.high,
            "n": score.n if metric.judged is None else int(stats[:, metric.judged].sum()),
            "score_answered": _point(metric.summary, stats[answered]),
            "n_answered": int(answered.sum()),
            **{str(status): count for status, count in rows.counts().items()},
            "source": manifest.source,
            "kind": manifest.kind,
            "p50_s": float(p50),
            "p95_s": float(p95),
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
            "usd": run.usd,
            "base": manifest.model_settings.get("base"),
            "backend": manifest.model_settings.get("backend"),
            "labels_only": manifest.labels_only,
        }


def score_points(metrics: Iterable[Metric], rows: RowScores) -> dict[str, Estimate]:
    """Return each metric's score with its interval."""
    return {metric.name: estimate(metric, rows.stats[metric.name]) for metric in metrics}


def _point(summary: Any, stats: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    return float(summary(stats.mean(axis=0))) if len(stats) else math.nan


def bench_json(frame: pd.DataFrame) -> str:
    """Return the document of `harness bench --json`: one entry for each task, model and metric."""
    plain = ["task", "model", "metric", "score", "low", "high", "n"]
    rest = ["source", "p50_s", "p95_s", "input_tokens", "output_tokens", "usd"]
    results = []
    for row in frame.to_dict("records"):
        entry = {key: row[key] for key in plain} | {"statuses": {status: row[status] for status in STATUSES}}
        entry |= {key: row[key] for key in rest}
        results.append({key: None if _absent(value) else value for key, value in entry.items()})
    return json.dumps({"results": results}, ensure_ascii=False)


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def verdicts(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """Return for each task a sentence on its two best models: which leads, by how much, and how sure that is.

    With several tasks the p-values are Holm's over them.
    """
    best = {task: _ranked(list(found.values()))[:2] for task, found in by_task(runs).items()}
    comparable = [task for task, two in best.items() if len(two) == 2 and same_rows(*two)]
    compared = corrected(compare_runs([(best[task][0], best[task][1]) for task in comparable]))
    found = dict(zip(comparable, compared, strict=True))
    note = " after Holm" if len(found) > 1 else ""
    return {
        task: _verdict([run.manifest.model for run in two], two[0], found.get(task), note) for task, two in best.items()
    }


def _ranked(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """The runs of one task, the best first."""

    def score(run: ScoredRun) -> float:
        metric = run.metrics[0]
        return float(metric.summary(run.rows.stats[metric.name].mean(axis=0)))

    return sorted(runs, key=score, reverse=runs[0].metrics[0].higher_is_better)


def _verdict(models: Sequence[str], first: ScoredRun, found: Comparison | None, note: str) -> str:
    if len(models) < 2:
        return f"Only {models[0]} was asked; a comparison needs two models."
    if found is None:
        return f"{models[0]} and {models[1]} were asked different rows; run bench again for both."
    return _sentence(models[0], models[1], first.metrics[0].name, found, note)


def _sentence(first: str, second: str, metric: str, compared: Comparison, note: str) -> str:
    numbers = (
        f"{compared.difference:+.3f} {metric}, 95 % interval {compared.low:+.3f} to {compared.high:+.3f}, "
        f"{compared.p}{note}, n = {compared.n}"
    )
    if compared.verdict == "better":
        return f"{first} beats {second} ({numbers})."
    if compared.difference == 0:
        return f"{first} and {second} score the same ({numbers})."
    needed = f"; about {compared.rows_needed:,} rows would separate them" if compared.rows_needed else ""
    if compared.verdict == "within the margin":
        return f"{first} and {second} are equal within {compared.margin:g} ({numbers})."
    return f"{first} leads {second}, but not beyond chance at n = {compared.n} ({numbers}{needed})."
