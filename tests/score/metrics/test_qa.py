"""Short answers by the rules of SQuAD and of DROP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.metrics.qa import normalised
from tests.score.metrics.rows import example, metric, score, spec

TEXT = spec("text")
words = st.lists(st.sampled_from(["the", "cat", "3", "two", "U.S.", "a", "half-time", "$5"]), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("The Cat", "cat"),
        ("a cat", "cat"),
        ("an apple and the pear", "apple and pear"),
        ("cat.", "cat"),
        ("U.S.", "us"),
        ("1,000", "1000"),
        ("3.5", "35"),
        ("half-time", "halftime"),
        ("it's", "its"),
        ("  two   spaces ", "two spaces"),
        ("line\nbreak", "line break"),
        ("“quoted”", "“quoted”"),
        ("(in brackets)", "in brackets"),
        ("theatre", "theatre"),
        ("The The", ""),
        ("an", ""),
        ("Élan", "élan"),
        ("$5 million", "5 million"),
        ("50%", "50"),
        ("A.", ""),
        ("the-end", "theend"),
    ],
)
def test_squad_normalisation(text: str, rest: str) -> None:
    assert normalised(text) == rest


@pytest.mark.parametrize(
    ("text", "gold", "match", "f1"),
    [
        ("the cat", "Cat", 1, 1),
        ("black cat", "cat", 0, 2 / 3),
        ("cat cat", "cat", 0, 2 / 3),
        ("dog", "cat", 0, 0),
        ("the", "a", 1, 1),
        ("the", "cat", 0, 0),
        ("", "cat", 0, 0),
    ],
)
def test_squad_scores(text: str, gold: str, match: float, f1: float) -> None:
    assert score("qa_exact_match", TEXT, [text], [gold]) == match
    assert score("qa_f1", TEXT, [text], [gold]) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("text", "gold", "match", "f1"),
    [
        ("3", "3", 1, 1),
        ("3.0", "3", 1, 1),
        ("3 yards", "3", 0, 0.67),
        ("4 yards", "3 yards", 0, 0),
        ("yards", "3 yards", 0, 0),
        ("1,000", "1000", 1, 1),
        ("$5", "5", 1, 1),
        ("5%", "5", 1, 1),
        ("the Bears", "Bears", 1, 1),
        ("Chicago Bears", "Bears", 0, 0.67),
        ("Bears Bears", "Bears", 0, 1),
        ("two-yard", "two yard", 1, 1),
        ("half-time", "time half", 0, 1),
        ("U.S.", "us", 1, 1),
        ("Tom Brady!", "tom brady", 1, 1),
        ("Brady", "Tom Brady and Peyton Manning", 0, 0.33),
        ("12 May 1990", "May 12 1990", 0, 1),
        ("no idea", "Bears", 0, 0),
        ("Bears", "Packers", 0, 0),
        ("an", "the", 1, 1),
        (".5", "0.5", 1, 1),
    ],
)
def test_drop_scores_by_the_official_rules(text: str, gold: str, match: float, f1: float) -> None:
    official = {"number_words": False, "separator": ""}
    assert score("drop_exact_match", TEXT, [text], [gold], **official) == match
    assert score("drop_f1", TEXT, [text], [gold], **official) == pytest.approx(f1)


def test_drop_reads_number_words_unless_told_not_to() -> None:
    assert score("drop_exact_match", TEXT, ["two"], ["2"]) == 1
    assert score("drop_f1", TEXT, ["Two touchdowns"], ["2 touchdowns"]) == 1
    assert score("drop_exact_match", TEXT, ["two"], ["2"], number_words=False) == 0


@pytest.mark.parametrize(
    ("text", "gold", "match", "f1"),
    [
        ("Brady, Manning", "Manning, Brady", 1, 1),
        ("Manning and Brady", "Brady, Manning", 1, 1),
        ("Brady", "Manning, Brady", 0, 0.67),
        ("Brady, Rodgers", "Manning, Brady", 0, 0.5),
        ("Manning, Brady, Rodgers", "Manning, Brady", 0, 0.8),
        ("12 May, 1990", "12 May, 1990", 1, 1),
    ],
)
def test_drop_answers_of_several_spans(text: str, gold: str, match: float, f1: float) -> None:
    assert score("drop_exact_match", TEXT, [text], [gold]) == match
    assert score("drop_f1", TEXT, [text], [gold]) == pytest.approx(f1)


def test_the_best_right_answer_counts() -> None:
    row = example(TEXT, "4", "3", "4")
    assert metric("drop_f1", TEXT).score([row]) == 1
    assert metric("qa_exact_match", TEXT).score([row]) == 1


@given(words.map(" ".join), words.map(" ".join))
def test_squad_f1_is_symmetric_and_at_least_the_exact_match(one: str, other: str) -> None:
    f1 = score("qa_f1", TEXT, [one], [other])
    assert f1 == pytest.approx(score("qa_f1", TEXT, [other], [one]))
    assert f1 >= score("qa_exact_match", TEXT, [one], [other])
