"""Entities are read with every part or not at all, from JSON and from tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.answers.entities import gold_entities, read_entities
from harness.tasks.task import EntitiesAnswer

SPEC = EntitiesAnswer(type="entities", types=["person", "organization"])


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ('{"person": ["Bob"], "person": ["Ann"]}', ("Bob", "Ann")),
        ('{"person": ["Bob"], "PERSON": "Ann"}', ("Bob", "Ann")),
        ('{"person": [{"text": "Ann", "start": 0, "end": 3}]}', ("Ann",)),
        ('{"person": [{"name": "Ann", "type": "Person", "score": 0.9}]}', ("Ann",)),
        ('{"person": {"name": "Ann"}}', ("Ann",)),
        ('{"person": [["Ann", "Bob"], null, ""]}', ("Ann", "Bob")),
        ('{"person": [1984, 1.50]}', ("1984", "1.50")),
        ('{"person": [[1984, 2001]]}', ("1984", "2001")),
        ('{"person": [["Ann", 0, 3], ["Bob", 5, 8]]}', ("Ann", "Bob")),
        ('{"person": [{"entity_type": "person", "entity_text": "Ann"}, {"person": "Bob"}]}', ("Ann", "Bob")),
        ('The names ["Ann", "UN"] give {"person": ["Ann"]}', ("Ann",)),
        ('As in [1]: {"person": []}', ()),
    ],
)
def test_nothing_is_lost(text: str, people: tuple[str, ...]) -> None:
    assert read_entities(text, SPEC) == {"person": people, "organization": ()}


@pytest.mark.parametrize(
    "text",
    [
        '{"person": [{"name": "Ann", "role": "chief"}]}',
        '{"person": [{"first": "Ann", "last": "Lee"}]}',
        '{"person": [{}]}',
        '{"person": [{"role": "CEO"}]}',
        '{"person": {"born_in": "Rome"}}',
        '{"person": [["Ann", 3]]}',
        '{"person": [["Ann", "Bob", 3]]}',
        '{"person": [true]}',
        '{"person": ["Ann", {"start": 0}]}',
        '{"person": ["Ann"], "organization": ["UN"',
        '{"person": ["Ann"]} or {"person": ["Bob"]}',
    ],
)
def test_what_cannot_be_kept_makes_the_answer_unparsed(text: str) -> None:
    assert read_entities(text, SPEC) is None


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ('["B-person", "I-person", "O"]', ("B-person", "I-person", "O")),
        ('["B-PER", "I-PER", "O", "S-ORG"]', ("B-person", "I-person", "O", "S-organization")),
        ('["B-PER", "B-DATE"]', ("B-person", "B-DATE")),
        ('["O", "O"]', ("O", "O")),
        ("Tags: ['O', 'B-Person']", ("O", "B-person")),
        ('["B-DATE", "O"]', None),
        ('["B-PER", "x"]', None),
        ('["B-PE"]', None),
        ("[]", None),
    ],
)
def test_tags_of_a_sentence_are_an_answer(text: str, tags: tuple[str, ...] | None) -> None:
    assert read_entities(text, SPEC) == tags


def test_a_right_answer_is_the_whole_text_with_known_types() -> None:
    assert gold_entities('{"person": ["Ann"]}', SPEC) == {"person": ("Ann",), "organization": ()}
    assert gold_entities('["B-PER", "O"]', SPEC) == ("B-person", "O")
    with pytest.raises(ValueError, match=r"unknown type 'persn' \(did you mean 'person'\?\)"):
        gold_entities('{"persn": ["Ann"]}', SPEC)
    with pytest.raises(ValueError, match="unknown type 'DATE'"):
        gold_entities('["B-PER", "B-DATE"]', SPEC)
    for text in ("Ann", '["Ann"]', 'It is {"person": ["Ann"]}', '{"person": ["Ann"', ""):
        with pytest.raises(ValueError, match="neither a JSON object"):
            gold_entities(text, SPEC)
    with pytest.raises(ValueError, match="object with no single text"):
        gold_entities('{"person": [{"a": "x", "b": "y"}]}', SPEC)


@given(
    st.dictionaries(
        st.sampled_from(SPEC.types),
        st.lists(st.text(min_size=1, max_size=6).map(str.strip).filter(bool), max_size=3),
        min_size=1,
    )
)
def test_written_entities_are_read_back(written: dict[str, list[str]]) -> None:
    import json

    expected = {name: tuple(written.get(name, ())) for name in SPEC.types}
    assert read_entities(f"Sure!\n{json.dumps(written)}\nDone.", SPEC) == expected
    assert gold_entities(json.dumps(written), SPEC) == expected
