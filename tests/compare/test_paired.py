"""Intervals and paired tests: agreement with scipy and statsmodels, properties; coverage is in `test_statistics`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from harness.compare.paired import bootstrap, compare_paired, corrected, estimate, holm, weights, wilson
from harness.score.metrics.base import FloatArray, Metric


def unused(_: object) -> list[float]:
    raise AssertionError("these tests start from the rows' statistics")


def f1(means: FloatArray) -> FloatArray:
    """F1 from the means of true positives, false positives and false negatives."""
    hits, spurious, missed = means[..., 0], means[..., 1], means[..., 2]
    return np.divide(2 * hits, 2 * hits + spurious + missed, out=np.zeros_like(hits), where=hits > 0)


ACCURACY = Metric("accuracy", unused, kind="binary")
OVERLAP = Metric("rouge_l", unused)
F1 = Metric("f1", unused, f1, kind="corpus")
ERROR = Metric("error", unused, high=10.0, higher_is_better=False)

zeros_and_ones = arrays(np.float64, st.tuples(st.integers(1, 60), st.just(1)), elements=st.sampled_from([0.0, 1.0]))
shares = arrays(np.float64, st.tuples(st.integers(1, 60), st.just(1)), elements=st.floats(0, 1, width=32))


def binary(only_a: int, only_b: int, both: int, neither: int) -> tuple[FloatArray, FloatArray]:
    a = [1.0] * only_a + [0.0] * only_b + [1.0] * both + [0.0] * neither
    b = [0.0] * only_a + [1.0] * only_b + [1.0] * both + [0.0] * neither
    return np.array(a)[:, None], np.array(b)[:, None]


def confusion(seed: int, n: int, accuracy: float) -> FloatArray:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.3
    answer = np.where(rng.random(n) < accuracy, truth, ~truth)
    return np.column_stack([truth & answer, ~truth & answer, truth & ~answer]).astype(np.float64)


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


class TestBinaryComparison:
    @pytest.mark.parametrize("table", [(10, 2, 50, 20), (0, 6, 10, 4), (3, 3, 1, 1), (0, 0, 9, 1), (80, 41, 800, 79)])
    def test_p_agrees_with_statsmodels_exact_mcnemar(self, table: tuple[int, int, int, int]) -> None:
        only_a, only_b, both, neither = table
        theirs = mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue
        assert compare_paired(ACCURACY, *binary(*table)).p_value == pytest.approx(theirs)

    @pytest.mark.parametrize(
        ("table", "low", "high"),
        [((1, 7, 1, 12), -0.517, -0.026), ((1, 0, 43, 0), -0.059, 0.118), ((0, 0, 20, 4), -0.138, 0.138)],
    )
    def test_interval_is_tangos(self, table: tuple[int, int, int, int], low: float, high: float) -> None:
        """Fagerland et al., BMC Med. Res. Methodol. 2014, airway data; two cases of Tango's closed form."""
        found = compare_paired(ACCURACY, *binary(*table))
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)

    def test_verdicts(self) -> None:
        assert compare_paired(ACCURACY, *binary(80, 41, 800, 79)).verdict == "better"
        assert compare_paired(ACCURACY, *binary(41, 80, 800, 79)).verdict == "worse"
        assert compare_paired(ACCURACY, *binary(5, 5, 900, 90)).verdict == "within the margin"
        assert compare_paired(ACCURACY, *binary(5, 5, 10, 4)).verdict == "not separable"
        assert compare_paired(ACCURACY, *binary(0, 0, 20, 4)).verdict == "not separable"

    def test_rows_needed_is_connors_number_and_gives_the_power(self) -> None:
        """Of many samples of that size, drawn at the shares seen, about 80 % are told apart."""
        found = compare_paired(ACCURACY, *binary(12, 6, 70, 12))
        assert found.verdict == "not separable"
        assert found.rows_needed is not None
        rng = np.random.default_rng(0)
        draws = rng.multinomial(found.rows_needed, [0.12, 0.06, 0.70, 0.12], size=300)
        told = [compare_paired(ACCURACY, *binary(*draw)).verdict == "better" for draw in draws.tolist()]
        assert 0.70 <= np.mean(told) <= 0.88
        assert compare_paired(ACCURACY, *binary(5, 5, 10, 4)).rows_needed is None

    @settings(deadline=None)
    @given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
    def test_is_mirrored_when_the_models_are_swapped(self, only_a: int, only_b: int, both: int, neither: int) -> None:
        a, b = binary(only_a, only_b, both, neither)
        there, back = compare_paired(ACCURACY, a, b), compare_paired(ACCURACY, b, a)
        assert -1 <= there.low <= there.difference <= there.high <= 1
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
        assert there.p_value == back.p_value
        assert {there.verdict, back.verdict} in ({"better", "worse"}, {there.verdict})


