"""Reading takes time in proportion to the text, whatever stands in it: twice the text, at most 2.5 times the steps."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator

import pytest

from tests.score.answers.steps import Pattern, Steps, counting
from tests.score.metrics.rows import spec

SHORT, LONG = 300, 600
FORMATS = {
    "label": spec("label", labels=["A", "I", "yes", "not toxic", "-1", "C++"]),
    "last label": spec("label", labels=["A", "yes"], pick="last", after="answer"),
    "set": spec("label", labels=["corn", "food, drink", "arts and crafts"], many=True),
    "number": spec("number"),
    "first number": spec("number", pick="first"),
    "text": spec("text", after="####"),
    "label and explanation": spec("label_and_explanation", labels=["World", "Sports"]),
}
HOSTILE = [
    "#", "#### ", "\n", "####\n", " ", "1 ", "1 000 ", "1,", "1/", "-", "$-", "e5", "^2", "x1 ", "½", "\\frac{",
    "<think>", "</think>", "<|channel|>", "</s>", "answer is ", "A, ", "A or ", "not ", "corn, ", "- corn\n",
    "\\boxed{",
    "a\u0301", "\u0301\u0327", "٤", "\\_", "<", "yes and ", "the ",
    "not A ", "C++ ", "(A)", "A; ", "answer (a/", "<s>", "</s><s>", "<|channel>", "corn\n", "1 million ", "no ",
]  # fmt: skip


@pytest.fixture(scope="module")
def steps() -> Iterator[Steps]:
    with counting() as found:
        yield found


@pytest.mark.parametrize("kind", FORMATS)
def test_steps_grow_with_the_text(kind: str, steps: Steps) -> None:
    readers = importlib.import_module("harness.score.answers")
    read: Callable[[str], object] = lambda text: readers.read(text, FORMATS[kind])  # noqa: E731
    for piece in HOSTILE:
        short, long = (steps.of(read, piece * (size // len(piece)) + "x") for size in (SHORT, LONG))
        assert long <= 2.5 * short, f"{piece!r}: {short} steps for {SHORT} characters, {long} for {LONG}"


@pytest.mark.parametrize("opening", ["\\boxed{5 ", "\\boxed{", "The answer is 5 "])
def test_steps_grow_with_what_stands_around_a_marked_number(opening: str, steps: Steps) -> None:
    readers = importlib.import_module("harness.score.answers")
    read: Callable[[str], object] = lambda text: readers.read(text, FORMATS["number"])  # noqa: E731
    for piece in ["kg ", "a ", "= ", "x = ", "_1", "(", ")", "\\text{", "\\, ", "- ", ", ", "^", "kg^2 ", "or ", "+ "]:
        short, long = (steps.of(read, opening + piece * (size // len(piece)) + "5") for size in (SHORT, LONG))
        assert long <= 2.5 * short, f"{piece!r}: {short} steps for {SHORT} characters, {long} for {LONG}"


@pytest.mark.parametrize(
    ("kind", "piece", "right"),
    [("label", "yes ", "yes"), ("set", "corn, ", ("corn",)), ("number", "7 m, ", 7)],
)
def test_an_answer_of_too_many_candidates_is_unparsed(kind: str, piece: str, right: object) -> None:
    readers = importlib.import_module("harness.score.answers")
    assert readers.read(piece * 2_900, FORMATS[kind]) == right
    assert readers.read(piece * 10_001, FORMATS[kind]) is None


def test_the_counter_sees_a_pattern_that_takes_quadratic_time() -> None:
    steps = Steps()
    pattern = Pattern(re.compile(r"\s+x"), steps)
    short, long = (steps.of(pattern.search, " " * size) for size in (SHORT, LONG))
    assert long > 3.5 * short
