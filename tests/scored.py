"""Scored runs made from rows' scores, for tests of what stands on top of scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.score.metrics.base import Metric
from harness.score.scoring import RowScores, ScoredRun, Status
from harness.store.results import Manifest
from harness.tasks.task import Task


def unused(_: object) -> list[float]:
    raise AssertionError("these tests start from the rows' statistics")


ACCURACY = Metric("accuracy", unused, kind="binary")
OVERLAP = Metric("rouge_l", unused)
PERCENT = Metric("bleu", unused, high=100.0)
ERROR = Metric("error", unused, high=10.0, higher_is_better=False)


def scored(
    task: str,
    model: str,
    scores: Sequence[float] | np.ndarray[Any, Any],
    metric: Metric = ACCURACY,
    *,
    ids: Sequence[str] | None = None,
    usd: float | None = None,
    base: str | None = None,
    failed: int = 0,
    clusters: Sequence[int] | np.ndarray[Any, Any] | None = None,
    task_spec: Mapping[str, Any] = MappingProxyType({}),
    **manifest: Any,
) -> ScoredRun:
    """A run with one statistic a row; the last `failed` rows have no answer, and the right one would score 1."""
    n = len(scores)
    spec = Task.model_validate(
        {
            "title": task.title(), "category": "classification", "prompt": "{{ text }}", "target": "{{ label }}",
            "answer": {"type": "text"}, "metrics": ["exact_match"], "max_tokens": 4, **task_spec,
        }
    )  # fmt: skip
    fields: dict[str, Any] = {
        "task": task, "model": model, "kind": "benchmark", "place": "mirror", "source": "benchmark (mirror)",
        "spec": spec, "task_sha256": "", "prompt_hash": "", "settings": f"settings of {model}",
        "model_settings": {"backend": "openai", "base": base}, "dataset": {}, "rows": "rows", "n": n, "seed": 0,
        "versions": {}, "git": {}, "started": "2026-01-01T08:00:00+00:00",
        "finished": "2026-01-01T09:00:00+00:00", "seconds": 0.0, "asked": n,
    }  # fmt: skip
    statuses: list[Status] = ["ok"] * (n - failed) + ["failed"] * failed
    table = np.asarray(scores, dtype=np.float64).reshape(n, 1)
    answered = np.arange(n)[:, None] < n - failed
    answers_right = {metric.name: np.where(answered, table, metric.best)} if failed else {}
    names = tuple(ids or (f"{i:04}" for i in range(n)))
    grouped = None if clusters is None else np.asarray(clusters, dtype=np.int64)
    rows = RowScores(names, tuple(statuses), {metric.name: table}, answers_right, grouped)
    return ScoredRun(Manifest(**fields | manifest), (metric,), rows, np.array([]), None, None, usd)


def right(share: float, n: int = 400, *, wrong_first: bool = False) -> np.ndarray[Any, Any]:
    """0/1 scores of n rows with that share of ones, at the beginning or at the end."""
    ones = np.arange(n) < round(share * n)
    return (ones[::-1] if wrong_first else ones).astype(np.float64)
