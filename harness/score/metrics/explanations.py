"""Metrics of answers that are a label and its explanation."""

from __future__ import annotations

from harness.score.metrics.base import Metric, best, recipes
from harness.score.metrics.qa import normalised
from harness.score.metrics.text import rouge_l_f, tokens
from harness.tasks.task import LabelAndExplanationAnswer

Pair = tuple[str, str]
"""A label and its explanation."""


def label_and_explanation(answer: LabelAndExplanationAnswer, *, stemmer: bool = False) -> Metric:
    """Mean of label right (0 or 1) x ROUGE-L F1 of the explanation, so both parts must hold. Range [0, 1].

    Labels are compared case-folded, without punctuation and articles, as in SQuAD.
    """

    def score(ours: Pair, gold: Pair) -> float:
        return _label_right(ours, gold) * _explained(ours, gold, stemmer)

    return best("label_and_explanation", score)


def label_accuracy(answer: LabelAndExplanationAnswer) -> Metric:
    """Share of rows whose label is right, whatever the explanation; compared as in `label_and_explanation`. [0, 1]."""
    return best("label_accuracy", _label_right, kind="binary")


def explanation_rouge_l(answer: LabelAndExplanationAnswer, *, stemmer: bool = False) -> Metric:
    """Mean ROUGE-L F1 of the explanation, whatever the label (options as for `rouge_l`). Range [0, 1]."""
    return best("explanation_rouge_l", lambda ours, gold: _explained(ours, gold, stemmer))


def _label_right(ours: Pair, gold: Pair) -> bool:
    return normalised(ours[0]) == normalised(gold[0])


def _explained(ours: Pair, gold: Pair, stemmer: bool) -> float:
    """ROUGE-L F1; a row whose gold has no explanation asks for none."""
    return rouge_l_f(*(tokens(one[1], stemmer=stemmer) for one in (ours, gold))) if gold[1].strip() else 1.0


RECIPES = recipes({"label_and_explanation"}, explanation_rouge_l, label_accuracy, label_and_explanation)
