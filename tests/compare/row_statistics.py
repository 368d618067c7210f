"""Tables of row statistics that tests of the statistics share."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.score.metrics.base import FloatArray, Metric
from tests.scored import unused


def f1(means: FloatArray) -> FloatArray:
    """F1 from the means of true positives, false positives and false negatives."""
    hits, spurious, missed = means[..., 0], means[..., 1], means[..., 2]
    return np.divide(2 * hits, 2 * hits + spurious + missed, out=np.zeros_like(hits), where=hits > 0)


F1 = Metric("f1", unused, f1, kind="corpus")

zeros_and_ones = arrays(np.float64, st.tuples(st.integers(1, 60), st.just(1)), elements=st.sampled_from([0.0, 1.0]))
shares = arrays(np.float64, st.tuples(st.integers(1, 60), st.just(1)), elements=st.floats(0, 1, width=32))


def confusion(seed: int, n: int, accuracy: float) -> FloatArray:
    """Rows of a classifier with that accuracy: true positive, false positive, false negative, shape [n, 3]."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    answer = np.where(rng.random(n) < accuracy, truth, ~truth)
    return np.column_stack([truth & answer, ~truth & answer, truth & ~answer]).astype(np.float64)
