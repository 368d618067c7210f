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
from harness.score.metrics.base import FloatArray, Metric, only_mean
from harness.score.metrics.labels import f1 as label_f1
from harness.score.metrics.labels import macro_f1, precision, recall
from harness.tasks.task import LabelAnswer
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


YES_NO = LabelAnswer(type="label", labels=["yes", "no"], positive="yes")


def positives(gold: int, hits: int, n: int = 1000) -> FloatArray:
    """Gold, answered and both of a model that finds so many positives and answers nothing else with the label."""
    truth, found = np.arange(n) < gold, np.arange(n) < hits
    return np.column_stack([truth, found, truth & found]).astype(np.float64)


class TestWhatCounts:
    @pytest.mark.parametrize("metric", [recall(YES_NO), precision(YES_NO), label_f1(YES_NO)])
    def test_all_of_five_positives_is_five_of_five_and_not_a_thousand_of_a_thousand(self, metric: Metric) -> None:
        """It read 1.000 [0.996, 1.000]."""
        found = estimate(metric, positives(5, 5))
        assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.566, 1.0), abs=5e-4)
        assert found.rests_on.startswith("5 ")

    def test_none_of_five_positives_found(self) -> None:
        """It read 0.000 [0.000, 0.004]."""
        found = estimate(recall(YES_NO), positives(5, 0))
        assert (found.low, found.high) == pytest.approx((0.0, 0.434), abs=5e-4)

    def test_fewer_claim_nothing_and_say_why(self) -> None:
        found = estimate(recall(YES_NO), positives(4, 4))
        assert (found.low, found.high, found.reason) == (0.0, 1.0, "only 4 positives")

    def test_a_score_of_all_labels_rests_on_the_rarest(self) -> None:
        gold = np.arange(100) < 2
        stats = np.column_stack([gold, ~gold, gold, ~gold, gold, ~gold]).astype(np.float64)
        found = estimate(macro_f1(YES_NO), stats)
        assert (found.low, found.high, found.reason) == (0.0, 1.0, "only 2 rows of the rarest label")

    def test_f1_is_the_image_of_a_share_of_independent_rows(self) -> None:
        found = estimate(label_f1(YES_NO), positives(40, 30))
        share = wilson(30, 40)
        assert (found.low, found.high) == pytest.approx([2 * end / (1 + end) for end in (share.low, share.high)])


class TestClusters:
    def test_a_cluster_of_equal_rows_is_one_trial(self) -> None:
        stats = np.repeat([1.0] * 15 + [0.0] * 15, 8)[:, None]
        found = estimate(ACCURACY, stats, clusters=np.arange(240) // 8)
        rows = wilson(120, 240)
        assert found.high - found.low > 2.5 * (rows.high - rows.low)
        assert (found.n, found.rests_on) == (240, "30 clusters")

    def test_a_cluster_weighs_by_its_rows(self) -> None:
        stats = np.array([[1.0]] * 9 + [[0.0]])
        assert estimate(OVERLAP, stats, clusters=np.array([0] * 9 + [1])).value == pytest.approx(0.9)
