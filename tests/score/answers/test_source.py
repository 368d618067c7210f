"""A program is read whole, from one block or several, or not at all."""

from __future__ import annotations

import ast
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.answers.source import gold_code, read_code
from tests.score.answers.chatter import AFTER, BEFORE


def block(source: str, language: str = "python") -> str:
    return f"```{language}\n{source}\n```\n"


F = "def f(x):\n    return x + 1"
DRAFT = "def f(x):\n    return x"
USES_H = "def f(x):\n    return h(x)"
USES_SQRT = "def f(x):\n    return sqrt(x)"
LIMIT = "import sys\nsys.setrecursionlimit(10**6)"
H = "def h(x):\n    return x + 1"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (f"1. Here:\n{textwrap.indent(block(F), '   ')}", F),
        (block(H) + "and then\n" + block(USES_H), f"{H}\n\n{USES_H}"),
        (block(USES_H) + "with\n" + block(H), f"{USES_H}\n\n{H}"),
        (block(DRAFT) + "That is wrong. Fixed:\n" + block(F), F),
        (block(f"{H}\n\n{DRAFT}") + "Fixed:\n" + block(F), f"{H}\n\n{DRAFT}\n\n{F}"),
        (block(F) + "Use it:\n" + block("print(f(1))\nassert f(1) == 3"), F),
        (block(F) + block("2", "") + block("pip install x", "bash"), F),
        (block("pip install x", "") + block(F), F),
        (
            block("import math") + block("def f(x):\n    return math.sqrt(x)"),
            "import math\n\ndef f(x):\n    return math.sqrt(x)",
        ),
        (block("SIZE = 3") + block("def f(x):\n    return SIZE"), "SIZE = 3\n\ndef f(x):\n    return SIZE"),
        (block("def f(x):\n    ...") + block(F), F),
        (block(F) + block("def f(x):\n    ..."), F),
        (
            block(F) + block("import unittest\nclass T(unittest.TestCase):\n    def test(self): f(1)\nunittest.main()"),
            F,
        ),
        (block(F) + block("def test_f():\n    assert f(1) == 2\ntest_f()"), F),
        (block("def f(x:\n") + "Corrected:\n" + block(F), F),
        (block(F) + "Corrected:\n" + block("def f(x:\n"), None),
        (block(F) + block("f = lambda x: (x\n"), None),
        (block(DRAFT) + block("def f(x:\n") + block(F), F),
        (block("from math import *") + block(USES_SQRT), f"from math import *\n\n{USES_SQRT}"),
        (block(USES_SQRT) + "with\n" + block("from math import *"), f"{USES_SQRT}\n\nfrom math import *"),
        (block("from solution import f") + block(F), F),
        (block(LIMIT) + block(F), f"{LIMIT}\n\n{F}"),
        (
            block("import sys") + block("sys.setrecursionlimit(10**6)") + block(F),
            f"import sys\n\nsys.setrecursionlimit(10**6)\n\n{F}",
        ),
        (block("print(f(1))") + block(F), F),
        (block("print(other(1))") + block(F), F),
        (block("'a text'") + block("2") + block(F), F),
        (block(F) + block(LIMIT), F),
        (block("# no code") + block(F), F),
        (block("import math") + block("print(math.pi)") + block("3.14"), "import math\n\nprint(math.pi)"),
        (block("print(1)") + block("print(2)"), "print(1)"),
        (block("print(f(1))") + block("f = lambda x: x + 1"), "f = lambda x: x + 1"),
        (block("f = lambda x: x") + "Fixed:\n" + block(F), F),
        (block("class A:\n    pass") + block("class B(A):\n    pass"), "class A:\n    pass\n\nclass B(A):\n    pass"),
        (f"{F}\n\nAnd a helper:\n\n{H}", f"{F}\n\n{H}"),
        (f"Sure\n\n{F}\n\nNote: this is fast", F),
        (f"SIZE = 3\n\nThen:\n\n{F}", f"SIZE = 3\n\n{F}"),
        ("I cannot do that.", None),
        (block(USES_H) + block("def h(x:\n"), None),
        (block(USES_H) + "```python\ndef h(x):\n    return (x", None),
    ],
)
def test_what_is_the_program(text: str, source: str | None) -> None:
    found = read_code(text)
    assert found is None if source is None else found is not None and found.replace("\n\n\n", "\n\n").strip() == source


def test_an_unfinished_program_in_prose_is_not_shortened_to_what_parses() -> None:
    text = f"{H}\n\ndef f(x):\n    return h(x"
    assert read_code(text) == text


def test_a_right_answer_is_python_as_a_whole() -> None:
    assert gold_code(block(F)) == F
    assert gold_code(F) == F
    assert gold_code("    return x + 1") == "    return x + 1"
    for text in ("", f"Here:\n{F}", "def f(:", f"Here:\n{block(F)}"):
        with pytest.raises(ValueError, match="not Python"):
            gold_code(text)


STATEMENTS = st.sampled_from(
    [
        F,
        H,
        "import math",
        "SIZE = 3",
        "from os import path",
        "class A:\n    x = 1\n\n    def m(self):\n        return (1,\n2)",
        'def g():\n    """Text.\n\nAs said: it\'s so.\n    """\n    return "#"',
        "@staticmethod\ndef s(x):\n\n    return [\n  x\n]",
        "x = [\n    1,\n]",
        "if SIZE:\n    y = 1\nelse:\n    y = 2",
        "try:\n    z = 1\nexcept ValueError:\n    z = 2",
    ]
)
PROSE = [line for line in (*BEFORE, *AFTER) if "\n" not in line]


def same(found: str | None, source: str) -> bool:
    return found is None or ast.dump(ast.parse(found)) == ast.dump(ast.parse(source))


@given(
    st.lists(STATEMENTS, min_size=1, max_size=3).filter(lambda parts: any("def f" in part for part in parts)),
    st.lists(st.sampled_from(PROSE), max_size=2),
    st.lists(st.sampled_from(PROSE), max_size=2),
    st.sampled_from(["fence", "list", "bare"]),
)
def test_a_program_in_chatter_is_itself_or_unparsed(
    parts: list[str], before: list[str], after: list[str], way: str
) -> None:
    source = "\n\n".join(parts)
    shown = {"fence": block(source), "list": textwrap.indent(block(source), "  "), "bare": f"\n{source}\n"}[way]
    found = read_code("\n".join([*before, shown, *after]))
    assert same(found, source)
    if way != "bare":
        assert found is not None
