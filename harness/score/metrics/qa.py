"""Metrics of short free-text answers: the rules of SQuAD and of DROP."""

from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np

from harness.score.metrics.base import Metric, best, recipes
from harness.score.metrics.text import written
from harness.tasks.task import TextAnswer

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
NUMBER_WORDS = {
    "zero": 0.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0, "seven": 7.0, "eight": 8.0,
    "nine": 9.0, "ten": 10.0, "eleven": 11.0, "twelve": 12.0, "thirteen": 13.0, "fourteen": 14.0, "fifteen": 15.0,
    "sixteen": 16.0, "seventeen": 17.0, "eighteen": 18.0, "nineteen": 19.0, "twenty": 20.0,
    "thirty": 30.0, "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "seventy": 70.0, "eighty": 80.0, "ninety": 90.0,
}  # fmt: skip


def normalised(text: str) -> str:
    """Return a text lower-cased, without ASCII punctuation and English articles, single-spaced (SQuAD's rule).

    Source: the official evaluation script of P. Rajpurkar et al., EMNLP 2016.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def qa_exact_match(answer: TextAnswer) -> Metric:
    """Share of rows whose answer equals a right one after SQuAD's normalisation. Range [0, 1]."""
    return best("qa_exact_match", lambda ours, gold: normalised(ours) == normalised(gold), written, kind="binary")


def qa_f1(answer: TextAnswer) -> Metric:
    """Mean F1 of words after SQuAD's normalisation, best over the right answers. Range [0, 1].

    Words count with repetitions. Where either side is empty after normalisation, both must be (SQuAD 2.0).
    """
    return best("qa_f1", _squad_f1, written)


def _squad_f1(ours: str, gold: str) -> float:
    predicted, right = normalised(ours).split(), normalised(gold).split()
    if not predicted or not right:
        return float(predicted == right)
    return 2 * (Counter(predicted) & Counter(right)).total() / (len(predicted) + len(right))


def drop_exact_match(answer: TextAnswer, *, number_words: bool = True, separator: str = ", ") -> Metric:
    """Share of rows whose answer equals a right one by DROP's rules. Range [0, 1].

    Normalisation and comparison are those of the official script (D. Dua et al., NAACL 2019): case, articles and
    punctuation go, hyphens part words, numbers are compared as numbers. Beyond it, number words up to ninety are
    numbers ("two" is 2.0; `number_words: false` follows the script). An answer of several spans is written with
    `separator` or "and" between them and may name them in any order; an answer is also compared undivided, and the
    better comparison counts (`separator: ""` compares undivided answers only).
    """

    def same(ours: str, gold: str) -> float:
        return _drop(ours, gold, number_words, separator)[0]

    return best("drop_exact_match", same, written, kind="binary")


def drop_f1(answer: TextAnswer, *, number_words: bool = True, separator: str = ", ") -> Metric:
    """Mean F1 of words by DROP's rules, best over the right answers. Range [0, 1].

    Each span is a set of words; spans of answer and gold are aligned one to one for the highest sum of F1, a span
    whose gold holds numbers scores only when it shares one, surplus spans on either side score 0, and a row's mean is
    rounded to two decimals, all as in the official script. Options as for `drop_exact_match`.
    """
    return best("drop_f1", lambda ours, gold: _drop(ours, gold, number_words, separator)[1], written)


def _drop(ours: str, gold: str, number_words: bool, separator: str) -> tuple[float, float]:
    """Exact match and F1, each the better of comparing undivided texts and comparing spans."""
    ways = [([ours], [gold])]
    if separator and len(_spans(gold, separator)) > 1:
        ways.append((_spans(ours, separator), _spans(gold, separator)))
    scores = []
    for one, other in ways:
        predicted = [_drop_normalised(span, number_words) for span in one]
        right = [_drop_normalised(span, number_words) for span in other]
        same = set(predicted) == set(right) and len(predicted) == len(right)
        scores.append((float(same), round(_aligned(predicted, right), 2)))
    return max(match for match, _ in scores), max(f1 for _, f1 in scores)


def _spans(text: str, separator: str) -> list[str]:
    parts = re.split(rf"\s*{re.escape(separator.strip() or separator)}\s+(?:and\s+)?|\s+and\s+", text)
    return [part for part in parts if part.strip()] or [text]


def _number(token: str) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None


def _drop_token(token: str, number_words: bool) -> str:
    token = token.lower()
    if _number(token) is None:
        token = token.translate(_NO_PUNCTUATION)
    value = _number(token)
    if value is None and number_words:
        value = NUMBER_WORDS.get(token)
    return " ".join(_ARTICLES.sub(" ", token if value is None else str(value)).split())


def _drop_normalised(text: str, number_words: bool) -> str:
    parts = (_drop_token(token, number_words) for token in re.split("[ -]", text))
    return " ".join(part for part in parts if part)


def _aligned(predicted: list[str], right: list[str]) -> float:
    """Mean F1 of the best one-to-one alignment of spans, over the longer side."""
    scores = np.array([[_bag_f1(set(ours.split()), set(gold.split())) for ours in predicted] for gold in right])
    if scores.size == 1:
        return float(scores[0, 0])
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-scores)
    return float(scores[rows, columns].sum()) / max(len(predicted), len(right))


def _bag_f1(ours: set[str], gold: set[str]) -> float:
    numbers = {word for word in gold if _number(word) is not None}
    if numbers and not numbers & ours:
        return 0.0
    shared = len(ours & gold)
    precision = shared / len(ours) if ours else 1.0
    recall = shared / len(gold) if gold else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


RECIPES = recipes({"text", "regex"}, drop_exact_match, drop_f1, qa_exact_match, qa_f1)
