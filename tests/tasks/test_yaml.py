"""A YAML file says what it means, and a wrong one is told file, line, key and what would be right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.tasks.catalog import TaskFile
from harness.tasks.yaml import read
from tests.tasks.conftest import GOOD

Problems = Callable[..., list[str]]


def parsed(folder: Path, text: str) -> object:
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path).data


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "n", "Yes", "NO"])
def test_a_bare_word_that_yaml_1_1_took_for_a_truth_value_is_a_string(tmp_path: Path, word: str) -> None:
    assert parsed(tmp_path, f"a: {word}\nb: [{word}]\n{word}: 1\n") == {"a": word, "b": [word], word: 1}


def test_scalars_are_plain_python_values(tmp_path: Path) -> None:
    data = parsed(tmp_path, "a: true\nb: 4\nc: 0.5\nd: 1:30\ne: 0o17\nf: |\n  x\n  y\ng: null\nh: 'it''s'\n")
    assert data == {"a": True, "b": 4, "c": 0.5, "d": "1:30", "e": 15, "f": "x\ny\n", "g": None, "h": "it's"}
    assert isinstance(data, dict)
    assert [type(value) for value in data.values()] == [bool, int, float, str, int, str, type(None), str]


@settings(max_examples=100)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abcdef", min_size=1), inner),
        max_leaves=10,
    )
)
def test_json_is_read_as_the_yaml_it_is(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    # JSON's writer knows nothing of YAML, so that a mistake of one library is not confirmed by its own other half.
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(json.dumps({"value": value}, ensure_ascii=False), encoding="utf-8")
    assert read(path).data == {"value": value}


def test_of_two_anchors_of_one_name_the_last_one_in_front_holds(tmp_path: Path) -> None:
    assert parsed(tmp_path, "a: &x 1\nb: *x\nc: &x 2\nd: *x\n") == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_what_another_mapping_lends_is_read_and_complained_about_where_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &base\n  size: 1\nbig:\n  <<: *base\n  colour: red\n")
    source = read(path)
    assert source.data["big"] == {"size": 1, "colour": "red"}
    assert source.line(["big", "colour"]) == 5
    assert source.line(["big", "size"]) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", ':3: found duplicate key "a": each key may occur only once'),
        ("a:\n  b: 1\n  b: 2\n", ':3: found duplicate key "b": each key may occur only once'),
        ("a: {b: 1, b: 2}\n", ':1: found duplicate key "b": each key may occur only once'),
        ("a: 1\n\tb: 2\n", ":2: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: 1\n- b\n", ":2: not valid YAML: expected <block end>, but found '-'"),
        ("- a\n- b\n", ":1: expected a mapping of keys, found CommentedSeq"),
        ("just words\n", ":1: expected a mapping of keys, found str"),
        ("", ":1: expected a mapping of keys, found NoneType"),
        ("a: 1\n---\nb: 2\n", ":2: not valid YAML: but found another document"),
        ("a: \0\n", ": not valid YAML: "),
    ],
)
def test_a_file_that_is_not_a_mapping_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as found:
        parsed(tmp_path, text)
    assert str(found.value).startswith(f"{tmp_path}/a.yaml{message}")


def test_a_file_that_cannot_be_read_is_reported_by_name(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: für\n".encode("latin-1"))
    for name in ("latin.yaml", "absent.yaml"):
        with pytest.raises(SpecError, match=f"{name}: cannot be read: "):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_tokens", "max_token", "toxic.yaml:12: max_token: unknown key 'max_token' (did you mean 'max_tokens'?)"),
        ("hub:", "hbu:", "toxic.yaml:4: dataset.hbu: unknown key 'hbu' (did you mean 'hub'?)"),
        ("labels:", "lables:", "toxic.yaml:10: answer.lables: unknown key 'lables' (did you mean 'labels'?)"),
        ("labels:", "label:", "toxic.yaml:10: answer.label: unknown key 'label' (did you mean 'labels'?)"),
        ("title: Toxicity\n", "", "toxic.yaml:1: missing key 'title'"),
        (", labels: [yes, no]", "", "toxic.yaml:10: answer: missing key 'labels'"),
        ("type: label, ", "", "toxic.yaml:10: answer: missing key 'type'"),
        (
            "category: classification",
            "category: clasification",
            "toxic.yaml:2: category: 'clasification' is not valid (did you mean 'classification'?)",
        ),
        (
            "category: classification",
            "category: zzz",
            "toxic.yaml:2: category: 'zzz' is not valid (choose from: classification, code, extraction, generation, "
            "instruction following, knowledge, math, reading, reasoning, similarity)",
        ),
        ("type: label", "type: lable", "toxic.yaml:10: answer.type: 'lable' is not valid (did you mean 'label'?)"),
        (
            "max_tokens: 4",
            "max_tokens: four",
            "toxic.yaml:12: max_tokens: Input should be a valid integer, unable to parse string as an integer "
            "(found 'four')",
        ),
        (
            "max_tokens: 4",
            "max_tokens: 0",
            "toxic.yaml:12: max_tokens: Input should be greater than or equal to 1 (found 0)",
        ),
        ("[yes, no]", "[yes, 1]", "toxic.yaml:10: answer.labels.1: Input should be a valid string (found 1)"),
        ("[accuracy, macro_f1]", "accuracy", "toxic.yaml:11: metrics: Input should be a valid list (found 'accuracy')"),
        ("max_tokens: 4", "max_tokens: 4\n7: 8", "toxic.yaml:13: 7: Keys should be strings (found 7)"),
    ],
)
def test_each_mistake_is_reported_with_line_key_and_nearest_choice(
    problems: Problems, old: str, new: str, message: str
) -> None:
    assert message in problems((old, new))


def test_all_mistakes_of_a_file_are_reported_at_once(problems: Problems) -> None:
    said = problems(
        ("title: Toxicity\n", ""),
        ("category: classification", "category: sorting"),
        ("hub:", "hbu:"),
        ("type: label", "type: lable"),
        ("max_tokens: 4", "max_tokens: 4\nevaluation: {splt: test, rows: none}"),
    )
    assert [line.partition(": ")[0] for line in said] == [f"toxic.yaml:{n}" for n in (1, 1, 3, 9, 12, 12)]
    assert len(set(said)) == 6


def test_a_value_never_hides_the_name_of_the_key_that_is_missing(problems: Problems) -> None:
    # pydantic names a union's chosen member by a value of `type`; here that value is also the missing key's name.
    assert "toxic.yaml:1: missing key 'title'" in problems(("title: Toxicity", "type: title"))


def test_a_long_value_is_cut_in_the_message(problems: Problems) -> None:
    (said,) = problems(("max_tokens: 4", f"max_tokens: {'long ' * 1000}"))
    assert len(said) < 250


def test_a_good_file_has_no_problem(task: Callable[[str], TaskFile]) -> None:
    assert task(GOOD).task.title == "Toxicity"


class TestStrangersFiles:
    """A file of a stranger is an error before it has taken the machine's memory or time, or run anything."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: !!python/object/apply:os.system ['touch ran']\n", r":1: a: the tag .*os.system is not allowed"),
            ("x: 1\na:\n- !!python/name:os.system\n", r":3: a\.0: the tag .*os.system is not allowed"),
            ("a: !secret x\n", ":1: a: the tag !secret is not allowed"),
            ("a: " + "[" * 100_000 + "]" * 100_000, ":1: not valid YAML: lists or mappings are nested more than 50"),
            ("a: " + "{a: " * 100_000, ": lists or mappings are nested more than 50 deep"),
            ("\n".join(" " * depth + "a:" for depth in range(1_200)), ": lists or mappings are nested more than 50"),
            ("\n".join(" " * depth + "a:" for depth in range(100)), ":3: a.a.a: lists or mappings are nested more"),
            (
                "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
                "more than 50,000 values; does an alias repeat others",
            ),
            ("a: " + "9" * 5_000 + "\n", "not valid YAML"),
            ("a: " + "x" * 1_000_001, "larger than 1,000,000 bytes"),
        ],
    )  # fmt: skip
    def test_end_as_one_line(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "t.yaml"
        path.write_text(text)
        with pytest.raises(SpecError, match=message) as found:
            read(path)
        assert str(found.value).startswith(str(path))
        assert len(str(found.value)) < 400
        assert "\n" not in str(found.value)

    def test_an_alias_that_repeats_little_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "t.yaml"
        path.write_text("a: &a {b: [1, 2]}\nc: *a\nd:\n  <<: *a\n  e: 3\n")
        assert read(path).data == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}, "d": {"b": [1, 2], "e": 3}}
