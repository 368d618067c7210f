"""Intervals of one score: agreement with scipy and statsmodels, properties; coverage is in `test_statistics`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from harness.compare.intervals import (
    NOTHING,
    RESAMPLES,
    Estimate,
    Resampled,
    Sample,
    bootstrap,
    estimate,
    estimate_all,
    first_score,
    first_scores,
    jackknife,
    leave_one_out,
    of_products,
    quantile,
    resample,
    resample_all,
    rests_on,
    tail_bound,
    too_few,
    two_sided,
    weights,
    wilson,
)
from harness.score.metrics.base import Basis, FloatArray, Metric, only_mean
from harness.score.metrics.labels import f1 as label_f1
from harness.score.metrics.labels import macro_f1, precision, recall
from harness.tasks.task import LabelAnswer
from tests.compare.row_statistics import F1, confusion, f1, shares, zeros_and_ones
from tests.scored import ACCURACY, OVERLAP, right, scored, unused


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
        assert len(weights(5_001)) == 9_998
        assert len(weights(20_000)) == 2_500
        assert weights(3, 7).shape == (7, 3)

    def test_each_chunk_of_resamples_is_drawn_for_itself(self) -> None:
        counts = weights(4, 1000)
        assert not np.array_equal(counts[:256], counts[256:512])
        assert (counts.sum(axis=1) == 4).all()


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


SKEWED = np.random.default_rng(11).exponential(size=(40, 1))


def expected_interval(rows: FloatArray, confidence: float) -> tuple[float, float]:
    """The expanded BCa interval of a mean, once more: Efron 1987, Hesterberg 2015."""
    n, value = len(rows), rows.mean()
    drawn = (weights(n) @ rows / n).ravel().round(12)
    bias = norm.ppf(((drawn < value.round(12)).mean() + (drawn <= value.round(12)).mean()) / 2)
    gaps = (rows.sum() - rows) / (n - 1)
    gaps = gaps.mean() - gaps
    skew = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    z = min(norm.ppf(0.5 + confidence / 2), norm.ppf(1 - 10 / len(drawn)))
    ends = [norm.cdf(bias + (bias + end) / (1 - skew * (bias + end))) for end in (-z, z)]
    low, high = np.quantile(drawn, ends)
    grown = scipy_stats.t.ppf(0.5 + confidence / 2, n - 1) / z * math.sqrt(n / (n - 1))
    return value - grown * (value - low), value + grown * (high - value)


class TestResampled:
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999, 1 - 0.05 / 200])
    def test_interval_is_bca_expanded_for_few_units(self, confidence: float) -> None:
        """The last lies beyond what 10,000 resamples show: ten of them are to lie beyond each end."""
        found = resample(SKEWED).interval(confidence)
        assert found == pytest.approx(expected_interval(SKEWED, confidence), rel=1e-9)

    def test_interval_without_resamples_is_the_normal_one(self) -> None:
        found = Resampled(0.5, None, leave_one_out(SKEWED, only_mean))
        error = SKEWED.std(ddof=1) / math.sqrt(40)
        assert found.interval(0.9) == pytest.approx((0.5 - 1.6448536 * error, 0.5 + 1.6448536 * error))

    def test_interval_of_two_rows_too(self) -> None:
        assert resample(SKEWED[:2]).interval(0.95) == pytest.approx(expected_interval(SKEWED[:2], 0.95), rel=1e-9)

    @pytest.mark.parametrize("value", [-1.0, 2.0])
    def test_interval_of_a_value_beyond_all_resamples_has_ends(self, value: float) -> None:
        found = Resampled(value, np.linspace(0, 1, 101), leave_one_out(SKEWED, only_mean)).interval(0.95)
        assert all(map(math.isfinite, found))

    def test_of_one_unit_has_an_end(self) -> None:
        found = Resampled(0.5, np.linspace(0, 1, 101), np.array([0.5]))
        assert all(map(math.isfinite, found.interval(0.95)))

    def test_acceleration_is_a_sixth_of_the_skewness_of_the_rows(self) -> None:
        found = resample(SKEWED)
        gaps = SKEWED - SKEWED.mean()
        assert found.acceleration == pytest.approx((gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5))
        assert resample(np.full((9, 1), 0.3)).acceleration == 0

    @pytest.mark.parametrize("shift", [-0.9, -0.6, -0.4, 0.3])
    def test_p_value_is_that_of_the_quantile_at_0(self, shift: float) -> None:
        found = resample(SKEWED + shift - SKEWED.mean() + 0.3)
        drawn = found.resampled
        assert drawn is not None

        def below(point: float) -> float:
            share = ((drawn < point).mean() + (drawn <= point).mean()) / 2
            return float(norm.ppf(min(max(share, 1 / 10_001), 10_000 / 10_001)))

        bias, at_zero = below(round(found.value, 12)), below(0.0)
        z = (at_zero - bias) / (1 + found.acceleration * (at_zero - bias)) - bias
        if drawn.min() <= 0 <= drawn.max():
            assert found.p_value() == pytest.approx(min(1, max(2 / 10_001, 2 * norm.cdf(-abs(z)))))
        else:
            assert found.p_value() == min(2 / 10_001, tail_bound(found.value, found.error))

    def test_p_value_of_no_difference_is_1(self) -> None:
        assert Resampled(0.0, np.linspace(-1, 1, 11), np.zeros(3)).p_value() == 1
        assert Resampled(0.0, np.ones(11), np.zeros(3)).p_value() == 1

    def test_p_value_is_as_small_as_the_resamples_show_or_the_tail_does(self) -> None:
        """Of 10,000 resamples none beyond 0: two in 10,001, or the bound of the tail where that is smaller."""
        left_out = leave_one_out(SKEWED, only_mean)
        error = jackknife(left_out)
        drawn = np.linspace(0.1, 1, RESAMPLES)
        assert Resampled(1 * error, drawn, left_out).p_value() == 2 / 10_001
        assert Resampled(6 * error, drawn, left_out).p_value() == pytest.approx(2 * math.exp(-18))
        # With fewer resamples, or none, it is the normal distribution's.
        for fewer in (drawn[1:], None):
            assert Resampled(-3 * error, fewer, left_out).p_value() == pytest.approx(2 * norm.cdf(-3))
            assert Resampled(0.1, fewer, np.zeros(5)).p_value() == 0

    def test_p_value_is_never_smaller_than_two_of_all_resamples_where_one_lies_beyond(self) -> None:
        drawn = np.concatenate([[-0.01], np.linspace(0.1, 1, RESAMPLES - 1)])
        assert Resampled(0.9, drawn, leave_one_out(SKEWED, only_mean)).p_value() == 2 / 10_001

    def test_a_difference_is_that_of_the_same_resamples(self) -> None:
        one, other = resample(SKEWED), resample(SKEWED[::-1] / 2)
        found = one.minus(other)
        whole = resample(SKEWED - SKEWED[::-1] / 2)
        assert found.value == pytest.approx(whole.value)
        assert found.resampled == pytest.approx(whole.resampled)
        assert found.left_out == pytest.approx(whole.left_out)

    def test_a_difference_of_rounding_is_none(self) -> None:
        one, other = resample(SKEWED), resample(SKEWED + 1e-14)
        assert one.minus(other).value == 0
        assert one.minus(replace(other, resampled=None)).resampled is None
        assert replace(one, resampled=None).minus(other).resampled is None

    def test_all_of_as_many_rows_are_those_that_each_is_alone(self) -> None:
        asked = [(SKEWED, only_mean), (SKEWED[:9], only_mean), (confusion(3, 40, 0.8), f1)]
        for found, (stats, summary) in zip(resample_all(asked, 500, 3), asked, strict=True):
            alone = resample(stats, summary, 500, 3)
            assert found.value == alone.value == pytest.approx(float(summary(stats.mean(axis=0))))
            assert np.array_equal(found.resampled, alone.resampled)
            expected = [
                float(summary(line @ stats / len(stats))) for line in weights(len(stats), 500, 3)[[0, 300, 499]]
            ]
            assert found.resampled[[0, 300, 499]] == pytest.approx(expected)  # type: ignore[index]

    def test_a_bootstrap_has_the_resamples_and_the_seed_that_it_is_told(self) -> None:
        assert bootstrap(SKEWED) == bootstrap(SKEWED, only_mean, 0.95, 10_000, 0)
        assert bootstrap(SKEWED, seed=1) != bootstrap(SKEWED) != bootstrap(SKEWED, resamples=9_999)
        assert bootstrap(SKEWED, confidence=0.5).low > bootstrap(SKEWED).low
        assert bootstrap(SKEWED[:0]) is NOTHING
        low, high = expected_interval(SKEWED, 0.95)
        assert (bootstrap(SKEWED).low, bootstrap(SKEWED).high) == pytest.approx((low, high), rel=1e-9)

    def test_an_interval_that_leaves_the_value_out_is_widened_to_it(self) -> None:
        """Of a maximum no resample is larger."""
        rows = np.arange(5.0)[:, None] ** 4
        found = bootstrap(rows, lambda means: means[..., 0] ** 0.1)
        assert found.low <= found.value <= found.high

    def test_products_are_the_scores_of_counted_rows(self) -> None:
        counts = np.array([[2, 0, 1], [0, 3, 0]] * 200, np.uint8)
        stats = np.array([[1.0, 0.0], [0.5, 2.0], [0.0, 6.0]])
        found = of_products(counts, [(stats, lambda means: means[..., 1] - means[..., 0]), (stats[:, :1], only_mean)])
        assert [one[:2].tolist() for one in found] == [pytest.approx([4 / 3, 1.5]), pytest.approx([2 / 3, 0.5])]
        assert all(np.array_equal(one[-2:], one[:2]) for one in found)


@pytest.mark.parametrize(
    ("gap", "error", "bound"),
    [(0.0, 1.0, 1.0), (1.0, 1.0, 1.0), (2.0, 1.0, 2 * math.exp(-2)), (-6.0, 2.0, 2 * math.exp(-4.5)), (1.0, 0.0, 0.0)],
)
def test_the_tail_of_random_signs_is_hoeffdings(gap: float, error: float, bound: float) -> None:
    assert tail_bound(gap, error) == pytest.approx(bound)


def test_quantiles_are_the_normal_distributions_or_students() -> None:
    assert two_sided(0.95) == pytest.approx(1.959964)
    assert quantile(0.95) == quantile(0.95, 501) == two_sided(0.95)
    for degrees in (1, 2, 7.5, 500):
        assert quantile(0.9, degrees) == pytest.approx(scipy_stats.t.ppf(0.95, degrees))
    assert quantile(0.9, 0) == quantile(0.9, 1)


def place(value: float, centre: float, error: float, span: float, low: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a score's place in its range, over as many trials as give the error at the centre."""
    at, middle = (value - low) / span, (centre - low) / span
    n = middle * (1 - middle) * (span / error) ** 2
    mid = (at + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(at * (1 - at) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return low + span * (mid - half), low + span * (mid + half)


class TestPlaceInTheRange:
    """A score with a basis that is not one share, over the rows seen twice and the unseen ones."""

    WIDE = Metric("wide", unused, low=-1.0, high=3.0, basis=Basis("rows that count", lambda stats: 30.0))
    ROWS = np.random.default_rng(8).random((60, 1)) * 2

    def test_has_wilsons_interval_of_it(self) -> None:
        found = estimate(self.WIDE, self.ROWS)
        error = self.ROWS.std(ddof=1) / math.sqrt(60)
        expected = place(self.ROWS.mean(), self.ROWS.mean(), error, 4.0, -1.0, 1.959964)
        assert (found.low, found.high) == pytest.approx(expected)
        assert (found.n, found.rests_on, found.reason) == (60, "30 rows that count", "")

    def test_with_the_unseen_rows_each_of_half_a_rows_weight(self) -> None:
        unseen = np.array([[-1.0], [3.0]])
        found = estimate(replace(self.WIDE, basis=Basis("rows", lambda stats: 30.0, unseen=unseen)), self.ROWS)
        table = np.vstack([self.ROWS, self.ROWS, unseen])
        error = table.std(ddof=1) / math.sqrt(122) * math.sqrt(122 / 60)
        expected = place(self.ROWS.mean(), table.mean(), error, 4.0, -1.0, 1.959964)
        assert (found.low, found.high) == pytest.approx(expected)

    def test_of_a_few_heavy_rows_has_students_quantiles(self) -> None:
        basis = Basis("rows", lambda stats: 30.0, heavy_tailed=True)
        found = estimate(replace(self.WIDE, basis=basis), self.ROWS)
        error = self.ROWS.std(ddof=1) / math.sqrt(60)
        expected = place(self.ROWS.mean(), self.ROWS.mean(), error, 4.0, -1.0, scipy_stats.t.ppf(0.975, 29))
        assert (found.low, found.high) == pytest.approx(expected)

    @pytest.mark.parametrize(("count", "trials"), [(30.0, 30), (90.0, 60)])
    def test_where_no_row_changes_it_every_unit_that_counts_is_one_trial(self, count: float, trials: int) -> None:
        found = estimate(replace(self.WIDE, basis=Basis("rows", lambda stats: count)), np.full((60, 1), 1.0))
        share = wilson(trials / 2, trials)
        assert (found.low, found.high) == pytest.approx((-1 + 4 * share.low, -1 + 4 * share.high))

    @pytest.mark.parametrize(("count", "degrees"), [(15.0, 14), (30.0, 19)])
    def test_of_clusters_is_that_of_their_means(self, count: float, degrees: int) -> None:
        """Three rows each, with the unseen rows as clusters of one; of 20 clusters no more than 20 count."""
        groups = np.arange(60) // 3
        unseen = np.array([[-1.0], [3.0]])
        basis = Basis("rows", lambda stats: count, unseen=unseen)
        found = estimate(replace(self.WIDE, basis=basis), self.ROWS, clusters=groups)
        table = np.vstack([np.tile(self.ROWS.reshape(20, 3).sum(axis=1, keepdims=True), (2, 1)), unseen])
        sizes = np.array([3.0] * 40 + [1.0] * 2)
        left = [(np.delete(table, i).sum()) / np.delete(sizes, i).sum() for i in range(42)]
        error = jackknife(np.array(left)) * math.sqrt(42 / 20)
        centre = float(table.sum() / sizes.sum())
        expected = place(self.ROWS.mean(), centre, error, 4.0, -1.0, scipy_stats.t.ppf(0.975, degrees))
        assert (found.low, found.high) == pytest.approx(expected)
        assert found.rests_on == f"{count:.0f} rows in 20 clusters"

    def test_a_resampled_interval_is_no_narrower_and_stays_in_the_range(self) -> None:
        """A mean's unseen rows are the worst and the best."""
        rows = np.concatenate([np.full((55, 1), 0.98), np.full((5, 1), 0.5)])
        found = estimate(OVERLAP, rows)
        low, high = resample(rows).interval(0.95)
        table = np.vstack([rows, rows, [[0.0], [1.0]]])
        error = table.std(ddof=1) / math.sqrt(122) * math.sqrt(122 / 60)
        worst, best = place(rows.mean(), table.mean(), error, 1.0, 0.0, 1.959964)
        assert (found.low, found.high) == pytest.approx((min(low, worst), min(1.0, max(high, best))))

    def test_the_worst_and_the_best_row_are_so_by_the_first_statistic(self) -> None:
        """Others only count, say whether a row can be scored."""
        rows = np.concatenate([np.full((55, 1), 0.98), np.full((5, 1), 0.5)])
        alone, counted = estimate(OVERLAP, rows), estimate(OVERLAP, np.hstack([rows, np.zeros((60, 1))]))
        assert (counted.low, counted.high) == pytest.approx((alone.low, alone.high))

    def test_of_a_score_that_is_no_mean_no_row_is_unseen(self) -> None:
        rows = confusion(3, 80, 0.8)
        found = estimate(F1, rows)
        low, high = resample(rows, f1).interval(0.95)
        error = jackknife(leave_one_out(rows, f1))
        worst, best = place(found.value, found.value, error, 1.0, 0.0, 1.959964)
        assert (found.low, found.high) == pytest.approx((min(low, worst), max(high, best)))

    def test_of_a_score_without_a_range_it_is_the_resampled_one(self) -> None:
        found = estimate(Metric("open", unused, low=-math.inf, high=math.inf), SKEWED)
        assert (found.low, found.high) == pytest.approx(expected_interval(SKEWED, 0.95), rel=1e-9)


def share_interval(
    hits: FloatArray, trials: FloatArray, effective: float | None, degrees: float | None
) -> tuple[float, float]:
    """Wilson's interval of a share of trials that are not independent."""
    share, counting = hits.sum() / trials.sum(), int((trials > 0).sum())
    variance = counting / (counting - 1) * ((hits - share * trials) ** 2).sum() / trials.sum() ** 2
    n = min(share * (1 - share) / variance, trials.sum()) if effective is None else effective
    z = norm.ppf(0.975) if degrees is None else scipy_stats.t.ppf(0.975, degrees)
    mid = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, mid - half), min(1.0, mid + half)


class TestShares:
    """Recall of entities, say: a row holds several trials, or none."""

    METRIC = Metric(
        "recall",
        unused,
        lambda means: means[..., 0] / means[..., 1],
        kind="corpus",
        basis=Basis("entities", lambda stats: float(stats[:, 1].sum()), lambda stats: (stats[..., 0], stats[..., 1])),
    )

    def test_of_rows_with_several_trials_have_students_quantiles(self) -> None:
        rng = np.random.default_rng(9)
        trials = rng.integers(0, 4, 50).astype(float)
        hits = rng.binomial(trials.astype(int), 0.7).astype(float)
        found = estimate(self.METRIC, np.column_stack([hits, trials]))
        counting = int((trials > 0).sum())
        assert counting < 50
        assert (found.low, found.high) == pytest.approx(share_interval(hits, trials, None, counting - 1))

    def test_of_rows_with_fractions_too(self) -> None:
        hits = np.array([0.5] * 6 + [1.0] * 6 + [0.0] * 6)
        found = estimate(self.METRIC, np.column_stack([hits, np.ones(18)]))
        assert (found.low, found.high) == pytest.approx(share_interval(hits, np.ones(18), None, 17))

    def test_where_all_rows_are_alike_each_row_is_one_trial(self) -> None:
        found = estimate(self.METRIC, np.tile([1.0, 2.0], (12, 1)))
        assert (found.low, found.high) == pytest.approx(share_interval(np.ones(12), np.full(12, 2.0), 12, None))

    def test_of_clusters_each_is_one_unit(self) -> None:
        rng = np.random.default_rng(10)
        hits = (rng.random(60) < 0.6).astype(float)
        groups = np.arange(60) // 4
        found = estimate(self.METRIC, np.column_stack([hits, np.ones(60)]), clusters=groups)
        sums = hits.reshape(15, 4).sum(axis=1)
        assert (found.low, found.high) == pytest.approx(share_interval(sums, np.full(15, 4.0), None, 14))
        assert found.rests_on == "60 entities in 15 clusters"

    def test_of_independent_trials_are_wilsons(self) -> None:
        hits = np.array([1.0] * 7 + [0.0] * 5)
        found = estimate(self.METRIC, np.column_stack([hits, np.ones(12)]))
        assert (found.low, found.high) == pytest.approx((wilson(7, 12).low, wilson(7, 12).high))

    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_at_an_end_the_wider_of_the_two_scales_counts(self, share: float) -> None:
        """Where all are found how such trials vary is not known: the interval of the share, or of the score of it."""
        metric = replace(self.METRIC, basis=replace(self.METRIC.basis, score=lambda one: one**2))  # type: ignore[type-var]
        found = estimate(metric, np.column_stack([np.full(12, share), np.ones(12)]))
        plain = wilson(12 * share, 12)
        assert (found.low, found.high) == pytest.approx((plain.low**2, plain.high))

    def test_with_too_few_the_interval_is_the_whole_range(self) -> None:
        stats = np.column_stack([[1.0, 1, 0, 1], np.ones(4)])
        found = estimate(replace(self.METRIC, low=-2.0, high=5.0), stats)
        assert found == Estimate(0.75, -2.0, 5.0, 4, "4 entities", "only 4 entities")


class TestWords:
    def test_what_decides_an_interval(self) -> None:
        rows, groups = np.ones((3000, 1)), np.arange(3000) // 2
        based = replace(OVERLAP, basis=Basis("positives", lambda stats: 1234.0))
        assert [
            rests_on(Sample(metric, rows, clusters)) for metric in (OVERLAP, based) for clusters in (None, groups)
        ] == [
            "",
            "1,500 clusters",
            "1,234 positives",
            "1,234 positives in 1,500 clusters",
        ]

    @pytest.mark.parametrize(("count", "said"), [(5.0, ""), (4.0, "only 4 positives")])
    def test_that_too_few_decide_it(self, count: float, said: str) -> None:
        assert too_few(Sample(replace(OVERLAP, basis=Basis("positives", lambda stats: count)), np.ones((9, 1)))) == said
        assert too_few(Sample(OVERLAP, np.ones((1, 1)))) == ""


def test_several_estimates_are_what_each_is_alone() -> None:
    samples = [
        Sample(ACCURACY, (SKEWED > 1).astype(float)),
        Sample(OVERLAP, SKEWED / 9),
        Sample(OVERLAP, SKEWED[:0]),
        Sample(OVERLAP, SKEWED / 9, np.arange(40) // 2),
        Sample(F1, confusion(3, 40, 0.8)),
    ]
    found = estimate_all(samples)
    alone = [estimate(one.metric, one.stats, clusters=one.clusters) for one in samples]
    assert [(one.value, one.low, one.high) for one in found if one.n] == [
        (one.value, one.low, one.high) for one in alone if one.n
    ]
    assert found[2] is NOTHING
    assert estimate(OVERLAP, SKEWED / 9, 0.5).low > found[1].low


def test_the_score_of_a_run_is_that_by_its_first_metric() -> None:
    runs = [scored("t", "a", right(0.3)), scored("t", "b", SKEWED.ravel() / 9, OVERLAP, clusters=np.arange(40) // 4)]
    assert first_scores(runs) == [first_score(run) for run in runs]
    assert first_score(runs[0]) == wilson(120, 400)
    assert first_score(runs[1]) == estimate(OVERLAP, SKEWED / 9, clusters=np.arange(40) // 4)
    second = replace(
        runs[0],
        metrics=(ACCURACY, OVERLAP),
        rows=replace(runs[0].rows, stats={**runs[0].rows.stats, "rouge_l": SKEWED}),
    )
    assert first_score(second) == wilson(120, 400)


def test_clusters_are_drawn_as_a_whole_with_the_sums_of_their_rows() -> None:
    stats, clusters = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]), np.array([0, 1, 0, 2, 2])
    table, summary = Sample(OVERLAP, stats, clusters).units
    assert table * 5 / 3 == pytest.approx(np.array([[4.0, 2], [2, 1], [9, 2]]))
    assert float(summary(table.mean(axis=0))) == pytest.approx(3.0)
    assert float(summary(table[:2].mean(axis=0))) == pytest.approx(2.0)
