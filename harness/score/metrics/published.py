"""What the original LoRA Land code computes, so that a score can stand beside a published one on equal terms.

These metrics read the completion as it stands (thinking aside), not the extracted answer, and keep the leniency of the
original on purpose: they say what a published figure means, not how good a model is. Where the original asks for a
class's number and our prompts for its name, the name plays the number's part. Unlike the original, no score is NaN or
outside [0, 1], and rows without a completion count as 0 instead of leaving the denominator. Source: the metric table of
the LoRA Land evaluation code (2024).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from harness.errors import UserError
from harness.score.metrics.base import Example, FloatArray, Metric, best, ratio, recipes
from harness.score.metrics.text import rouge_l_f, tokens
from harness.tasks.task import ANSWER_TYPES, AnswerFormat, LabelAnswer

_TRUTHS = (
    ("1", True), ("0", False), ("yes", True), ("no", False),
    ("true", True), ("false", False), ("positive", True), ("negative", False),
)  # fmt: skip
_DECIMAL = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def _best(name: str, score: Callable[[str, str], float], *, binary: bool = True) -> Metric:
    """The metric with a row's best score over its references; an empty completion scores 0."""

    def pairs(example: Example) -> list[tuple[str, str]]:
        return [(example.text, reference) for reference in example.references] if example.text.strip() else []

    return best(name, score, pairs, kind="binary" if binary else "mean")


def published_rouge(answer: AnswerFormat) -> Metric:
    """ROUGE-L F1 of completion and target, averaged over all (row, reference) pairs. Range [0, 1].

    The original takes it from torchmetrics, whose words are those of rouge-score without stemming. It asks each line of
    a dataset that repeats a prompt for every reference, and so averages over references where `rouge_l` takes the best.
    """

    def stats(example: Example) -> tuple[float, float]:
        ours = tokens(example.text)
        return sum(rouge_l_f(ours, tokens(one)) for one in example.references), float(len(example.references))

    def summary(means: FloatArray) -> FloatArray:
        return ratio(means[..., 0], means[..., 1])

    return Metric("published_rouge", stats, summary, kind="corpus")


def _truth(text: str) -> bool | None:
    lowered = text.lower()
    return next((value for word, value in _TRUTHS if word in lowered), None)


def published_binary_accuracy_flex(answer: LabelAnswer) -> Metric:
    """Share of rows whose completion and target read as the same truth value. Range [0, 1].

    A text's value is that of the first of 1, 0, yes, no, true, false, positive, negative that occurs anywhere in it, so
    that "10" is true and "unknown" false; the original does that, and `accuracy` does not. No value scores 0.
    """
    if {_truth(label) for label in answer.labels} != {True, False}:
        raise UserError(
            "metric 'published_binary_accuracy_flex' needs two labels that read as true and false, such as yes and no"
        )

    def score(text: str, reference: str) -> bool:
        truth = _truth(text)
        return truth is not None and truth == _truth(reference)

    return _best("published_binary_accuracy_flex", score)


def _codes(name: str, answer: LabelAnswer, first: int, most: int) -> dict[str, str]:
    """The number of each label, counted from `first`."""
    if len(answer.labels) > most:
        raise UserError(f"metric '{name}' is made for at most {most} labels, and this task has {len(answer.labels)}")
    return {label: str(number) for number, label in enumerate(answer.labels, start=first)}


def _named(label: str, text: str) -> bool:
    """Whether the label occurs in the text: a letter as a word of its own, a name anywhere, like a digit."""
    if len(label) == 1:
        return re.search(rf"(?<!\w){re.escape(label)}(?!\w)", text) is not None
    return label.lower() in text.lower()


def _digit_or_name(name: str, answer: LabelAnswer, most: int) -> Metric:
    codes = _codes(name, answer, 0, most)

    def score(text: str, reference: str) -> bool:
        return text.strip() == reference.strip() or codes.get(reference, "\0") in text or _named(reference, text)

    return _best(name, score)


def published_mnli_accuracy(answer: LabelAnswer) -> Metric:
    """Share of rows whose completion holds the right label or its digit (0, 1, 2 in the task's order). Range [0, 1].

    Anywhere in the completion is enough: "0 1 2" is always right in the original, and so it is here.
    """
    return _digit_or_name("published_mnli_accuracy", answer, most=3)


