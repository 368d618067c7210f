"""Simulations of what the statistics promise: intervals cover the truth, tables of models hold no false verdict.

The rows of a trial are drawn again; the figures are shares of trials, so the bands leave room for their own chance.
`python -m benchmarks.statistics` runs the same on all cases, sizes and more trials, for docs/statistics.md.
"""

from __future__ import annotations

import pytest

from benchmarks.statistics import LOSSES, SCORES, VERDICTS, coverage, false_tables

TRIALS, TABLES = 300, 200
BAND = 0.025
"""About two standard errors of a share near 0.95 in so many trials."""
CLUSTERED = 210


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n", [24, 100])
def test_95_percent_intervals_cover_the_score_that_often_or_claim_nothing(name: str, n: int) -> None:
    found = coverage(SCORES[name], CLUSTERED if SCORES[name].per_cluster else n, TRIALS)
    assert found.covered >= 0.93 - BAND
    if not found.nothing_claimed:
        assert found.covered <= 0.98 + BAND


@pytest.mark.parametrize("name", VERDICTS)
def test_a_table_of_equal_models_holds_a_false_win_or_loss_less_than_5_times_in_100(name: str) -> None:
    assert false_tables(VERDICTS[name], 50 if not VERDICTS[name].per_cluster else CLUSTERED, 2, TABLES) <= 0.05 + BAND


@pytest.mark.parametrize("models", [11, 30])
def test_more_models_do_not_make_a_false_win_likelier(models: int) -> None:
    """Ten checkpoints equal to the reference: one of them beat it in 11 % of tables, of twenty-eight in 25 %."""
    assert false_tables(VERDICTS["accuracy"], 300, models, TABLES) <= 0.05 + BAND


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n", [24, 50, 100])
def test_three_points_lost_are_not_within_a_margin_of_two(name: str, n: int) -> None:
    """From rare disasters they were in 48 % of samples of 24 and 19 % of 50."""
    assert false_tables(VERDICTS[name], n, 2, 100, LOSSES[name]) <= 0.05
