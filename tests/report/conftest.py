"""A small leaderboard in the long form: two tasks, three models, benchmark and sample runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from harness.compare.intervals import Estimate
from harness.compare.standings import Standing, Standings
from harness.report.markdown import Section
from harness.report.published import Published
from harness.report.scoreboard import Latencies, Latency, Offer, Overall


def long_row(task: str, model: str, metric: str, score: float, **other: Any) -> dict[str, Any]:
    """One row of the long form; `other` replaces what is usual for a baseline asked 1,000 benchmark rows."""
    row = {
        "task": task,
        "title": {"jigsaw": "Toxicity Detection (Jigsaw)", "e2e_nlg": "Restaurant Descriptions (E2E)"}[task],
        "category": {"jigsaw": "classification", "e2e_nlg": "generation"}[task],
        "model": model,
        "metric": metric,
        "is_main": metric in ("accuracy", "rouge_l"),
        "metric_kind": "binary" if metric == "accuracy" else "mean",
        "higher_is_better": True,
        "highest": 1.0,
        "score": score,
        "low": round(score - 0.02, 3),
        "high": round(score + 0.015, 3),
        "n": 1000,
        "score_answered": score,
        "n_answered": 1000,
        "ok": 1000,
        "unparsed": 0,
        "truncated": 0,
        "refused": 0,
        "failed": 0,
        "source": "benchmark (mirror)",
        "kind": "benchmark",
        "p50_s": 0.0001,
        "p95_s": 0.0021,
        "input_tokens": None,
        "output_tokens": None,
        "usd": 0.0,
        "base": None,
        "backend": "baseline",
        "labels_only": False,
        "rests_on": "",
        "reason": "",
        "incomplete": "",
        "asking_version": "1a2b3c4d",
        "scoring_version": "5e6f7a8b",
    }
    return row | other


def sample_row(task: str, model: str, metric: str, score: float) -> dict[str, Any]:
    counts = {"n": 24, "n_answered": 24, "ok": 24}
    return long_row(task, model, metric, score, source="sample (n=24)", kind="sample", **counts)


def standings_of(scores: dict[str, float], reference: str) -> Standings:
    """Standings of models with these scores on jigsaw, best first, compared with nothing."""
    rows = [
        Standing(model, 1, Estimate(rank, rank, rank, 9), Estimate(score, score - 0.02, score + 0.015, 9), *[None] * 4)
        for rank, (model, score) in enumerate(scores.items(), 1)
    ]
    return Standings(reference, "the most expensive model", tuple(rows), ("jigsaw",), ())


SCORES = {"mistral-7b-lora": 0.93, "tfidf": 0.912, "gpt-4": 0.873}
MODELS = tuple(SCORES)
BENCHMARK, SAMPLE = standings_of(SCORES, "gpt-4"), standings_of({"tfidf": 0.625, "majority": 0.5}, "majority")
SECTIONS = {
    "benchmark": Section(BENCHMARK, plots=("overview",)),
    "sample": Section(SAMPLE, plots=("overview-sample",)),
}
OVERALL = {
    "benchmark": Overall(
        BENCHMARK,
        (Offer("tfidf", Estimate(0.9, 0.88, 0.92, 1000), 0.0), Offer("gpt-4", Estimate(0.9, 0.8, 0.95, 1000), 13.06)),
        Latencies((), (Latency("mistral-7b-lora", 0.12, 0.3, 2000), Latency("gpt-4", 0.412, 1.3, 1000))),
    ),
    "sample": Overall(SAMPLE, (), Latencies((), ())),
}


GPT_4 = {
    "backend": "openai",
    "p50_s": 0.412,
    "p95_s": 1.3,
    "input_tokens": 431_220,
    "output_tokens": 2_030,
    "usd": 13.0584,
    "ok": 989,
    "n_answered": 989,
    "unparsed": 8,
    "failed": 3,
}
ADAPTER = {"backend": "lorax", "base": "mistral-7b", "p50_s": 0.12, "p95_s": 0.3, "usd": None}


@pytest.fixture
def benchmark() -> pd.DataFrame:
    return pd.DataFrame(
        [
            long_row("jigsaw", "tfidf", "accuracy", 0.912),
            long_row("jigsaw", "tfidf", "macro_f1", 0.79),
            long_row("jigsaw", "gpt-4", "accuracy", 0.873, score_answered=0.883, **GPT_4),
            long_row("jigsaw", "gpt-4", "macro_f1", 0.811, score_answered=0.820, **GPT_4),
            long_row("jigsaw", "mistral-7b-lora", "accuracy", 0.93, **ADAPTER),
            long_row("jigsaw", "mistral-7b-lora", "macro_f1", 0.85, **ADAPTER),
            long_row("e2e_nlg", "tfidf", "rouge_l", 0.41),
            long_row("e2e_nlg", "mistral-7b-lora", "rouge_l", 0.54, **ADAPTER),
        ]
    )


@pytest.fixture
def sample() -> pd.DataFrame:
    return pd.DataFrame(
        [sample_row("jigsaw", "tfidf", "accuracy", 0.625), sample_row("jigsaw", "majority", "accuracy", 0.5)]
    )


@pytest.fixture
def published() -> dict[str, list[Published]]:
    return {
        "jigsaw": [
            Published("mistral-7b-lora", 0.84, "accuracy", "blog"),
            Published("gpt-4", 0.754, "accuracy", "paper"),
            Published("phi-2-lora", 0.83, "accuracy", "paper"),
        ],
        "e2e_nlg": [Published("mistral-7b-lora", 0.54, "bleurt", "blog", "an invented metric")],
    }
