"""Pairs of models over several tasks: who wins where, after Holm, on the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from harness.compare.paired import compare_model_pairs, compare_models
from tests.compare.test_standings import TWO_TASKS
from tests.scored import PERCENT, right, scored


class TestPair:
    def test_counts_tasks_won_tied_and_lost(self) -> None:
        found = compare_models(TWO_TASKS, "tuned", "big")
        assert (found.won, found.tied, found.lost) == (1, 1, 0)
        assert (found.tasks["news"].verdict, found.tasks["maths"].verdict) == ("better", "within the margin")
        back = compare_models(TWO_TASKS, "big", "tuned")
        assert (back.won, back.tied, back.lost) == (0, 1, 1)

    def test_corrects_for_the_number_of_tasks(self) -> None:
        """Seven of seven discordant rows: p = 1/64 by the exact test, twelve times that among twelve tasks."""
        runs = [scored(f"t{i:02}", "a", right(7 / 400 if i == 0 else 0)) for i in range(12)]
        runs += [scored(f"t{i:02}", "b", right(0)) for i in range(12)]
        assert compare_models(runs[:1] + runs[12:13], "a", "b").won == 1
        found = compare_models(runs, "a", "b")
        assert found.won == 0
        assert found.tasks["t00"].p_value == pytest.approx(12 / 64)

    def test_tasks_on_different_rows_are_named_and_not_compared(self) -> None:
        runs = [scored("news", "a", right(0.5)), scored("news", "b", right(0.5), ids=[f"other{i}" for i in range(400)])]
        found = compare_models(runs, "a", "b")
        assert (dict(found.tasks), list(found.apart)) == ({}, ["news"])

    def test_the_margin_is_a_share_of_the_metrics_scale(self) -> None:
        rng = np.random.default_rng(0)
        a = 100 * rng.random(400)
        b = a + rng.normal(0, 2, 400)
        found = compare_models([scored("mt", "a", a, PERCENT), scored("mt", "b", b, PERCENT)], "a", "b")
        assert found.tasks["mt"].margin == 2.0
        assert found.tasks["mt"].verdict == "within the margin"

    def test_several_pairs_at_once_are_what_each_is_alone(self) -> None:
        asked = [("tuned", "big"), ("tuned", "small"), ("small", "big")]
        assert compare_model_pairs(TWO_TASKS, asked) == [compare_models(TWO_TASKS, a, b) for a, b in asked]
