"""Number metrics: matches, closeness, and correlations that agree with scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from harness.score.metrics.base import Example
from tests.score.metrics.rows import metric, score, spec

NUMBER = spec("number")
values = st.floats(-1000, 1000).map(lambda value: round(value, 3))
columns = st.lists(st.tuples(values, values), min_size=3, max_size=60)


def rows(pairs: list[tuple[float | None, float]]) -> list[Example]:
    return [Example(x, str(x), (str(y),), (y,)) for x, y in pairs]


def test_numbers_match_by_value() -> None:
    assert score("number_match", NUMBER, ["$1,234.50", "12 apples", "13", ""], ["1234.5", "12", "12", "12"]) == 0.5


def test_a_tolerance_is_allowed_when_asked_for() -> None:
    assert score("number_match", NUMBER, ["3.14"], ["3.1416"]) == 0
    assert score("number_match", NUMBER, ["3.14"], ["3.1416"], tolerance=0.01) == 1


def test_closeness_falls_with_the_error_and_never_below_zero() -> None:
    assert score("closeness", NUMBER, ["4", "0", "1000", ""], ["5", "5", "1", "1"]) == pytest.approx(0.8 / 4)
    assert score("closeness", NUMBER, ["4"], ["5"], scale=10) == 0.9


def spread_out(pairs: list[tuple[float, float]]) -> bool:
    return all(np.ptp([pair[side] for pair in pairs]) > 1e-2 for side in (0, 1))


@given(columns.filter(spread_out))
def test_correlations_are_those_of_scipy(pairs: list[tuple[float, float]]) -> None:
    x, y = zip(*pairs, strict=True)
    assert metric("pearson", NUMBER).score(rows(pairs)) == pytest.approx(scipy_stats.pearsonr(x, y).statistic, abs=1e-6)
    assert metric("spearman", NUMBER).score(rows(pairs)) == pytest.approx(
        scipy_stats.spearmanr(x, y).statistic, abs=1e-9
    )


def test_correlation_agrees_with_scipy_to_the_last_digits_on_ordinary_scores() -> None:
    rng = np.random.default_rng(1)
    y = rng.uniform(0, 5, 500)
    x = y + rng.normal(0, 1, 500)
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    assert metric("pearson", NUMBER).score(rows(pairs)) == pytest.approx(
        scipy_stats.pearsonr(x, y).statistic, abs=1e-12
    )


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlation_shrinks_by_the_rows_without_an_answer(name: str) -> None:
    pairs: list[tuple[float | None, float]] = [
        (1.0, 1.0),
        (2.0, 2.0),
        (4.0, 4.0),
        (None, 3.0),
        (None, 5.0),
        (None, 0.0),
    ]
    assert metric(name, NUMBER).score(rows(pairs)) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlation_with_a_constant_is_zero(name: str) -> None:
    assert metric(name, NUMBER).score(rows([(2.5, 1.0), (2.5, 2.0), (2.5, 4.0)])) == 0
    assert metric(name, NUMBER).score(rows([(None, 1.0), (None, 2.0)])) == 0
    assert metric(name, NUMBER).score(rows([(1e300, 1.0), (-1e300, 2.0), (0.1, 1.5)])) == pytest.approx(-1, abs=0.02)


@given(columns.filter(spread_out), st.floats(0.5, 20), st.floats(-50, 50))
def test_pearson_does_not_change_with_the_scale(pairs: list[tuple[float, float]], unit: float, origin: float) -> None:
    moved = [(x * unit + origin, y) for x, y in pairs]
    pearson = metric("pearson", NUMBER)
    assert pearson.score(rows(moved)) == pytest.approx(pearson.score(rows(pairs)), abs=1e-6)


def test_whole_numbers_are_compared_exactly_whatever_their_size() -> None:
    large = "1" + "0" * 400
    assert (
        score("number_match", NUMBER, ["9007199254740993", large, "0.1"], ["9007199254740992", large, "0.10"]) == 2 / 3
    )
    assert score("number_match", NUMBER, ["0.3"], ["0.0"], tolerance=0.3) == 1
    assert score("closeness", NUMBER, [large], ["1"]) == 0
    assert score("spearman", NUMBER, ["1", "2", large], ["1", "2", "3"]) == pytest.approx(1)
