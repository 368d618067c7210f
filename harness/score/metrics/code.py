"""Metrics of code answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from harness.score.metrics.base import Example, FloatArray, Metric, MetricFactory
from harness.score.metrics.sandbox import run
from harness.tasks.task import CodeAnswer


def pass_at_1(answer: CodeAnswer) -> Metric:
    """Share of rows whose one answer passes the row's tests, run in a sandbox. Range [0, 1].

    A program passes when it runs to its end with exit status 0 within the limits of `harness.score.metrics.sandbox`.
    With a single answer to each row this is the unbiased estimator of pass@k for k = 1 (M. Chen et al., arXiv
    2107.03374, 2021).
    """

    def stats(example: Example) -> tuple[float]:
        program = example.fields.get("program")
        return (float(example.answer is not None and isinstance(program, str) and run(program)),)

    def together(examples: Sequence[Example]) -> FloatArray:
        # Two a processor: half of a run is waiting for the kernel to build and remove the sandbox.
        with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
            return np.array(list(pool.map(stats, examples)), dtype=np.float64).reshape(len(examples), 1)

    return Metric("pass_at_1", stats, kind="binary", stats_of_all=together)


RECIPES = {"pass_at_1": MetricFactory(pass_at_1, frozenset({"code"}))}
