"""Metrics of label answers.

The gold label of a row is the first reference; where a row has several right labels, the answer counts as gold when it
is any of them. A row without a valid answer is in its gold class without being predicted as any.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.errors import UserError, nearest
from harness.score.metrics import base
from harness.score.metrics.base import (
    Basis,
    Example,
    FloatArray,
    Metric,
    Share,
    best,
    of_share,
    ratio,
    recipes,
    share_of,
)
from harness.tasks.task import LabelAnswer, NumberAnswer


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One label's precision, recall and F1 (0 where undefined), and how many rows have it as gold."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def per_class(gold: Sequence[str | None], pred: Sequence[str | None], labels: Sequence[str]) -> list[ClassReport]:
    """Return a report for each label, in the order given; None is a row without a (valid) label.

    Precision is TP / (TP + FP), recall TP / (TP + FN), F1 their harmonic mean, all in [0, 1].
    """
    reports = []
    for label in labels:
        both = sum(g == label == p for g, p in zip(gold, pred, strict=True))
        stats = np.array([sum(g == label for g in gold), sum(p == label for p in pred), both], dtype=np.float64)
        precision, recall, f1 = (float(ratio(*share(stats))) for share in (base.precision, base.recall, base.f1))
        reports.append(ClassReport(label, precision, recall, f1, int(stats[0])))
    return reports


def kappa(means: FloatArray) -> FloatArray:
    """Cohen's kappa of a table's shares, shape [..., k²]; 0 where both give one verdict only.

    J. Cohen, Educational and Psychological Measurement 20, 1960.
    """
    size = math.isqrt(means.shape[-1])
    table = means.reshape(*means.shape[:-1], size, size)
    total = table.sum(axis=(-2, -1))
    expected = (ratio(table.sum(axis=-1), total[..., None]) * ratio(table.sum(axis=-2), total[..., None])).sum(axis=-1)
    return ratio(ratio(np.trace(table, axis1=-2, axis2=-1), total) - expected, 1 - expected)


def gold_and_answer(example: Example) -> tuple[Any, Any]:
    """Return a row's gold value and its answer: the gold value is the answer itself where that is one of several."""
    gold = example.answer if example.answer is not None and example.answer in example.gold else example.gold[0]
    return gold, example.answer


def accuracy(answer: LabelAnswer) -> Metric:
    """Share of rows whose answer is the right label (for sets of labels: exactly the right set). Range [0, 1]."""
    return best("accuracy", operator.eq, kind="binary")


def adjacent_accuracy(answer: LabelAnswer, *, within: int = 1) -> Metric:
    """Share of rows whose label is at most `within` places from the right one in the task's order. Range [0, 1]."""
    if answer.many:
        raise UserError("metric 'adjacent_accuracy' needs one label as the answer, not a set of them")
    order = {label: place for place, label in enumerate(answer.labels)}
    return best("adjacent_accuracy", lambda ours, gold: abs(order[ours] - order[gold]) <= within, kind="binary")


def _counts(name: str, answer: LabelAnswer, labels: Sequence[str] = ()) -> Callable[[Example], Sequence[float]]:
    """Statistics [gold, predicted, both] of each of these labels, by default of all, shape [3 x labels]."""
    if answer.many:
        raise UserError(f"metric '{name}' needs one label as the answer, not a set of them (did you mean 'micro_f1'?)")
    order = {label: place for place, label in enumerate(labels or answer.labels)}
    size = len(order)

    def stats(example: Example) -> list[float]:
        row = [0.0] * (3 * size)
        gold, answered = gold_and_answer(example)
        if gold in order:
            row[order[gold]] = 1.0
        if answered in order:
            row[size + order[answered]] = 1.0
            row[2 * size + order[answered]] = float(gold == answered)
        return row

    return stats


def _of_labels(labels: int) -> Basis:
    """A score in which every label weighs rests on the rows of the rarest one."""
    one, none = np.eye(labels), np.zeros((labels, labels))
    unseen = np.vstack([np.hstack([one, one, one]), np.hstack([one, np.roll(one, 1, axis=1), none])])
    return Basis("rows of the rarest label", lambda s: float(s[:, :labels].sum(axis=0).min()), unseen=unseen, least=3)


def _averaged(name: str, answer: LabelAnswer, share: Share, *, weighted: bool = False) -> Metric:
    """The mean of each label's F1, precision or recall, as scikit-learn's "macro" or "weighted" averages them."""
    summary = base.over_classes(share, (lambda gold, _: gold) if weighted else base.occurs)
    basis = None if weighted else _of_labels(len(answer.labels))
    return Metric(name, _counts(name, answer), summary, kind="corpus", basis=basis)


