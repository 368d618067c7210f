"""The sentence below a table of scores: which of the two best models leads, and how sure that is."""

from __future__ import annotations

from harness.report.findings import verdicts
from tests.scored import right, scored


def test_a_lead_on_one_task_has_its_own_p_value() -> None:
    [said] = verdicts([scored("jigsaw", "a", right(0.515)), scored("jigsaw", "b", right(0.5))]).values()
    assert said.startswith("a beats b (+0.015 accuracy, ")  # 6 rows of 400, all on one side: p = 2 / 2^6
    assert "p = 0.031, n = 400" in said


def test_the_p_values_of_several_tasks_are_corrected() -> None:
    runs = [
        scored(task, model, right(share)) for task in ("jigsaw", "boolq") for model, share in (("a", 0.515), ("b", 0.5))
    ]
    for said in verdicts(runs).values():
        assert said.startswith("a leads b, but not beyond chance")
        assert "p = 0.062 after Holm, n = 400" in said


def test_what_cannot_be_compared_is_said() -> None:
    alone = scored("jigsaw", "a", right(0.5))
    assert verdicts([alone]) == {"jigsaw": "Only a was asked; a comparison needs two models."}
    other = scored("jigsaw", "b", right(0.4), ids=[f"other {i}" for i in range(400)])
    assert verdicts([alone, other]) == {"jigsaw": "a and b were asked different rows; run bench again for both."}
