"""Shares of instructions followed, of the prompts and of the instructions, strictly and loosely."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.compare.intervals import estimate, wilson
from harness.rows.evaluation import EvaluationRow, choose
from harness.rows.origin import locate
from harness.score.answers import read, read_gold
from harness.score.metrics.base import Example
from harness.score.metrics.ifeval import variants
from harness.score.metrics.registry import build_all
from harness.score.scoring import RowScores, score_rows
from harness.store.results import Response
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from tests.score.metrics.rows import metric, spec

FOLLOWED = spec("instructions")
SHARES = ("ifeval_prompt_strict", "ifeval_prompt_loose", "ifeval_instruction_strict", "ifeval_instruction_loose")
NO_COMMA = ("punctuation:no_comma", {})
NINE_WORDS = ("length_constraints:number_words", {"num_words": 9, "relation": "at least"})
IN_QUOTES = ("startend:quotation", {})


def answered(completion: str, *instructions: tuple[str, dict[str, object]]) -> Example:
    ids, arguments = [one[0] for one in instructions], [one[1] for one in instructions]
    reference = json.dumps({"instruction_id_list": ids, "kwargs": arguments})
    return Example(read(completion, FOLLOWED), completion, (reference,), (read_gold(reference, FOLLOWED),))


def shares(*examples: Example) -> list[float]:
    return [metric(name, FOLLOWED).score(examples) for name in SHARES]


def test_a_prompt_counts_when_all_of_its_instructions_are_followed() -> None:
    assert shares(answered("a b", NO_COMMA, NINE_WORDS), answered("a b", NO_COMMA)) == [0.5, 0.5, 2 / 3, 2 / 3]


def test_a_row_without_an_answer_follows_no_instruction() -> None:
    assert shares(answered("", NO_COMMA, NINE_WORDS), answered("a", NO_COMMA)) == [0.5, 0.5, 1 / 3, 1 / 3]


@pytest.mark.parametrize(
    "completion",
    [
        'Sure:\n"yes"',
        '"yes"\nI hope this helps!',
        'Sure:\n"yes"\nI hope this helps!',
        '**"yes"**',
        'Sure:\n*"yes"*\nBye',
    ],
)
def test_an_introduction_a_close_and_bold_print_are_forgiven_loosely(completion: str) -> None:
    assert shares(answered(completion, IN_QUOTES)) == [0, 1, 0, 1]


def test_each_instruction_may_be_followed_in_another_variant() -> None:
    loosely = answered('Sure, here you are:\n"one two three four five"', NO_COMMA, IN_QUOTES, NINE_WORDS)
    assert shares(loosely) == [0, 1, 1 / 3, 1]


def test_nothing_is_left_of_one_line_without_it_and_that_follows_nothing() -> None:
    assert variants("a, b") == ["a, b"]
    assert shares(answered("a, b", NO_COMMA)) == [0, 0, 0, 0]


def test_there_are_eight_variants_of_a_text() -> None:
    assert variants("*1*\n*2*\n*3*") == [
        "*1*\n*2*\n*3*", "*2*\n*3*", "*1*\n*2*", "*2*", "1\n2\n3", "2\n3", "1\n2", "2",
    ]  # fmt: skip


def test_the_interval_of_prompts_is_wilsons_and_that_of_instructions_resamples_rows() -> None:
    rows = [answered("a b", NO_COMMA, NINE_WORDS)] * 30 + [answered("a, b", NO_COMMA)] * 10
    prompts, _, instructions, _ = (metric(name, FOLLOWED) for name in SHARES)
    assert estimate(prompts, prompts.table(rows)) == wilson(0, 40)
    found = estimate(instructions, instructions.table(rows))
    assert (found.n, found.value) == (40, 30 / 70)
    assert found.high - found.low < 0.12  # 70 instructions taken for independent would give 0.23


ANSWERS: dict[str, Callable[[str], str]] = {
    "the prompt": lambda prompt: prompt,
    "in quotation marks": lambda prompt: f'"{prompt.lower()}"',
    "introduced and bold": lambda prompt: (
        f"Sure, here it is:\n**{prompt}**\n***\n* gate gate [a] [b]\n* Suppose gate gate GATE."
    ),
    "a letter": lambda prompt: (
        "<<Fog>>\nPART 1\nDie Boote liegen im Hafen und die Matrosen schlafen noch.\n\nSuppose so. rivers\n"
        "PART 2 PART 3\nP.S. [a] [b] [c] [d] [e]\nBring your own spoon."
    ),
}


def scored(answer: Callable[[str], str]) -> RowScores:
    """The scores of the same answer to each sample row of the shipped task."""
    file = load_task(Path(__file__).parents[3] / "tasks", "ifeval")
    rows = choose(file, Prompts(file), locate(file, "sample")).rows

    def responded(row: EvaluationRow) -> Response:
        return Response(row.id, row.id, "ok", answer(row.prompt))

    metrics = build_all(file.task.metrics, file.task.answer)
    return score_rows(file.task, metrics, ((row, (responded(row),)) for row in rows))


@pytest.mark.parametrize(
    ("answer", "followed"),
    [
        ("the prompt", [8, 8, 14, 14]),
        ("in quotation marks", [10, 10, 16, 16]),
        ("introduced and bold", [5, 7, 12, 14]),
        ("a letter", [9, 9, 15, 15]),
    ],
)
def test_counts_on_the_sample_rows_are_those_of_the_authors_program(answer: str, followed: list[int]) -> None:
    """Of 26 prompts and 35 instructions, computed with the authors' checks over the same sentences."""
    scores = scored(ANSWERS[answer])
    assert len(scores.ids) == 26
    assert [round(scores.stats[name][:, 0].sum()) for name in SHARES] == followed
    assert scores.stats["ifeval_instruction_loose"][:, 1].sum() == 35