def published_hellaswag_accuracy(answer: LabelAnswer) -> Metric:
    """Share of rows whose completion holds the right label, or its digit (0 to 3). Range [0, 1].

    As in `published_mnli_accuracy`, anywhere is enough; a letter counts as a word of its own.
    """
    return _digit_or_name("published_hellaswag_accuracy", answer, most=4)


def published_mrpc_accuracy(answer: LabelAnswer) -> Metric:
    """Share of rows whose completion equals the target, or holds the right digit when that is 1. Range [0, 1].

    The original looks for the digits 1 and 2 only, although the labels are 0 and 1: a paraphrase (1) is found anywhere,
    a non-paraphrase (0) needs the exact answer. The positive label is 1 here, and its name counts anywhere as well.
    """
    if answer.positive is None:
        raise UserError("metric 'published_mrpc_accuracy' needs answer.positive, the label that is 1 in the original")

    def score(text: str, reference: str) -> bool:
        if text.strip() == reference.strip():
            return True
        return reference in (answer.positive, "1", "2") and ("1" in text or _named(reference, text))

    return _best("published_mrpc_accuracy", score)


def published_stsb(answer: AnswerFormat) -> Metric:
    """Mean of 1 - |error| / 5, where a missing number or one outside 0 to 5 scores 0. Range [0, 1].

    The original can score NaN, or -198 for a number off the scale; the definition in its description is used.
    """

    def score(text: str, reference: str) -> float:
        firsts = [number for one in (text, reference) for number in _numbers(one)[:1] if 0 <= number <= 5]
        return 1 - abs(firsts[0] - firsts[1]) / 5 if len(firsts) == 2 else 0.0

    return _best("published_stsb", score, binary=False)


def _numbers(text: str) -> list[float]:
    values = (float(match[0].replace(",", "")) for match in _DECIMAL.finditer(text))
    return [value for value in values if math.isfinite(value)]


def published_gsm8k_regex(answer: AnswerFormat) -> Metric:
    """Share of rows whose last number in the completion equals the last one in the target. Range [0, 1].

    `####` has no meaning to it: a number behind the answer, as in "#### 5 apples for 2 people", is what counts.
    """

    def score(text: str, reference: str) -> bool:
        ours, gold = _numbers(text), _numbers(reference)
        return bool(ours and gold) and ours[-1] == gold[-1]

    return _best("published_gsm8k_regex", score)


def published_dbpedia(answer: LabelAnswer) -> Metric:
    """ROUGE-L F1 of the answered class's name and the target's. Range [0, 1].

    An integer becomes the name of that class, counted from 1 as in the original's prompt (its scorer counts from 1
    where the dataset counts from 0, which shifts every class; ours does not), any other completion is taken as a name.
    """

    def score(text: str, reference: str) -> float:
        name = text.strip()
        if name.isascii() and name.isdigit():
            place = int(name[:4]) - 1
            name = answer.labels[place] if 0 <= place < len(answer.labels) else ""
        return rouge_l_f(tokens(name), tokens(reference))

    return _best("published_dbpedia", score, binary=False)


def published_mmlu_accuracy(answer: LabelAnswer) -> Metric:
    """Share of rows whose completion equals the target, or whose first number is the target's. Range [0, 1].

    The original shows the choices as 0 to 3 and asks for 1 to 4. Here the first letter or number that stands alone
    counts, letters and numbers from 1 being the same choices.
    """
    codes = _codes("published_mmlu_accuracy", answer, 1, 10)
    spelling = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, codes))}|\d+)(?!\w)")

    def score(text: str, reference: str) -> bool:
        if text.strip() == reference.strip():
            return True
        found = spelling.search(text)
        return found is not None and codes.get(found[0], found[0]) == codes.get(reference, reference)

    return _best("published_mmlu_accuracy", score)


def published_customer_support_accuracy(answer: LabelAnswer) -> Metric:
    """Share of rows whose completion holds the target anywhere, in any case. Range [0, 1].

    A completion that names every label is always right in the original, and so it is here.
    """
    return _best(
        "published_customer_support_accuracy", lambda text, reference: reference.strip().lower() in text.lower()
    )


RECIPES = {
    **recipes(set(ANSWER_TYPES) - {"instructions"}, published_rouge),
    **recipes({"number"}, published_gsm8k_regex, published_stsb),
    **recipes({"label"}, published_binary_accuracy_flex, published_customer_support_accuracy, published_dbpedia),
    **recipes({"label"}, published_hellaswag_accuracy, published_mnli_accuracy, published_mmlu_accuracy),
    **recipes({"label"}, published_mrpc_accuracy),
}
