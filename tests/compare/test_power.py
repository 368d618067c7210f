"""The minimum detectable difference: found as often as promised, and smaller with more rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr
from scipy.stats import norm

from harness.compare import power

RUNS = 20_000
rows = st.integers(1, 100_000)
shares = st.floats(0.01, 1)


@pytest.mark.parametrize(("n", "discordance"), [(200, 0.4), (500, 0.2), (1000, 0.1), (1000, 0.3), (3000, 0.05)])
def test_the_exact_mcnemar_test_finds_the_paired_difference_in_four_of_five_runs(n: int, discordance: float) -> None:
    difference = power.detectable_share(n, discordance)
    assert difference is not None
    better, worse = (discordance + difference) / 2, (discordance - difference) / 2
    counts = np.random.default_rng(0).multinomial(n, [better, worse, 1 - discordance], RUNS)
    fewer, both = counts[:, :2].min(axis=1), counts[:, :2].sum(axis=1)
    found = (2 * bdtr(fewer, both, 0.5) < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.03)


@given(n=rows, more=rows, discordance=shares)
def test_more_rows_show_a_smaller_paired_difference(n: int, more: int, discordance: float) -> None:
    few, many = power.detectable_share(n, discordance), power.detectable_share(n + more, discordance)
    if few is not None:
        assert many is not None
        assert 0 < many < few <= discordance


def test_few_rows_show_nothing() -> None:
    assert power.detectable_share(3) is None
    assert power.detectable_share(24, 0.2) is None


def test_a_normal_test_detects_two_point_eight_standard_errors() -> None:
    assert power.detectable_by_error(0.01) == pytest.approx(0.028, abs=1e-4)


@given(n=st.integers(50, 100_000), discordance=shares)
def test_the_share_is_connors_number_of_rows_solved_for_the_difference(n: int, discordance: float) -> None:
    """Connor, Biometrics 43, 1987: n = (z_level sqrt(p) + z_power sqrt(p - d^2))^2 / d^2 for p discordant rows."""
    found = power.detectable_share(n, discordance)
    if found is not None:
        d = found - 1 / n  # without the continuity correction
        level, power_ = norm.ppf(0.975), norm.ppf(0.8)
        assert (level * discordance**0.5 + power_ * (discordance - d**2) ** 0.5) ** 2 / d**2 == pytest.approx(n)


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("null_sd", [None, 0.5])
@pytest.mark.parametrize("difference", [0.03, -0.03])
def test_rows_needed_are_those_of_the_normal_test(difference: float, together: int, null_sd: float | None) -> None:
    sd, n = 0.4, 900

    def rows(gap: float) -> int:
        level, power_ = norm.ppf(1 - 0.025 / together), norm.ppf(0.8)
        return math.ceil(((level * (null_sd or sd) + power_ * sd) / gap) ** 2)

    error = sd / 30
    found = power.rows_needed(difference, sd, n, 1, together, null_sd)
    assert found == power.RowsNeeded(rows(0.03), rows(0.03 + error), rows(0.03 - error))
    assert power.rows_needed(difference, sd, n, 10**6, together, null_sd) == power.RowsNeeded(10**6, 10**6, 10**6)
    if together == 1:
        assert power.rows_needed(difference, sd, n, 1, null_sd=null_sd) == found


def test_a_difference_that_is_its_standard_error_says_nothing_about_its_rows() -> None:
    assert power.rows_needed(0.5, 5.0, 100, 1) is None
    assert power.rows_needed(0.5001, 5.0, 100, 1) is not None


def test_by_default_a_fifth_of_the_rows_is_discordant() -> None:
    assert power.detectable_share(500) == power.detectable_share(500, 0.2)
