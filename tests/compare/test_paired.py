"""Paired tests: agreement with scipy and statsmodels, properties; simulations are in `test_statistics`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from harness.compare.intervals import Sample, wilson
from harness.compare.paired import (
    Comparison,
    RunPair,
    _decided,
    compare_models,
    compare_rows,
    corrected,
    holm,
    paired_test,
    paired_tests,
    scale,
    unseen,
)
from harness.score.metrics.base import Basis, FloatArray, Metric
from harness.score.metrics.labels import f1 as label_f1
from harness.score.metrics.labels import precision, recall
from harness.tasks.task import LabelAnswer
from tests.compare.row_statistics import F1, confusion, f1
from tests.scored import ACCURACY, ERROR, OVERLAP, right, scored, unused


def binary(only_a: int, only_b: int, both: int, neither: int) -> tuple[FloatArray, FloatArray]:
    a = [1.0] * only_a + [0.0] * only_b + [1.0] * both + [0.0] * neither
    b = [0.0] * only_a + [1.0] * only_b + [1.0] * both + [0.0] * neither
    return np.array(a)[:, None], np.array(b)[:, None]


class TestBinaryComparison:
    @pytest.mark.parametrize("table", [(10, 2, 50, 20), (0, 6, 10, 4), (3, 3, 1, 1), (0, 0, 9, 1), (80, 41, 800, 79)])
    def test_p_agrees_with_statsmodels_exact_mcnemar(self, table: tuple[int, int, int, int]) -> None:
        only_a, only_b, both, neither = table
        theirs = mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue
        assert paired_test(ACCURACY, *binary(*table)).p_value == pytest.approx(theirs)

    @pytest.mark.parametrize(
        ("table", "low", "high"),
        [((1, 7, 1, 12), -0.517, 0.0), ((1, 0, 43, 0), -0.059, 0.118), ((0, 0, 20, 4), -0.138, 0.138)],
    )
    def test_interval_is_tangos_and_holds_0_where_the_test_does(
        self, table: tuple[int, int, int, int], low: float, high: float
    ) -> None:
        """Fagerland et al., BMC Med. Res. Methodol. 2014, airway data; two cases of Tango's closed form.

        Tango's upper end of the first is -0.026, which its exact p-value of 0.070 does not support.
        """
        found = paired_test(ACCURACY, *binary(*table))
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4)

    def test_verdicts(self) -> None:
        assert paired_test(ACCURACY, *binary(80, 41, 800, 79)).verdict == "better"
        assert paired_test(ACCURACY, *binary(41, 80, 800, 79)).verdict == "worse"
        assert paired_test(ACCURACY, *binary(5, 5, 900, 90)).verdict == "within the margin"
        assert paired_test(ACCURACY, *binary(5, 5, 10, 4)).verdict == "not separable"
        assert paired_test(ACCURACY, *binary(0, 0, 20, 4)).verdict == "not separable"

    def test_rows_needed_is_connors_number_and_gives_the_power(self) -> None:
        """Of many samples of that size, drawn at the shares seen, about 80 % are told apart."""
        found = paired_test(ACCURACY, *binary(12, 6, 70, 12))
        assert found.verdict == "not separable"
        assert found.rows_needed is not None
        rng = np.random.default_rng(0)
        draws = rng.multinomial(found.rows_needed.about, [0.12, 0.06, 0.70, 0.12], size=300)
        told = [paired_test(ACCURACY, *binary(*draw)).verdict == "better" for draw in draws.tolist()]
        assert 0.70 <= np.mean(told) <= 0.88
        assert paired_test(ACCURACY, *binary(5, 5, 10, 4)).rows_needed is None

    @settings(deadline=None)
    @given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 30))
    def test_is_mirrored_when_the_models_are_swapped(self, only_a: int, only_b: int, both: int, neither: int) -> None:
        a, b = binary(only_a, only_b, both, neither)
        there, back = paired_test(ACCURACY, a, b), paired_test(ACCURACY, b, a)
        assert -1 <= there.low <= there.difference <= there.high <= 1
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
        assert there.p_value == back.p_value
        assert {there.verdict, back.verdict} in ({"better", "worse"}, {there.verdict})

    @pytest.mark.parametrize(("only_a", "n"), [(5, 5), (3, 4), (1, 40), (4, 300), (2, 2)])
    def test_rows_needed_are_more_than_those_that_did_not_show_the_difference(self, only_a: int, n: int) -> None:
        found = paired_test(ACCURACY, *binary(only_a, 0, 0, n - only_a))
        assert found.p_value >= 0.05
        assert found.rows_needed is not None
        assert n < found.rows_needed.least <= found.rows_needed.about <= found.rows_needed.most
        # So many rows with the same share of differing ones can reach 5 % at all.
        assert 2 * 0.5 ** round(found.rows_needed.about * only_a / n) < 0.05

    def test_resampled_rows_needed_are_so_too(self) -> None:
        a, b = np.array([[0.9], [0.8], [0.9]]), np.array([[0.1], [0.2], [0.3]])
        found = paired_test(OVERLAP, a, b)
        assert found.p_value >= 0.05
        assert found.rows_needed is not None
        assert found.rows_needed.least > 3


class TestResampledComparison:
    def test_interval_of_a_mean_difference_agrees_with_scipy(self) -> None:
        rng = np.random.default_rng(3)
        a, b = rng.beta(4, 2, (150, 1)), rng.beta(3, 2, (150, 1))
        theirs = scipy_stats.bootstrap(((a - b).ravel(),), np.mean, n_resamples=10_000, method="BCa", rng=1)
        found = paired_test(OVERLAP, a, b)
        interval = theirs.confidence_interval
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.004)
        assert found.p_value == pytest.approx(scipy_stats.ttest_rel(a.ravel(), b.ravel()).pvalue, abs=0.01)

    def test_a_verdict_needs_an_interval_without_0(self) -> None:
        found = [paired_test(F1, confusion(s, 80, 0.85), confusion(s + 99, 80, 0.75)) for s in range(30)]
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
        found = paired_test(F1, a, b)
        assert found.difference == pytest.approx(theirs.statistic)
        assert found.p_value == pytest.approx(theirs.pvalue, abs=0.03)

    def test_a_model_against_itself(self) -> None:
        rows = np.random.default_rng(1).random((24, 1))
        found = paired_test(OVERLAP, rows, rows)
        assert (found.difference, found.p_value, found.rows_needed) == (0.0, 1.0, None)
        assert found.verdict == "not separable"
        rows = np.random.default_rng(1).random((1000, 1))
        assert paired_test(OVERLAP, rows, rows).verdict == "within the margin"

    def test_five_rows_never_settle_anything(self) -> None:
        assert paired_test(OVERLAP, np.full((5, 1), 0.9), np.full((5, 1), 0.1)).verdict == "not separable"
        assert paired_test(OVERLAP, np.full((9, 1), 0.9), np.full((9, 1), 0.1)).verdict == "better"

    def test_a_lower_error_is_better(self) -> None:
        rng = np.random.default_rng(1)
        small, large = rng.random((100, 1)), 1 + rng.random((100, 1))
        assert paired_test(ERROR, small, large).verdict == "better"
        assert paired_test(ERROR, small, large).not_inferior
        assert not paired_test(ERROR, large, small).not_inferior

    def test_very_many_rows(self) -> None:
        rng = np.random.default_rng(1)
        a = rng.random((60_000, 1))
        assert paired_test(OVERLAP, a, a + rng.normal(0.02, 0.1, a.shape)).verdict == "worse"


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match="one shape"):
        paired_test(ACCURACY, np.zeros((3, 1)), np.zeros((4, 1)))


def test_no_rows_decide_nothing() -> None:
    found = paired_test(ACCURACY, np.zeros((0, 1)), np.zeros((0, 1)))
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
    single = [paired_test(ACCURACY, *binary(*table)) for table in tables]
    family = corrected(single)
    assert single[0].verdict == "better"
    assert family[0].verdict == "not separable"
    assert family[0].p_value == pytest.approx(10 * single[0].p_value)


def tables(of: Metric, gold: int, hits_a: int, hits_b: int, n: int = 1000) -> list[Comparison]:
    """The comparison of two models that find so many of the positives, and nothing else."""
    truth = np.arange(n) < gold
    found = [np.arange(n) < hits for hits in (hits_a, hits_b)]
    stats = [np.column_stack([truth, one, truth & one]).astype(np.float64) for one in found]
    return [paired_test(of, *stats)]


YES_NO = LabelAnswer(type="label", labels=["yes", "no"], positive="yes")


class TestEquality:
    @pytest.mark.parametrize("of", [recall(YES_NO), precision(YES_NO), label_f1(YES_NO)])
    def test_five_positives_of_a_thousand_rows_show_no_equality(self, of: Metric) -> None:
        """Both find all five: they were within a margin of a point, and a strict gate passed."""
        (found,) = tables(of, 5, 5, 5)
        assert found.verdict == "not separable"
        assert not found.not_inferior
        assert found.rests_on.startswith("5 ")

    def test_fewer_positives_than_five_claim_nothing(self) -> None:
        (found,) = tables(recall(YES_NO), 3, 3, 0)
        assert (found.low, found.high, found.verdict) == (-1.0, 1.0, "not separable")
        assert found.reason == "only 3 positives"

    @pytest.mark.parametrize(
        ("n", "verdict"), [(24, "not separable"), (188, "not separable"), (250, "within the margin")]
    )
    def test_needs_some_189_rows_for_a_margin_of_two_points(self, n: int, verdict: str) -> None:
        """What could have gone unseen in 24 rows is not what was seen: one word lost in one row."""
        b = np.full((n, 1), 0.8)
        a = b.copy()
        a[0] -= 0.01
        assert paired_test(OVERLAP, a, b).verdict == verdict


class TestPossibleFigures:
    @settings(deadline=None)
    @given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.sampled_from([1, 5, 40]))
    def test_the_interval_holds_0_when_and_only_when_the_p_value_says_so(
        self, only_a: int, only_b: int, both: int, neither: int, together: int
    ) -> None:
        a, b = binary(only_a, only_b, both, neither)
        for metric in (ACCURACY, OVERLAP):
            pair = RunPair(Sample(metric, a), Sample(metric, b), comparisons=together)
            (found,) = corrected(paired_tests([pair]), together)
            assert -1 <= found.low <= found.difference <= found.high <= 1
            if found.p_value >= 0.05:
                assert found.low <= 0 <= found.high
            else:
                assert found.low >= 0 or found.high <= 0

    def test_a_constant_lead_stays_within_the_scale(self) -> None:
        """It read +0.996 to +1.004."""
        found = paired_test(OVERLAP, np.ones((1000, 1)), np.zeros((1000, 1)))
        assert (found.difference, found.high) == (1.0, 1.0)

    @pytest.mark.parametrize("together", [1, 4, 36])
    def test_rows_needed_are_for_the_test_that_is_used(self, together: int) -> None:
        """Beside a corrected p-value they were for an uncorrected test: 897 of 1,000 rows that had not sufficed."""
        a, b = binary(60, 37, 800, 103)
        pair = RunPair(Sample(ACCURACY, a), Sample(ACCURACY, b), comparisons=together)
        (found,) = corrected(paired_tests([pair]), together)
        assert found.rows_needed is not None
        if found.verdict == "not separable":
            assert found.rows_needed.least > 1000
        assert found.rows_needed.about < found.rows_needed.most

    def test_a_difference_smaller_than_its_error_says_nothing_about_rows(self) -> None:
        assert paired_test(ACCURACY, *binary(6, 5, 10, 3)).rows_needed is None


class TestClusters:
    def test_rows_of_one_document_count_as_one(self) -> None:
        """Twenty documents of ten rows, each won whole or lost whole: 130 of 200 rows are proof, 13 of 20 are none."""
        clusters = np.arange(200) // 10
        a = np.repeat([1.0] * 13 + [0.0] * 7, 10)[:, None]
        alone, grouped = paired_test(ACCURACY, a, 1 - a), paired_test(ACCURACY, a, 1 - a, clusters=clusters)
        assert alone.verdict == "better"
        assert grouped.verdict == "not separable"
        assert grouped.rests_on == "20 clusters"
        assert grouped.difference == pytest.approx(alone.difference)

    def test_clusters_of_one_row_change_little(self) -> None:
        a, b = (np.random.default_rng(seed).random((150, 1)) for seed in (1, 2))
        alone, grouped = paired_test(OVERLAP, a, b), paired_test(OVERLAP, a, b, clusters=np.arange(150))
        assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=1e-9)
        assert grouped.p_value == pytest.approx(alone.p_value)


@pytest.mark.parametrize(
    ("low", "high", "length"), [(0, 1, 1), (0, 100, 100), (-5, 0, 5), (0, 0, 1), (-math.inf, 0, 1)]
)
def test_the_scale_of_a_metric_has_a_length(low: float, high: float, length: float) -> None:
    """A score of at most 0, such as a log-likelihood, ended the report with a division by zero."""
    assert scale(Metric("m", unused, low=low, high=high)) == length


def test_a_comparison_the_other_way_round_has_the_interval_turned() -> None:
    a, b = np.array([[1.0], [1.0], [1.0], [0.0]] * 30), np.array([[1.0], [0.0], [0.0], [1.0]] * 30)
    found = paired_test(ACCURACY, a, b)
    assert (found.turned.low, found.turned.high) == (-found.high, -found.low)
    assert found.low != -found.high


def test_what_was_not_seen_counts_on_both_sides_of_the_margin() -> None:
    seen = Comparison(0.0, -0.01, 0.01, 1.0, 100, "not separable", None, margin=0.02)
    assert [_decided(replace(seen, unseen=unseen), 1.0).verdict for unseen in (0.005, 0.015)] == [
        "within the margin",
        "not separable",
    ]
    for end in ({"low": -0.015}, {"high": 0.015}):
        assert _decided(replace(seen, unseen=0.007, **end), 1.0).verdict == "not separable"


def test_of_too_few_units_the_p_value_is_1() -> None:
    basis = Basis("positives", lambda stats: float(stats[:, 0].sum()))
    rare = Metric("rare", unused, basis=basis)
    a, b = np.zeros((50, 1)), np.zeros((50, 1))
    a[:3], b[:1] = 1, 1
    found = paired_test(rare, a, b)
    assert found.reason
    assert (found.p_value, found.verdict, found.rows_needed) == (1.0, "not separable", None)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_rows_like_none_that_were_seen_move_a_score_by_what_wilson_leaves_to_none_of_n(n: int) -> None:
    found = unseen(Sample(OVERLAP, np.zeros((n, 1)), None), 0.95)
    assert found == pytest.approx(wilson(0, n, 0.95).high)


def test_clusters_that_only_one_of_the_two_runs_knows_are_those_of_both() -> None:
    """They are the rows': one run was scored before its task named the column."""
    scores = np.random.default_rng(0).random((2, 60))
    clusters = np.repeat(np.arange(6), 10)
    both = [scored("t", name, own, OVERLAP, clusters=clusters).rows for name, own in zip("ab", scores, strict=True)]
    bare = [scored("t", name, own, OVERLAP).rows for name, own in zip("ab", scores, strict=True)]
    [expected] = compare_rows([(OVERLAP, both[0], both[1])])
    for two in ((both[0], bare[1]), (bare[0], both[1])):
        assert compare_rows([(OVERLAP, *two)]) == [expected]
    assert compare_rows([(OVERLAP, bare[0], bare[1])]) != [expected]


def test_a_task_whose_verdict_lost_rows_could_turn_is_no_tie() -> None:
    runs = []
    for task, failed, share in (("lost", 40, 0.5), ("tie", 0, 0.5), ("won", 0, 0.95)):
        runs += [
            scored(task, "a", right(share), failed=failed, incomplete=False),
            scored(task, "b", right(0.5), incomplete=False),
        ]
    found = compare_models(runs, "a", "b")
    assert (found.won, found.lost, found.tied, found.untold) == (1, 0, 1, 1)
