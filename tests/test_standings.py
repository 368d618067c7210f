"""Standings: wins against a reference, lift over base, ranks and averages over the tasks all models have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from harness.standings import most_expensive, pair, scale, standings, usd_per_row
from tests.scored import ERROR, OVERLAP, PERCENT, right, scored

TWO_TASKS = [
    scored("news", "big", right(0.80), usd=4.0),
    scored("news", "tuned", right(0.90), usd=0.1, base="small"),
    scored("news", "small", right(0.40)),
    scored("maths", "big", right(0.70), usd=4.0),
    scored("maths", "tuned", right(0.70), usd=0.1, base="small"),
    scored("maths", "small", right(0.30)),
]


class TestPair:
    def test_counts_tasks_won_tied_and_lost(self) -> None:
        found = pair(TWO_TASKS, "tuned", "big")
        assert (found.won, found.tied, found.lost) == (1, 1, 0)
        assert (found.tasks["news"].verdict, found.tasks["maths"].verdict) == ("better", "within the margin")
        back = pair(TWO_TASKS, "big", "tuned")
        assert (back.won, back.tied, back.lost) == (0, 1, 1)

    def test_corrects_for_the_number_of_tasks(self) -> None:
        """Seven of seven discordant rows: p = 1/64 by the exact test, twelve times that among twelve tasks."""
        runs = [scored(f"t{i:02}", "a", right(7 / 400 if i == 0 else 0)) for i in range(12)]
        runs += [scored(f"t{i:02}", "b", right(0)) for i in range(12)]
        assert pair(runs[:1] + runs[12:13], "a", "b").won == 1
        found = pair(runs, "a", "b")
        assert found.won == 0
        assert found.tasks["t00"].p_value == pytest.approx(12 / 64)

    def test_tasks_on_different_rows_are_named_and_not_compared(self) -> None:
        runs = [scored("news", "a", right(0.5)), scored("news", "b", right(0.5), ids=[f"other{i}" for i in range(400)])]
        found = pair(runs, "a", "b")
        assert (dict(found.tasks), found.apart) == ({}, ("news",))

    def test_the_margin_is_a_share_of_the_metrics_scale(self) -> None:
        rng = np.random.default_rng(0)
        a = 100 * rng.random(400)
        b = a + rng.normal(0, 2, 400)
        found = pair([scored("mt", "a", a, PERCENT), scored("mt", "b", b, PERCENT)], "a", "b")
        assert found.tasks["mt"].margin == 2.0
        assert found.tasks["mt"].verdict == "within the margin"


class TestReference:
    def test_is_the_most_expensive_model_unless_named(self) -> None:
        assert most_expensive(TWO_TASKS) == "big"
        assert standings(TWO_TASKS).reference == "big"
        assert standings(TWO_TASKS, "small").reference == "small"

    def test_there_is_none_when_nothing_has_a_price(self) -> None:
        found = standings([scored("news", "a", right(0.5), usd=0.0), scored("news", "b", right(0.5))])
        assert found.reference is None
        assert all(row.against is None for row in found.models)

    def test_cost_is_per_row_each_task_counting_the_same(self) -> None:
        runs = [scored("long", "m", right(0.5, 100), usd=1.0), scored("short", "m", right(0.5, 50), usd=1.5)]
        assert usd_per_row(runs) == pytest.approx((0.01 + 0.03) / 2)
        assert usd_per_row([scored("free", "m", right(0.5))]) is None


class TestStandings:
    def test_of_two_tasks(self) -> None:
        found = standings(TWO_TASKS)
        assert [row.model for row in found.models] == ["tuned", "big", "small"]
        tuned, big, small = found.models
        assert tuned.mean_rank is not None
        assert (tuned.mean_rank.value, big.mean_rank and big.mean_rank.value) == (1.25, 1.75)
        assert small.macro is not None
        assert small.macro.value == pytest.approx(0.35)
        assert tuned.lift is not None
        assert tuned.lift.mean.value == pytest.approx(0.45)
        assert tuned.lift.mean.low < 0.45 < tuned.lift.mean.high
        assert tuned.lift.pair.won == 2
        assert (big.lift, big.against) == (None, None)

    def test_average_only_over_the_tasks_of_all_models(self) -> None:
        found = standings([*TWO_TASKS, scored("extra", "small", right(1.0))])
        assert found.common == ("maths", "news")
        small = next(row for row in found.models if row.model == "small")
        assert small.tasks == 3
        assert small.macro is not None
        assert small.macro.value == pytest.approx(0.35)

    def test_models_without_a_common_task_have_no_rank(self) -> None:
        found = standings([scored("one", "a", right(0.5)), scored("two", "b", right(0.5))])
        assert found.common == ()
        assert all(row.mean_rank is None and row.macro is None for row in found.models)

    def test_errors_rank_from_the_bottom_and_stay_out_of_the_average(self) -> None:
        rng = np.random.default_rng(1)
        good, bad = rng.random(200), 3 + rng.random(200)
        runs = [scored("dates", "good", good, ERROR, base="bad"), scored("dates", "bad", bad, ERROR)]
        found = standings(runs)
        assert [row.model for row in found.models] == ["good", "bad"]
        assert found.left_out == ("dates",)
        assert found.models[0].macro is None
        assert found.models[0].lift is not None
        assert found.models[0].lift.mean.value == pytest.approx((bad.mean() - good.mean()) / 10)

    def test_a_score_to_100_counts_as_a_share(self) -> None:
        found = standings([scored("mt", "m", np.full(50, 40.0), PERCENT)])
        assert found.models[0].macro is not None
        assert found.models[0].macro.value == pytest.approx(0.4)
        assert scale(PERCENT) == 100

    def test_mean_rank_covers_what_other_rows_would_give(self) -> None:
        """Two equal models: in most samples the interval of the mean rank holds 1.5."""
        rng = np.random.default_rng(2)
        held = 0
        for _ in range(60):
            runs = [scored(f"t{t}", m, rng.random(100) < 0.7) for t in range(4) for m in "ab"]
            rank = standings(runs).models[0].mean_rank
            assert rank is not None
            held += rank.low <= 1.5 <= rank.high
        assert held >= 54

    @settings(max_examples=20, deadline=None)
    @given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 10**6))
    def test_mean_ranks_are_those_of_scipy_and_add_up(self, models: int, tasks: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        tables = rng.integers(0, 3, (tasks, models, 20)) / 2
        runs = [scored(f"t{t}", f"m{m}", tables[t, m], OVERLAP) for t in range(tasks) for m in range(models)]
        found = {row.model: row.mean_rank for row in standings(runs).models}
        expected = rankdata(-tables.mean(axis=2).round(12), axis=1).mean(axis=0)
        for m in range(models):
            rank = found[f"m{m}"]
            assert rank is not None
            assert rank.value == pytest.approx(expected[m])
            assert 1 <= rank.low <= rank.value <= rank.high <= models
