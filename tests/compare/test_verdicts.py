"""What may be compared, and what a verdict survives: rows without an answer, other prompts, other models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.compare.confirmation import confirm
from harness.compare.intervals import two_sided
from harness.compare.paired import _tango, compare_models
from harness.compare.seeds import compare_seeds
from harness.report.words import comparison
from harness.score.metrics.base import Basis
from harness.score.scoring import ScoredRun
from tests.scored import OVERLAP, right, scored

SAME = right(0.9, 1000, wrong_first=True)


def lost(model: str, rows: int, *, incomplete: bool = False) -> ScoredRun:
    """A run whose last rows have no answer, of a model that is as good as another one."""
    scores = SAME.copy()
    scores[-rows:] = 0
    return scored("news", model, scores, failed=rows, incomplete=incomplete)


class TestRowsWithoutAnAnswer:
    def test_alone_make_no_verdict(self) -> None:
        """The same answers, 15 of 1,000 missing: "a beats b (p < 0.001)"."""
        found = compare_models([scored("news", "a", SAME), lost("b", 15)], "a", "b").tasks["news"]
        assert found.verdict == "cannot be told"
        assert found.p_value < 0.001
        assert found.difference == pytest.approx(0.015)
        assert found.over_answered == (0.0, 985)
        assert "cannot be told: 15 rows of b have no answer" in comparison("a", "b", "accuracy", found)
        assert compare_models([scored("news", "a", SAME), lost("b", 15)], "b", "a").tasks["news"].verdict == (
            "cannot be told"
        )

    def test_leave_a_verdict_that_holds_either_way(self) -> None:
        worse = right(0.7, 1000, wrong_first=True)
        worse[-15:] = 0
        runs = [scored("news", "a", SAME), scored("news", "b", worse, failed=15)]
        assert compare_models(runs, "a", "b").tasks["news"].verdict == "better"
        assert compare_models(runs, "b", "a").tasks["news"].verdict == "worse"

    def test_make_equality_unknown_too(self) -> None:
        a = np.full(1000, 0.5)
        b = a.copy()
        runs = [scored("news", "a", a, OVERLAP), scored("news", "b", b, OVERLAP, failed=40)]
        assert compare_models(runs, "a", "b").tasks["news"].verdict == "cannot be told"

    @pytest.mark.parametrize("run", [lost("b", 700, incomplete=True), scored("news", "b", right(0, 1000), failed=1000)])
    def test_of_an_incomplete_run_there_is_no_comparison(self, run: ScoredRun) -> None:
        """With 700 missing and the rest right b lost; with a wrong model name it was beaten, p < 0.001."""
        found = compare_models([scored("news", "a", SAME), run], "a", "b")
        assert not found.tasks
        assert found.apart["news"].startswith("the run of b is incomplete: ")


class TestDifferentQuestions:
    PROMPTS = tuple(scored("news", name, SAME, task_spec={"prompt": f"{{{{ text }}}} {name}?"}) for name in "ab")

    def test_answers_to_different_prompts_are_compared_only_when_asked_for(self) -> None:
        found = compare_models(self.PROMPTS, "a", "b")
        assert "different prompts or limits" in found.apart["news"]
        found = compare_models(self.PROMPTS, "a", "b", across_prompts=True)
        assert (list(found.tasks), found.across) == (["news"], ("news",))

    @pytest.mark.parametrize("changed", [{"max_tokens": 9}, {"stop": ["."]}, {"system": "Be brief."}])
    def test_limits_and_what_stands_in_front_are_part_of_the_question(self, changed: dict[str, object]) -> None:
        runs = [scored("news", "a", SAME), scored("news", "b", SAME, task_spec=changed)]
        assert not compare_models(runs, "a", "b").tasks

    def test_other_right_answers_are_not_compared(self) -> None:
        runs = [scored("news", "a", SAME), scored("news", "b", SAME, task_spec={"target": "{{ other }}"})]
        found = compare_models(runs, "a", "b", across_prompts=True)
        assert "right answers were made by different templates" in found.apart["news"]


class TestFamily:
    def test_models_count_as_well_as_tasks(self) -> None:
        """Seven of seven discordant rows: p = 1/64; for each of four that were compared with b, four times that."""
        runs = [scored("news", "a", right(7 / 400)), *(scored("news", name, right(0)) for name in "bcde")]
        found = compare_models(runs, "a", "b")
        assert found.tasks["news"].p_value == pytest.approx(4 / 64)
        assert (found.rivals, found.comparisons) == (4, 4)

    def test_models_that_are_recorded_and_not_shown_count_too(self) -> None:
        runs = [
            replace(scored("news", name, right(share)), rivals=frozenset("abcde"))
            for name, share in (("a", 7 / 400), ("b", 0.0))
        ]
        assert compare_models(runs, "a", "b").tasks["news"].p_value == pytest.approx(4 / 64)

    def test_a_pair_has_one_p_value_whichever_is_named_first(self) -> None:
        runs = [scored("news", name, right(share)) for name, share in (("a", 0.52), ("b", 0.5), ("c", 0.4))]
        there, back = compare_models(runs, "a", "b").tasks["news"], compare_models(runs, "b", "a").tasks["news"]
        assert there.p_value == back.p_value
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))

    @pytest.mark.parametrize("others", [0, 1, 4, 9])
    def test_an_interval_is_that_of_the_family_whatever_one_test_alone_would_say(self, others: int) -> None:
        """9 rows against 1 of 40: alone p = 0.021, so that the interval for ten comparisons was cut off at 0."""
        a, b = np.zeros((2, 40))
        a[:9], b[9] = 1, 1
        runs = [scored("t", f"m{number}", np.zeros(40)) for number in range(others)]
        found = compare_models([*runs, scored("t", "a", a), scored("t", "b", b)], "a", "b").tasks["t"]
        low, high = _tango(9, 1, 40, two_sided(1 - 0.05 / (1 + others)))
        assert (found.low, found.high) == (low, high)
        assert (found.verdict == "better") == (low > 0) == (others < 4)


class TestTooLittleCounts:
    def test_nothing_is_better_where_nothing_can_be_told(self) -> None:
        """bench said "a beats b (p < 0.001; only 2 rows of the rarest label, from which nothing can be told)"."""
        rare = replace(OVERLAP, basis=Basis("rows of the rarest label", lambda stats: 2.0, least=4))
        a, b = right(0.9, 1000), right(0.4, 1000)
        found = compare_models([scored("t", "a", a, rare), scored("t", "b", b, rare)], "a", "b").tasks["t"]
        assert (found.verdict, found.p_value, found.low, found.high) == ("not separable", 1, -1, 1)
        assert found.rows_needed is None
        runs = [*(scored("t", f"s{seed}", a, rare) for seed in (1, 2)), scored("t", "b", b, rare)]
        seeds = compare_seeds(runs, "s{1..2}", "b").pair.tasks["t"]
        assert (seeds.verdict, seeds.p_value, seeds.low, seeds.high) == ("not separable", 1, -1, 1)


class TestConfirmation:
    def test_is_on_rows_that_were_not_asked_before_and_corrects_for_no_other_model(self) -> None:
        first = [scored("news", name, right(0.5, 100), ids=[f"r{i}" for i in range(100)]) for name in "abcdef"]
        later = [
            scored("news", name, right(share, 100), ids=[f"r{i}" for i in range(50, 150)])
            for name, share in (("a", 1.0), ("b", 0.8))
        ]
        found = confirm(first, later, "a", "b")
        assert (found.rivals, found.tasks["news"].n) == (1, 50)
        assert found.tasks["news"].difference == pytest.approx(20 / 50)

    def test_without_a_fresh_row_there_is_none(self) -> None:
        runs = [scored("news", name, right(0.5)) for name in "ab"]
        found = confirm(runs, runs, "a", "b")
        assert (found.tasks, found.apart) == ({}, {"news": "every row was asked before; there is no fresh one"})
