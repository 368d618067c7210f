"""Does a task measure what it says? Its own right answers, and wrong ones, through its own metrics."""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.data.subset import EvaluationRow
from harness.metrics.base import Metric
from harness.metrics.registry import build
from harness.scoring import score_rows
from harness.spec.task import Task
from harness.store import Response

TOLERANCE = 1e-6
SIGMAS = 5.0
MOST_PROGRAMS = 100


@dataclass(frozen=True, slots=True)
class Guarded:
    """Leaderboard scores of answers whose score is known beforehand, and 95th percentiles of lengths in characters.

    `majority` is None for answers that are not labels. `problems` says what is not as it should be.
    """

    gold: float
    empty: float
    shuffled: float
    majority: float | None
    prompt_p95: int
    target_p95: int
    problems: tuple[str, ...]


def guard(task: Task, rows: Sequence[EvaluationRow], seed: int = 0) -> Guarded:
    """Score gold, empty, majority and shuffled gold answers on the leaderboard metric, and measure lengths.

    Answers that are programs are run for the first 100 rows only.
    """
    if task.answer.type == "code":
        rows = rows[:MOST_PROGRAMS]
    metric = build(task.metrics[0], task.answer)
    targets = [row.references[0] for row in rows]
    score = _scorer(task, metric, rows)
    shuffled = list(targets)
    random.Random(seed).shuffle(shuffled)
    labels = Counter(targets) if task.answer.type == "label" else None
    top = labels.most_common(1)[0][0] if labels else ""
    found = Guarded(
        gold=score(targets),
        empty=score([""] * len(rows)),
        shuffled=score(shuffled),
        majority=score([top] * len(rows)) if labels else None,
        prompt_p95=_p95([len(row.prompt) for row in rows]),
        target_p95=_p95([len(target) for target in targets]),
        problems=(),
    )
    problems = [*_scores(task, metric, found), *_rates(metric, labels, found, len(rows)), *_empty_prompts(rows)]
    return Guarded(**{**{name: getattr(found, name) for name in found.__slots__}, "problems": tuple(problems)})


def _scorer(task: Task, metric: Metric, rows: Sequence[EvaluationRow]) -> Callable[[Sequence[str]], float]:
    def score(completions: Sequence[str]) -> float:
        responses = (Response(row.id, row.id, "ok", text) for row, text in zip(rows, completions, strict=True))
        stats = score_rows(task, (metric,), zip(rows, responses, strict=True)).stats[metric.name]
        return float(metric.summary(stats.mean(axis=0)))

    return score


def _scores(task: Task, metric: Metric, found: Guarded) -> list[str]:
    best = metric.high if task.ceiling is None else task.ceiling
    worst = metric.low
    problems = []
    if abs(found.gold - best) > TOLERANCE:
        problems.append(f"the right answers score {found.gold:.4f} {metric.name}, expected {best:g} (see `ceiling`)")
    if abs(found.empty - worst) > TOLERANCE:
        problems.append(f"empty answers score {found.empty:.4f} {metric.name}, expected {worst:g}")
    return problems


def _rates(metric: Metric, labels: Counter[str] | None, found: Guarded, n: int) -> list[str]:
    """Accuracy of a constant and of a shuffled answer is known from the labels' shares alone."""
    if labels is None or metric.name != "accuracy" or found.majority is None:
        return []
    shares = [count / n for count in labels.values()]
    chance = sum(share * share for share in shares)
    spread = math.sqrt(chance * (1 - chance) / n)
    problems = []
    if abs(found.majority - max(shares)) > TOLERANCE:
        problems.append(f"the most frequent label scores {found.majority:.4f}, but its share is {max(shares):.4f}")
    if abs(found.shuffled - chance) > SIGMAS * spread + 1 / n:
        problems.append(f"shuffled right answers score {found.shuffled:.4f}, far from chance ({chance:.4f})")
    return problems


def _empty_prompts(rows: Sequence[EvaluationRow]) -> list[str]:
    """Prompts in which nothing stands but what all prompts share: the row's text never reached the model."""
    if len(rows) < 2:
        return []
    prompts = [row.prompt for row in rows]
    # The first and last in order share the least, so what they share, all share.
    start = len(os.path.commonprefix([min(prompts), max(prompts)]))  # noqa: RUF071  characters are what is meant
    backwards = [prompt[start:][::-1] for prompt in prompts]
    end = len(os.path.commonprefix([min(backwards), max(backwards)]))  # noqa: RUF071
    empty = [row.id for row in rows if not row.prompt[start : len(row.prompt) - end].strip()]
    if not empty:
        return []
    return [f"{len(empty)} prompts show no text of their row, first row {empty[0]}"]


def _p95(lengths: Sequence[int]) -> int:
    return sorted(lengths)[min(len(lengths) - 1, math.ceil(0.95 * len(lengths)) - 1)]
