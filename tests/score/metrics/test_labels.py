"""Label metrics agree with scikit-learn, with rows without an answer kept as wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from harness.compare.intervals import estimate, wilson
from harness.errors import UserError
from harness.score.metrics.labels import per_class
from harness.tasks.task import AnswerFormat
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


VERDICTS = spec("label", labels=["win", "draw", "loss"])
CODED = spec("label", labels=["0", "1", "2"])
PREFERENCES = spec("number", minimum=1, maximum=2)
JUDGED = ["win", "win", "draw", "loss", "loss", "loss", "no idea", ""]


@pytest.mark.parametrize(
    ("options", "rate"), [({}, 2.5 / 8), ({"draw_weight": 0.0}, 2 / 8), ({"draw_weight": 1.0}, 3 / 8)]
)
def test_a_draw_is_half_a_win_and_no_verdict_is_none(options: dict[str, float], rate: float) -> None:
    assert score("win_rate", VERDICTS, JUDGED, ["win"] * 8, **options) == pytest.approx(rate)


def test_wins_draws_and_losses_are_counted() -> None:
    built = metric("win_rate", VERDICTS)
    rows = [example(VERDICTS, verdict, "win") for verdict in JUDGED]
    assert built.counts(built.table(rows)) == {"wins": 2, "draws": 1, "losses": 3}


def test_verdicts_may_have_other_names() -> None:
    names = {"win": "2", "draw": "0", "loss": "1"}
    assert score("win_rate", CODED, ["2", "2", "0", "1"], ["2"] * 4, **names) == pytest.approx(2.5 / 4)


def test_a_preference_counts_for_its_place_between_loss_and_win() -> None:
    said = ["2", "1.75", "1.5", "1", "3", "?"]  # the last two are no preferences
    built = metric("win_rate", PREFERENCES)
    rows = [example(PREFERENCES, one, "2") for one in said]
    assert built.score(rows) == pytest.approx((1 + 0.75 + 0.5) / 6)
    assert built.counts(built.table(rows)) == {"wins": 2, "draws": 1, "losses": 1}


@pytest.mark.parametrize(("labels", "kind"), [(["win", "draw", "loss"], "mean"), (["loss", "win"], "binary")])
def test_the_interval_is_wilsons_where_there_are_no_draws(labels: list[str], kind: str) -> None:
    built = metric("win_rate", answer := spec("label", labels=labels))
    rows = [example(answer, one, "win") for one in ["win", "loss", "loss", "loss"]]
    found, wilsons = estimate(built, built.table(rows)), wilson(1, 4)
    assert (built.kind, found == wilsons) == (kind, kind == "binary")


@pytest.mark.parametrize(
    ("answer", "options", "message"),
    [
        (COLOURS, {}, "option 'win': 'win' is not one of the answer's labels"),
        (VERDICTS, {"win": "wins"}, "did you mean 'win'"),
        (VERDICTS, {"draw": "tie"}, "option 'draw': 'tie' is not"),
        (VERDICTS, {"draw": "loss"}, "two name the same one"),
        (spec("label", labels=["win", "tie", "loss"]), {}, "the label 'tie' is none of them"),
        (spec("label", labels=["win", "loss"], many=True), {}, "not a set"),
        (VERDICTS, {"draw_weight": 1.5}, "from 0 to 1, found 1.5"),
        (spec("number"), {}, "needs answer.minimum and answer.maximum"),
        (spec("number", minimum=2, maximum=1), {}, "needs answer.minimum and answer.maximum"),
    ],
)
def test_labels_that_are_no_verdicts_are_an_error(answer: AnswerFormat, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        metric("win_rate", answer, **options)
