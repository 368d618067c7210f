"""Simulations of what the statistics promise: intervals cover the truth, equal models are not separated.

The rows of a trial are drawn again; the figures are shares of trials, so the bands leave room for their own chance.
`benchmarks/statistics.py` runs the same on more cases and trials.
"""

from __future__ import annotations

import pytest

from benchmarks.statistics import CASES, coverage, false_verdicts

TRIALS, ROWS = 600, 200


@pytest.mark.parametrize("name", CASES)
def test_95_percent_intervals_cover_a_score_and_a_difference_that_often(name: str) -> None:
    found = coverage(CASES[name], ROWS, TRIALS)
    assert 0.93 <= found.score <= 0.97
    assert 0.93 <= found.difference <= 0.97


@pytest.mark.parametrize("name", CASES)
def test_two_equal_models_get_a_verdict_less_than_5_times_in_100(name: str) -> None:
    assert false_verdicts(CASES[name], ROWS, TRIALS) < 0.05
