"""The gate: what fails, what passes, and what cannot be told."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from harness.compare.gate import Check, gate, margin, power
from harness.compare.paired import Comparison
from harness.errors import UserError
from harness.report.words import gate_reason
from tests.scored import ERROR, OVERLAP, PERCENT, right, scored


def outcomes(checks: list[Check]) -> dict[str, str]:
    return {check.task: check.outcome for check in checks}


def two(a: float, b: float, n: int = 400) -> list:
    return [scored("news", "a", right(a, n)), scored("news", "b", right(b, n))]


@pytest.mark.parametrize(
    ("text", "share"), [("1pp", 0.01), ("1 %", 0.01), ("0.01", 0.01), ("2.5pp", 0.025), ("0", 0.0)]
)
def test_a_margin_is_a_share_of_the_scale(text: str, share: float) -> None:
    assert margin(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["1", "100pp", "-1pp", "one", "1bp", ""])
def test_what_is_no_margin(text: str) -> None:
    with pytest.raises(ValueError, match="margin"):
        margin(text)


class TestOutcome:
    def test_a_loss_whose_whole_interval_is_beyond_the_margin_fails(self) -> None:
        (check,) = gate(two(0.8, 0.9), "a", "b", 0.01)
        assert check.outcome == "failed"
        assert gate_reason(check, "a", "b").startswith(
            "a loss beyond 0.01 is shown; a loses to b (−0.100 accuracy, 95 % interval "
        )

    def test_a_gain_passes(self) -> None:
        assert outcomes(gate(two(0.9, 0.8), "a", "b", 0.01)) == {"news": "passed"}

    def test_a_loss_beyond_chance_that_may_be_inside_the_margin_is_undecided(self) -> None:
        """2 points lost, known to be 1.0 to 3.9: a gate at 1.2 points failed it, though a loss of 1.0 was possible."""
        assert outcomes(gate(two(0.88, 0.90), "a", "b", 0.012)) == {"news": "undecided"}
        assert outcomes(gate(two(0.88, 0.90), "a", "b", 0.05)) == {"news": "passed"}
        assert outcomes(gate(two(0.88, 0.90), "a", "b", 0.005)) == {"news": "failed"}

    def test_few_rows_decide_nothing_unless_the_user_says_what_that_counts_as(self) -> None:
        """20 points lost on 24 rows passed in 73 % of samples."""
        few = two(0.6, 0.8, 24)
        (check,) = gate(few, "a", "b", 0.01)
        assert check.outcome == "undecided"
        assert gate_reason(check, "a", "b").startswith(
            "cannot be told: a loss beyond 0.01 is neither shown nor ruled out; "
        )
        assert outcomes(gate(few, "a", "b", 0.01, "pass")) == {"news": "passed"}
        assert outcomes(gate(few, "a", "b", 0.01, "fail")) == {"news": "failed"}

    def test_identical_answers_pass_where_the_rows_suffice(self) -> None:
        assert outcomes(gate(two(0.8, 0.8, 20), "a", "b", 0.01)) == {"news": "undecided"}
        assert outcomes(gate(two(0.8, 0.8, 4000), "a", "b", 0.01)) == {"news": "passed"}

    @pytest.mark.parametrize(("n", "outcome"), [(24, "undecided"), (150, "undecided"), (250, "passed")])
    def test_one_word_lost_in_one_row_is_no_proof_of_equality_on_few_rows(self, n: int, outcome: str) -> None:
        """On 24 rows the interval of the difference was a thousandth wide, and rare large losses had not been seen."""
        scores = np.full(n, 0.7)
        less = scores.copy()
        less[0] -= 0.05
        runs = [scored("news", "a", less, OVERLAP), scored("news", "b", scores, OVERLAP)]
        assert outcomes(gate(runs, "a", "b", 0.02)) == {"news": outcome}

    def test_at_a_true_loss_of_the_margin_it_fails_and_passes_at_most_as_often_as_allowed(self) -> None:
        """It failed in 41 to 52 % of samples."""
        rng = np.random.default_rng(5)
        counts = {"passed": 0, "failed": 0, "undecided": 0}
        for _ in range(300):
            b = rng.random(300) < 0.85
            a = b & (rng.random(300) > 0.02 / 0.85) | (~b & (rng.random(300) < 0.05))
            a = np.where(rng.random(300) < 0.05 * 0.15, False, a)  # a loses 2 points in all
            (check,) = gate([scored("news", "a", a), scored("news", "b", b)], "a", "b", 0.02)
            counts[check.outcome] += 1
        assert counts["failed"] <= 0.05 * 300
        assert counts["passed"] <= 0.10 * 300

    def test_the_power_of_the_gate_is_printed(self) -> None:
        (few,) = gate(two(0.75, 0.75, 24), "a", "b", 0.02)
        (many,) = gate(two(0.75, 0.75, 4000), "a", "b", 0.02)
        assert few.found is not None
        assert many.found is not None
        assert power(few.found).passes_equal < 0.1
        assert power(many.found).passes_equal > 0.9
        assert "rows like these pass an equal model in " in gate_reason(few, "a", "b")
        assert " of samples, and fail one that loses 0.04 in " in gate_reason(few, "a", "b")

    def test_one_row_rules_nothing_out(self) -> None:
        """With --strict one row passed: "a loss beyond 0.02 is ruled out; not separable (p = 1.000, n = 1)"."""
        runs = [scored("news", "a", np.ones(1), OVERLAP), scored("news", "b", np.zeros(1), OVERLAP)]
        assert outcomes(gate(runs, "a", "b")) == {"news": "undecided"}

    def test_a_model_that_is_shown_to_be_better_passes_though_rare_rows_were_not_seen(self) -> None:
        rng = np.random.default_rng(0)
        b = rng.random(50)
        runs = [scored("news", "a", np.minimum(b + 0.05, 1), OVERLAP), scored("news", "b", b, OVERLAP)]
        assert outcomes(gate(runs, "a", "b")) == {"news": "passed"}
        assert outcomes(gate(runs, "b", "a")) == {"news": "failed"}

    def test_with_a_margin_of_nothing_a_loss_fails_and_a_gain_passes(self) -> None:
        """An interval that ends at 0 was "cannot be told: a loss beyond 0 is not shown; a loses to b, p = 0.049"."""
        a, b = np.zeros((2, 250))
        a[0], b[1:9] = 1, 1  # 1 row against 8: p = 0.039, and Tango's interval holds 0 for two models
        runs = [scored("news", "a", a), scored("news", "b", b)]
        assert outcomes(gate(runs, "a", "b", 0.0)) == {"news": "failed"}
        assert outcomes(gate(runs, "b", "a", 0.0)) == {"news": "passed"}

    def test_more_errors_are_a_loss(self) -> None:
        low, high = np.full(100, 1.0), np.full(100, 2.0)
        runs = [scored("dates", "a", high, ERROR), scored("dates", "b", low, ERROR)]
        assert outcomes(gate(runs, "a", "b", 0.01)) == {"dates": "failed"}
        assert outcomes(gate(runs, "b", "a", 0.01)) == {"dates": "passed"}

    def test_points_of_a_metric_that_goes_to_100(self) -> None:
        rng = np.random.default_rng(0)
        a = 40 + rng.random(4000)
        b = a + 0.5 + 0.1 * rng.random(4000)
        runs = [scored("mt", "a", a, PERCENT), scored("mt", "b", b, PERCENT)]
        assert outcomes(gate(runs, "a", "b", 0.01)) == {"mt": "passed"}
        assert outcomes(gate(runs, "a", "b", 0.001)) == {"mt": "failed"}

    def test_intervals_hold_for_all_tasks_together(self) -> None:
        runs = [scored(f"t{i:02}", "a", right(0)) for i in range(12)]
        runs += [scored(f"t{i:02}", "b", right(11 / 400 if i == 0 else 0)) for i in range(12)]
        assert set(outcomes(gate(runs, "a", "b", 0.012)).values()) == {"undecided"}
        assert outcomes(gate(runs, "a", "b", 0.012, tasks=["t00"])) == {"t00": "failed"}


class TestCannotBeTold:
    def test_rows_that_a_server_did_not_answer_are_no_verdict(self) -> None:
        runs = [scored("news", "a", right(0.5), failed=200, incomplete=True), scored("news", "b", right(0.9))]
        (check,) = gate(runs, "a", "b")
        assert (check.outcome, gate_reason(check, "a", "b")) == (
            "error", "the run of a is incomplete: 200 of 400 rows have no answer; run bench again"
        )  # fmt: skip

    def test_a_loss_that_lost_rows_alone_make_is_undecided(self) -> None:
        """The same answers, 15 of 1,000 of A's missing: it was a loss beyond chance, exit code 100."""
        b = right(0.9, 1000, wrong_first=True)
        a = b.copy()
        a[-15:] = 0
        runs = [scored("news", "a", a, failed=15), scored("news", "b", b)]
        (check,) = gate(runs, "a", "b", 0.005)
        assert check.outcome == "undecided"
        assert "15 rows of a have no answer" in gate_reason(check, "a", "b")

    def test_other_rows(self) -> None:
        runs = [scored("news", "a", right(0.5)), scored("news", "b", right(0.9), ids=[f"x{i}" for i in range(400)])]
        assert outcomes(gate(runs, "a", "b")) == {"news": "error"}

    def test_a_task_only_one_has_run(self) -> None:
        runs = [scored("news", "a", right(0.9)), scored("news", "b", right(0.9)), scored("more", "b", right(0.9))]
        assert outcomes(gate(runs, "a", "b")) == {"news": "passed"}
        assert outcomes(gate(runs, "a", "b", tasks=["news", "more"])) == {"news": "passed", "more": "error"}
        assert outcomes(gate(runs, "b", "a")) == {"news": "passed", "more": "error"}

    def test_no_task_at_all_is_a_mistake(self) -> None:
        with pytest.raises(UserError, match="a has not run a task"):
            gate([scored("news", "b", right(0.9))], "a", "b")


