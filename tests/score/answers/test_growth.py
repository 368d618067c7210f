"""Reading takes time in proportion to the text, whatever stands in it: twice the text, at most 2.5 times the steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.score.answers.steps import Counter, Pattern, counted_readers, lines_of
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
]  # fmt: skip


@pytest.fixture(scope="module")
def counted() -> Iterator[tuple[ModuleType, Counter]]:
    with counted_readers() as found:
        yield found


@pytest.mark.parametrize("kind", FORMATS)
def test_steps_grow_with_the_text(kind: str, counted: tuple[ModuleType, Counter]) -> None:
    readers, counter = counted

    def steps(text: str) -> int:
        counter.steps = 0
        lines = lines_of(lambda: readers.read(text, FORMATS[kind]))
        return counter.steps + lines

    for piece in HOSTILE:
        short, long = (steps(piece * (size // len(piece)) + "x") for size in (SHORT, LONG))
        assert long <= 2.5 * short, f"{piece!r}: {short} steps for {SHORT} characters, {long} for {LONG}"


def test_the_counter_sees_a_pattern_that_takes_quadratic_time() -> None:
    counter = Counter()
    pattern = Pattern(re.compile(r"\s+x"), counter)
    found = []
    for size in (SHORT, LONG):
        counter.steps = 0
        pattern.search(" " * size)
        found.append(counter.steps)
    assert found[1] > 3.5 * found[0]
