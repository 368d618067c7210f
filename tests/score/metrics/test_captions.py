"""COCO's ROUGE-L: recall weighs more, and precision and recall may come from different references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.metrics.captions import caption_tokens, rouge_l_over_references
from tests.score.metrics.rows import example, metric, score, spec

TEXT = spec("text")
words = st.lists(st.sampled_from("abcde"), max_size=8).map(tuple)


def published(candidate: tuple[str, ...], references: list[tuple[str, ...]]) -> float:
    """The definition in the paper, written out: subsequences by dynamic programming, maxima over references."""

    def common(a: tuple[str, ...], b: tuple[str, ...]) -> int:
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a, 1):
            for j, y in enumerate(b, 1):
                table[i][j] = table[i - 1][j - 1] + 1 if x == y else max(table[i - 1][j], table[i][j - 1])
        return table[-1][-1]

    if not candidate:
        return 0.0
    precision = max(common(candidate, reference) / len(candidate) for reference in references)
    recall = max(common(candidate, reference) / len(reference) for reference in references)
    if not precision or not recall:
        return 0.0
    return ((1 + 1.2**2) * precision * recall) / (recall + 1.2**2 * precision)


@given(words, st.lists(words.filter(bool), min_size=1, max_size=4))
def test_it_is_the_published_formula(ours: tuple[str, ...], golds: list[tuple[str, ...]]) -> None:
    assert rouge_l_over_references(ours, golds) == pytest.approx(published(ours, golds))


def test_known_values() -> None:
    # Precision 3/3 and recall 3/6: (1 + 1.44) * 0.5 / (0.5 + 1.44).
    assert score("rouge_l_coco", TEXT, ["the cat sat"], ["The cat sat on the mat."]) == pytest.approx(1.22 / 1.94)
    assert score("rouge_l", TEXT, ["the cat sat"], ["The cat sat on the mat."]) == pytest.approx(2 / 3)
    assert score("rouge_l_coco", TEXT, ["", "dogs"], ["a", "cats"]) == 0


def test_the_best_precision_and_the_best_recall_may_be_of_different_references() -> None:
    row = example(TEXT, "a b c", "a b c d e f", "b")
    # Precision 3/3 of the first, recall 1/1 of the second.
    assert metric("rouge_l_coco", TEXT).score([row]) == pytest.approx(1)


def test_words_are_lower_case_and_without_punctuation() -> None:
    assert caption_tokens("It isn't a dog. It's a cat -- \"really\"!\n(U.S.)") == (
        "it", "is", "n't", "a", "dog", "it", "'s", "a", "cat", "really", "u.s",
    )  # fmt: skip
    assert caption_tokens("für 3.5 €") == ("für", "3.5", "€")