def test_the_power_of_a_gate_is_how_often_repeated_runs_would_pass_and_fail() -> None:
    """Differences are drawn again with the interval's own error, around none and around twice the margin."""
    found = Comparison(
        0.0, -0.05, 0.05, 1.0, 500, "not separable", None, margin=0.06, comparisons=2, unseen=0.004
    )  # fmt: skip
    reach = 0.05
    error = reach / NormalDist().inv_cdf(1 - 0.05 / 2 / 2)
    drawn = np.random.default_rng(3).normal(0, error, 40_000)
    asked = power(found)
    assert asked.passes_equal == pytest.approx(np.mean(drawn - reach - 0.004 > -0.06), abs=0.01)
    assert asked.fails_loss == pytest.approx(np.mean(drawn - 0.12 + reach < -0.06), abs=0.01)
    assert asked.loss == pytest.approx(0.12)
    assert 0.4 < asked.passes_equal < asked.fails_loss < 0.9


def test_a_task_without_a_comparison_is_not_one_across_prompts() -> None:
    (check,) = gate([scored("news", "a", right(0.8))], "a", "b")
    assert (check.outcome, check.across, check.decided) == ("error", False, True)


def test_answers_to_different_prompts_are_an_error_unless_they_are_to_be_compared() -> None:
    runs = [scored("news", name, right(0.5), task_spec={"prompt": f"{{{{ text }}}} {name}?"}) for name in "ab"]
    assert outcomes(gate(runs, "a", "b")) == {"news": "error"}
    assert outcomes(gate(runs, "a", "b", across_prompts=True)) != {"news": "error"}