def macro_f1(answer: LabelAnswer) -> Metric:
    """Unweighted mean of the labels' F1, over the labels that occur as gold or as an answer. Range [0, 1].

    As `sklearn.metrics.f1_score(average="macro")` does: a label of the task that neither occurs nor is predicted does
    not count as 0.
    """
    return _averaged("macro_f1", answer, base.f1)


def macro_precision(answer: LabelAnswer) -> Metric:
    """Unweighted mean of the labels' precision, over the labels that occur as gold or as an answer. Range [0, 1].

    As `sklearn.metrics.precision_score(average="macro", zero_division=0)`: a label that is never answered has 0.
    """
    return _averaged("macro_precision", answer, base.precision)


def macro_recall(answer: LabelAnswer) -> Metric:
    """Unweighted mean of the labels' recall, over the labels that occur as gold or as an answer. Range [0, 1].

    As `sklearn.metrics.recall_score(average="macro", zero_division=0)`: a label that is answered and never gold has 0,
    where `balanced_accuracy` leaves it out.
    """
    return _averaged("macro_recall", answer, base.recall)


def weighted_precision(answer: LabelAnswer) -> Metric:
    """Mean of the labels' precision, weighted by how often each is gold (scikit-learn's "weighted"). Range [0, 1]."""
    return _averaged("weighted_precision", answer, base.precision, weighted=True)


def weighted_recall(answer: LabelAnswer) -> Metric:
    """Mean of the labels' recall, weighted by how often each is gold (scikit-learn's "weighted"). Range [0, 1].

    With one label a row this is the accuracy.
    """
    return _averaged("weighted_recall", answer, base.recall, weighted=True)


def weighted_f1(answer: LabelAnswer) -> Metric:
    """Mean of the labels' F1, weighted by how often each is gold (scikit-learn's "weighted"). Range [0, 1]."""
    return _averaged("weighted_f1", answer, base.f1, weighted=True)


def balanced_accuracy(answer: LabelAnswer) -> Metric:
    """Unweighted mean of the recall of every label that occurs as gold. Range [0, 1].

    Source: `sklearn.metrics.balanced_accuracy_score`; K. H. Brodersen et al., ICPR 2010.
    """
    summary, basis = base.over_classes(base.recall, lambda gold, _: gold > 0), _of_labels(len(answer.labels))
    return Metric("balanced_accuracy", _counts("balanced_accuracy", answer), summary, kind="corpus", basis=basis)


def mcc(answer: LabelAnswer) -> Metric:
    """Matthews correlation of gold and predicted labels, for any number of labels. Range [-1, 1], 0 is chance.

    Rows without a valid answer are a label of their own that is never gold. 0 where gold or answers are constant.
    Source: J. Gorodkin, Computational Biology and Chemistry 28, 2004; `sklearn.metrics.matthews_corrcoef`.
    """

    def summary(means: FloatArray) -> FloatArray:
        gold, predicted, both = np.split(means, 3, axis=-1)
        unread = 1 - predicted.sum(axis=-1)
        lost = 1 - gold.sum(axis=-1)
        covariance = both.sum(axis=-1) - (gold * predicted).sum(axis=-1)
        spread_gold = 1 - (gold**2).sum(axis=-1) - lost**2
        spread_predicted = 1 - (predicted**2).sum(axis=-1) - unread**2
        product = spread_gold * spread_predicted
        # Below rounding a spread is that of a constant.
        return ratio(covariance, np.where(product > 1e-15, np.sqrt(np.maximum(product, 0)), 0.0))

    basis = _of_labels(len(answer.labels))
    return Metric("mcc", _counts("mcc", answer), summary, kind="corpus", low=-1.0, constant=0.0, basis=basis)


def _one_label(name: str, answer: LabelAnswer, positive: str | None) -> Callable[[Example], Sequence[float]]:
    """Statistics [gold, predicted, both] of the positive label."""
    label = positive or answer.positive
    stats = _counts(name, answer, [label or ""])
    if label is None:
        raise UserError(f"metric '{name}' needs answer.positive, the label that it looks at")
    if label not in answer.labels:
        raise UserError(f"metric '{name}': '{label}' is not one of the answer's labels{nearest(label, answer.labels)}")
    return stats


def f1(answer: LabelAnswer, *, positive: str | None = None) -> Metric:
    """F1 of the positive label (`answer.positive`, or the option): 2 TP / (2 TP + FP + FN). Range [0, 1]."""
    basis = share_of(
        "positives, gold or answered", lambda s: (s[..., 2], s[..., 0] + s[..., 1] - s[..., 2]), f1_of_overlap
    )
    stats = _one_label("f1", answer, positive)
    return Metric("f1", stats, lambda means: ratio(*base.f1(means)), kind="corpus", basis=basis)


def f1_of_overlap(share: float) -> float:
    """F1 from the share TP / (TP + FP + FN): both say the same, but the share is that of independent trials."""
    return 2 * share / (1 + share)


