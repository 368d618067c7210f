"""A label and its explanation, together and apart."""

from __future__ import annotations

import pytest

from tests.score.metrics.rows import score, spec

TOPIC = spec("label_and_explanation", labels=["World", "Sports"])
GOLD = "Sports\nExplanation: It is about a match."


@pytest.mark.parametrize(
    ("answer", "label", "explanation"),
    [
        (GOLD, 1, 1),
        ("sports\nexplanation: It is about a match", 1, 1),
        ("World\nExplanation: It is about a match.", 0, 1),
        ("Sports\nExplanation: Nothing fits", 1, 0),
        ("Sports\nExplanation: It is", 1, 2 * 2 / (2 + 5)),
        ("Sports", 1, 0),
        ("Art\nExplanation: It is about a match.", 0, 0),
        ("", 0, 0),
    ],
)
def test_both_parts_must_hold(answer: str, label: float, explanation: float) -> None:
    assert score("label_accuracy", TOPIC, [answer], [GOLD]) == label
    assert score("explanation_rouge_l", TOPIC, [answer], [GOLD]) == pytest.approx(explanation)
    assert score("label_and_explanation", TOPIC, [answer], [GOLD]) == pytest.approx(label * explanation)


def test_a_free_label_is_compared_without_articles_and_punctuation() -> None:
    answer = spec("label_and_explanation")
    assert score("label_accuracy", answer, ["the Bears.\nExplanation: x"], ["Bears\nExplanation: y"]) == 1
