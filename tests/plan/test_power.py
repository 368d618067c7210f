"""The smallest difference that n rows show: as often as promised, and smaller with more rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_effectsize

from harness.plan import power

RUNS = 20_000
rows = st.integers(1, 100_000)
shares = st.floats(0.01, 1)


@pytest.mark.parametrize(("n", "discordance"), [(200, 0.4), (500, 0.2), (1000, 0.1), (1000, 0.3), (3000, 0.05)])
def test_the_exact_mcnemar_test_finds_the_paired_difference_in_four_of_five_runs(n: int, discordance: float) -> None:
    difference = power.paired(n, discordance)
    assert difference is not None
    better, worse = (discordance + difference) / 2, (discordance - difference) / 2
    counts = np.random.default_rng(0).multinomial(n, [better, worse, 1 - discordance], RUNS)
    fewer, both = counts[:, :2].min(axis=1), counts[:, :2].sum(axis=1)
    found = (2 * bdtr(fewer, both, 0.5) < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("n", "score"), [(100, 0.5), (500, 0.3), (1000, 0.9), (1000, 0.5), (3000, 0.98)])
def test_the_test_of_two_proportions_finds_the_unpaired_difference_in_four_of_five_runs(n: int, score: float) -> None:
    difference = power.unpaired(n, score)
    assert difference is not None
    other = score + math.copysign(difference, 0.5 - score)
    rng = np.random.default_rng(0)
    a, b = rng.binomial(n, score, RUNS) / n, rng.binomial(n, other, RUNS) / n
    middle = (a + b) / 2
    z = (a - b) / np.sqrt(2 * middle * (1 - middle) / n)
    assert (np.abs(z) > 1.959964).mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("n", "score"), [(50, 0.5), (400, 0.2), (1000, 0.05)])
def test_the_unpaired_difference_is_that_of_statsmodels(n: int, score: float) -> None:
    difference = power.unpaired(n, score)
    assert difference is not None
    effect = proportion_effectsize(score + difference, score)
    reached = NormalIndPower().power(effect, n, 0.05, alternative="two-sided")
    assert reached == pytest.approx(0.8, abs=1e-4)


@given(n=rows, more=rows, discordance=shares)
def test_more_rows_show_a_smaller_paired_difference(n: int, more: int, discordance: float) -> None:
    few, many = power.paired(n, discordance), power.paired(n + more, discordance)
    if few is not None:
        assert many is not None
        assert 0 < many < few <= discordance


@given(n=rows, more=rows, score=st.floats(0, 1))
def test_more_rows_show_a_smaller_unpaired_difference(n: int, more: int, score: float) -> None:
    few, many = power.unpaired(n, score), power.unpaired(n + more, score)
    if few is not None:
        assert many is not None
        assert 0 < many < few <= 1


@given(n=rows, score=st.floats(0, 1))
def test_a_score_and_its_opposite_are_equally_hard_to_beat(n: int, score: float) -> None:
    assert power.unpaired(n, score) == pytest.approx(power.unpaired(n, 1 - score))


def test_pairing_helps_when_models_agree_on_most_rows() -> None:
    paired, unpaired = power.paired(1000, 0.1), power.unpaired(1000)
    assert paired is not None
    assert unpaired is not None
    assert paired < unpaired / 2


def test_few_rows_show_nothing() -> None:
    assert power.paired(3) is None
    assert power.paired(24, 0.2) is None
    assert power.unpaired(5) is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_the_jackknife_of_a_mean_is_its_standard_error(values: list[float]) -> None:
    row = np.array(values)
    left_out = (row.sum() - row) / (len(row) - 1)
    assert power.jackknife(left_out) == pytest.approx(row.std(ddof=1) / math.sqrt(len(row)), abs=1e-9)


def test_a_normal_test_shows_two_point_eight_standard_errors() -> None:
    assert power.shown(0.01) == pytest.approx(0.028, abs=1e-4)