class TestResampledComparison:
    def test_interval_of_a_mean_difference_agrees_with_scipy(self) -> None:
        rng = np.random.default_rng(3)
        a, b = rng.beta(4, 2, (150, 1)), rng.beta(3, 2, (150, 1))
        theirs = scipy_stats.bootstrap(((a - b).ravel(),), np.mean, n_resamples=10_000, method="BCa", rng=1)
        found = compare_paired(OVERLAP, a, b)
        interval = theirs.confidence_interval
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.004)
        assert found.p_value == pytest.approx(scipy_stats.ttest_rel(a.ravel(), b.ravel()).pvalue, abs=0.01)

    def test_a_verdict_needs_an_interval_without_0(self) -> None:
        found = [compare_paired(F1, confusion(s, 80, 0.85), confusion(s + 99, 80, 0.75)) for s in range(30)]
        settled = [c for c in found if c.verdict in ("better", "worse")]
        assert 0 < len(settled) < 30
        assert all(c.low > 0 or c.high < 0 for c in settled)

    def test_p_agrees_with_scipys_permutation_test(self) -> None:
        a, b = confusion(1, 60, 0.85), confusion(2, 60, 0.8)
        theirs = scipy_stats.permutation_test(
            (np.arange(60), np.arange(60, 120)),
            lambda x, y, axis: (
                f1(np.vstack([a, b])[x].mean(axis=axis - 1)) - f1(np.vstack([a, b])[y].mean(axis=axis - 1))
            ),
            permutation_type="samples",
            vectorized=True,
            n_resamples=9_999,
            axis=-1,
            rng=3,
        )
        found = compare_paired(F1, a, b)
        assert found.difference == pytest.approx(theirs.statistic)
        assert found.p_value == pytest.approx(theirs.pvalue, abs=0.03)

    def test_a_model_against_itself(self) -> None:
        rows = np.random.default_rng(1).random((24, 1))
        found = compare_paired(OVERLAP, rows, rows)
        assert (found.difference, found.p_value, found.rows_needed) == (0.0, 1.0, None)
        assert found.verdict == "not separable"
        rows = np.random.default_rng(1).random((1000, 1))
        assert compare_paired(OVERLAP, rows, rows).verdict == "within the margin"

    def test_five_rows_never_settle_anything(self) -> None:
        assert compare_paired(OVERLAP, np.full((5, 1), 0.9), np.full((5, 1), 0.1)).verdict == "not separable"
        assert compare_paired(OVERLAP, np.full((9, 1), 0.9), np.full((9, 1), 0.1)).verdict == "better"

    def test_a_lower_error_is_better(self) -> None:
        rng = np.random.default_rng(1)
        small, large = rng.random((100, 1)), 1 + rng.random((100, 1))
        assert compare_paired(ERROR, small, large).verdict == "better"
        assert compare_paired(ERROR, small, large).not_inferior
        assert not compare_paired(ERROR, large, small).not_inferior

    def test_very_many_rows(self) -> None:
        rng = np.random.default_rng(1)
        a = rng.random((60_000, 1))
        assert compare_paired(OVERLAP, a, a + rng.normal(0.02, 0.1, a.shape)).verdict == "worse"


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match="one shape"):
        compare_paired(ACCURACY, np.zeros((3, 1)), np.zeros((4, 1)))


def test_no_rows_decide_nothing() -> None:
    found = compare_paired(ACCURACY, np.zeros((0, 1)), np.zeros((0, 1)))
    assert found.n == 0
    assert found.verdict == "not separable"
    assert math.isnan(found.p_value)


@pytest.mark.parametrize("count", [1, 2, 7, 36])
def test_holm_agrees_with_statsmodels(count: int) -> None:
    p_values = (np.random.default_rng(count).random(count) ** 3).round(2).tolist()  # many small ones, some equal
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_holm_leaves_out_comparisons_without_rows() -> None:
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)


def test_a_family_of_comparisons_needs_more_evidence_than_one() -> None:
    tables = [(20, 8, 60, 12), *[(5, 5, 60, 30)] * 9]
    single = [compare_paired(ACCURACY, *binary(*table)) for table in tables]
    family = corrected(single)
    assert single[0].verdict == "better"
    assert family[0].verdict == "not separable"
    assert family[0].p_value == pytest.approx(10 * single[0].p_value)
