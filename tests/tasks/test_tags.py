"""Tags to entities, by the rules of conlleval and of strict IOB2."""

from __future__ import annotations

import pytest

from harness.tasks.tags import Scheme, is_tags, spans


@pytest.mark.parametrize(
    ("tags", "conlleval", "iob2"),
    [
        ("B-PER I-PER O", [("PER", 0, 2)], [("PER", 0, 2)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)], [("PER", 0, 1), ("PER", 1, 2)]),
        ("I-PER I-PER O", [("PER", 0, 2)], []),
        ("O I-PER", [("PER", 1, 2)], []),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)], [("PER", 0, 1)]),
        ("B-PER I-LOC I-PER", [("PER", 0, 1), ("LOC", 1, 2), ("PER", 2, 3)], [("PER", 0, 1)]),
        ("B-PER O I-PER", [("PER", 0, 1), ("PER", 2, 3)], [("PER", 0, 1)]),
        ("B-PER E-PER I-PER", [("PER", 0, 2), ("PER", 2, 3)], [("PER", 0, 2)]),
        ("S-PER S-PER", [("PER", 0, 1), ("PER", 1, 2)], [("PER", 0, 1), ("PER", 1, 2)]),
        ("U-PER B-LOC L-LOC", [("PER", 0, 1), ("LOC", 1, 3)], [("PER", 0, 1), ("LOC", 1, 3)]),
        ("", [], []),
        ("O O", [], []),
    ],
)
def test_entities_that_tags_mark(tags: str, conlleval: list[object], iob2: list[object]) -> None:
    assert spans(tags.split(), "conlleval") == conlleval
    assert spans(tags.split(), "iob2") == iob2


def test_an_unknown_scheme_is_an_error() -> None:
    scheme: Scheme = "bio"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="unknown scheme of tags 'bio'"):
        spans(["O"], scheme)


def test_what_is_a_list_of_tags() -> None:
    assert is_tags(["O", "B-PER", "I-date of birth".replace(" ", "_")])
    assert not is_tags([])
    assert not is_tags(["Ann"])
    assert not is_tags(["B-"])
    assert not is_tags([1])
