"""Figures and verdicts over several tasks: each has one definition, wherever it is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.compare.paired import compare_models
from harness.report.scoreboard import Latency, Scoreboard, two_best
from harness.report.words import headline, task_verdict
from harness.score.scoring import ScoredRun
from tests.scored import ERROR, PERCENT, right, scored


def sentences(runs: list[ScoredRun]) -> dict[str, str]:
    return {task: task_verdict(one) for task, one in two_best(runs).items()}


class TestTwoBest:
    def test_a_lead_on_one_task_has_its_own_p_value(self) -> None:
        [said] = sentences([scored("jigsaw", "a", right(0.515)), scored("jigsaw", "b", right(0.5))]).values()
        assert said.startswith("a beats b (+0.015 accuracy, ")  # 6 rows of 400, all on one side: p = 2 / 2^6
        assert "p = 0.031, n = 400" in said

    def test_the_p_values_of_several_tasks_are_corrected(self) -> None:
        runs = [
            scored(task, model, right(share))
            for task in ("jigsaw", "boolq")
            for model, share in (("a", 0.515), ("b", 0.5))
        ]
        for said in sentences(runs).values():
            assert said.startswith("a and b are not separable (+0.015 accuracy, ")
            assert "p = 0.062 corrected for 2 comparisons, n = 400" in said

    def test_the_p_value_is_the_one_of_a_comparison_of_these_two(self) -> None:
        """On the other task the two best are others; the family is still the tasks that both have, for two rivals."""
        runs = [scored("jigsaw", model, right(share)) for model, share in (("a", 0.515), ("b", 0.5), ("c", 0.1))]
        runs += [scored("boolq", model, right(share)) for model, share in (("a", 0.2), ("b", 0.5), ("c", 0.9))]
        found = two_best(runs)["jigsaw"]
        assert found.models == ("a", "b")
        assert found.found is not None
        assert found.found.comparisons == 4
        assert found.found == compare_models(runs, "a", "b").tasks["jigsaw"]

    def test_what_cannot_be_compared_is_said(self) -> None:
        alone = scored("jigsaw", "a", right(0.5))
        assert sentences([alone]) == {"jigsaw": "Only a was asked; a comparison needs two models."}
        other = scored("jigsaw", "b", right(0.4), ids=[f"other {i}" for i in range(400)])
        assert sentences([alone, other]) == {
            "jigsaw": "Nothing can be told: a and b were asked different rows; run bench again for both."
        }

    def test_an_incomplete_run_has_no_verdict_and_comes_last(self) -> None:
        """A model without a single answer was beaten, p < 0.001."""
        dead = scored("jigsaw", "dead", right(0), failed=400, usd=9.0)
        two = [scored("jigsaw", "a", right(0.9), usd=1.0), dead]
        assert sentences(two) == {
            "jigsaw": "Nothing can be told: the run of dead is incomplete: 400 of 400 rows have no answer; "
            "run bench again."
        }
        board = Scoreboard(two)
        assert (board.reference, board.best) == ("a", {"jigsaw": "a"})
        assert board.standing("dead").mean_rank is None
        assert headline(board).startswith("Nothing can be told: the run of dead is incomplete: 400 of 400 rows")
        assert not board.is_top("jigsaw", "dead")


class TestTheTwoModelsOfTheHeadline:
    RUNS = (
        scored("news", "gpt-4", right(0.8), usd=9.0),
        scored("news", "mine", right(0.9)),
        scored(
            "news", "smollm2-lora", right(0.95), base="smollm2", model_settings={"demonstration": True, "base": "s"}
        ),
        scored("news", "tfidf", right(0.99), model_settings={"backend": "baseline"}),
    )

    def test_a_shipped_demonstration_is_not_the_subject_while_another_model_ran(self) -> None:
        """The headline was about the shipped adapter while the user's own, whose entry has no base, had won."""
        assert Scoreboard(self.RUNS).subject == "mine"
        assert Scoreboard([run for run in self.RUNS if run.manifest.model != "mine"]).subject == "smollm2-lora"

    def test_either_can_be_named(self) -> None:
        board = Scoreboard(self.RUNS, "tfidf", "mine")
        assert (board.subject, board.reference) == ("tfidf", "mine")
        assert headline(board).startswith("tfidf beats mine on news (+0.090 accuracy, ")
        assert board.verdicts()["news"].models == ("tfidf", "mine")

    def test_a_subject_that_would_be_the_reference_gets_another_one(self) -> None:
        board = Scoreboard(self.RUNS, "gpt-4")
        assert (board.subject, board.reference) == ("gpt-4", "tfidf")

    def test_a_base_that_was_not_asked_gives_no_lift(self) -> None:
        tuned = Scoreboard([scored("news", "tuned", right(0.9), base="meta/llama"), self.RUNS[0]])
        assert tuned.subject == "tuned"
        assert tuned.standing("tuned").lift is None

    def test_turned_round_a_duel_says_the_same(self) -> None:
        board = Scoreboard(self.RUNS)
        one, other = board.duel("mine", "gpt-4"), board.duel("gpt-4", "mine")
        assert one.lead is not None
        assert other.lead == one.lead.turned
        (line,), (back,) = one.lines, other.lines
        assert (line.found.verdict, back.found.verdict) == ("better", "worse")
        assert line.gain is not None
        assert back.gain == pytest.approx((-line.gain[0], -line.gain[2], -line.gain[1]))

    def test_a_gain_is_positive_where_an_error_is_smaller(self) -> None:
        runs = [scored("dates", m, np.full(50, size), ERROR) for m, size in (("good", 1.0), ("bad", 4.0))]
        (line,) = Scoreboard(runs).duel("good", "bad").lines
        assert line.gain is not None
        assert line.gain[0] == pytest.approx(30.0)
        assert line.found.difference == pytest.approx(-3.0)