def precision(answer: LabelAnswer, *, positive: str | None = None) -> Metric:
    """Of the rows answered with the positive label, the share where it is right; 0 when there are none."""
    stats = _one_label("precision", answer, positive)
    return of_share("precision", stats, "answered positives", base.precision)


def recall(answer: LabelAnswer, *, positive: str | None = None) -> Metric:
    """Of the rows whose gold is the positive label, the share answered with it; 0 when there are none."""
    stats = _one_label("recall", answer, positive)
    return of_share("recall", stats, "positives", base.recall)


def micro_f1(answer: LabelAnswer) -> Metric:
    """F1 over all (row, label) decisions: 2 x right labels / (labels answered + gold labels). Range [0, 1].

    For sets of labels as `f1_score(average="micro")` of scikit-learn on indicator matrices; with one label a row it is
    the accuracy when every row is answered.
    """

    def stats(example: Example) -> tuple[float, float, float]:
        gold, answered = (_as_set(value) for value in gold_and_answer(example))
        return float(len(gold)), float(len(answered)), float(len(gold & answered))

    return of_share("micro_f1", stats, "labels, gold or answered", base.f1)


def win_rate(
    answer: LabelAnswer | NumberAnswer,
    *,
    win: str = "win",
    draw: str = "draw",
    loss: str = "loss",
    draw_weight: float = 0.5,
) -> Metric:
    """Share of rows won, draws counted as half, where each answer is a judge's verdict on the row. Range [0, 1].

    The verdict compares a model's answer with a reference answer and is one of the labels `win`, `draw` and `loss`; a
    task need not have draws. `draw_weight: 0` counts wins alone. With a number as the answer, the verdict is a
    preference from `answer.minimum` (lost) to `answer.maximum` (won), such as AlpacaEval's weighted ones from 1 to 2,
    and counts for its place between them; half way is a draw. A row without a verdict is not won.
    Source: X. Li et al., AlpacaEval, 2023.
    """
    if not 0 <= draw_weight <= 1:
        raise UserError(f"metric 'win_rate', option 'draw_weight': expected a number from 0 to 1, found {draw_weight}")
    kind: Literal["binary", "mean"] = "mean"
    if isinstance(answer, NumberAnswer):
        points = _preference(answer)
    else:
        points = _verdict(answer, {"win": win, "draw": draw, "loss": loss}, draw_weight)
        kind = "mean" if draw in answer.labels and 0 < draw_weight < 1 else "binary"
    return Metric("win_rate", points, kind=kind, counted=("wins", "draws", "losses"))


def _verdict(answer: LabelAnswer, named: Mapping[str, str], draw_weight: float) -> Callable[[Example], Sequence[float]]:
    """Statistics [points, won, drawn, lost] of the labels."""
    if answer.many:
        raise UserError("metric 'win_rate' needs one label as the answer, not a set of them")
    for option, label in named.items():
        if label not in answer.labels and (option, label) != ("draw", "draw"):
            known = nearest(label, answer.labels)
            raise UserError(f"metric 'win_rate', option '{option}': '{label}' is not one of the answer's labels{known}")
    by_label = {
        named["loss"]: (0.0, 0.0, 0.0, 1.0),
        named["draw"]: (draw_weight, 0.0, 1.0, 0.0),
        named["win"]: (1.0, 1.0, 0.0, 0.0),
    }
    other = [label for label in answer.labels if label not in by_label]
    if other or len(by_label) < len(named):
        problem = f"the label '{other[0]}' is none of them" if len(by_label) == len(named) else "two name the same one"
        raise UserError(f"metric 'win_rate' needs the options win, draw and loss to name the labels: {problem}")
    return lambda example: by_label.get(example.answer, (0.0, 0.0, 0.0, 0.0))


def _preference(answer: NumberAnswer) -> Callable[[Example], Sequence[float]]:
    """Statistics [points, won, drawn, lost] of a number between those of a loss and of a win."""
    low, high = answer.minimum, answer.maximum
    if low is None or high is None or low >= high:
        raise UserError(
            "metric 'win_rate' needs answer.minimum and answer.maximum, the preferences of a loss and a win"
        )

    def stats(example: Example) -> tuple[float, float, float, float]:
        if example.answer is None:
            return (0.0, 0.0, 0.0, 0.0)
        points = (float(example.answer) - low) / (high - low)
        return points, float(points > 0.5), float(points == 0.5), float(points < 0.5)

    return stats


def _as_set(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    return frozenset([value]) if isinstance(value, str) else frozenset(value)


RECIPES = {
    **recipes({"label", "regex"}, accuracy),
    **recipes({"label"}, adjacent_accuracy, balanced_accuracy, f1, precision, recall, mcc, micro_f1),
    **recipes({"label"}, macro_f1, macro_precision, macro_recall, weighted_f1, weighted_precision, weighted_recall),
    **recipes({"label", "number"}, win_rate),
}
