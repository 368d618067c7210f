"""The schema of a task file: what its short forms mean, and what editors are told about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.errors import SpecError
from harness.tasks.catalog import TaskFile, load_task, task_names
from harness.tasks.task import Task, json_schema
from harness.tasks.yaml import read
from tests.tasks.conftest import GOOD

TASKS = Path(__file__).parents[2] / "tasks"
Load = Callable[[str], TaskFile]


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema, itself checked against the schema of schemas."""
    found = json_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def test_labels_yes_and_no_are_strings(task: Load) -> None:
    assert task(GOOD).task.answer.labels == ["yes", "no"]  # type: ignore[union-attr]


def test_what_is_left_out_has_the_documented_value(task: Load) -> None:
    found = task(GOOD).task
    assert (found.evaluation.split, found.evaluation.rows) == ("test", 1000)
    assert (found.training.split, found.training.epochs, found.training.max_length) == ("train", 3, "p95")
    assert (found.stop, found.slices, found.references, found.ceiling) == ([], [], None, None)


def test_the_prompt_ends_where_its_last_line_ends(task: Load) -> None:
    """A block scalar ends in a line break that nobody wrote on purpose: the answer cue is the prompt's last character.

    Breaks beyond the first are the author's (`|+`) and stay.
    """
    assert task(GOOD).task.prompt == "Comment: {{ text }}\nToxic:"
    kept = GOOD.replace("prompt: |\n", "prompt: |+\n").replace("  Toxic:\n", "  Toxic:\n\n\n")
    assert task(kept).task.prompt == "Comment: {{ text }}\nToxic:\n\n"


def test_a_target_has_no_outer_space(task: Load) -> None:
    spaced = GOOD.replace("target: \"{{ 'yes' if toxic else 'no' }}\"", "target: >\n\n  {{ toxic }}\n")
    assert task(spaced).task.target == "{{ toxic }}"


@pytest.mark.parametrize(
    ("written", "name", "options"),
    [
        ("accuracy", "accuracy", {}),
        ("{rouge_l: {stemmer: true}}", "rouge_l", {"stemmer": True}),
        ("{rouge_l: }", "rouge_l", {}),
        ("{evaluate: sacrebleu}", "evaluate", {"metric": "sacrebleu"}),
        ("{evaluate: {metric: sacrebleu, lowercase: true}}", "evaluate", {"metric": "sacrebleu", "lowercase": True}),
        ("{name: rouge_l, options: {stemmer: true}}", "rouge_l", {"stemmer": True}),
        ("{name: rouge_l}", "rouge_l", {}),
    ],
)
def test_a_metric_may_be_written_short(
    task: Load, schema: Any, tmp_path: Path, written: str, name: str, options: dict[str, Any]
) -> None:
    found = task(GOOD.replace("[accuracy, macro_f1]", f"[{written}]"))
    (metric,) = found.task.metrics
    assert (metric.name, metric.options) == (name, options)
    assert list(schema.iter_errors(found.source.data)) == []


@pytest.mark.parametrize(
    "answer",
    [
        "{type: number, pick: first, minimum: 0, maximum: 5}",
        "{type: text, first_line: true}",
        "{type: regex, pattern: 'a(.)'}",
        "{type: json}",
        "{type: entities, types: [person]}",
        "{type: label_and_explanation, labels: [a, b]}",
        "{type: sql}",
        "{type: code, program: '{{ completion }}'}",
    ],
)
def test_every_answer_type_can_be_written(task: Load, schema: Any, answer: str) -> None:
    found = task(GOOD.replace("{type: label, labels: [yes, no]}", answer))
    assert found.task.answer.type in answer
    assert list(schema.iter_errors(found.source.data)) == []


