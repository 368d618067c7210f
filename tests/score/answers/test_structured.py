"""JSON values are read whole or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.answers.structured import canonical, gold_json, read_json
from tests.score.answers.chatter import around


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('As asked in [1]: {"answer": 42}', {"answer": 42}),
        ('Step [2] gives {"a": [1, 2]}', {"a": [1, 2]}),
        ('As in [Smith, 2020], it is {"a": 1}.', {"a": 1}),
        ('[Note: I read it twice] {"a": 1}', {"a": 1}),
        ('See [1](http://example.org): {"a": 1}', {"a": 1}),
        ('x[0] = {"a": 1}', {"a": 1}),
        ('- [ ] done\n{"a": 1}', {"a": 1}),
        ('The set {x} gives {"a": 1}', {"a": 1}),
        ('{"a": 1}, in full: {"a": 1}', {"a": 1}),
        ('**{"a": 1}**', {"a": 1}),
        ('Answer: ```json\n{"a": 1}\n```', {"a": 1}),
        ('1. Here:\n   ```json\n   {"a":\n    1}\n   ```', {"a": 1}),
        ("The answer is [1, 2].", [1, 2]),
        ("Answer:\n[1]", [1]),
        ("[1]", [1]),
        ("Answer: {}", {}),
        ('"x"', "x"),
        ('答案是["a"]', ["a"]),
    ],
)
def test_brackets_of_the_prose_are_not_the_answer(text: str, value: object) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        "{'a': 1, 'a': 1}",
        '{"a": {"b": 1, "b": 2}}',
        '{1: "a", "1": "b"}',
        '{"a": {"x": 1}, oops}',
        '{person: ["Ann"], organization: ["UN"]',
        '{"a": [1, 2], "b": [3',
        '[{"a": 1}, {"a": 2}',
        'It is {"a": 1}, or {"a": 2}.',
        '{"a": 1}\n{"a": 2}',
        '```json\n{"a": 1}\n```\nor\n```json\n{"a": 2}\n```',
        '```json\n{"a": 1}\n{"b": 2}\n```',
        '```json\n{"a": {"b": 1}, }}\n```',
        "It is 42 [1].",
        "It is 42, as in the source [1]",
        "{broken} but [1]",
        "\\frac{1}{2}",
        "the set {1, 2}",
        "{True: 1}",
        '{"a": 1e999}',
        "[" * 101 + "]" * 101,
    ],
)
def test_a_piece_of_a_value_is_not_the_value(text: str) -> None:
    assert read_json(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", 9007199254740993),
        ('{"n": 9007199254740993.0}', {"n": 9007199254740993}),
        ("[1e3, 1.0, -0.0]", [1000, 1, 0]),
        ("{'a': {'x', 'b'}}", {"a": ["x", "b"]}),
        ("{'a': -1.5, 'b': None, 3: false}", {"a": -1.5, "b": None, "3": False}),
    ],
)
def test_values_keep_their_identity(text: str, value: object) -> None:
    found = read_json(text)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("true", "1", False),
        ("[0]", "[false]", False),
        ('{"n": true}', '{"n": 1}', False),
        ('"1"', "1", False),
        ("null", "0", False),
        ("9007199254740993", "9007199254740992", False),
        ("1.0", "1", True),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
        ("[1, 2]", "[2, 1]", False),
    ],
)
def test_values_are_equal_as_json_has_it(one: str, other: str, same: bool) -> None:
    read = [None if text == "null" else gold_json(text) for text in (one, other)]
    assert (canonical(read[0]) == canonical(read[1])) is same


@pytest.mark.parametrize("text", ['{"a": 1}', ' {"a": 1}\n', '```json\n{"a": 1}\n```', "{'a': 1}"])
def test_a_right_answer_is_the_whole_text(text: str) -> None:
    assert gold_json(text) == {"a": 1}


@pytest.mark.parametrize("text", ['It is {"a": 1}', '{"a": 1, "a": 1}', '{"a": 1', "", '```\n{"a": 1}\n```\nYes'])
def test_a_right_answer_with_anything_else_in_it_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is not a JSON value as a whole|a key is written twice"):
        gold_json(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e15, 1e15) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, st.booleans(), around())
def test_a_value_in_chatter_is_itself_or_unparsed(value: object, indented: bool, around: tuple[str, str]) -> None:
    text = json.dumps(value, indent=2 if indented else None, ensure_ascii=False)
    found = read_json(around[0] + text + around[1])
    assert found is None or canonical(found) == canonical(read_json(text))


@given(VALUES)
def test_a_value_alone_is_read_as_printed(value: object) -> None:
    for text in (
        json.dumps(value),
        json.dumps(value, indent=1, ensure_ascii=False),
        f"```json\n{json.dumps(value)}\n```",
    ):
        assert read_json(text) == value
    if isinstance(value, list | dict):
        assert read_json(repr(value)) == value


@given(VALUES.filter(lambda value: isinstance(value, dict) and value), st.integers(1, 30))
def test_a_value_that_is_cut_off_is_not_read(value: object, cut: int) -> None:
    text = json.dumps(value)
    assert read_json(text[: -min(cut, len(text) - 1)]) is None
