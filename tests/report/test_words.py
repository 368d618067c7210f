"""Sentences and numbers that every output shares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.compare.gate import Check
from harness.compare.paired import Comparison, ModelPair
from harness.compare.power import RowsNeeded
from harness.compare.standings import standings
from harness.report.words import averages, comparison, family, gate_reason, plural, shortened, signed, small, tally
from tests.scored import ERROR, PERCENT, right, scored

LOST = Comparison(-0.04, -0.06, -0.02, 0.002, 1000, "worse", RowsNeeded(90, 40, 400))
OPEN = Comparison(0.01, -0.03, 0.05, 0.6, 1000, "not separable", RowsNeeded(12_345, 3_000, 90_000))


@pytest.mark.parametrize(
    ("found", "start", "end"),
    [
        (LOST, "a loses to b (−0.040 accuracy, 95 % interval −0.060 to −0.020, p = 0.002", ", n = 1,000)"),
        (replace(LOST, verdict="better"), "a beats b (", ", n = 1,000)"),
        (replace(LOST, verdict="within the margin"), "a and b are equal within 0.02 (", ", n = 1,000)"),
        (
            OPEN,
            "a and b are not separable (",
            ", n = 1,000; about 12,345 (3,000 to 90,000) rows would separate a difference of this size)",
        ),
        (
            replace(OPEN, verdict="cannot be told", lost=(0, 15), over_answered=(0.0, 985)),
            "whether a and b differ cannot be told: 15 rows of b have no answer (",
            ", n = 1,000; +0.000 over the 985 rows that both answered)",
        ),
        (replace(LOST, rests_on="5 positives"), "a loses to b (", ", n = 1,000 (5 positives))"),
        (replace(OPEN, rows_needed=None), "a and b are not separable (", ", n = 1,000)"),
    ],
)
def test_each_verdict_has_one_sentence(found: Comparison, start: str, end: str) -> None:
    sentence = comparison("a", "b", "accuracy", found)
    assert sentence.startswith(start)
    assert sentence.endswith(end)


def test_a_sentence_says_whether_its_p_value_is_corrected() -> None:
    assert "p = 0.002, n" in comparison("a", "b", "accuracy", LOST)
    corrected = replace(LOST, comparisons=20)
    assert "p = 0.002 corrected for 20 comparisons, n" in comparison("a", "b", "accuracy", corrected)
    assert comparison("a", "b", "accuracy", LOST, where=" on news").startswith("a loses to b on news (")


def test_the_gate_says_first_what_is_and_is_not_ruled_out() -> None:
    passed = Check("news", "reading", "passed", "accuracy", replace(OPEN, low=-0.01))
    assert gate_reason(passed, "a", "b").startswith("a loss beyond 0.02 is ruled out; a and b are not separable")
    failed = Check("news", "reading", "failed", "accuracy", LOST)
    assert gate_reason(failed, "a", "b").startswith("a loss beyond 0.02 is shown; a loses to b")
    undecided = Check("news", "reading", "undecided", "accuracy", OPEN, decided=False)
    assert gate_reason(undecided, "a", "b").startswith(
        "cannot be told: a loss beyond 0.02 is neither shown nor ruled out; a and b are not separable"
    )
    across = gate_reason(replace(passed, across=True), "a", "b")
    assert across.endswith("; the answers are to different prompts")
    assert gate_reason(Check("news", "reading", "error", "accuracy", trouble="a has not run it"), "a", "b") == (
        "a has not run it"
    )


def test_the_family_is_one_sentence() -> None:
    assert family(ModelPair("a", "b", {"x": LOST})) == (
        "The p-value and interval are of one comparison, and so not corrected."
    )
    assert family(ModelPair("a", "b", {"x": LOST, "y": OPEN}, rivals=5)) == (
        "P-values and intervals are corrected for 10 comparisons, of one model with each of 5 others on 2 tasks "
        "(Holm's correction over the tasks, Bonferroni's over the models)."
    )


def test_tasks_won_tied_and_lost() -> None:
    won = replace(LOST, verdict="better")
    assert tally(ModelPair("a", "b", {"x": won, "y": OPEN})) == "a beats b on 1 of 2 tasks, ties 1, loses 0"
    assert tally(ModelPair("a", "b", {"x": LOST, "y": OPEN})) == "a loses to b on 1 of 2 tasks, ties 1"
    assert tally(ModelPair("a", "b", {"x": OPEN})) == "a and b are separable on 0 of 1 task"
    untold = replace(OPEN, verdict="cannot be told")
    assert tally(ModelPair("a", "b", {"x": won, "y": untold})) == (
        "a beats b on 1 of 2 tasks, ties 0, loses 0, and on 1 it cannot be told"
    )


def test_averages_say_what_they_are_over_and_leave_out() -> None:
    accuracy = [scored("news", model, right(0.5), usd=1.0) for model in "ab"]
    errors = [scored("dates", model, np.full(50, 1.0), ERROR, usd=1.0) for model in "ab"]
    percent = [scored("translation", model, np.full(50, 1.0), PERCENT, usd=1.0) for model in "ab"]
    assert averages(standings([*accuracy, *percent])).startswith(
        "Mean rank (1 is best), mean score and USD per 1,000 rows are over the 2 tasks that every model was asked"
    )
    both = averages(standings([*accuracy, *errors]))
    assert "mean score and USD per 1,000 rows over 1 of them" in both
    assert "left out, because their metric has no highest value or counts errors: dates." in both
    assert "There is no mean score" in averages(standings(errors))
    assert averages(standings([accuracy[0], percent[1]])).startswith("No task was asked of every model")


def test_what_was_spent_is_never_shown_as_nothing() -> None:
    assert [small(value) for value in (0, 0.0001, 0.0005, 1234.5, None)] == [
        "0.000",
        "<0.001",
        "0.001",
        "1,234.500",
        "–",
    ]
    assert small(None, "?") == "?"


def test_differences_carry_a_true_minus() -> None:
    assert [signed(0.5), signed(-0.25), signed(float("nan")), signed(None)] == ["+0.500", "−0.250", "–", "–"]


def test_plurals() -> None:
    assert [plural(n, "task") for n in (0, 1, 2, 1000)] == ["0 tasks", "1 task", "2 tasks", "1,000 tasks"]


def test_a_long_text_keeps_both_ends_or_its_end() -> None:
    assert shortened("a\n b", 9) == "a b"
    assert shortened("0123456789", 6, end=True) == "…56789"
    assert shortened("0123456789", 7) == "0123…89"
    assert shortened("a\x1b[2Jb\u202e", 20) == "a\ufffd[2Jb\ufffd"
