"""A stranger's task file ends as a clear error, not as a machine without memory or time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from harness.errors import SpecError
from harness.tasks.catalog import TaskFile
from harness.tasks.prompts import Prompts
from harness.tasks.templates import BoundedEnvironment

Load = Callable[..., TaskFile]
TASK = {
    "title": "t",
    "category": "classification",
    "dataset": {"hub": "a/b", "splits": {"test": "test"}},
    "prompt": "{{ text }}",
    "target": "{{ label }}",
    "answer": {"type": "text"},
    "metrics": ["exact_match"],
    "max_tokens": 4,
}
LOOPS = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
DOUBLED = "{% set s = namespace(t='ab') %}{% for n in range(40) %}{% set s.t = EXPR %}{% endfor %}{{ s.t }}"


@pytest.fixture
def load(task: Callable[[str], TaskFile]) -> Load:
    """A task file with these keys."""
    return lambda **changes: task(json.dumps({**TASK, **changes}, indent=1))


def doubled(expression: str) -> str:
    """Forty times a value of twice the size."""
    return DOUBLED.replace("EXPR", expression)


TOO_MUCH = {
    "loops inside loops": (LOOPS, "steps"),
    "a loop inside a recursive one": (
        "{% for a in [[1]] recursive %}{% for b in range(90000) %}{{ loop(range(90000)) }}{% endfor %}{% endfor %}",
        "steps|cannot be rendered",
    ),
    "a long text in a loop": ("{% for a in range(90000) %}" + "text " * 1_000 + "{% endfor %}", "prints more than"),
    "a constant in a loop": ("{% for a in range(90000) %}{{ 'x' | center(9000) }}{% endfor %}", "steps|prints"),
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}", "steps"
    ),
    "a macro without an end": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot be rendered"),
    "a macro with a long text": (
        "{% macro m() %}" + "text " * 1_000 + "{% endmacro %}{% for n in range(90000) %}{% set x = m() %}{% endfor %}",
        "prints more than",
    ),
    "texts joined by ~": (doubled("s.t ~ s.t"), "text of more than"),
    "texts joined by +": (doubled("s.t + s.t"), "text of more than"),
    "texts joined by join": (doubled("[s.t, s.t] | join"), "steps|text of more than"),
    "texts joined by a method": (doubled("''.join([s.t, s.t])"), "steps|text of more than"),
    "texts joined by map": (doubled("[s.t, s.t] | map('upper') | join"), "steps|text of more than"),
    "texts joined by format": (doubled("'{0}{0}'.format(s.t)"), "steps|text of more than"),
    "texts joined by %": (doubled("'%s%s' % (s.t, s.t)"), "steps|text of more than"),
    "texts put into each other": (doubled("s.t | replace('b', s.t)"), "steps|text of more than"),
    "texts put into each other by a method": (doubled("s.t.replace('b', s.t)"), "steps|text of more than"),
    "a text caught in a block": (
        "{% set s = 'ab' %}" + "{% set s %}{{ s }}{{ s }}{% endset %}" * 40 + "{{ s }}", "prints more than"
    ),
    "a repeated text": ("{{ 'a' * 10 ** 9 }}", "repeats a text or a list"),
    "a repeated list": ("{{ [0] * 10 ** 9 }}", "repeats a text or a list"),
    "a text filled up": ("{{ 'a' | center(10 ** 9) }}", "steps"),
    "a text filled up by a method": ("{{ 'a'.ljust(10 ** 9) }}", "steps"),
    "a text filled up by a format": ("{{ '{:999999999}'.format('a') }}", "fills up to more than"),
    "a text filled up by %": ("{{ '%999999999d' % 1 }}", "fills up to more than"),
    "a text filled up by a computed width": ("{{ '%*d' % (10 ** 9, 1) }}", "fills up to more than"),
    "a text moved": ("{{ 'a' | indent(10 ** 9, true) }}", "steps"),
    "a text with its tabs filled up": ("{{ ('\\t' * 1000).expandtabs(10 ** 6) }}", "steps"),
    "a text translated": ("{{ 'a'.translate({97: 'b'}) }}", "not for templates"),
    "a large number": ("{{ 10 ** (10 ** 8) }}", "number of more than"),
    "a number that is squared": (doubled("(s.t | length + 8) ** 4000"), "number of more than"),
    "a rounded number": ("{{ 1.5 | round(10 ** 9) }}", "steps"),
    "a list that holds itself twice": (doubled("[s.t, s.t]"), "list of more than"),
    "a mapping that holds itself twice": (doubled("{'a': s.t, 'b': s.t}"), "list of more than"),
    "a mapping made by a function": (doubled("dict(a=s.t, b=s.t)"), "list of more than"),
    "a list in batches": ("{{ [1] | batch(10 ** 9, 0) | list }}", "steps"),
    "a list in slices": ("{{ [1] | slice(10 ** 9) | list }}", "steps"),
    "filters in a loop": ("{% for a in range(90000) %}{{ range(90000) | sum }}{% endfor %}", "steps"),
    "brackets inside brackets": ("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}", "nested too deeply"),
    "loops nested deeply": ("{% for a in [1] %}" * 30 + "{% endfor %}" * 30, "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_template_that_does_too_much_is_an_error_that_names_file_and_key(load: Load, name: str) -> None:
    text, message = TOO_MUCH[name]
    with pytest.raises(SpecError, match=rf"toxic.yaml:\d+: prompt: .*({message})") as found:
        Prompts(load(prompt=text)).prompt({})
    assert len(str(found.value)) < 500


@pytest.mark.parametrize("key", ["references", "messages"])
def test_an_expression_is_bounded_too(load: Load, key: str) -> None:
    file = load(**{key: "['x' * 10 ** 9]"})
    with pytest.raises(SpecError, match=f"{key}: cannot be rendered: it repeats a text or a list to more than"):
        getattr(Prompts(file), key)({"text": "a", "label": "b"})


@pytest.mark.parametrize(
    ("template", "row", "expected"),
    [
        ("{% for w in text.split() %}{{ w }}{% if not loop.last %}, {% endif %}{% endfor %}", {"text": "a b"}, "a, b"),
        ("{% for w in words %}{{ loop.index }}/{{ loop.length }} {% endfor %}", {"words": ["a", "b"]}, "1/2 2/2 "),
        ("{% for key, value in row.items() %}{{ key }}={{ value }}{% endfor %}", {"row": {"a": 1}}, "a=1"),
        ("{% for w in [] %}{{ w }}{% else %}none{% endfor %}", {}, "none"),
        ("{% for a, b in [(1, 2)] %}{{ a + b }}{% endfor %}", {}, "3"),
        ("{% for n in [[1], [2]] recursive %}{{ n if n is number else loop(n) }}{% endfor %}", {}, "12"),
        ("{% set a, b = 1, 2 %}{{ a }}{{ b }}", {}, "12"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') ~ m('b') }}", {}, "<a><b>"),
        ("{% macro m() %}{{ caller('a') }}{% endmacro %}{% call(x) m() %}{{ x }}!{% endcall %}", {}, "a!"),
        ("{{ 'a-b' | replace('-', ' ') | title }} {{ '%.2f' % 1.5 }} {{ '{:>4}'.format('x') }}", {}, "A B 1.50    x"),
        ("{{ words | map('upper') | join(', ') }} {{ 2 ** 10 }}", {"words": ["a", "b"]}, "A, B 1024"),
        ("{{ text | truncate(20000) | length }}", {"text": "x " * 50_000}, "19998"),
        ("{{ text | trim | replace('x', 'y') | length }}", {"text": "x" * 1_000_000}, "1000000"),
    ],
)  # fmt: skip
def test_what_prompts_are_made_of_is_as_it_was(template: str, row: Mapping[str, Any], expected: str) -> None:
    environment = BoundedEnvironment()
    assert environment.render(environment.from_string(template), row) == expected


def test_each_row_has_its_own_bounds(load: Load) -> None:
    prompts = Prompts(load(prompt="{% for n in range(90000) %}{% endfor %}{{ text }}"))
    assert [prompts.prompt({"text": str(number)}) for number in range(4)] == ["0", "1", "2", "3"]
