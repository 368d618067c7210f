"""The gate: what fails, what passes, and what cannot be decided."""

from __future__ import annotations

import numpy as np
import pytest

from harness.compare.gate import Check, gate, margin
from harness.errors import UserError
from harness.report.words import gate_reason
from tests.scored import ERROR, PERCENT, right, scored


def outcomes(checks: list[Check]) -> dict[str, str]:
    return {check.task: check.outcome for check in checks}


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
    def test_a_loss_beyond_chance_and_margin_fails(self) -> None:
        runs = [scored("news", "a", right(0.8)), scored("news", "b", right(0.9))]
        (check,) = gate(runs, "a", "b", 0.01)
        assert check.outcome == "failed"
        assert gate_reason(check, "a", "b").startswith("a loses to b (−0.100 accuracy, 95 % interval ")

    def test_a_gain_passes(self) -> None:
        runs = [scored("news", "a", right(0.9)), scored("news", "b", right(0.8))]
        assert outcomes(gate(runs, "a", "b", 0.01)) == {"news": "passed"}

    def test_a_loss_inside_the_margin_passes_though_it_is_beyond_chance(self) -> None:
        runs = [scored("news", "a", right(0.88)), scored("news", "b", right(0.90))]
        assert outcomes(gate(runs, "a", "b", 0.01)) == {"news": "failed"}
        assert outcomes(gate(runs, "a", "b", 0.03)) == {"news": "passed"}

    def test_a_loss_that_may_be_chance_passes_and_says_what_is_not_ruled_out(self) -> None:
        runs = [scored("news", "a", right(0.75, 20)), scored("news", "b", right(0.85, 20))]
        (check,) = gate(runs, "a", "b", 0.01)
        assert check.outcome == "passed"
        assert gate_reason(check, "a", "b").endswith("; a loss beyond 0.01 is not ruled out")

    def test_a_strict_gate_wants_proof(self) -> None:
        few = [scored("news", "a", right(0.8, 20)), scored("news", "b", right(0.8, 20))]
        assert outcomes(gate(few, "a", "b", 0.01, strict=True)) == {"news": "failed"}
        many = [scored("news", "a", right(0.8, 4000)), scored("news", "b", right(0.8, 4000))]
        assert outcomes(gate(many, "a", "b", 0.01, strict=True)) == {"news": "passed"}

    def test_more_errors_are_a_loss(self) -> None:
        low, high = np.full(100, 1.0), np.full(100, 2.0)
        runs = [scored("dates", "a", high, ERROR), scored("dates", "b", low, ERROR)]
        assert outcomes(gate(runs, "a", "b", 0.01)) == {"dates": "failed"}
        assert outcomes(gate(runs, "b", "a", 0.01)) == {"dates": "passed"}

    def test_points_of_a_metric_that_goes_to_100(self) -> None:
        rng = np.random.default_rng(0)
        a = 40 + rng.random(400)
        runs = [scored("mt", "a", a, PERCENT), scored("mt", "b", a + 0.5, PERCENT)]
        assert outcomes(gate(runs, "a", "b", 0.01)) == {"mt": "passed"}
        assert outcomes(gate(runs, "a", "b", 0.001)) == {"mt": "failed"}

    def test_p_values_are_corrected_over_the_tasks(self) -> None:
        runs = [scored(f"t{i:02}", "a", right(0)) for i in range(12)]
        runs += [scored(f"t{i:02}", "b", right(7 / 400 if i == 0 else 0)) for i in range(12)]
        assert set(outcomes(gate(runs, "a", "b", 0.01)).values()) == {"passed"}
        assert outcomes(gate(runs, "a", "b", 0.01, tasks=["t00"])) == {"t00": "failed"}


class TestCannotBeTold:
    def test_rows_that_a_server_did_not_answer_are_no_verdict(self) -> None:
        runs = [scored("news", "a", right(0.5), failed=200, incomplete=True), scored("news", "b", right(0.9))]
        (check,) = gate(runs, "a", "b")
        assert (check.outcome, gate_reason(check, "a", "b")) == (
            "error", "the run of a is incomplete (200 rows without an answer); run bench again"
        )  # fmt: skip

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
