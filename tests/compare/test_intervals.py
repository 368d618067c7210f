"""Intervals of one score: agreement with scipy and statsmodels, properties; coverage is in `test_statistics`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from harness.compare.intervals import bootstrap, estimate, jackknife, leave_one_out, weights, wilson
from harness.score.metrics.base import FloatArray, only_mean
from tests.compare.row_statistics import F1, confusion, f1, shares, zeros_and_ones
from tests.scored import ACCURACY, OVERLAP


class TestWilson:
    @pytest.mark.parametrize(("successes", "n"), [(0, 24), (24, 24), (1, 3), (912, 1000), (500, 1000)])
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
    def test_agrees_with_statsmodels(self, successes: int, n: int, confidence: float) -> None:
        low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
        found = wilson(successes, n, confidence)
        assert (found.value, found.n) == (successes / n, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)

    def test_of_no_rows_is_nan(self) -> None:
        found = wilson(0, 0)
        assert found.n == 0
        assert all(math.isnan(x) for x in (found.value, found.low, found.high))


class TestWeights:
    def test_each_resample_draws_n_rows(self) -> None:
        counts = weights(37, 500)
        assert counts.shape == (500, 37)
        assert (counts.sum(axis=1) == 37).all()

    def test_rows_are_drawn_equally_often(self) -> None:
        assert weights(20, 10_000).mean(axis=0) == pytest.approx(np.ones(20), abs=0.05)

    def test_same_seed_same_array_other_seed_other_array(self) -> None:
        assert weights(50) is weights(50)
        assert not np.array_equal(weights(50, seed=1), weights(50))

    def test_is_read_only_because_it_is_shared(self) -> None:
        with pytest.raises(ValueError, match="read-only"):
            weights(50)[0, 0] = 9

    def test_many_rows_get_fewer_resamples(self) -> None:
        assert len(weights(5_000)) == 10_000
        assert len(weights(20_000)) == 2_500


class TestBootstrap:
    def test_of_a_skewed_mean_agrees_with_scipy(self) -> None:
        rows = np.random.default_rng(7).exponential(size=60)
        theirs = scipy_stats.bootstrap((rows,), np.mean, n_resamples=10_000, method="BCa", rng=1).confidence_interval
        ours = bootstrap(rows[:, None])
        assert ours.value == pytest.approx(rows.mean())
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
        assert ours.high - ours.value > 1.1 * (ours.value - ours.low)

    def test_of_f1_agrees_with_scipy(self) -> None:
        rows = confusion(3, 200, 0.8)
        theirs = scipy_stats.bootstrap(
            tuple(rows.T),
            lambda *columns, axis: f1(np.stack([c.mean(axis=axis) for c in columns], axis=-1)),
            paired=True,
            vectorized=True,
            n_resamples=10_000,
            method="BCa",
            rng=1,
        ).confidence_interval
        ours = bootstrap(rows, f1)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)

    def test_equal_rows_have_no_spread(self) -> None:
        found = bootstrap(np.full((30, 1), 0.1))
        assert found.low == found.value == found.high == pytest.approx(0.1)

    def test_of_very_many_rows_is_the_normal_interval(self) -> None:
        rows = np.random.default_rng(2).random((60_000, 1))
        found = bootstrap(rows)
        half = 1.959964 * rows.std(ddof=1) / math.sqrt(60_000)
        assert (found.low, found.high) == pytest.approx((rows.mean() - half, rows.mean() + half), abs=1e-6)


class TestEstimate:
    @settings(deadline=None)
    @given(zeros_and_ones)
    def test_of_a_binary_metric_is_wilsons(self, rows: FloatArray) -> None:
        found = estimate(ACCURACY, rows)
        assert found == wilson(float(rows.sum()), len(rows))
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high

    @settings(max_examples=40, deadline=None)
    @given(shares)
    def test_holds_the_value_and_stays_in_range(self, rows: FloatArray) -> None:
        found = estimate(OVERLAP, rows)
        assert 0 <= found.low <= found.value <= found.high <= 1

    def test_of_perfect_rows_still_admits_doubt(self) -> None:
        assert estimate(F1, np.tile([1.0, 0.0, 0.0], (24, 1))) == wilson(24, 24)
        assert estimate(OVERLAP, np.zeros((24, 1))) == wilson(0, 24)

    def test_of_no_rows_is_nan(self) -> None:
        assert math.isnan(estimate(OVERLAP, np.empty((0, 1))).value)


class TestJackknife:
    def test_scores_without_a_row_are_those_of_the_other_rows(self) -> None:
        rows = confusion(5, 20, 0.8)
        without = [float(f1(np.delete(rows, i, axis=0).mean(axis=0))) for i in range(20)]
        assert leave_one_out(rows, f1) == pytest.approx(without)

    def test_a_single_row_has_its_own_score(self) -> None:
        assert leave_one_out(np.array([[0.25]]), only_mean).tolist() == [0.25]

    @given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
    def test_of_a_mean_is_its_standard_error(self, values: list[float]) -> None:
        rows = np.array(values)
        expected = rows.std(ddof=1) / math.sqrt(len(rows))
        assert jackknife(leave_one_out(rows[:, None], only_mean)) == pytest.approx(expected, abs=1e-9)
