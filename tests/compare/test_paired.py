"""Paired tests: agreement with scipy and statsmodels, properties; simulations are in `test_statistics`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from harness.compare.intervals import Sample, wilson
from harness.compare.paired import (
    Comparison,
    ModelPair,
    RunPair,
    Verdict,
    _decided,
    _least,
    _surviving,
    _tango,
    compare_models,
    compare_rows,
    compare_runs,
    corrected,
    holm,
    of_kind,
    paired_test,
    paired_tests,
    scale,
    swap_p_value,
    unseen,
)
from harness.compare.power import RowsNeeded, rows_needed
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


SEEN = Comparison(0.03, 0.01, 0.05, 0.02, 100, "better", RowsNeeded(80, 50, 300), lost=(2, 1), over_answered=(0.02, 97))


class TestWhatAComparisonSays:
    @pytest.mark.parametrize(
        ("value", "text"), [(0.0, "p < 0.001"), (0.00099, "p < 0.001"), (0.001, "p = 0.001"), (0.0466, "p = 0.047")]
    )
    def test_its_p_value_to_three_digits(self, value: float, text: str) -> None:
        assert replace(SEEN, p_value=value).p == text

    def test_its_gain_is_a_loss_where_less_is_better(self) -> None:
        assert SEEN.gain == (0.01, 0.05)
        assert replace(SEEN, higher_is_better=False).gain == (-0.05, -0.01)

    @pytest.mark.parametrize(
        ("low", "unseen", "verdict", "not_inferior"),
        [
            (-0.01, 0.0, "not separable", True),
            (-0.02, 0.0, "not separable", False),  # at most the margin, and the interval ends on it
            (-0.01, 0.01, "not separable", False),
            (-0.01, 0.005, "not separable", True),
            (-0.01, 0.5, "better", True),
        ],
    )
    def test_that_a_is_not_worse_by_the_margin(
        self, low: float, unseen: float, verdict: Verdict, not_inferior: bool
    ) -> None:
        assert replace(SEEN, low=low, unseen=unseen, verdict=verdict).not_inferior == not_inferior

    @pytest.mark.parametrize(
        ("high", "margin", "verdict", "inferior"),
        [
            (-0.03, 0.02, "worse", True),
            (-0.02, 0.02, "worse", False),
            (-0.01, 0.02, "worse", False),
            (0.0, 0.0, "worse", True),
            (0.0, 0.0, "not separable", False),
            (0.0, 1.0, "worse", False),
        ],
    )
    def test_that_a_is_worse_by_more_than_the_margin(
        self, high: float, margin: float, verdict: Verdict, inferior: bool
    ) -> None:
        assert replace(SEEN, low=-0.9, high=high, margin=margin, verdict=verdict).inferior == inferior

    def test_the_other_way_round_all_of_it_is_turned(self) -> None:
        bounds = (replace(SEEN, difference=0.01), replace(SEEN, difference=0.05))
        turned = replace(SEEN, bounds=bounds).turned
        assert (turned.difference, turned.low, turned.high, turned.verdict) == (-0.03, -0.05, -0.01, "worse")
        assert (turned.lost, turned.over_answered) == ((1, 2), (-0.02, 97))
        assert turned.bounds is not None
        assert [one.difference for one in turned.bounds] == [-0.05, -0.01]
        assert turned.turned == replace(SEEN, bounds=bounds)
        assert replace(SEEN, verdict="not separable").turned.verdict == "not separable"

    def test_nothing_turned_is_nothing_and_not_minus_nothing(self) -> None:
        turned = replace(SEEN, difference=0.0, low=0.0, high=0.0, over_answered=(0.0, 97)).turned
        assert turned.over_answered is not None
        for zero in (turned.difference, turned.low, turned.high, turned.over_answered[0]):
            assert math.copysign(1, zero) == 1


class TestDecision:
    @pytest.mark.parametrize(
        ("difference", "p_value", "interval", "verdict"),
        [
            (0.03, 0.049, (0.0, 0.07), "better"),
            (0.03, 0.05, (-0.01, 0.07), "not separable"),
            (-0.03, 0.01, (-0.01, 0.0), "worse"),
            (0.0, 0.01, (-0.01, 0.07), "not separable"),
        ],
    )
    def test_an_interval_holds_0_where_the_p_value_says_so(
        self, difference: float, p_value: float, interval: tuple[float, float], verdict: str
    ) -> None:
        found = _decided(replace(SEEN, difference=difference, low=-0.01, high=0.07), p_value)
        assert (found.low, found.high) == interval
        assert (found.verdict, found.p_value) == (verdict, p_value)

    @pytest.mark.parametrize("interval", [(0.01, 0.07), (-0.07, -0.01)])
    def test_an_interval_beside_0_is_widened_to_it_or_left(self, interval: tuple[float, float]) -> None:
        low, high = interval
        one = replace(SEEN, difference=(low + high) / 2, low=low, high=high)
        widened, left = _decided(one, 0.3), _decided(one, 0.01)
        assert (widened.low, widened.high) == (min(low, 0), max(high, 0))
        assert (left.low, left.high) == interval

    def test_less_is_better_where_the_metric_counts_errors(self) -> None:
        assert _decided(replace(SEEN, higher_is_better=False), 0.01).verdict == "worse"
        assert _decided(replace(SEEN, higher_is_better=False, difference=-0.03), 0.01).verdict == "better"

    @pytest.mark.parametrize("end", [{"low": -0.02}, {"high": 0.02}])
    def test_an_interval_that_ends_on_the_margin_is_not_within_it(self, end: dict[str, float]) -> None:
        inside = replace(SEEN, difference=0.0, low=-0.01, high=0.01)
        assert _decided(inside, 1.0).verdict == "within the margin"
        assert _decided(replace(inside, **end), 1.0).verdict == "not separable"

    def test_a_p_value_of_a_family_is_1_at_most(self) -> None:
        assert corrected([replace(SEEN, p_value=0.6)], 3)[0].p_value == 1
        assert corrected([replace(SEEN, p_value=0.01)], 3)[0].p_value == pytest.approx(0.03)

    @pytest.mark.parametrize(
        ("verdict", "against", "favour", "left"),
        [
            ("better", "better", "worse", "better"),
            ("better", "not separable", "better", "cannot be told"),
            ("worse", "worse", "worse", "worse"),
            ("worse", "worse", "not separable", "cannot be told"),
            ("within the margin", "within the margin", "within the margin", "within the margin"),
            ("within the margin", "within the margin", "better", "cannot be told"),
            ("within the margin", "not separable", "within the margin", "cannot be told"),
            ("not separable", "worse", "better", "not separable"),
        ],
    )
    def test_a_verdict_stays_where_the_worst_case_for_it_leaves_it(
        self, verdict: Verdict, against: Verdict, favour: Verdict, left: str
    ) -> None:
        assert _surviving(verdict, against, favour) == left

    def test_each_comparison_of_a_family_has_its_own_bounds(self) -> None:
        sure = replace(SEEN, p_value=0.001)
        bounds = (replace(SEEN, p_value=0.9), sure)
        verdicts = [one.verdict for one in corrected([sure, replace(sure, bounds=bounds)])]
        assert verdicts == ["better", "cannot be told"]


class TestFiguresOfAComparison:
    """Each computed here once more, from its definition."""

    def test_of_right_and_wrong_rows(self) -> None:
        a, b = binary(12, 6, 70, 12)
        found = paired_test(ACCURACY, a, b)
        sd = float((a - b).std())
        assert (found.difference, found.n) == (pytest.approx(0.06), 100)
        assert found.error == pytest.approx(sd / 10)
        # 18 rows differ: of 100 that did not show it, one more at least.
        assert found.rows_needed == rows_needed(0.06, sd, 100, 101, 1, math.sqrt(0.18))

    @pytest.mark.parametrize(
        ("p_value", "together", "least"), [(0.04, 1, 1), (0.05, 1, 101), (0.02, 3, 101), (0.02, 2, 1)]
    )
    def test_of_rows_that_did_not_show_it_one_more_is_needed(self, p_value: float, together: int, least: int) -> None:
        """Not by one comparison, but by as many as are made together."""
        assert _least(100, p_value, together) == least

    @pytest.mark.parametrize(("together", "least"), [(1, 8), (4, 11)])
    def test_rows_of_which_enough_differ_for_the_exact_test(self, together: int, least: int) -> None:
        """Three of four rows differ, all to one side: six such are p = 2/64, eight are less than 0.05 / 4."""
        a, b = binary(3, 0, 1, 0)
        (found,) = paired_tests([RunPair(Sample(ACCURACY, a), Sample(ACCURACY, b), comparisons=together)])
        assert found.rows_needed is not None
        assert found.rows_needed.least == least

    @pytest.mark.parametrize("table", [(12, 6, 100), (1, 7, 21), (30, 0, 40), (0, 0, 9)])
    @pytest.mark.parametrize("z", [1.0, 1.96, 2.8])
    def test_tangos_ends_are_those_that_the_score_test_just_rejects(
        self, table: tuple[int, int, int], z: float
    ) -> None:
        """The statistic with the probabilities that are most likely under each difference, found by a search."""
        only_a, only_b, n = table

        def statistic(d: float) -> float:
            def likelihood(q: float) -> float:  # q: the probability that only B is right
                parts = ((only_a, q + d), (only_b, q), (n - only_a - only_b, 1 - 2 * q - d))
                return -sum(count * math.log(max(share, 1e-300)) for count, share in parts if count)

            bounds = (max(0.0, -d), (1 - d) / 2)
            q = optimize.minimize_scalar(likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
            return float((only_a - only_b - n * d) / math.sqrt(n * (2 * q + d - d * d)))

        low, high = _tango(only_a, only_b, n, z)
        assert (statistic(low), statistic(high)) == pytest.approx((z, -z), abs=1e-3)

    def test_of_scores_between_0_and_1(self) -> None:
        a, b = np.random.default_rng(4).random((2, 90, 1))
        found = paired_test(OVERLAP, a + 0.2, b)
        gaps = (a + 0.2 - b).ravel()
        assert found.error == pytest.approx(gaps.std(ddof=1) / math.sqrt(90))
        assert found.verdict == "better"
        assert found.rows_needed == rows_needed(gaps.mean(), gaps.std(ddof=1), 90, 1)
        assert found.unseen == pytest.approx(wilson(0, 90).high)

    def test_rows_needed_of_a_difference_that_is_the_same_in_each_row_are_one(self) -> None:
        assert paired_test(OVERLAP, np.ones((1000, 1)), np.zeros((1000, 1))).rows_needed == RowsNeeded(1, 1, 1)

    @pytest.mark.parametrize(("lead", "reach"), [(0.0, 0), (0.4, 1)])
    def test_where_all_rows_differ_alike_the_interval_is_what_may_be_unseen(self, lead: float, reach: int) -> None:
        """On a scale from -1 to 1, twice as much as on one from 0 to 1. A lead may be missing in other rows besides."""
        wide = replace(OVERLAP, low=-1.0)
        a, b = np.full((50, 1), lead), np.zeros((50, 1))
        found = paired_test(wide, a, b)
        beyond = 2 * wilson(0, 50).high
        assert (found.low, found.high) == pytest.approx((min(lead - beyond, 2), lead + beyond))
        assert found.unseen == pytest.approx(reach * beyond)

    @pytest.mark.parametrize(("differing", "share"), [(1, 1.0), (2, 0.5), (3, 0.25)])
    def test_the_p_value_of_swaps_is_the_share_of_those_with_as_large_a_difference(
        self, differing: int, share: float
    ) -> None:
        """Where one row differs each swap has as large a difference; of three, those that turn none or all."""
        a, b = np.zeros((2, 20, 1))
        a[:differing] = 0.5
        found = swap_p_value(Sample(OVERLAP, a), Sample(OVERLAP, b))
        assert found == pytest.approx(share, abs=0 if differing == 1 else 0.02)

    def test_swaps_that_have_it_count_whatever_the_tail_of_a_mean_would_say(self) -> None:
        """A score that only a model without a mistake has: two swaps of six rows leave one, the others none."""
        steep = replace(OVERLAP, summary=lambda means: means[..., 0] ** 9)
        a, b = np.ones((6, 1)), np.zeros((6, 1))
        assert swap_p_value(Sample(steep, a), Sample(steep, b)) == pytest.approx(2 / 64, abs=0.006)

    def test_where_no_swap_has_so_large_a_difference_it_is_that_of_the_tail(self) -> None:
        a, b = np.ones((60, 1)), np.zeros((60, 1))
        assert swap_p_value(Sample(OVERLAP, a), Sample(OVERLAP, b)) == pytest.approx(2 * math.exp(-60 / 2), rel=0.2)
        assert swap_p_value(Sample(OVERLAP, a[:30]), Sample(OVERLAP, b[:30])) < 1e-4

    def test_there_are_no_swaps_of_more_rows_than_5000(self) -> None:
        found = []
        for n in (5000, 5001):
            a = np.zeros((n, 1))
            a[0] = 1.0
            found.append(swap_p_value(Sample(OVERLAP, a), Sample(OVERLAP, np.zeros((n, 1)))))
        assert found == [1.0, 0.0]


class TestRuns:
    def test_are_compared_each_by_itself_unless_it_is_said_otherwise(self) -> None:
        a, b = scored("t", "a", right(0.6)), scored("t", "b", right(0.5))
        rows = [one.rows.stats["accuracy"] for one in (a, b)]
        alone, together = compare_runs([(a, b)]), compare_runs([(a, b)], 0.5, [4])
        assert alone == [paired_test(ACCURACY, *rows)]
        assert (together[0].margin, together[0].comparisons) == (0.5, 4)
        assert together[0].low < alone[0].low

    def test_of_rows_without_an_answer_the_difference_over_the_others_is_known(self) -> None:
        a = scored("t", "a", [1, 1, 1, 0, 1, 0, 0, 0], failed=1)
        b = scored("t", "b", [1, 0, 0, 0, 0, 0, 0, 0], failed=2)
        (found,) = compare_runs([(a, b)])
        assert (found.lost, found.over_answered) == ((1, 2), (0.5, 6))
        assert found.bounds is not None
        assert found.difference == 3 / 8
        assert [one.difference for one in found.bounds] == [1 / 8, 4 / 8]

    def test_of_runs_that_share_no_answered_row_it_is_not(self) -> None:
        a, b = scored("t", "a", [0, 0], failed=2), scored("t", "b", [1, 0], failed=1)
        assert compare_runs([(a, b)])[0].over_answered is None

    def test_the_benchmark_rows_come_first_unless_a_kind_is_named(self) -> None:
        runs = [scored("t", kind, [1.0], kind=kind).manifest for kind in ("benchmark", "sample")]
        assert of_kind(runs, None) == of_kind(runs, "benchmark") == runs[:1]
        assert of_kind(runs[1:], None) == of_kind(runs, "sample") == runs[1:]

    def test_what_a_pair_counts(self) -> None:
        verdicts: list[Verdict] = [
            *["better"] * 3, *["worse"] * 2, "within the margin", *["not separable"] * 4, *["cannot be told"] * 5
        ]  # fmt: skip
        pair = ModelPair("a", "b", {str(i): replace(SEEN, verdict=one) for i, one in enumerate(verdicts)}, rivals=2)
        assert (pair.won, pair.lost, pair.equal, pair.tied, pair.untold) == (3, 2, 1, 5, 5)
        assert pair.comparisons == 30
        turned = pair.turned
        assert (turned.a, turned.b, turned.won, turned.lost, turned.tied) == ("b", "a", 2, 3, 5)
        assert ModelPair("a", "b", {}).comparisons == 1

    def test_without_a_task_in_common_there_is_one_rival(self) -> None:
        found = compare_models([scored("t", "a", right(0.5)), scored("u", "b", right(0.5))], "a", "b")
        assert (dict(found.tasks), found.rivals, found.comparisons) == ({}, 1, 1)