class TestBest:
    def test_equal_scores_are_both_the_best(self) -> None:
        board = Scoreboard([scored("news", m, right(share)) for m, share in (("a", 0.5), ("b", 0.5), ("c", 0.1))])
        assert [board.is_top("news", model) for model in "abc"] == [True, True, False]
        assert not board.is_tied("news", "c")

    def test_not_worse_than_the_best_is_the_verdict_of_these_two(self) -> None:
        """p = 0.016, for two rivals 0.031: a loss. With a second task on which the two are equal, 0.062: none."""
        runs = [scored("news", "a", right(0.5175)), scored("news", "b", right(0.5)), scored("news", "c", right(0.1))]
        assert not Scoreboard(runs).is_tied("news", "b")
        both = [*runs, scored("maths", "a", right(0.5)), scored("maths", "b", right(0.5))]
        assert Scoreboard(both).is_tied("news", "b")
        assert compare_models(both, "b", "a").tasks["news"].verdict != "worse"

    def test_with_one_model_there_is_no_best(self) -> None:
        assert not Scoreboard([scored("news", "a", right(0.5))]).is_top("news", "a")


class TestMeanScoreAndPrice:
    RUNS = (
        scored("news", "big", right(0.8, 100), usd=4.0),
        scored("news", "small", right(0.4, 100), usd=0.5),
        scored("translation", "big", np.full(50, 40.0), PERCENT, usd=1.0),
        scored("translation", "small", np.full(50, 60.0), PERCENT, usd=1.0),
        scored("dates", "big", np.full(50, 9.0), ERROR, usd=100.0),
        scored("dates", "small", np.full(50, 1.0), ERROR, usd=100.0),
        scored("extra", "big", right(1.0, 100), usd=100.0),
    )

    def test_are_over_the_tasks_of_all_models_whose_metric_has_a_highest_value(self) -> None:
        board = Scoreboard(self.RUNS)
        assert board.standings.averaged == ("news", "translation")
        offers = {offer.model: offer for offer in board.offers}
        assert offers["big"].score.value == pytest.approx((0.8 + 0.4) / 2)
        assert offers["small"].score.value == pytest.approx((0.4 + 0.6) / 2)
        assert offers["big"].usd == pytest.approx((40 + 20) / 2)
        assert offers["small"].usd == pytest.approx((5 + 20) / 2)
        assert [offers[model].frontier for model in ("big", "small")] == [True, True]

    def test_a_price_that_is_not_known_of_one_task_is_not_known(self) -> None:
        board = Scoreboard([replace(run, usd=None) if run.usd == 0.5 else run for run in self.RUNS])
        offers = {offer.model: offer for offer in board.offers}
        assert (offers["small"].usd, offers["small"].frontier) == (None, False)

    def test_the_reference_is_the_most_expensive_model_by_the_price_that_is_shown(self) -> None:
        """Over all its tasks, the one that only it was asked included, small would cost more."""
        runs = [run for run in self.RUNS if run.manifest.task != "extra"]
        runs.append(scored("extra", "small", right(1.0, 100), usd=1000.0))
        assert Scoreboard(runs).reference == "big"

    def test_the_headline_names_the_prices_shown(self) -> None:
        assert headline(Scoreboard(self.RUNS)).endswith(", at 12.50 USD against 30.00 USD per 1,000 rows.")

    def test_without_a_common_scale_there_is_a_price_but_no_mean_score(self) -> None:
        board = Scoreboard([run for run in self.RUNS if run.manifest.task == "dates"])
        assert board.offers == ()
        assert board.standing("big").usd == pytest.approx(2.0)


class TestLatency:
    @staticmethod
    def timed(task: str, model: str, seconds: list[float]) -> ScoredRun:
        return replace(scored(task, model, right(0.5)), latencies=np.array(seconds))

    def test_is_over_all_answers_to_the_tasks_that_every_timed_model_has(self) -> None:
        runs = [
            self.timed("news", "a", [0.1] * 5), self.timed("maths", "a", [0.9] * 3), self.timed("more", "a", [50.0]),
            self.timed("news", "b", [0.5] * 5), self.timed("maths", "b", [0.5] * 3),
            scored("news", "untimed", right(0.5)),
        ]  # fmt: skip
        found = Scoreboard(runs).latencies
        assert found.tasks == ("maths", "news")
        assert found.models == (Latency("a", 0.1, 0.9, 8), Latency("b", 0.5, 0.5, 8))

    def test_without_a_common_task_each_is_over_its_own(self) -> None:
        found = Scoreboard([self.timed("news", "a", [0.2]), self.timed("maths", "b", [0.1])]).latencies
        assert found.tasks == ()
        assert [(one.model, one.p50, one.n) for one in found.models] == [("b", 0.1, 1), ("a", 0.2, 1)]

    def test_the_time_of_a_look_up_is_none(self) -> None:
        run = self.timed("news", "a", [0.2])
        settings = {"backend": "recorded"}
        run = replace(run, manifest=run.manifest.model_copy(update={"model_settings": settings}))
        assert Scoreboard([run]).latencies.models == ()
