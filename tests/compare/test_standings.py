"""Standings: wins against a reference, lift over base, ranks and averages over the tasks all models have."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from harness.compare.intervals import Estimate, wilson
from harness.compare.paired import Comparison, scale
from harness.compare.standings import _alone, _mean_gain, _mean_of, gain, most_expensive, standings, usd_per_row
from harness.score.scoring import ScoredRun
from harness.store.results import Manifest
from tests.scored import ERROR, OVERLAP, PERCENT, right, scored

OPEN = replace(PERCENT, name="open", low=-math.inf, high=math.inf)
OPEN_SCORES = {"big": 70.0, "tuned": 90.0, "small": 50.0}
TWO_TASKS = [
    scored("news", "big", right(0.80), usd=4.0),
    scored("news", "tuned", right(0.90), usd=0.1, base="small"),
    scored("news", "small", right(0.40)),
    scored("maths", "big", right(0.70), usd=4.0),
    scored("maths", "tuned", right(0.70), usd=0.1, base="small"),
    scored("maths", "small", right(0.30)),
]


def _baseline(run: ScoredRun) -> Manifest:
    return run.manifest.model_copy(update={"model_settings": {"backend": "baseline"}})


class TestReference:
    def test_is_the_most_expensive_model_unless_named(self) -> None:
        assert most_expensive(TWO_TASKS) == "big"
        assert standings(TWO_TASKS).reference == "big"
        assert standings(TWO_TASKS, "small").reference == "small"

    def test_without_a_price_it_is_the_best_baseline_else_the_best_model(self) -> None:
        runs = [scored("news", model, right(share)) for model, share in (("a", 0.5), ("b", 0.6), ("c", 0.9))]
        found = standings(runs)
        assert (found.reference, found.why) == ("c", "the best model by mean rank")
        found = standings([replace(run, manifest=_baseline(run)) if run.manifest.model < "c" else run for run in runs])
        assert (found.reference, found.why) == ("b", "the best baseline")

    def test_the_best_baseline_is_the_best_on_the_tasks_they_share(self) -> None:
        """Without a task that all models share it was the first in the alphabet."""
        baselines = [
            replace(run, manifest=_baseline(run))
            for run in (scored("news", "majority", right(0.3)), scored("news", "tfidf", right(0.9)))
        ]
        found = standings([*baselines, scored("maths", "other", right(0.5))])
        assert (found.reference, found.why) == ("tfidf", "the best baseline")

    def test_where_they_share_none_it_is_the_best_of_those_with_the_most_tasks(self) -> None:
        runs = [scored("a", "zeta", right(0.2)), scored("b", "zeta", right(0.2)), scored("c", "alpha", right(0.9))]
        found = standings([replace(run, manifest=_baseline(run)) for run in runs])
        assert (found.reference, found.why) == ("zeta", "the best baseline")

    def test_of_several_with_the_most_tasks_the_best_on_those_that_they_share(self) -> None:
        runs = [scored(task, name, right(share)) for task in "ab" for name, share in (("m", 0.2), ("n", 0.8))]
        runs.append(scored("c", "alpha", right(0.9)))
        found = standings([replace(run, manifest=_baseline(run)) for run in runs])
        assert (found.reference, found.why) == ("n", "the best baseline")

    def test_a_model_without_an_answer_is_none_though_it_cost_nothing(self) -> None:
        """A dear model that never answered cost nothing, and the reference turned round."""
        runs = [scored("news", "cheap", right(0.5), usd=1.0), scored("news", "dear", right(0), failed=400, usd=0.0)]
        found = standings(runs)
        assert found.reference == "cheap"
        assert [row.model for row in found.models] == ["cheap", "dear"]
        assert (found.models[1].mean_rank, found.models[1].macro, found.models[1].usd) == (None, None, None)

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

    def test_the_lead_is_over_the_tasks_that_both_were_asked(self) -> None:
        """A task that the third model lacks counts, though it is in no mean of all three; one without a scale does not.

        The page said "6.2 points higher" beside means over other tasks.
        """
        runs = [*TWO_TASKS, *(scored("extra", model, right(share)) for model, share in (("big", 0.1), ("tuned", 0.9)))]
        runs += [scored("open", model, np.full(50, 70.0), OPEN, base="small") for model in ("big", "tuned", "small")]
        tuned, big, _ = standings(runs).models
        assert tuned.lead is not None
        assert tuned.lead.tasks == ("extra", "maths", "news")
        assert tuned.lead.scores == pytest.approx(((0.9 + 0.7 + 0.9) / 3, (0.1 + 0.7 + 0.8) / 3))
        difference = tuned.lead.difference
        assert difference.value == pytest.approx(tuned.lead.scores[0] - tuned.lead.scores[1])
        assert difference.low < difference.value < difference.high
        assert difference.n == 3 * 400
        assert tuned.lead.turned.difference.value == -difference.value
        assert big.lead is None

    def test_over_one_task_a_mean_has_the_interval_of_the_verdict_on_it(self) -> None:
        """The page showed +21.1 to +72.0 in its forest and +29.2 to +70.8 in its table for one difference."""
        tuned = next(
            m for m in standings([r for r in TWO_TASKS if r.manifest.task == "news"]).models if m.model == "tuned"
        )
        assert tuned.against is not None
        assert tuned.lift is not None
        for pair, mean in ((tuned.against, tuned.lead and tuned.lead.difference), (tuned.lift.pair, tuned.lift.mean)):
            (found,) = pair.tasks.values()
            assert mean is not None
            assert (mean.value, mean.low, mean.high) == (found.difference, found.low, found.high)

    def test_rows_that_a_server_lost_decide_no_mean(self) -> None:
        """Identical answers, 15 of 1,000 lost on both tasks: "1.5 points lower (95 % interval −2.0 to −1.0)"."""
        same = right(0.9, 1000, wrong_first=True)
        broken = same.copy()
        broken[-15:] = 0
        runs = [scored(task, "a", same, base="b") for task in ("one", "two")]
        runs += [scored(task, "b", broken, failed=15) for task in ("one", "two")]
        a, b = standings(runs, "b").models
        assert a.lead is not None
        assert a.lift is not None
        for mean in (a.lead.difference, a.lift.mean):
            assert mean.value == pytest.approx(0.015)
            assert mean.low < 0 < mean.high
        assert a.mean_rank is not None
        assert b.mean_rank is not None
        assert (a.mean_rank.value, b.mean_rank.value) == (1, 2)
        assert a.mean_rank.high >= b.mean_rank.low

    def test_a_mean_score_is_as_sure_as_the_scores_it_is_of(self) -> None:
        """24 of 24 right was 1.000 [0.862, 1.000] in its table and [1.000, 1.000] as a mean."""
        runs = [scored(task, model, np.ones(24)) for task in ("one", "two") for model in ("a", "b")]
        alone = standings(runs[:2]).models[0].macro
        assert alone == wilson(24, 24)
        both = standings(runs).models[0].macro
        assert both is not None
        assert 1 - both.low == pytest.approx((1 - wilson(24, 24).low) / math.sqrt(2))
        gap = standings(runs).models[0].lead or standings(runs).models[1].lead
        assert gap is not None
        assert gap.difference.low < 0 < gap.difference.high

    def test_the_mean_of_many_tasks_is_that_of_the_normal_distribution(self) -> None:
        rng = np.random.default_rng(5)
        runs = [scored(f"t{i}", model, rng.random(500), OVERLAP) for i in range(20) for model in ("a", "b")]
        first = standings(runs, "b").models
        a = next(row for row in first if row.model == "a")
        assert a.macro is not None
        assert a.lead is not None
        error = math.sqrt(1 / 12 / 500 / 20)
        assert (a.macro.high - a.macro.low) / 2 == pytest.approx(1.96 * error, rel=0.1)
        assert (a.lead.difference.high - a.lead.difference.low) / 2 == pytest.approx(
            1.96 * math.sqrt(2) * error, rel=0.1
        )

    def test_without_a_common_task_a_price_is_over_all_tasks_of_a_model(self) -> None:
        runs = [scored("one", "a", right(0.5), usd=4.0), scored("two", "b", right(0.5), usd=1.0)]
        assert {row.model: row.usd for row in standings(runs).models} == {"a": 0.01, "b": 0.0025}

    def test_tasks_of_as_many_rows_have_resamples_of_their_own(self) -> None:
        """With one matrix for all, the same scores on four tasks rose and fell together: twice the interval."""
        scores = np.random.default_rng(3).random(400)
        one = standings([scored("t0", "m", scores, OVERLAP)]).models[0].macro
        four = standings([scored(f"t{i}", "m", scores, OVERLAP) for i in range(4)]).models[0].macro
        assert one is not None
        assert four is not None
        assert four.high - four.low == pytest.approx((one.high - one.low) / 2, rel=0.15)

    def test_an_incomplete_run_is_no_task_that_its_model_was_asked(self) -> None:
        broken = scored("news", "small", right(0.1), failed=300, incomplete=True)
        runs = [broken if run.manifest.task == "news" and run.manifest.model == "small" else run for run in TWO_TASKS]
        found = standings(runs)
        assert found.common == ("maths",)
        small = next(row for row in found.models if row.model == "small")
        assert small.tasks == 1
        assert small.against is not None
        assert list(small.against.tasks) == ["maths"]

    def test_a_lift_leaves_out_metrics_without_a_highest_value(self) -> None:
        runs = [*TWO_TASKS, *(scored("open", model, np.full(50, size), OPEN) for model, size in OPEN_SCORES.items())]
        tuned = next(row for row in standings(runs).models if row.model == "tuned")
        assert tuned.lift is not None
        assert tuned.lift.mean.value == pytest.approx(0.45)
        assert (tuned.lift.left_out, len(tuned.lift.pair.tasks)) == (("open",), 3)

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

    def test_a_lead_is_of_shares_of_the_scale(self) -> None:
        runs = [
            *(scored("news", name, right(share)) for name, share in (("a", 0.9), ("b", 0.5))),
            *(scored("mt", name, np.full(400, score), PERCENT) for name, score in (("a", 40.0), ("b", 20.0))),
        ]
        lead = standings(runs, "b").models[0].lead
        assert lead is not None
        assert lead.scores == pytest.approx(((0.9 + 0.4) / 2, (0.5 + 0.2) / 2))
        assert lead.difference.value == pytest.approx(0.3)

    def test_a_model_without_a_complete_run_has_no_task(self) -> None:
        runs = [scored("news", "a", right(0.5)), scored("news", "b", right(0), failed=400)]
        assert [(row.model, row.tasks) for row in standings(runs, "a").models] == [("a", 1), ("b", 0)]

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

    def test_of_runs_with_several_metrics_the_first_counts(self) -> None:
        def with_second(model: str, first: float, second: float) -> ScoredRun:
            run, other = scored("news", model, right(first)), scored("news", model, right(second), OVERLAP)
            stats = {**run.rows.stats, **other.rows.stats}
            return replace(run, metrics=(*run.metrics, *other.metrics), rows=replace(run.rows, stats=stats))

        runs = [with_second("a", 0.9, 0.1), with_second("b", 0.2, 0.8)]
        alone = [replace(run, metrics=run.metrics[:1]) for run in runs]
        assert standings(runs) == standings(alone)
        assert [row.model for row in standings(runs).models] == ["a", "b"]

    def test_rows_of_a_cluster_make_a_rank_less_sure(self) -> None:
        """Two documents won and one lost, of 50 rows each: rows alone leave no doubt."""
        documents = np.repeat([[1, 1, 0, 0], [0, 0, 1, 0]], 50, axis=1)
        runs = [scored("t", name, rows) for name, rows in zip("ab", documents, strict=True)]
        knows = scored("t", "b", documents[1], clusters=np.arange(200) // 50)
        alone, together = standings(runs).models[0].mean_rank, standings([runs[0], knows]).models[0].mean_rank
        assert alone is not None
        assert together is not None
        assert (alone.value, alone.high) == (1, 1)
        assert (together.value, together.high) == (1, 2)

    def test_a_price_that_is_not_known_of_each_task_is_not_known(self) -> None:
        known, unknown = scored("a", "m", right(0.5), usd=1.0), scored("b", "m", right(0.5))
        assert usd_per_row([known, unknown]) is None
        assert usd_per_row([]) is None
        assert usd_per_row([known, replace(unknown, rows=replace(unknown.rows, ids=()))]) == 1 / 400

    def test_the_price_is_over_the_tasks_of_the_mean_score(self) -> None:
        """Those of all models, with a scale; else those of all models; else all."""
        both = [scored("news", name, right(0.5), usd=4.0) for name in "ab"]
        extra = [scored("own", "a", right(0.5), usd=8.0)]
        open_ = [scored("open", name, np.full(400, 7.0), OPEN, usd=2.0) for name in "ab"]
        for runs, usd, averaged, priced in (
            ([*both, *open_, *extra], 0.01, ("news",), ("news",)),
            ([*open_, *extra], 0.005, (), ("open",)),
            ([*extra, *both[1:]], 0.02, (), ()),
        ):
            found = standings(runs)
            assert next(row.usd for row in found.models if row.model == "a") == usd
            assert (found.averaged, found.priced) == (averaged, priced)

    def test_a_lift_is_over_the_base_that_most_runs_name_and_that_was_asked(self) -> None:
        runs = [
            *(scored(task, "tuned", right(0.9), base=base) for task, base in (("a", "x"), ("b", "y"), ("c", "y"))),
            *(scored(task, name, right(0.5)) for task in "abc" for name in "xy"),
            *(scored(task, "self", right(0.7), base="self") for task in "abc"),
            *(scored(task, "orphan", right(0.6), base="lost") for task in "abc"),
        ]
        lifts = {row.model: row.lift and row.lift.pair.b for row in standings(runs).models}
        assert lifts == {"tuned": "y", "self": None, "orphan": None, "x": None, "y": None}

    def test_models_without_a_common_task_come_in_the_order_of_their_names(self) -> None:
        runs = [scored(name, name, right(share)) for name, share in (("b", 0.9), ("a", 0.1), ("c", 0.5))]
        assert [row.model for row in standings(runs, "c").models] == ["a", "b", "c"]


SEEN = Comparison(0.3, 0.1, 0.6, 0.01, 100, "better", None)


class TestMeans:
    def test_of_independent_estimates_the_distances_to_the_ends_are_added_in_squares(self) -> None:
        found = _mean_of([Estimate(0.5, 0.2, 0.6, 10), Estimate(0.7, 0.3, 1.0, 30)])
        assert (found.value, found.n) == (pytest.approx(0.6), 40)
        assert (found.low, found.high) == pytest.approx((0.6 - 0.5 / 2, 0.6 + math.hypot(0.1, 0.3) / 2))

    def test_a_gain_is_a_share_of_the_scale_and_a_loss_where_less_is_better(self) -> None:
        found = gain(replace(SEEN, rests_on="5 positives", reason="few"), 2.0)
        assert found == Estimate(0.15, 0.05, 0.3, 100, "5 positives", "few")
        found = gain(replace(SEEN, higher_is_better=False), 2.0)
        assert (found.value, found.low, found.high) == (-0.15, -0.3, -0.05)
        assert math.copysign(1, gain(replace(SEEN, difference=0.0, higher_is_better=False), 1.0).value) == 1

    def test_a_familys_interval_is_drawn_in_for_one(self) -> None:
        found = _alone(replace(SEEN, comparisons=4))
        ratio = norm.ppf(0.975) / norm.ppf(1 - 0.025 / 4)
        assert (found.low, found.high) == pytest.approx((0.3 - ratio * 0.2, 0.3 + ratio * 0.3))
        assert (_alone(SEEN).low, _alone(SEEN).high) == pytest.approx((0.1, 0.6))

    def test_the_whole_range_stays_it(self) -> None:
        nothing = replace(SEEN, low=-1.0, high=1.0, comparisons=4, reason="only 2 positives")
        assert _alone(nothing) == nothing

    def test_a_mean_gain_holds_whatever_the_lost_rows_would_have_been(self) -> None:
        lost = replace(SEEN, bounds=(replace(SEEN, difference=0.2, low=0.0), replace(SEEN, difference=0.4, high=0.7)))
        one, several = _mean_gain([(lost, 2.0)]), _mean_gain([(lost, 1.0), (SEEN, 1.0)])
        assert one == gain(lost, 2.0)
        assert (several.value, several.n) == (pytest.approx(0.3), 200)
        assert several.low == pytest.approx(0.25 - math.hypot(0.2, 0.2) / 2)
        assert several.high == pytest.approx(0.35 + math.hypot(0.3, 0.3) / 2)

    def test_a_lead_the_other_way_round_is_turned(self) -> None:
        lead = next(row.lead for row in standings(TWO_TASKS).models if row.model == "tuned")
        assert lead is not None
        one, other = lead.difference, lead.turned.difference
        assert (other.value, other.low, other.high, other.n) == (-one.value, -one.high, -one.low, one.n)
        assert lead.turned.scores == (lead.scores[1], lead.scores[0])
        assert lead.turned.turned == lead
