"""Templates are rendered once, strictly, and in a sandbox; a row's text is data whatever it looks like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts, entities

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
O, B_PER, I_PER, B_LOC, I_LOC = range(5)  # noqa: E741  the tag is called that

Make = Callable[..., Prompts]


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The templates of a task with these keys."""
    folder = tmp_path_factory.mktemp("tasks")

    def make(**keys: Any) -> Prompts:
        task = {
            "title": "t",
            "category": "generation",
            "prompt": "Text: {{ text }}",
            "target": "{{ answer }}",
            "answer": {"type": "text"},
            "metrics": ["exact_match"],
            "max_tokens": 4,
            **keys,
        }
        # One key to a line, so that an error's line tells the key: JSON is YAML.
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in task.items())
        (folder / "t.yaml").write_text(lines, encoding="utf-8")
        return Prompts(load_task(folder, "t"))

    return make


@pytest.fixture(scope="session")
def plain(prompts: Make) -> Prompts:
    """`Text: {{ text }}` to `{{ answer }}`."""
    return prompts()


@pytest.fixture(scope="session")
def referenced(prompts: Make) -> Prompts:
    """The same with references."""
    return prompts(references="[answer, answer]")


@pytest.fixture(scope="session")
def as_json(prompts: Make) -> Prompts:
    """The same with a target in JSON."""
    return prompts(target="{{ answer | tojson }}")


class TestDataIsData:
    @given(st.text())
    @example("{{ 7*7 }}")
    @example("{% for x in range(9) %}a{% endfor %}")
    @example("{# gone #}")
    @example("{{ answer }} {{ undefined_name }} {{ ''.__class__ }}")
    @example("<b>&amp;'\"</b>\r\n\x00\ud800\n\n")
    def test_whatever_a_row_holds_stands_in_the_prompt_as_it_is(self, plain: Prompts, text: str) -> None:
        assert plain.prompt({"text": text}) == f"Text: {text}"

    @given(st.text())
    @example("{{ 7*7 }}")
    def test_and_in_the_target_and_the_references_but_for_outer_space(self, referenced: Prompts, text: str) -> None:
        row = {"answer": text}
        assert referenced.target(row) == text.strip()
        assert referenced.references(row) == [text.strip()] * 2

    def test_a_columns_name_may_be_any_text(self, prompts: Make) -> None:
        row = {"text": "a", "answer": "b", "self": 1, "two words": 2, "class": 3}
        task = prompts(references="[answer]")
        assert (task.prompt(row), task.target(row), task.references(row)) == ("Text: a", "b", ["b"])


class TestUndefined:
    def test_a_column_that_a_row_lacks_is_an_error_with_line_key_and_nearest(self, plain: Prompts) -> None:
        with pytest.raises(SpecError, match=r"t.yaml:3: prompt: no column 'text' in the rows \(did you mean 'texts'"):
            plain.prompt({"texts": "a", "answer": "b"})
        with pytest.raises(SpecError, match=r"t.yaml:4: target: no column 'answer' in the rows \(choose from: text\)"):
            plain.target({"text": "a"})

    def test_all_columns_that_a_row_lacks_are_told_at_once(self, prompts: Make) -> None:
        with pytest.raises(SpecError, match=r"no column 'a' in the rows.*; no column 'b' in the rows"):
            prompts(prompt="{{ a }} {{ b }} {{ c }}").prompt({"c": 1})

    @pytest.mark.parametrize("template", ["{{ text.title }}", "{{ text[9] }}", "{{ text.x.y }}", "{{ text['k'] }}"])
    def test_so_is_what_a_column_does_not_hold(self, prompts: Make, template: str) -> None:
        with pytest.raises(SpecError, match=r"t.yaml:3: prompt: cannot be rendered: .*has no "):
            prompts(prompt=template).prompt({"text": {"other": 1}})

    def test_a_default_must_be_asked_for(self, prompts: Make) -> None:
        assert prompts(prompt="{{ text | default('none') }}").prompt({}) == "none"

    @pytest.mark.parametrize(
        ("template", "value"),
        [
            ("{{ 1 / text }}", 0),
            ("{{ text + 1 }}", "a"),
            ("{{ text | join }}", None),
            ("{{ text | tojson }}", b"bytes"),
            ("{{ [1] | entities([9], ['O']) }}{{ text }}", 0),
            ("{{ '%d' | format(text) }}", "a"),
            ("{{ text.encode('ascii') }}", "é"),
            ("{% include 'other' %}{{ text }}", ""),
            ("{{ 2.0 ** text }}", 99999),
        ],
    )
    def test_a_row_that_a_template_fails_on_is_an_error_with_its_key(
        self, prompts: Make, template: str, value: object
    ) -> None:
        with pytest.raises(SpecError, match=r"t.yaml:3: prompt: cannot be rendered: "):
            prompts(prompt=template).prompt({"text": value})


