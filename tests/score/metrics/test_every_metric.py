"""What holds for every metric: its range, gold at the top, no answer at the bottom, and no resample without a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.score.metrics.base import Example, Metric
from harness.score.metrics.registry import fitting
from harness.tasks.task import AnswerFormat
from tests.score.metrics.rows import example, metric, spec

TABLE = {"header": ["a", "b"], "types": ["text", "real"], "rows": [["x", 1], ["y", 2], ["z", 2]]}
ANSWERS: dict[str, AnswerFormat] = {
    "label": spec("label", labels=["yes", "no", "perhaps"], positive="yes"),
    "yes_no": spec("label", labels=["yes", "no"], positive="yes"),
    "number": spec("number"),
    "text": spec("text"),
    "regex": spec("regex", pattern=".+"),
    "json": spec("json"),
    "entities": spec("entities", types=["person", "place"]),
    "label_and_explanation": spec("label_and_explanation"),
    "sql": spec("sql"),
    "instructions": spec("instructions"),
}
GOLD: dict[str, Sequence[str]] = {
    "label": ["yes", "no", "perhaps", "yes", "no"],
    "yes_no": ["yes", "no", "no"],
    "number": ["1", "2.5", "3", "4", "0"],
    "text": ["the black cat sat on the mat", "two dogs ran over the wide field", "rain fell all day long"],
    "regex": ["red green blue black", "one two three four", "a b c d"],
    "json": ['{"a": 1}', "[1, 2]", '{"b": "x"}'],
    "entities": ['{"person": ["Ann"], "place": []}', '{"person": [], "place": ["Rome", "Oslo"]}'],
    "label_and_explanation": ["red\nExplanation: it is like blood", "blue\nExplanation: it is like the sky"],
    "sql": ['SELECT "a" FROM "table"', """SELECT "a" FROM "table" WHERE "b" = '1'""", 'SELECT MAX("b") FROM "table"'],
    "instructions": [  # each follows itself
        '{"instruction_id_list": ["detectable_format:json_format"], "kwargs": [{}]}',
        '{"instruction_id_list": ["keywords:existence", "startend:end_checker"], '
        '"kwargs": [{"keywords": ["keywords"]}, {"end_phrase": "}]}"}]}',
    ],
}
WRONG: dict[str, Sequence[str]] = {
    "label": ["yes", "no", "perhaps", "I cannot say", "", "yes or no"],
    "yes_no": ["yes", "no", "unknown", "10", ""],
    "number": ["1", "-7", "3.0", "1000000", "none", ""],
    "text": ["the black cat", "mat the on sat cat black the", "", "rain", "Zebra!", "\N{SNOWMAN}"],
    "regex": ["red green", "x", ""],
    "json": ["{", '{"a": 2}', "[1, 2]", "", "'x'"],
    "entities": ['{"person": ["Ann", "Ann"]}', "{}", "Ann", "", '{"place": ["Rome"]}'],
    "label_and_explanation": ["red", "blue\nExplanation: the sky is wide", "", "red\nExplanation: it is like blood"],
    "sql": ['SELECT "b" FROM "table"', "SELECT", "", """SELECT "a" FROM "table" WHERE "b" < '2'"""],
    "instructions": ["keywords", "{}", "", "Sure:\n{}\n", "*keywords\n}]}*"],
}
UNFIT = {
    ("label", "published_binary_accuracy_flex"),
    *((kind, "win_rate") for kind in ("label", "yes_no", "number")),
    *(("json", name) for name in ("field_accuracy", "json_schema")),
}
"""Metrics that need certain labels, a range or an option."""
CASES = [
    (kind, name)
    for kind, answer in ANSWERS.items()
    for name in fitting(answer.type)
    if name != "evaluate" and (kind, name) not in UNFIT
]


def build(kind: str, name: str) -> Metric:
    return metric(name, ANSWERS[kind])


def rows(kind: str, completions: Sequence[str], golds: Sequence[str]) -> list[Example]:
    pairs = zip(completions, golds, strict=True)
    return [example(ANSWERS[kind], one, gold, fields={"table": TABLE}) for one, gold in pairs]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gold_answers_score_highest(kind: str, name: str) -> None:
    built = build(kind, name)
    assert built.score(rows(kind, GOLD[kind], GOLD[kind])) == pytest.approx(built.high)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_answers_score_zero(kind: str, name: str) -> None:
    nothing = [""] * len(GOLD[kind])
    assert build(kind, name).score(rows(kind, nothing, GOLD[kind])) == 0


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_scores_stay_in_range_for_every_resample(kind: str, name: str) -> None:
    built = build(kind, name)
    rng = np.random.default_rng(7)
    for n in (1, 2, 3, 8):
        golds = rng.choice(GOLD[kind], n).tolist()
        answers = [rng.choice([*WRONG[kind], gold]) for gold in golds]
        counts = rng.multinomial(n, np.full(n, 1 / n), size=200)
        scores = built.summary(counts / n @ built.table(rows(kind, answers, golds)))
        assert scores.shape == (200,)
        assert np.isfinite(scores).all()
        assert (scores >= built.low - 1e-9).all()
        assert (scores <= built.high + 1e-9).all()


# A score of the whole set may rise when a wrong answer is withheld.
MEANS = [(kind, name) for kind, name in CASES if build(kind, name).kind != "corpus"]


@pytest.mark.parametrize(("kind", "name"), MEANS)
@settings(max_examples=10)
@given(data=st.data())
def test_dropping_an_answer_never_helps_a_mean(kind: str, name: str, data: st.DataObject) -> None:
    built = build(kind, name)
    golds = data.draw(st.lists(st.sampled_from(GOLD[kind]), min_size=1, max_size=6))
    answers = [data.draw(st.sampled_from([*WRONG[kind], gold])) for gold in golds]
    withheld = [*answers[:-1], ""]
    assert built.score(rows(kind, withheld, golds)) <= built.score(rows(kind, answers, golds)) + 1e-9


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_binary_metrics_score_each_row_0_or_1(kind: str, name: str) -> None:
    built = build(kind, name)
    golds = [GOLD[kind][n % len(GOLD[kind])] for n in range(len(WRONG[kind]))]
    stats = built.table(rows(kind, WRONG[kind], golds))
    if built.kind == "binary":
        assert set(np.unique(stats)) <= {0.0, 1.0}
        assert stats.shape == (len(golds), 1)
    else:
        assert stats.shape[0] == len(golds)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_rows_have_the_lowest_score(kind: str, name: str) -> None:
    assert build(kind, name).score([]) == build(kind, name).low
