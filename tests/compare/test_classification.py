"""Tables of labels in the published form, against scikit-learn."""

from __future__ import annotations

import random

import pytest
from sklearn.metrics import classification_report, cohen_kappa_score

from harness.compare.classification import Part, parts
from harness.compare.intervals import wilson
from harness.report.label_tables import label_tables
from harness.rows.evaluation import EvaluationRow
from harness.store.results import Answers, Response
from harness.tasks.task import Task

LABELS = ["toxic", "not toxic", "unsure"]


def task(**changes: object) -> Task:
    answer = {"type": "label", "labels": LABELS}
    return Task.model_validate(
        {"title": "t", "category": "classification", "prompt": "{{ x }}", "target": "{{ y }}", "answer": answer,
         "metrics": ["accuracy"], "max_tokens": 4, "slices": ["group"], **changes}
    )  # fmt: skip


def answered(pairs: list[tuple[str, str | None]]) -> list[tuple[EvaluationRow, Answers]]:
    return [
        (
            EvaluationRow(str(place), "p", (gold,), {"group": place % 2}),
            (None if text is None else Response(str(place), str(place), "ok", text),),
        )
        for place, (gold, text) in enumerate(pairs)
    ]


def random_pairs(seed: int) -> list[tuple[str, str | None]]:
    draw = random.Random(seed)
    return [
        (draw.choice(LABELS[:2]), draw.choice([*LABELS, "toxic", "toxic", "no idea", None]))
        for _ in range(draw.randrange(5, 60))
    ]


@pytest.mark.parametrize("seed", range(10))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    pairs = random_pairs(seed)
    whole: Part = parts(task(), answered(pairs))[0]
    read = [(gold, text if text in LABELS else "unusable") for gold, text in pairs]
    for found, rows in ((whole.whole, read), (whole.dropped, [pair for pair in read if pair[1] in LABELS])):
        assert found is not None
        gold, texts = zip(*rows, strict=True)
        occurring = [label for label in LABELS if label in {*gold, *texts}]
        report = classification_report(gold, texts, labels=occurring, output_dict=True, zero_division=0)
        for one in (*found.classes, found.macro, found.weighted):
            name = {"macro average": "macro avg", "weighted average": "weighted avg"}.get(one.label, one.label)
            if name in report:
                expected = report[name]
                assert (one.precision, one.recall, one.f1, one.support) == pytest.approx(
                    (expected["precision"], expected["recall"], expected["f1-score"], expected["support"])
                )
        right = sum(ours == theirs for ours, theirs in rows)
        assert found.accuracy.value == pytest.approx(right / len(rows))
        assert found.accuracy == wilson(right, len(rows))
        assert found.kappa == pytest.approx(cohen_kappa_score(gold, texts))
    assert whole.whole.n == len(pairs)
    assert whole.whole.unusable == sum(text == "unusable" for _, text in read)


def test_slices_follow_all_rows_and_have_their_own_figures() -> None:
    pairs = [("toxic", "toxic"), ("not toxic", "toxic"), ("toxic", "toxic"), ("not toxic", "not toxic")]
    found = parts(task(), answered(pairs))
    assert [(part.name, part.whole.n) for part in found] == [("all rows", 4), ("group = 0", 2), ("group = 1", 2)]
    assert [part.whole.accuracy.value for part in found] == [0.75, 1.0, 0.5]


def test_constant_labels_have_no_kappa() -> None:
    (whole, *_) = parts(task(), answered([("toxic", "toxic")] * 3))
    assert whole.whole.kappa is None


def test_figures_without_unusable_answers_stand_beside_those_of_all_rows() -> None:
    (text,) = label_tables(task(slices=[]), answered([("toxic", "toxic"), ("toxic", None)]))
    assert text.startswith("all rows: n = 2, 1 without a usable answer")
    line = next(line for line in text.splitlines() if line.startswith("toxic"))
    assert line.split() == ["toxic", "1.000", "0.500", "0.667", "2", "1.000", "1.000", "1.000", "1"]
    (text,) = label_tables(task(slices=[]), answered([("toxic", "toxic")]))
    assert "dropped" not in text


def test_nothing_usable_leaves_the_other_side_empty() -> None:
    (text,) = label_tables(task(slices=[]), answered([("toxic", None)]))
    assert next(line for line in text.splitlines() if line.startswith("kappa")).split()[-1] == "–"


def test_other_answers_have_no_such_table() -> None:
    assert parts(task(answer={"type": "text"}, metrics=["exact_match"]), answered([("toxic", "toxic")])) == []