@pytest.mark.parametrize(
    ("answer", "key", "reason"),
    [
        ("{type: regex, pattern: '('}", "pattern", "missing ), unterminated subpattern at position 0"),
        ("{type: number, after: 'a**'}", "after", "multiple repeat at position 2"),
        ("{type: text, after: '[a'}", "after", "unterminated character set at position 0"),
        ("{type: label, labels: [yes, no], after: '(?P<a'}", "after", "missing >, unterminated name at position 4"),
    ],
)
def test_a_broken_regular_expression_is_reported_when_the_file_is_loaded(
    task: Load, answer: str, key: str, reason: str
) -> None:
    line = GOOD[: GOOD.index("{type: label, labels: [yes, no]}")].count("\n") + 1
    with pytest.raises(SpecError) as raised:
        task(GOOD.replace("{type: label, labels: [yes, no]}", answer))
    assert f":{line}: answer.{key}: not a valid regular expression: {reason}" in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("shots: {n: 2, split: test}", "the split 'test' is the one that is evaluated"),
        ("shots: {n: 0}", "shots.n: Input should be greater than or equal to 1"),
        ("shots: {}", "missing key 'n'"),
        ("system: 'Be {{ adjective }}.'", "plain text and no template"),
    ],
)
def test_examples_are_never_evaluated_and_a_system_prompt_is_fixed(task: Load, keys: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        task(f"{GOOD}\n{keys}\n")


def test_a_stored_task_is_read_back_as_it_was(task: Load) -> None:
    found = task(GOOD).task
    assert Task.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize("name", task_names(TASKS))
def test_every_shipped_task_loads_and_fits_the_schema_for_editors(schema: Any, name: str) -> None:
    file = load_task(TASKS, name)
    assert [error.message for error in schema.iter_errors(file.source.data)] == []
    assert file.source.text.startswith("# yaml-language-server: $schema=task.schema.json\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_tokens", "max_token"),
        ("hub:", "hbu:"),
        ("category: classification", "category: sorting"),
        ("type: label", "type: lable"),
        ("metrics: [accuracy, macro_f1]", "metrics: []"),
        ("metrics: [accuracy, macro_f1]", "metrics: [[accuracy]]"),
        ("max_tokens: 4", "max_tokens: four"),
    ],
)
def test_editors_mark_the_mistakes_that_the_program_refuses(schema: Any, tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD.replace(old, new))
    assert list(schema.iter_errors(read(path).data))


def test_the_committed_schema_is_the_programs() -> None:
    """If this fails: `harness schema > tasks/task.schema.json`."""
    assert json.loads((TASKS / "task.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_every_key_of_a_task_is_explained_in_editors() -> None:
    explained = {"title", "category", "dataset", "answer", "evaluation", "training"}  # by their name or their type
    properties = json_schema()["properties"]
    assert {name for name, value in properties.items() if "description" not in value} <= explained


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("{type: label, labels: [a, b, a]}", "the label 'a' is listed twice"),
        (
            "{type: label, labels: [non-toxic, 'non toxic']}",
            "the labels 'non-toxic' and 'non toxic' cannot be separated",
        ),
        ("{type: label, labels: [Yes, yes]}", "the labels 'Yes' and 'yes' cannot be separated"),
        ('{type: label, labels: ["caf\\u00e9", "cafe\\u0301"]}', "cannot be separated"),
        ('{type: label, labels: [a, ""]}', "the label '' is empty"),
        ("{type: label_and_explanation, labels: [a, A]}", "the labels 'a' and 'A' cannot be separated"),
        ("{type: label, labels: [yes, no], aliases: {y: yess}}", "not one of the labels (did you mean 'yes'?)"),
        ("{type: label, labels: [yes, no], aliases: {no: yes}}", "'no' stands for 'yes', but is read as 'no'"),
        ("{type: label, labels: [yes, no], aliases: {yes: yes}}", "'yes' is a label itself"),
        ("{type: label, labels: [yes, no], positive: yess}", "'yess' is not one of the labels (did you mean 'yes'?)"),
    ],
)
def test_labels_that_cannot_mean_what_they_say_are_an_error(task: Load, answer: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        task(GOOD.replace("{type: label, labels: [yes, no]}", answer))
    assert ":10: answer." in str(raised.value)
    assert message in str(raised.value)


def test_two_spellings_of_an_alias_may_mean_one_label(task: Load) -> None:
    aliases = "{non-toxic: safe, non toxic: safe, nontoxic: safe}"
    found = task(
        GOOD.replace("{type: label, labels: [yes, no]}", f"{{type: label, labels: [toxic, safe], aliases: {aliases}}}")
    )
    assert len(found.task.answer.aliases) == 3  # type: ignore[union-attr]