class TestIdentity:
    """What a template prints is the row's value, or nothing is asked."""

    @pytest.mark.parametrize(
        "name", ["range", "dict", "namespace", "cycler", "joiner", "lipsum", "self", "loop", "items"]
    )
    def test_a_column_is_that_column_whatever_its_name(self, prompts: Make, name: str) -> None:
        task = prompts(prompt=f"{{{{ {name} }}}}", target=f"{{{{ {name} | string }}}}!", references=f"[{name} ~ '']")
        row = {name: 400}
        assert (task.prompt(row), task.target(row), task.references(row)) == ("400", "400!", ["400"])
        assert task.prompt_columns == {name}
        with pytest.raises(SpecError, match=f"no column '{name}' in the rows"):
            task.prompt({"other": 1})

    def test_also_beside_a_call_of_the_function_of_that_name(self, prompts: Make) -> None:
        task = prompts(prompt="{% for n in range(2) %}{{ range }}{{ n }}{% endfor %}{% set j = joiner() %}{{ j() }}")
        assert task.prompt({"range": "r"}) == "r0r1"
        assert task.prompt_columns == {"range"}

    def test_a_macro_of_ones_own_may_have_such_a_name(self, prompts: Make) -> None:
        task = prompts(prompt="{% macro range(n) %}<{{ n }}>{% endmacro %}{{ range(3) }}{{ text }}")
        assert task.prompt({"text": "a"}) == "<3>a"
        assert task.prompt_columns == {"text"}

    @pytest.mark.parametrize("key", ["items", "keys", "values", "get", "copy", "pop", "update"])
    def test_an_item_comes_before_a_method_of_the_same_name(self, prompts: Make, key: str) -> None:
        task = prompts(prompt=f"{{{{ order.{key} | join(', ') }}}} {{{{ order['{key}'][0] }}}}")
        assert task.prompt({"order": {key: ["pen", "ink"]}}) == "pen, ink pen"

    @pytest.mark.parametrize(
        ("template", "printed"),
        [
            ("{{ order.items }}", "the function 'items'"),
            ("{{ order['keys'] }}", "the function 'keys'"),
            ("{{ order.name.upper }}", "the function 'upper'"),
            ("a {{ order.items ~ 'x' }}", "<built-in method items of dict object at 0x"),
            ("{{ [order.items] }}", "<built-in method items of dict object at 0x"),
            ("{{ order.name | map('upper') }}", r"a generator \(end it with"),
            ("{{ order.name | map('upper') | string }}", "<generator object sync_do_map at 0x"),
            ("{{ cycler(1, 2) }}{{ order }}", "an object"),
            ("{{ order.raw }}", "bytes that are not UTF-8"),
            ("{{ order.name is mapping or range }}", None),
        ],
    )
    def test_an_object_of_pythons_is_never_printed(self, prompts: Make, template: str, printed: str | None) -> None:
        row = {"order": {"name": "a", "raw": b"\xff"}, "range": 1}
        if printed is None:
            assert prompts(prompt=template).prompt(row) == "1"
            return
        with pytest.raises(SpecError, match=f"t.yaml:3: prompt: cannot be rendered: .*prints {printed}"):
            prompts(prompt=template).prompt(row)
        with pytest.raises(SpecError, match=r"t.yaml:4: target: cannot be rendered: .*prints "):
            prompts(target=template).target(row)

    def test_the_error_names_the_column(self, prompts: Make) -> None:
        with pytest.raises(SpecError, match="prompt: cannot be rendered: column 'order': prints the function 'items'"):
            prompts(prompt="{{ order.items }}").prompt({"order": {"id": 1}})

    @pytest.mark.parametrize("template", ["{{ text }}", "{{ text ~ '' }}", "{{ [text][0] }}"])
    def test_what_a_row_says_about_objects_is_its_own(self, prompts: Make, template: str) -> None:
        text = "prints <Foo object at 0x7f3a5c>"
        assert prompts(prompt=template).prompt({"text": text}) == text

    @pytest.mark.parametrize(
        "template", ["{{ text | random }}", "{{ [text] | map('random') | list }}", "{{ lipsum() }}"]
    )
    def test_nothing_is_drawn_at_random(self, prompts: Make, template: str) -> None:
        with pytest.raises(SpecError, match=r"No filter named 'random'|no column 'lipsum'"):
            prompts(prompt=template).prompt({"text": "abc"})

    @pytest.mark.parametrize(
        "template",
        [
            "{{ text }}", "{{ text | trim }}", "{{ text ~ '!' }}", "{{ '%s' | format(text) }}", "{{ [text] | join }}",
            "{{ [text] }}", "{{ text | string }}", "{{ text | int }}", "{{ text | float }}", "{{ text + 1 }}",
            "{{ 1 + text }}", "{{ text | replace('a', 'b') }}", "{{ text < 1 }}", "{% for x in text %}{% endfor %}",
            "{{ text | length }}", "{{ '{}'.format(text) }}", "{{ 'a' + text }}", "{{ 'ab'[text] }}",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize(("value", "called"), [(None, "null"), (float("nan"), "NaN")])
    def test_a_null_is_never_printed_or_counted_with(
        self, prompts: Make, template: str, value: object, called: str
    ) -> None:
        with pytest.raises(SpecError, match=f"t.yaml:3: prompt: cannot be rendered: column 'text' is {called}$"):
            prompts(prompt=template).prompt({"text": value})

    @pytest.mark.parametrize(
        ("template", "expected"),
        [
            ("{% if text %}a{% else %}b{% endif %}", "b"),
            ("{{ text or 'b' }}", "b"),
            ("{{ text | default('b', true) }}", "b"),
            ("{{ 'a' if text is none else 'b' }}", "a"),
            ("{{ 'a' if text == none else 'b' }}", "a"),
            ("{{ 'a' if text is not none else 'b' }}", "b"),
            ("{{ {'x': text} | tojson }}", '{"x": null}'),
            ("{{ 'a' if text == 0 else 'b' }}", "b"),
        ],
    )
    def test_a_null_may_be_tested_and_replaced(self, prompts: Make, template: str, expected: str) -> None:
        assert prompts(prompt=template).prompt({"text": None}) == expected

    def test_a_null_inside_a_column_is_named_by_its_place(self, prompts: Make) -> None:
        task = prompts(prompt="{{ order.names | join(' ') }}")
        assert task.prompt({"order": {"names": ["a", "b"], "other": None}}) == "a b"
        with pytest.raises(SpecError, match=r"column 'order.names\[1\]' is null"):
            task.prompt({"order": {"names": ["a", None]}})

    def test_what_a_call_does_not_find_is_a_null(self, prompts: Make) -> None:
        with pytest.raises(SpecError, match=r"get\(\) gives null"):
            prompts(prompt="{{ order.get('x') | trim }}").prompt({"order": {}})

    def test_a_negative_label_is_no_place_in_a_list(self, prompts: Make) -> None:
        task = prompts(target="{{ ['negative', 'positive'][label] }}")
        assert [task.target({"label": label}) for label in (0, 1, True)] == ["negative", "positive", "positive"]
        with pytest.raises(
            SpecError, match=r"t.yaml:4: target: cannot be rendered: column 'label': -1 is no place in a list"
        ):
            task.target({"label": -1})
        with pytest.raises(SpecError, match="'label': -1 is no place"):
            prompts(target="{{ 'AB'[label | int] }}").target({"label": "-1"})
        task = prompts(target="{{ ['no', 'yes'][label - 1] }}")
        assert [task.target({"label": label}) for label in (1, 2)] == ["no", "yes"]
        with pytest.raises(SpecError, match="'label': -1 is no place"):
            task.target({"label": 0})

    def test_an_author_may_count_from_the_end(self, prompts: Make) -> None:
        row = {"turns": ["a", "b", "c"], "label": -1}
        task = prompts(prompt="{{ turns[-1] }}{{ turns[-2:] | join }}{{ {-1: 'x'}[label] }}{{ turns[-(1 + 1)] }}")
        assert task.prompt(row) == "cbcxb"

    @pytest.mark.parametrize("text", ["", "x", "two", "1.5.1"])
    @pytest.mark.parametrize("name", ["int", "float"])
    def test_a_text_that_is_no_number_is_not_0(self, prompts: Make, text: str, name: str) -> None:
        with pytest.raises(SpecError, match=r"t.yaml:4: target: cannot be rendered: .* is not a (whole )?number"):
            prompts(target=f"{{{{ answer | {name} }}}}").target({"answer": text})
        assert prompts(target=f"{{{{ answer | {name}(7) }}}}").target({"answer": text}) == "7"

    def test_whole_numbers_in_text_are_exact(self, prompts: Make) -> None:
        assert prompts(target="{{ answer | int }}").target({"answer": "9007199254740993"}) == "9007199254740993"

    @pytest.mark.parametrize("template", ["{{ 'yes' if toxic else 'no' }}", "{% if not (toxic and a) %}x{% endif %}"])
    @pytest.mark.parametrize("text", ["0", "False", " no"])
    def test_a_text_that_means_no_is_not_true(self, prompts: Make, template: str, text: str) -> None:
        """Every cell of a CSV file is text, and Jinja holds any text for true that is not empty."""
        with pytest.raises(SpecError, match=f"column 'toxic': the text '{text}' counts as true"):
            prompts(target=template).target({"toxic": text, "a": 1})

    def test_flags_are_what_they_are_otherwise(self, prompts: Make) -> None:
        task = prompts(target="{{ 'yes' if toxic else 'no' }}")
        assert [task.target({"toxic": value}) for value in (0, 1, True, False, "", "x", None)] == [
            "no", "yes", "yes", "no", "no", "yes", "no",
        ]  # fmt: skip
        assert prompts(target="{{ 'yes' if toxic | int else 'no' }}").target({"toxic": "0"}) == "no"

    def test_a_column_that_is_also_printed_is_no_flag(self, prompts: Make) -> None:
        assert prompts(prompt="{% if title %}{{ title }}. {% endif %}x").prompt({"title": "0"}) == "0. x"


class TestSyntax:
    @pytest.mark.parametrize(
        ("key", "template", "line", "message"),
        [
            ("prompt", "a\nb {{ text", 3, "template line 2: "),
            ("prompt", "{% if text %}", 3, "template line 1: Unexpected end of template"),
            ("target", "{{ answer | nofilter }}", 4, "template line 1: No filter named 'nofilter'"),
            ("references", "[answer", 8, "template line 1: "),
            ("references", "answer | nofilter", 8, "template line 1: No filter named 'nofilter'"),
        ],
    )
    def test_a_template_that_is_no_jinja_is_an_error_before_any_row(
        self, prompts: Make, key: str, template: str, line: int, message: str
    ) -> None:
        with pytest.raises(SpecError, match=rf"t.yaml:{line}: {key}: {message}"):
            prompts(**{key: template})


class TestSandbox:
    @pytest.mark.parametrize(
        "template",
        [
            "{{ ''.__class__ }}",
            "{{ text.__class__.__mro__ }}",
            "{{ text['__class__'] }}",
            "{{ text | attr('__class__') }}",
            "{{ text.__init__.__globals__ }}",
            "{{ ''.format.__self__ }}",
            "{{ '{0.__class__}'.format(text) }}",
            "{{ (text | list).append(1) }}",
            "{{ cycler(1).__init__.__globals__ }}",
            "{{ range(99999999) | list }}",
        ],
    )
    def test_a_task_file_from_a_stranger_cannot_reach_python(self, prompts: Make, template: str) -> None:
        with pytest.raises(SpecError, match=r"prompt: cannot be rendered: "):
            prompts(prompt=template).prompt({"text": "a"})

    def test_neither_can_a_references_expression(self, prompts: Make) -> None:
        with pytest.raises(SpecError, match=r"references: "):
            prompts(references="[''.__class__.__name__]").references({})


class TestColumns:
    def test_are_those_of_prompt_target_and_references(self, prompts: Make) -> None:
        task = prompts(prompt="{{ a }}{% for x in b %}{{ x }}{% endfor %}", target="{{ c.d }}", references="[e[0], c]")
        assert task.prompt_columns == {"a", "b"}
        assert task.answer_columns == {"c", "e"}
        assert task.columns == {"a", "b", "c", "e"}

    def test_what_jinja_brings_along_is_no_column(self, prompts: Make) -> None:
        template = (
            "{% set n = namespace(x=0) %}{% for i in range(2) %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}{{ a }}"
        )
        task = prompts(prompt=template)
        assert task.prompt_columns == {"a"}
        assert task.prompt({"a": "!"}) == "1!"


class TestReferences:
    def test_are_the_target_when_nothing_else_is_said(self, plain: Prompts) -> None:
        assert plain.references({"answer": " a "}) == ["a"]

    @pytest.mark.parametrize(
        ("expression", "expected"),
        [("answers", ["a", "b"]), ("answers[1:]", ["b"]), ("answers | map('upper') | list", ["A", "B"])],
    )
    def test_are_the_list_that_the_expression_gives(self, prompts: Make, expression: str, expected: list[str]) -> None:
        assert prompts(references=expression).references({"answers": ["a", "b"]}) == expected

    @pytest.mark.parametrize("found", ["a", [], [1], ["a", 1], {"a": 1}, 3])
    def test_must_be_a_list_of_one_or_more_texts(self, prompts: Make, found: object) -> None:
        message = r"t.yaml:8: references: expected a list of one or more texts, got "
        with pytest.raises(SpecError, match=message):
            prompts(references="answers").references({"answers": found})

    @pytest.mark.parametrize("expression", ["answrs", "answrs.text", "[answrs]"])
    def test_of_a_column_that_is_not_there_are_an_error(self, prompts: Make, expression: str) -> None:
        with pytest.raises(SpecError, match=r"t.yaml:8: references: "):
            prompts(references=expression).references({"answers": ["a"]})


class TestWhitespace:
    def test_the_breaks_that_the_author_left_at_the_end_stay(self, prompts: Make) -> None:
        """One break, which a block scalar always has, is taken off by the schema; Jinja takes off no other."""
        ends = {"a": "a", "a\n": "a", "a\n\n": "a\n", "a ": "a ", "a\n\n\n": "a\n\n", "\na": "\na"}
        assert {text: prompts(prompt=text).prompt({}) for text in ends} == ends

    def test_a_break_at_the_end_of_the_data_stays(self, plain: Prompts) -> None:
        assert plain.prompt({"text": "a\n\n"}) == "Text: a\n\n"

    def test_a_target_has_no_outer_space(self, prompts: Make) -> None:
        assert prompts(target="\n {{ answer }}\n").target({"answer": " a\nb \n"}) == "a\nb"


class TestJson:
    def test_is_written_as_models_write_it(self, as_json: Prompts) -> None:
        """Jinja's own filter would write \\u0027 for an apostrophe, and no model does."""
        answer = {"b": "it's <b>bold</b> & für", "a": [1, None, True, 0.5]}
        assert as_json.target({"answer": answer}) == '{"b": "it\'s <b>bold</b> & für", "a": [1, null, true, 0.5]}'

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
    def test_reads_back_as_the_value(self, as_json: Prompts, value: object) -> None:
        assert json.loads(as_json.target({"answer": value})) == value


class TestEntities:
    @pytest.mark.parametrize(
        ("tags", "expected"),
        [
            ([O, O, O, O], {"PER": [], "LOC": []}),
            ([B_PER, I_PER, O, B_LOC], {"PER": ["a b"], "LOC": ["d"]}),
            ([B_PER, B_PER, I_PER, I_PER], {"PER": ["a", "b c d"], "LOC": []}),
            ([B_LOC, O, B_LOC, I_LOC], {"PER": [], "LOC": ["a", "c d"]}),
            # An I- tag that continues nothing of its type starts an entity, as in the CoNLL scorer.
            ([I_PER, I_PER, O, O], {"PER": ["a b"], "LOC": []}),
            ([O, I_LOC, O, I_LOC], {"PER": [], "LOC": ["b", "d"]}),
            ([B_PER, I_LOC, I_LOC, I_PER], {"PER": ["a", "d"], "LOC": ["b c"]}),
        ],
    )
    def test_of_a_tagged_sentence(self, tags: list[int], expected: dict[str, list[str]]) -> None:
        assert entities(list("abcd"), tags, NAMES) == expected

    def test_that_occur_again_are_named_again(self) -> None:
        assert entities(["a", "x", "a"], [B_PER, O, B_PER], NAMES)["PER"] == ["a", "a"]

    def test_of_no_words_are_none(self) -> None:
        assert entities([], [], NAMES) == {"PER": [], "LOC": []}

    @given(st.lists(st.tuples(st.text("abc", min_size=1), st.integers(0, 4))))
    def test_hold_every_tagged_word_once_and_in_order(self, sentence: list[tuple[str, int]]) -> None:
        tokens, tags = [word for word, _ in sentence], [tag for _, tag in sentence]
        found = entities(tokens, tags, NAMES)
        for kind in ("PER", "LOC"):
            tagged = [word for word, tag in sentence if NAMES[tag].endswith(kind)]
            assert " ".join(found[kind]).split() == tagged

    def test_tags_that_do_not_fit_the_words_are_an_error(self, prompts: Make) -> None:
        task = prompts(target="{{ tokens | entities(tags, ['O', 'B-PER']) | tojson }}")
        assert task.target({"tokens": ["a"], "tags": [1]}) == '{"PER": ["a"]}'
        for tags in ([1, 0], [], [2], [-1]):
            with pytest.raises(SpecError, match=r"t.yaml:4: target: cannot be rendered: "):
                task.target({"tokens": ["a"], "tags": tags})


def test_every_shipped_task_keeps_its_prompt_to_the_last_character() -> None:
    """A model continues after the cue, so no prompt may end in a break by accident."""
    folder = Path(__file__).parents[2] / "tasks"
    assert [
        path.stem for path in folder.glob("*.yaml") if load_task(folder, path.stem).task.prompt.endswith("\n")
    ] == []
