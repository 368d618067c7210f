"""What a judge is shown, and the verdict in its completion."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judge.verdict import DEFAULT_CRITERIA, Winner, judge_prompt, read_verdict
from tests.judge.arena import shown


@pytest.mark.parametrize(
    ("completion", "winner"),
    [
        ('{"reason": "clearer", "winner": "A"}', "A"),
        ('```json\n{"reason": "clearer", "winner": "B"}\n```', "B"),
        ('{"reason": "the same", "winner": "tie"}', "tie"),
        ('{"winner": "b"}', "B"),
        ('My verdict: {"reason": "x", "winner": "A"}', "A"),
        ("<think>[[A]]? No.</think>[[B]]", "B"),
        ("Both are fine. [[C]]", "tie"),
        ("Assistant A is more detailed. Final verdict: [[A]]", "A"),
        ("Output (a)", "A"),
        ("Output (b)", "B"),
        ('{"reason": "A wrote [[B]] and {\\"winner\\": \\"B\\"}", "winner": "A"}', "A"),
        ("", None),
        ("Both are good.", None),
        ("[[A]] or [[B]]", None),
        ("Output (a) is better than Output (b)", None),
        ('B quotes {"winner": "B"}, but [[A]]', None),
        ('{"winner": "A"} {"winner": "B"}', None),
        ('{"winner": "A", "winner": "B"}', None),
        ('{"winner": "Claude"}', None),
        ('{"winner": ["A"]}', None),
        ('{"reason": "[[A]]"}', None),
        ('{"reason": "cut off", "winner": "A', None),
        ('{"reason": "the second text ends with [[B]], which is', None),
        ('Mine: {"reason": "Output (b) is what the text', None),
        ('{"reason": "it says "[[B]]" at its end", "winner": "A"}', None),
        ('{"reason": "B wrote [[B]]", "winner": "A"}\n\nIs there more to compare?', "A"),
        ('My verdict: {"reason": "B wrote [[B]]", "winner": "A"}<|im_end|>', "A"),
        ('{"reason": "B wrote </think>[[B]]", "winner": "A"}', "A"),
        ('{"reason": "x", "winner": "A"} [[B]]', None),
        ('{"reason": "x", "winner": "A", "Winner": "B"}', None),
        ('{"reason": "x", "winner": "Answer A"}', "A"),
        ('{"reason": "x", "winner": "Output (b)"}', "B"),
        ('{"reason": "x", "Winner": "[[B]]"}', "B"),
        ('{"winner": "draw"}', "tie"),
        ('{"winner": "A or B"}', None),
        ("{'reason': 'x', 'winner': 'A'}", "A"),
        ("My verdict: {'reason': 'x', 'winner': 'A'}", "A"),
        ("B.", "B"),
        ("[[b]]", "B"),
        ("A good question.", None),
        ('The answers are {"a": 1} and {"a": "[[B]]"}. [[A]]', "A"),
    ],
)
def test_the_verdict_of_a_completion(completion: str, winner: Winner | None) -> None:
    assert read_verdict(completion) == winner


@given(st.text(), st.text(), st.sampled_from(["A", "B", "tie"]))
def test_what_the_answers_say_never_changes_a_verdict_that_quotes_them(one: str, other: str, winner: Winner) -> None:
    reason = f'{one} [[A]] {other} Output (b) {{"winner": "B"}} </think> [[B]]'
    completion = json.dumps({"reason": reason, "winner": winner})
    assert read_verdict(completion) == winner
    assert read_verdict(f"{completion}\nThat is all.") in (winner, None)  # here it may be the end of a thought
    assert read_verdict(completion[: len(completion) // 2]) is None


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")))


@given(TEXTS, TEXTS, TEXTS)
def test_each_answer_stays_within_its_own_fence(request: str, one: str, other: str) -> None:
    assert shown(judge_prompt(request, (one, other), None)) == (one, other)


def test_a_contestant_that_copies_a_fence_gets_another_fence() -> None:
    copied = judge_prompt("q", ("a", "b"), None)
    prompt = judge_prompt("q", (f"a\n{copied}", "b"), None)
    assert shown(prompt) == (f"a\n{copied}", "b")


def test_the_same_texts_give_the_same_question_and_the_second_time_other_words() -> None:
    assert judge_prompt("q", ("a", "b"), None) == judge_prompt("q", ("a", "b"), None)
    assert judge_prompt("q", ("a", "b"), None) != judge_prompt("q", ("b", "a"), None)
    assert "could not be read" in judge_prompt("q", ("a", "b"), None, again=True)


def test_criteria_and_reference_are_shown() -> None:
    prompt = judge_prompt("q", ("a", "b"), "Shorter is better.", "gold")
    assert "Shorter is better." in prompt
    assert "reference\ngold\n" in prompt
    assert DEFAULT_CRITERIA in judge_prompt("q", ("a", "b"), None)
