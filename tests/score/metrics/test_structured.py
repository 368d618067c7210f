"""Metrics of JSON values: leaves, single fields, schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.score.metrics.structured import leaves
from tests.score.metrics.rows import metric, score, spec

JSON = spec("json")
GOLD = '{"intent": "alarm", "slots": {"time": "06:30", "days": ["mon", "tue"]}}'
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        (GOLD, 1),
        ('{"slots": {"days": ["tue", "mon"], "time": "06:30"}, "intent": "alarm"}', 1),
        ('{"intent": "alarm", "slots": {"time": "06:31", "days": ["mon", "tue"]}}', 2 * 3 / (4 + 4)),
        ('{"intent": "alarm", "slots": {"time": "06:30", "days": ["mon"]}}', 2 * 3 / (4 + 3)),
        ('{"intent": "alarm", "slots": {"time": "06:30", "days": ["mon", "mon"]}}', 2 * 3 / (4 + 4)),
        ('{"intent": "alarm"}', 2 * 1 / (4 + 1)),
        ('{"intent": "alarm", "slots": {}}', 2 * 1 / (4 + 2)),
        ('{"intent": {"alarm": true}}', 0),
        ("no JSON", 0),
    ],
)
def test_a_leaf_counts_when_its_path_and_its_value_are_right(answer: str, f1: float) -> None:
    assert score("json_f1", JSON, [answer], [GOLD]) == pytest.approx(f1)


def test_f1_of_leaves_is_taken_over_all_rows_at_once() -> None:
    assert score("json_f1", JSON, ['{"a": 1}', "?"], ['{"a": 1}', GOLD]) == pytest.approx(2 * 1 / (1 + 5))


@pytest.mark.parametrize(("answer", "found"), [("1.0", 1), ("true", 0), ('"1"', 0)])
def test_values_keep_their_kind(answer: str, found: float) -> None:
    assert score("json_f1", JSON, [f'{{"a": {answer}}}'], ['{"a": 1}']) == found


def test_items_of_an_ordered_list_count_in_their_place() -> None:
    answer, gold = '{"steps": ["b", "a"]}', '{"steps": ["a", "b"]}'
    assert score("json_f1", JSON, [answer], [gold]) == 1
    assert score("json_f1", JSON, [answer], [gold], ordered=True) == 0


@given(values)
def test_a_value_scores_full_marks_against_itself(value: Any) -> None:
    text = json.dumps({"value": value})
    assert score("json_f1", JSON, [text], [text]) == 1
    assert len(set(leaves({"value": value}, ordered=True))) == len(list(leaves({"value": value}, ordered=True)))


@pytest.mark.parametrize(
    ("path", "answer", "right"),
    [
        ("intent", '{"intent": "alarm"}', 1),
        ("slots.time", '{"slots": {"time": "06:30"}}', 1),
        ("slots.days.1", '{"slots": {"days": ["sun", "tue"]}}', 1),
        ("slots.days.1", '{"slots": {"days": ["tue"]}}', 0),
        ("slots.days", '{"slots": {"days": ["tue", "mon"]}}', 0),
        ("slots.name", '{"slots": {}}', 1),
        ("slots.name", '{"slots": {"name": null}}', 0),
        ("intent", "no JSON", 0),
        ("slots.name", "no JSON", 0),
    ],
)
def test_one_field_is_right_or_wrong_whatever_the_others_are(path: str, answer: str, right: float) -> None:
    assert score("field_accuracy", JSON, [answer], [GOLD], path=path) == right


def test_a_field_needs_a_path() -> None:
    with pytest.raises(UserError, match=r"path is empty; expected the keys to a field"):
        metric("field_accuracy", JSON, path="")


SCHEMA = {"type": "object", "required": ["time"], "properties": {"time": {"type": "string", "pattern": "^..:..$"}}}


def test_a_schema_says_which_values_are_valid() -> None:
    answers = ['{"time": "06:30"}', '{"time": 630}', "{}", "no JSON"]
    assert score("json_schema", JSON, answers, [GOLD] * 4, schema=SCHEMA) == 0.25


def test_a_schema_that_is_wrong_is_an_error_of_the_task() -> None:
    with pytest.raises(UserError, match=r"metric 'json_schema': schema\.properties\.time\.type: 'strong' is not valid"):
        metric("json_schema", JSON, schema={"properties": {"time": {"type": "strong"}}})


def test_a_reference_out_of_the_schema_is_not_fetched() -> None:
    with pytest.raises(UserError, match=r"the reference http://127\.0\.0\.1:9/s leads out of the schema"):
        score("json_schema", JSON, ["{}"], ["{}"], schema={"$ref": "http://127.0.0.1:9/s"})


def test_an_unknown_metric_names_those_that_fit_the_answers() -> None:
    with pytest.raises(
        UserError, match=r"answers of type json are scored by: evaluate, exact_match, field_accuracy, js"
    ):
        metric("quality", JSON)
