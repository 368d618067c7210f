"""Metrics by name: what a task file may ask for, and what it is told when it asks for something else."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UserError
from harness.score.metrics.registry import build, build_all, fitting, recipes
from harness.tasks.task import ANSWER_TYPES, MetricSpec
from tests.score.metrics.rows import spec

TEXT = spec("text")


def wanted(value: Any) -> MetricSpec:
    return MetricSpec.model_validate(value)


@pytest.mark.parametrize("value", ["rouge_l", {"rouge_l": None}, {"rouge_l": {"stemmer": True}}])
def test_a_metric_is_asked_for_by_name_with_or_without_options(value: Any) -> None:
    assert build(wanted(value), TEXT).name == "rouge_l"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("rouge", "unknown metric 'rouge'.*did you mean 'rouge_"),
        ("f1", "does not fit answers of type text.*qa_f1"),
        ({"rouge_l": {"stem": True}}, "no option 'stem'.*'stemmer'"),
        ({"rouge_l": {"stemmer": "yes"}}, "option 'stemmer'.*valid boolean"),
        ({"qa_f1": {"x": 1}}, "no option 'x' .it has none."),
        ({"bleu": {"tokenize": "14a"}}, "option 'tokenize'.*'13a'"),
        ({"chrf": {"word_order": 1.5}}, "option 'word_order'.*integer"),
        ({"evaluate": {"key": "x"}}, "needs the option 'metric'"),
    ],
)
def test_a_wrong_name_or_option_is_told_with_the_nearest_right_one(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(wanted(value), TEXT)


def test_options_out_of_range_are_told() -> None:
    for value in ({"closeness": {"scale": 0}}, {"number_match": {"tolerance": -1}}):
        with pytest.raises(UserError, match="must"):
            build(wanted(value), spec("number"))


def test_a_metric_asked_for_twice_is_told_apart_by_its_options() -> None:
    metrics = build_all([wanted("rouge_l"), wanted({"rouge_l": {"stemmer": True}})], TEXT)
    assert [metric.name for metric in metrics] == ["rouge_l", "rouge_l(stemmer=True)"]
    with pytest.raises(UserError, match="twice"):
        build_all([wanted("rouge_l"), wanted("rouge_l")], TEXT)


def test_every_metric_says_in_a_sentence_what_it_is() -> None:
    for name, recipe in recipes().items():
        assert recipe.definition.endswith((".", "]")), name
        assert len(recipe.definition) > 30, name


def test_every_answer_type_has_a_metric() -> None:
    for kind in ANSWER_TYPES:
        assert fitting(kind)
