"""The readers of JSON, entities, SQL and code take time that grows with the text, whatever is in it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import pytest

from harness.score.answers.source import MOST_CHARACTERS, read_code
from harness.score.answers.sql import read_sql
from harness.score.answers.structured import read_json
from harness.tasks.task import EntitiesAnswer
from tests.score.answers.steps import Steps, counting

ENTITIES = EntitiesAnswer(type="entities", types=["person"])
READERS = ("structured.read_json", "entities.read_entities", "sql.read_sql", "source.read_code")
PIECES = [
    "select ", "SELECT ", "(select ", "(SELECT a FROM t) ", '"select a\n', "`select a from t` ", "*SELECT a ",
    "with x as (", "with x ", "select a. Foo ", "SELECT a FROM t\n\n", "/* ", "-- ", "'", '"', "`", "```\n", "```",
    "~~~\n", "```\n'''\n", "{", "[", '{"a": ', "[1] ", "[1, ", "}", "{x ", "{a: ", "['", "a](", "\n", " ", "\n\n",
    "def f(:\n", "def f():\n", "x = (\n", "'''\n", "# ", "class A:\n", "import x\n", "Sure\n", "@a\n", "a, ", "\\",
    "> ", "- ", "1. ",
]  # fmt: skip
SIZE = 3_000
SPARE = 2 * SIZE
"""What a text of any size may cost, such as a second look where a parser gives up at some depth."""


@pytest.fixture(scope="module")
def steps() -> Iterator[Steps]:
    with counting() as found:
        yield found


def reading(reader: str) -> Callable[[str], object]:
    """A reader whose steps are counted."""
    module, _, name = reader.partition(".")
    function = getattr(importlib.import_module(f"harness.score.answers.{module}"), name)
    return lambda text: function(text, ENTITIES) if name == "read_entities" else function(text)


@pytest.mark.parametrize("reader", READERS)
def test_twice_the_text_takes_at_most_two_and_a_half_times_the_steps(reader: str, steps: Steps) -> None:
    read = reading(reader)
    for piece in PIECES:
        text = piece * (SIZE // len(piece))
        one, two = (steps.of(read, text * times) for times in (1, 2))
        assert two <= 2.5 * one + SPARE, piece


@pytest.mark.parametrize("reader", READERS)
def test_a_hundred_thousand_characters_take_few_steps_for_each(reader: str, steps: Steps) -> None:
    read = reading(reader)
    for piece in PIECES:
        assert steps.of(read, piece * (100_000 // len(piece)), exact=False) < 40 * 100_000, piece


def test_a_long_thought_in_front_of_a_fence_is_no_obstacle() -> None:
    thought = "Let me think with care, and select what fits [1].\n" * 2_000
    assert read_json(f'{thought}```json\n{{"a": 1}}\n```') == {"a": 1}
    assert read_sql(f"{thought}```sql\nSELECT a FROM t\n```") == "SELECT a FROM t"
    assert read_code(f"{thought}```python\ndef f(): return 1\n```") == "def f(): return 1"
    assert read_code("Sure\n" * MOST_CHARACTERS + "def f(): return 1") is None


def test_comparing_queries_takes_time_that_grows_with_them(steps: Steps) -> None:
    parts = importlib.import_module("harness.score.metrics.sql_match").parts
    for piece in (" ", "a ", "from ", "where ", "'", "(", "and ", ", "):
        text = f"SELECT a{piece * 3_000}FROM t WHERE b{piece * 3_000}= 1"
        one = steps.of(parts.__wrapped__, text)
        two = steps.of(parts.__wrapped__, text.replace(piece, piece * 2))
        assert two <= 2.5 * one + SPARE, piece
