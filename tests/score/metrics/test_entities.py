"""Entity F1 on a set checked by hand, and the share of valid JSON."""

from __future__ import annotations

import pytest

from tests.score.metrics.rows import example, metric, score, spec

ENTITIES = spec("entities", types=["person", "place"])
GOLD = '{"person": ["Ann", "Bob"], "place": ["Rome"]}'


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        (GOLD, 1),
        ('{"place": ["Rome"], "person": ["Bob", "Ann"]}', 1),
        ("{'person': ['Ann', 'Bob'], 'place': 'Rome'}", 1),
        ('{"person": ["Ann"], "place": []}', 2 * 1 / (1 + 3)),
        ('{"person": ["Rome"], "place": ["Ann", "Bob"]}', 0),
        ('{"person": ["ann", "Bob"], "place": ["Rome"]}', 2 * 2 / (3 + 3)),
        ('{"person": ["Ann", "Ann", "Bob"], "place": ["Rome"]}', 2 * 3 / (4 + 3)),
        ('{"person": ["Ann Lee", "Bob"], "place": ["Rome"]}', 2 * 2 / (3 + 3)),
        ("{}", 0),
        ("Ann, Bob, Rome", 0),
    ],
)
def test_an_entity_counts_when_type_and_text_are_right(answer: str, f1: float) -> None:
    assert score("entity_f1", ENTITIES, [answer], [GOLD]) == pytest.approx(f1)


def test_f1_is_taken_over_all_rows_at_once() -> None:
    answers = ['{"person": ["Ann"], "place": []}', "no JSON", '{"person": [], "place": ["Oslo"]}']
    golds = ['{"person": ["Ann"], "place": []}', GOLD, '{"person": [], "place": []}']
    assert score("entity_f1", ENTITIES, answers, golds) == pytest.approx(2 * 1 / (2 + 4))


def test_a_name_that_stands_twice_must_be_found_twice() -> None:
    gold = '{"person": ["Ann", "Ann"], "place": []}'
    assert score("entity_f1", ENTITIES, ['{"person": ["Ann"]}'], [gold]) == pytest.approx(2 / 3)


def test_case_can_be_ignored() -> None:
    assert (
        score("entity_f1", ENTITIES, ['{"person": ["ann", "BOB"], "place": ["rome"]}'], [GOLD], ignore_case=True) == 1
    )


def test_of_several_right_lists_the_nearest_counts() -> None:
    row = example(ENTITIES, '{"person": ["Ann"]}', GOLD, '{"person": ["Ann"]}')
    assert metric("entity_f1", ENTITIES).score([row]) == 1


def test_rows_without_any_entity_on_either_side_do_not_count() -> None:
    empty = '{"person": [], "place": []}'
    assert score("entity_f1", ENTITIES, [empty, GOLD], [empty, GOLD]) == 1
    assert score("entity_f1", ENTITIES, [empty], [empty]) == 0


TWO = ['{"person": ["Ann", "Eve"], "place": []}', '{"person": [], "place": ["Rome"]}']
TWO_GOLD = ['{"person": ["Ann"], "place": ["Oslo"]}', '{"person": ["Bob", "Cy"], "place": ["Rome"]}']


@pytest.mark.parametrize(
    ("name", "micro", "macro"),
    [
        ("entity_precision", 2 / 3, (1 / 2 + 1 / 1) / 2),
        ("entity_recall", 2 / 5, (1 / 3 + 1 / 2) / 2),
        ("entity_f1", 2 * 2 / (3 + 5), (2 * 1 / (2 + 3) + 2 * 1 / (1 + 2)) / 2),
    ],
)
def test_precision_recall_and_f1_over_all_entities_and_by_type(name: str, micro: float, macro: float) -> None:
    assert score(name, ENTITIES, TWO, TWO_GOLD) == pytest.approx(micro)
    assert score(name, ENTITIES, TWO, TWO_GOLD, average="macro") == pytest.approx(macro)


def test_a_type_that_occurs_nowhere_does_not_count_as_0() -> None:
    gold = '{"person": ["Ann"], "place": []}'
    for name in ("entity_precision", "entity_recall", "entity_f1"):
        assert score(name, ENTITIES, [gold], [gold], average="macro") == 1
        assert score(name, ENTITIES, ["no JSON"], [gold], average="macro") == 0


@pytest.mark.parametrize(
    ("answer", "gold", "conlleval", "iob2"),
    [
        ('["B-person", "I-person", "O"]', '["B-person", "I-person", "O"]', 1, 1),
        ('["I-person", "I-person", "O"]', '["B-person", "I-person", "O"]', 1, 0),
        ('["B-person", "O", "O"]', '["B-person", "I-person", "O"]', 0, 0),
        ('["B-person", "I-place", "O"]', '["B-person", "B-place", "O"]', 1, 2 / 3),
        ('["B-person", "B-date", "O"]', '["B-person", "O", "O"]', 1, 1),
        ('{"person": ["Ann"]}', '["B-person", "O"]', 0, 0),
    ],
)
def test_tags_are_compared_by_type_and_position(answer: str, gold: str, conlleval: float, iob2: float) -> None:
    assert score("entity_f1", ENTITIES, [answer], [gold]) == pytest.approx(conlleval)
    assert score("entity_f1", ENTITIES, [answer], [gold], scheme="iob2") == pytest.approx(iob2)


def test_valid_json_is_the_share_of_readable_answers() -> None:
    assert score("valid_json", ENTITIES, ["{}", "{'person': []}", "Ann", "[1]"], [GOLD] * 4) == 0.5
    assert score("valid_json", spec("json"), ["[1]", "{"], ["1", "1"]) == 0.5
