"""Metrics of answers that are a label and its explanation."""

from __future__ import annotations

from harness.score.metrics.base import Example, Metric, MetricFactory
from harness.score.metrics.qa import normalised
from harness.score.metrics.text import rouge_l_f, tokens
from harness.tasks.task import LabelAndExplanationAnswer


def _label_right(example: Example, gold: tuple[str, str]) -> bool:
    return bool(normalised(example.answer[0]) == normalised(gold[0]))


def _pairs(example: Example) -> list[tuple[str, str]]:
    return [] if example.answer is None else [gold for gold in example.gold if gold is not None]


def label_and_explanation(answer: LabelAndExplanationAnswer, *, stemmer: bool = False) -> Metric:
    """Mean of label right (0 or 1) x ROUGE-L F1 of the explanation, so both parts must hold. Range [0, 1].

    Labels are compared case-folded, without punctuation and articles, as in SQuAD.
    """

    def stats(example: Example) -> tuple[float]:
        scores = [
            _label_right(example, gold) * _explained(example.answer[1], gold[1], stemmer) for gold in _pairs(example)
        ]
        return (max(scores, default=0.0),)

    return Metric("label_and_explanation", stats)


def label_accuracy(answer: LabelAndExplanationAnswer) -> Metric:
    """Share of rows whose label is right, whatever the explanation; compared as in `label_and_explanation`. [0, 1]."""

    def stats(example: Example) -> tuple[float]:
        return (float(any(_label_right(example, gold) for gold in _pairs(example))),)

    return Metric("label_accuracy", stats, kind="binary")


def explanation_rouge_l(answer: LabelAndExplanationAnswer, *, stemmer: bool = False) -> Metric:
    """Mean ROUGE-L F1 of the explanation, whatever the label (options as for `rouge_l`). Range [0, 1]."""

    def stats(example: Example) -> tuple[float]:
        return (max((_explained(example.answer[1], gold[1], stemmer) for gold in _pairs(example)), default=0.0),)

    return Metric("explanation_rouge_l", stats)


def _explained(ours: str, gold: str, stemmer: bool) -> float:
    """ROUGE-L F1; a row whose gold has no explanation asks for none."""
    if not gold.strip():
        return 1.0
    return rouge_l_f(tokens(ours, stemmer=stemmer), tokens(gold, stemmer=stemmer))


_PAIR = frozenset({"label_and_explanation"})
RECIPES = {
    "explanation_rouge_l": MetricFactory(explanation_rouge_l, _PAIR),
    "label_accuracy": MetricFactory(label_accuracy, _PAIR),
    "label_and_explanation": MetricFactory(label_and_explanation, _PAIR),
}
