"""Label metrics agree with scikit-learn, with rows without an answer kept as wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from harness.errors import UserError
from harness.score.metrics.labels import per_class
from tests.score.metrics.rows import example, metric, score, spec

LABELS = ["red", "green", "blue", "grey"]
COLOURS = spec("label", labels=LABELS, positive="red")
SETS = spec("label", labels=LABELS, many=True)
pairs = st.lists(st.tuples(st.sampled_from([*LABELS, "?"]), st.sampled_from(LABELS)), min_size=1, max_size=40)


@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore")  # scikit-learn warns where a score is undefined, which is what is tried here
@given(pairs)
def test_scores_are_those_of_scikit_learn_with_no_answer_as_a_label_of_its_own(rows: list[tuple[str, str]]) -> None:
    answers, gold = ([row[side] for row in rows] for side in (0, 1))
    occurring = [label for label in LABELS if label in answers + gold]
    expected = {
        "accuracy": sk.accuracy_score(gold, answers),
        "macro_f1": sk.f1_score(gold, answers, average="macro", labels=occurring, zero_division=0),
        "weighted_f1": sk.f1_score(gold, answers, average="weighted", labels=occurring, zero_division=0),
        "macro_precision": sk.precision_score(gold, answers, average="macro", labels=occurring, zero_division=0),
        "macro_recall": sk.recall_score(gold, answers, average="macro", labels=occurring, zero_division=0),
        "weighted_precision": sk.precision_score(gold, answers, average="weighted", labels=occurring, zero_division=0),
        "weighted_recall": sk.recall_score(gold, answers, average="weighted", labels=occurring, zero_division=0),
        "micro_f1": sk.f1_score(gold, answers, average="micro", labels=occurring, zero_division=0),
        "f1": sk.f1_score(gold, answers, average="macro", labels=["red"], zero_division=0),
        "precision": sk.precision_score(gold, answers, average="macro", labels=["red"], zero_division=0),
        "recall": sk.recall_score(gold, answers, average="macro", labels=["red"], zero_division=0),
        "balanced_accuracy": sk.balanced_accuracy_score(gold, answers),
        "mcc": sk.matthews_corrcoef(gold, answers),
    }
    found = {name: score(name, COLOURS, answers, gold) for name in expected}
    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore")
@given(pairs)
def test_the_report_of_classes_is_scikit_learns(rows: list[tuple[str, str]]) -> None:
    answers, gold = ([row[side] for row in rows] for side in (0, 1))
    expected = sk.classification_report(gold, answers, labels=LABELS, output_dict=True, zero_division=0)
    read = [None if one == "?" else one for one in answers]
    for report in per_class(gold, read, LABELS):
        theirs = expected[report.label]
        ours = (report.precision, report.recall, report.f1, report.support)
        assert ours == pytest.approx((theirs["precision"], theirs["recall"], theirs["f1-score"], theirs["support"]))


def test_a_label_that_never_occurs_does_not_pull_macro_f1_down() -> None:
    assert score("macro_f1", COLOURS, ["red", "green"], ["red", "green"]) == 1


def test_an_unread_row_counts_against_its_gold_label_only() -> None:
    assert score("accuracy", COLOURS, ["red", ""], ["red", "red"]) == 0.5
    assert score("f1", COLOURS, ["red", ""], ["red", "red"]) == pytest.approx(2 / 3)
    assert score("f1", COLOURS, ["red", ""], ["red", "green"]) == 1


def test_undefined_scores_are_zero() -> None:
    assert score("mcc", COLOURS, ["red", "red"], ["red", "red"]) == 0
    assert score("f1", COLOURS, ["green"], ["green"]) == 0


@given(st.lists(st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS), min_size=1)), min_size=1))
def test_micro_f1_of_sets_counts_every_label_of_every_row(rows: list[tuple[set[str], set[str]]]) -> None:
    answers, gold = ([", ".join(sorted(row[side])) for row in rows] for side in (0, 1))
    matrices = [np.array([[label in row[side] for label in LABELS] for row in rows]) for side in (1, 0)]
    expected = sk.f1_score(*matrices, average="micro", zero_division=0)
    assert score("micro_f1", SETS, answers, gold) == pytest.approx(expected)


def test_accuracy_of_sets_asks_for_the_whole_set_in_any_order() -> None:
    assert score("accuracy", SETS, ["red, blue", "red"], ["blue, red", "blue, red"]) == 0.5


def test_neighbours_in_the_tasks_order_are_adjacent() -> None:
    assert score("adjacent_accuracy", COLOURS, ["red", "green", "grey", "?"], ["red", "red", "red", "red"]) == 0.5
    assert score("adjacent_accuracy", COLOURS, ["blue"], ["red"], within=2) == 1


def test_any_of_several_right_labels_is_right() -> None:
    row = example(COLOURS, "blue", "red", "blue")
    assert metric("accuracy", COLOURS).score([row]) == 1
    assert metric("macro_f1", COLOURS).score([row]) == 1


def test_f1_needs_to_know_the_positive_label() -> None:
    answer = spec("label", labels=LABELS)
    with pytest.raises(UserError, match=r"needs answer\.positive"):
        metric("f1", answer)
    with pytest.raises(UserError, match="did you mean 'green'"):
        metric("f1", answer, positive="gren")
    assert score("f1", answer, ["green"], ["green"], positive="green") == 1


def test_metrics_of_one_label_refuse_sets() -> None:
    with pytest.raises(UserError, match="micro_f1"):
        metric("macro_f1", SETS)
