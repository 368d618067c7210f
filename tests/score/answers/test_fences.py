"""Fenced blocks as CommonMark has them, and as models write them."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.answers.fences import MOST_BLOCKS, Block, fenced_blocks, only_block


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```python\nx\n```", [Block("python", "x")]),
        ("a\n```\nx\n\ny\n```\nb\n```sql\nz\n```", [Block("", "x\n\ny"), Block("sql", "z")]),
        ("~~~\nx\n```\n~~~", [Block("", "x\n```")]),
        ("````\n```\nx\n```\n````", [Block("", "```\nx\n```")]),
        ("1. a:\n   ```py\n   def f():\n       x\n   ```", [Block("py", "def f():\n    x")]),
        ("- ```\n  x\n  ```", [Block("", "x")]),
        ("> ```\n> x\n>   y\n> ```", [Block("", "x\n  y")]),
        ("\t```\n\tx\n\t```", [Block("", "x")]),
        ("```\nx", [Block("", "x")]),
        ("```\nx```", [Block("", "x")]),
        ("Here: ```python\nx\n```", [Block("python", "x")]),
        ("```SELECT 1``` or ```sql SELECT 2```", [Block("", "SELECT 1"), Block("sql", "SELECT 2")]),
        ('```python title="a.py"\nx\n```', [Block("python", "x")]),
        ("```sql SELECT a\nFROM t\n```", [Block("sql", "SELECT a\nFROM t")]),
        ("```python\nx\n``` Enjoy!\n```\ny\n```", [Block("python", "x"), Block("", "y")]),
        ("```python\nx\n```python\ny\n```", [Block("python", "x"), Block("python", "y")]),
        ("```\r\nx\r\n```\r\n", [Block("", "x")]),
        ("no fence, `x` only", []),
    ],
)
def test_blocks(text: str, blocks: list[Block]) -> None:
    assert fenced_blocks(text) == blocks


DOCSTRING = 'def f():\n    """Say:\n\n    ```\n    f()\n    ```\n    """'


@pytest.mark.parametrize(
    "source",
    [
        DOCSTRING,
        textwrap.dedent(DOCSTRING).replace("    ", ""),
        "x = '''\n```\n'''",
        '# it\'s\nx = \'a\'\ny = """\n```python\n"""',
        'x = "\\"" + """\n```\n"""',
    ],
)
def test_a_fence_in_a_string_of_the_program_does_not_close_its_block(source: str) -> None:
    assert fenced_blocks(f"```python\n{source}\n```\nDone.\n```\nother\n```") == [
        Block("python", source),
        Block("", "other"),
    ]


def test_a_string_that_is_never_closed_does_not_hide_the_closing_fence() -> None:
    assert fenced_blocks("```\nit's '''x\n```\nand ```y```") == [Block("", "it's '''x"), Block("", "y")]


def test_a_text_full_of_blocks_gives_so_many() -> None:
    assert len(fenced_blocks("```\nx\n```\n" * 1_000)) == MOST_BLOCKS


def test_what_is_fenced_as_a_whole() -> None:
    assert only_block("```python\nx\n```\n") == "x"
    for text in ("x", "a\n```\nx\n```", "```\nx\n```\n```\ny\n```", "```\nx\n```\nb"):
        assert only_block(text) == text


LINES = st.text("ab \t'\"`~>-1.", max_size=12).filter(lambda text: "```" not in text and "~~~" not in text)


@given(st.lists(LINES, min_size=1), st.integers(0, 6))
def test_a_block_without_fences_inside_is_read_as_it_stands(lines: list[str], indent: int) -> None:
    body = "\n".join(lines).replace("'''", "").replace('"""', "")
    text = textwrap.indent(f"```text\n{body}\n```", " " * indent, lambda line: True)
    assert fenced_blocks(text) == [Block("text", body)]
