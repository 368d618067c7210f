"""A label is read whole: not out of a longer name, a number, a denial, or an answer that names several."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.answers import read, read_gold
from tests.score.metrics.rows import spec

FOUR = spec("label", labels=["A", "B", "C", "D"])
YES_NO = spec("label", labels=["yes", "no"])
BINARY = spec("label", labels=["0", "1"])
TOXIC = spec("label", labels=["toxic", "non-toxic"])
FEELING = spec("label", labels=["positive", "negative", "neutral"])
LANGUAGE = spec("label", labels=["C", "C++", "C#"])
INCOME = spec("label", labels=[">50K", "<=50K"])
STANCE = spec("label", labels=["+1", "-1", "0"])
PAGES = spec("label", labels=["sports", "news", "food, drink"], many=True)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (FOUR, "The answer is C++"), (FOUR, "C++"), (FOUR, "The answer is C#."), (FOUR, "A+"), (FOUR, "25 °C"),
        (FOUR, "Q&A"), (FOUR, "The answer is A.M."), (FOUR, "It is D.C. of course"),
        (BINARY, "The answer is - 1"), (BINARY, "The answer is minus 1"), (BINARY, "minus 1"), (BINARY, "+1"),
        (BINARY, ">1"), (BINARY, "It is ≤1"), (BINARY, "1%"), (BINARY, "$1"), (BINARY, "1+"), (BINARY, "1 million"),
        (BINARY, "\\boxed{- 1}"), (INCOME, "50K"), (STANCE, "1"),
        (TOXIC, "¬toxic"), (TOXIC, "~toxic"), (TOXIC, "~~toxic~~"),
    ],
)  # fmt: skip
def test_signs_make_another_thing_of_a_label(answer: Any, text: str) -> None:
    assert read(text, answer) is None


@pytest.mark.parametrize(
    ("answer", "text", "label"),
    [
        (LANGUAGE, "C++", "C++"), (LANGUAGE, "It is written in C++, not in Java", "C++"), (LANGUAGE, "(C#)", "C#"),
        (LANGUAGE, "C", "C"),
        (INCOME, ">50K", ">50K"), (INCOME, "> 50K", ">50K"), (INCOME, "The answer is <=50K.", "<=50K"),
        (INCOME, "Answer: > 50K", ">50K"), (INCOME, "I think it is **<=50K**", "<=50K"),
        (STANCE, "+1", "+1"), (STANCE, "The stance is -1.", "-1"), (STANCE, "\N{MINUS SIGN}1", "-1"),
        (BINARY, "$1$", "1"), (BINARY, "<1>", "1"), (BINARY, "-> 1", "1"), (BINARY, "label=1", "1"),
        (BINARY, "The answer is $1$ here", "1"), (BINARY, "Answer - 1", "1"), (BINARY, "- 1", "1"), (BINARY, "#1", "1"),
        (YES_NO, "# Yes", "yes"), (YES_NO, "- yes", "yes"), (YES_NO, "> yes", "yes"), (YES_NO, "| yes |", "yes"),
        (YES_NO, "<b>yes</b>", "yes"),
        (YES_NO, "Yes \N{THUMBS UP SIGN}", "yes"), (YES_NO, "Yes\N{EM DASH}it is", "yes"),
        (FOUR, "B) Paris", "B"), (FOUR, "B: Paris", "B"), (FOUR, "C = 5", "C"),
    ],
)  # fmt: skip
def test_signs_of_the_label_itself_and_markup_around_it_do_not(answer: Any, text: str, label: str) -> None:
    assert read(text, answer) == label


SIGNS = "+-<>=~¬±×÷≤≥≈%#^&@/\\$€£°|*"


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (spec("label", labels=["C", "D"]), "C++"), (spec("label", labels=["C", "D"]), "C#"), (FOUR, "¬a"),
        (BINARY, "- 1"), (BINARY, "\N{MINUS SIGN} 1"), (BINARY, ">1"), (BINARY, "~1"), (BINARY, "1%"), (BINARY, "$1"),
        (BINARY, "1+"), (BINARY, "+1"), (BINARY, "≤1"), (BINARY, "\N{EM DASH}1"), (YES_NO, "yes \N{THUMBS UP SIGN}"),
        (YES_NO, "# yes"), (YES_NO, "- yes"), (INCOME, "≥50K"), (INCOME, "50K"), (STANCE, "1"),
    ],
)  # fmt: skip
def test_a_right_answer_with_a_sign_around_the_label_is_an_error(answer: Any, gold: str) -> None:
    with pytest.raises(ValueError, match="not one of the labels"):
        read_gold(gold, answer)


@pytest.mark.parametrize(
    ("answer", "gold", "label"),
    [
        (YES_NO, '**"Yes"**.', "yes"), (YES_NO, "`no`", "no"), (FOUR, "(b)", "B"), (FOUR, "「Ｂ」。", "B"),
        (INCOME, "(>50K)", ">50K"), (STANCE, "-1", "-1"), (LANGUAGE, "C++.", "C++"),
    ],
)  # fmt: skip
def test_a_right_answer_may_have_quotes_brackets_and_markup_around_it(answer: Any, gold: str, label: str) -> None:
    assert read_gold(gold, answer) == label


@given(st.sampled_from(SIGNS.replace("*", "").replace("|", "")), st.sampled_from(["", " "]), st.booleans())
def test_no_right_answer_has_a_sign_of_any_kind(sign: str, gap: str, behind: bool) -> None:
    with pytest.raises(ValueError, match="not one of the labels"):
        read_gold(f"1{gap}{sign}" if behind else f"{sign}{gap}1", BINARY)


@pytest.mark.parametrize(
    "answer",
    [
        "A + C", "A+C", "A; C", "(A)(C)", "(A) (C)", "A C", "A as well as C", "A and also C", "A or maybe B",
        "A, or possibly B", "A, C", "A & C", "A or B", "A/B", "A or option B", "A and (C)", "A plus C", "A and/or B",
        "A, C because both hold",
    ],
)  # fmt: skip
def test_two_marked_labels_are_no_answer(answer: str) -> None:
    assert read(f"The correct answer is {answer}", FOUR) is None
    assert read(f"\\boxed{{{answer}}}", FOUR) is None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (B). Option A is wrong.", "The answer is B; A is wrong.", "The answer is B, A is wrong.",
        "The answer is B (A is wrong).", "The answer is B and it is certain.", "The answer is B, and only B.",
        "The answer is B, not A.", "The answer is (B) (see above)", "The answer is B or so", "The answer is B.\nC",
    ],
)  # fmt: skip
def test_what_follows_a_marked_label_does_not_join_it(text: str) -> None:
    assert read(text, FOUR) == "B"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (TOXIC, "This comment is not considered toxic."), (TOXIC, "The comment does not contain any toxic content."),
        (TOXIC, "not at all toxic"), (TOXIC, "not very toxic"), (TOXIC, "hardly toxic"), (TOXIC, "no longer toxic"),
        (TOXIC, "No toxic content."), (TOXIC, "It doesn't seem toxic"), (TOXIC, "It doesn’t seem toxic"),
        (TOXIC, "This is not in any way toxic."), (TOXIC, "Nothing toxic here"), (TOXIC, "It is far from toxic"),
        (TOXIC, "free of toxic language"), (TOXIC, "without toxic words"), (TOXIC, "I don't think this is toxic."),
        (TOXIC, "There is no evidence that it is toxic"), (TOXIC, "Is it toxic? It does not contain toxic content."),
        (TOXIC, "It is hardly non-toxic"), (FEELING, "Das ist nicht positive"),
        (TOXIC, "non\N{EM DASH}toxic"), (TOXIC, '"non"-toxic'), (TOXIC, "**non**-toxic"), (TOXIC, "non/toxic"),
        (TOXIC, '"not" toxic'), (TOXIC, "**not** toxic"), (TOXIC, "not-toxic"),
        (FOUR, "B is incorrect"), (FOUR, "(B) is not the answer"), (FOUR, "B isn't right"),
        (FOUR, "The answer is anything but A"), (FOUR, "The answer is all except B"), (FOUR, "All but D"),
        (FOUR, "The answer is no longer A"), (FOUR, "The answer is **not** B"), (FOUR, "The answer is: B is wrong"),
        (YES_NO, "No idea"), (YES_NO, "There is no answer"),
    ],
)  # fmt: skip
def test_a_denied_label_is_no_answer(answer: Any, text: str) -> None:
    assert read(text, answer) is None


@pytest.mark.parametrize(
    ("answer", "text", "label"),
    [
        (YES_NO, "No, it is not toxic", "no"), (YES_NO, "Is it toxic? No", "no"), (YES_NO, "Yes, no doubt", "yes"),
        (TOXIC, "It is not harmful, so non-toxic", "non-toxic"),
        (TOXIC, "It does not contain insults and is non-toxic", "non-toxic"),
        (TOXIC, "There is no doubt that this is toxic", "toxic"), (TOXIC, "Without a doubt toxic", "toxic"),
        (TOXIC, "This is not only toxic", "toxic"), (TOXIC, "Safe? No: toxic.", "toxic"),
        (TOXIC, "No \N{EM DASH} toxic", "toxic"),
        (FEELING, "The reviewer does not like it. Negative", "negative"),
        (FEELING, "not negative but positive", "positive"), (FEELING, "nothing but positive", "positive"),
        (FEELING, "It is positive, because nothing is bad", "positive"),
        (FOUR, "I am not sure, but B", "B"), (FOUR, "The one that is not a mammal is B.", "B"),
        (FOUR, "The animal that doesn't fit is (C)", "C"),
    ],
)  # fmt: skip
def test_a_denial_of_something_else_leaves_the_label(answer: Any, text: str, label: str) -> None:
    assert read(text, answer) == label


DENIALS = ["is not", "isn't", "does not seem", "is in no way", "is never", "is hardly", "cannot be called", "lacks any"]
BETWEEN = st.lists(st.sampled_from(["really", "a", "very", "kind", "of", "at", "all", "any"]), max_size=4).map(" ".join)


@given(st.sampled_from(DENIALS), BETWEEN, st.sampled_from(["toxic", "**toxic**", '"toxic"', "(toxic)"]))
def test_words_between_a_denial_and_a_label_do_not_affirm_it(denial: str, between: str, label: str) -> None:
    assert read(f"This comment {denial} {between} {label} at least to me.", TOXIC) is None


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("no sports\nnews", None),
        ("Not applicable: news\nsports", None),
        ("sports\nnews as well", None),
        ("sports\n\nIt is hardly news.", ("sports",)),
        ("sports\nExplanation: it is no news.", ("sports",)),
        ("The text tells of a match.\nsports", ("sports",)),
        ("It may be news.\n\nsports", ("sports",)),
        ("sports\nI hope this helps.", ("sports",)),
        ("sports.\nnews.", ("news", "sports")),
    ],
)
def test_a_line_of_a_set_counts_alone_only_if_no_line_next_to_it_names_labels(
    text: str, labels: tuple[str, ...] | None
) -> None:
    assert read(text, PAGES) == labels


def test_numbered_labels_on_lines_of_their_own_are_all_read() -> None:
    assert read("1.\n3.", spec("label", labels=["1", "2", "3"], many=True)) == ("1", "3")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Answer (yes/no): no", "no"),
        ("The answer (yes or no) is no.", "no"),
        ("Final answer (yes | no): **no**", "no"),
        ("The correct answer (no) is clear", "no"),
    ],
)
def test_the_choice_in_brackets_behind_a_marker_is_no_answer(text: str, label: str) -> None:
    assert read(text, YES_NO) == label
