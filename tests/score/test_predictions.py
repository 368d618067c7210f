"""Predictions made elsewhere: every form in which people keep their right answers is understood or refused clearly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from harness.report.tables import score_points
from harness.score.metrics.base import Metric
from harness.score.predictions import column, in_order_of, load, pairs, read_lines, right_answers, score_lines
from harness.score.scoring import RowScores
from harness.tasks.catalog import TaskFile, load_task

TASKS = Path(__file__).parents[2] / "tasks"


def loaded(folder: Path, file: TaskFile, *lines: dict[str, Any]) -> tuple[tuple[Metric, ...], RowScores]:
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load(path, file)


def own_task(folder: Path, keys: str) -> TaskFile:
    """A task of one's own with these keys beside the common ones."""
    tasks = folder / "tasks"
    tasks.mkdir()
    common = "title: T\ncategory: generation\nprompt: '{{ s }}'\ntarget: '{{ y }}'\nmetrics: [exact_match]\n"
    (tasks / "mine.yaml").write_text(f"{common}max_tokens: 8\n{keys}")
    return load_task(tasks, "mine")


def score(task: str, tmp_path: Path, *lines: dict[str, Any]) -> dict[str, float]:
    metrics, rows = loaded(tmp_path, load_task(TASKS, task), *lines)
    return {name: estimate.value for name, estimate in score_points(metrics, rows).items()}


@pytest.mark.parametrize(
    "reference",
    [
        "The cat sat.",
        ["A dog ran.", "The cat sat."],
        {"references": ["A dog ran.", "The cat sat."]},
        {"reference": "The cat sat."},
        {"meaning_representation": "name[cat]", "human_reference": "The cat sat."},
    ],
    ids=["text", "list", "references", "reference", "row"],
)
def test_a_text_may_have_one_reference_or_several(reference: Any, tmp_path: Path) -> None:
    assert score("e2e_nlg", tmp_path, {"prediction": "the cat sat", "reference": reference})["rouge_l"] == 1.0


def test_an_object_of_entities_is_the_right_answer_itself(tmp_path: Path) -> None:
    gold = {"person": ["Ada Lovelace"], "organization": [], "location": ["London"], "miscellaneous": []}
    said = '```json\n{"person": ["Ada Lovelace"], "location": ["Paris"]}\n```'
    assert score("conllpp", tmp_path, {"prediction": said, "reference": gold})["entity_f1"] == 0.5


@pytest.mark.parametrize("as_text", [True, False])
def test_tags_of_a_sentence_are_one_right_answer_and_one_prediction(as_text: bool, tmp_path: Path) -> None:
    said, gold = ["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "I-PER", "O", "B-ORG"]
    line = {"prediction": json.dumps(said) if as_text else said, "reference": json.dumps(gold) if as_text else gold}
    assert score("conllpp", tmp_path, line)["entity_f1"] == 0.5
    assert score("conllpp", tmp_path, {"prediction": gold, "reference": gold})["entity_f1"] == 1


def test_a_prediction_of_entities_may_be_the_object_itself(tmp_path: Path) -> None:
    gold = {"person": ["Ann"], "location": []}
    assert score("conllpp", tmp_path, {"prediction": gold, "reference": gold})["entity_f1"] == 1


def test_a_json_object_is_the_right_answer_whatever_its_keys_are(tmp_path: Path) -> None:
    gold = {"answer": "Rome"}
    lines = [{"prediction": said, "reference": gold} for said in (gold, "Rome", {"answer": 1})]
    metrics, rows = loaded(tmp_path, own_task(tmp_path, "answer: {type: json}\n"), *lines)
    assert metrics[0].summary(rows.stats["exact_match"].mean(axis=0)) == pytest.approx(1 / 3)


def test_a_row_is_rendered_to_its_target(tmp_path: Path) -> None:
    row = {"comment_text": "x", "toxic": 1}
    assert score("jigsaw", tmp_path, {"prediction": "Yes.", "reference": row})["accuracy"] == 1.0


TABLE = {"header": ["City", "People"], "types": ["text", "real"], "rows": [["Bonn", "330000"], ["Ulm", "126000"]]}
SQL = 'SELECT "City" FROM "table" WHERE "People" > \'200000\''


@pytest.mark.parametrize("key", ["query", "sql", "reference"])
def test_a_query_may_stand_beside_its_table(key: str, tmp_path: Path) -> None:
    line = {"prediction": f"```sql\n{SQL};\n```", "reference": {key: SQL, "table": TABLE}}
    found = score("wikisql", tmp_path, line)
    assert found["sql_set_match"] == 1.0
    assert found["execution_accuracy"] == 1.0


def test_code_is_run_against_the_tests_of_its_row(tmp_path: Path) -> None:
    row = {
        "prompt": "def double(n):\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        "entry_point": "double",
    }
    right = {"prediction": "```python\ndef double(n):\n    return 2 * n\n```", "reference": row}
    wrong = {"prediction": "def double(n):\n    return n\n", "reference": row}
    assert score("magicoder", tmp_path, right, wrong)["pass_at_1"] == 0.5


def test_squad_answers_are_several_references(tmp_path: Path) -> None:
    reference = {"answers": {"text": ["in 1912", "1912"], "answer_start": [3, 6]}}
    assert score("drop", tmp_path, {"prediction": "1912", "reference": reference})["drop_exact_match"] == 1.0


@pytest.fixture
def text_task(tmp_path: Path) -> TaskFile:
    """A task of texts whose right answer is the column `y`."""
    path = tmp_path / "tasks" / "text.yaml"
    path.parent.mkdir()
    path.write_text(
        "title: Text\ncategory: extraction\nprompt: '{{ x }}'\ntarget: '{{ y }}'\n"
        "answer: {type: text}\nmetrics: [exact_match]\nmax_tokens: 8\n"
    )
    return load_task(path.parent, "text")


@pytest.mark.parametrize(
    ("reference", "right"),
    [
        (42, "42"),
        (True, "true"),
        ({"answer": 42}, "42"),
        ({"reference": 9007199254740993}, "9007199254740993"),
        ({"answer": True}, "true"),
        ({"answers": 0.5}, "0.5"),
        ({"x": "q", "y": 7}, "7"),
        ([1, 2], "2"),
        ({"references": ["a", 2]}, "2"),
    ],
)
def test_a_number_is_the_right_answer_that_it_is_written_as(reference: Any, right: str, text_task: TaskFile) -> None:
    lines = [{"prediction": said, "reference": reference} for said in (right, json.dumps(reference) + "!")]
    metrics, rows = score_lines(lines, text_task)
    assert metrics[0].summary(rows.stats["exact_match"].mean(axis=0)) == 0.5


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ([None, "Paris"], "found null"),
        ({"answer": None}, "found null"),
        ({"references": ["Paris", None]}, "found null"),
        ({"answers": {"text": [None]}}, "found null"),
        ({"answer": ["Paris"]}, "found a list"),
        ([["Paris"]], "found a list"),
        ({"answer": {"city": "Paris"}}, "found an object"),
        ({"city": "Paris"}, "expected an object with one of the keys references, .*, query, or with the columns y"),
    ],
)
def test_what_is_no_text_or_number_is_no_right_answer_of_a_text(
    reference: Any, found: str, text_task: TaskFile
) -> None:
    with pytest.raises(DataError, match=rf"predictions:2: reference: .*{found}"):
        score_lines([{"prediction": "a", "reference": "a"}, {"prediction": "null", "reference": reference}], text_task)


def test_a_row_whose_id_is_null_has_none(text_task: TaskFile) -> None:
    lines = [{"prediction": "a", "reference": "a", "id": name} for name in (None, None, "x")]
    assert score_lines(lines, text_task)[1].ids == ("1", "2", "x")
    assert in_order_of(Path("a"), lines, Path("b"), lines) == [0, 1, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"prediction": "yes", "reference": []}, "an empty list holds no right answer"),
        ({"prediction": "yes", "reference": None}, "found null"),
        ({"prediction": 3, "reference": "yes"}, "prediction: expected a text, found int"),
        ({"reference": "yes"}, "missing key 'prediction'"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"predictions.jsonl:1: .*{message}"):
        score("jigsaw", tmp_path, line)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no predictions"):
        score("jigsaw", tmp_path)


def test_lines_are_put_in_the_order_of_another_file_by_the_ids_of_their_rows() -> None:
    ours = [{"id": name, "reference": name} for name in "abc"]
    assert in_order_of(Path("first"), ours, Path("second"), [ours[2], ours[0], ours[1]]) == [1, 2, 0]
    numbered = [{"reference": "x"}, {"reference": "y"}]
    assert in_order_of(
        Path("first"), numbered, Path("second"), [{"id": 2, "reference": "y"}, {"id": 1, **numbered[0]}]
    ) == [1, 0]


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ("aba", "ab", "first:3: the id 'a' is listed twice"),
        ("ab", "abb", "second:3: the id 'b' is listed twice"),
        ("ab", "ax", r"second: no prediction for row 'b' of first \(choose from: a, x\)"),
        ("ab", "aB", "second: row 'b' has another right answer than in first"),
    ],
)
def test_two_files_that_do_not_hold_the_same_rows_are_named(ours: str, theirs: str, message: str) -> None:
    first, second = ([{"id": name.lower(), "reference": name} for name in names] for names in (ours, theirs))
    with pytest.raises(DataError, match=message):
        in_order_of(Path("first"), first, Path("second"), second)


def test_a_column_is_a_key_of_the_line_or_of_its_reference() -> None:
    """The line's own first; different values have different texts."""
    lines: list[dict[str, Any]] = [
        {"topic": "sport", "reference": {"topic": "not this"}},
        {"reference": {"topic": None}},
        {"topic": "null", "reference": "x"},
        {"topic": 3, "reference": "x"},
        {"topic": "3", "reference": "x"},
        {"topic": ["ä"], "reference": "x"},
    ]
    assert column(Path("file"), lines, "topic") == ["sport", "null", '"null"', "3", '"3"', '["ä"]']


def test_a_column_that_a_line_lacks_is_named_with_those_it_has() -> None:
    """What every line has is no group."""
    lines = [{"topic": "a"}, {"prediction": "a", "reference": {"length": 3}, "theme": "b"}]
    with pytest.raises(DataError, match=r"^file:2: no column 'topic' to group by \(choose from: length, theme\)$"):
        column(Path("file"), lines, "topic")


def test_a_row_that_only_the_second_file_has_is_named() -> None:
    first, second = Path("first"), Path("second")
    ours = [{"id": "a", "reference": "x"}]
    with pytest.raises(DataError, match="first: no prediction for row 'b' of second"):
        in_order_of(first, ours, second, [*ours, {"id": "b", "reference": "y"}])


def test_a_status_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predictions.jsonl:1: status 'trunc' is not valid"):
        score("e2e_nlg", tmp_path, {"prediction": "a", "reference": "a", "status": "trunc"})


def test_texts_that_look_like_tags_are_several_right_answers_of_a_task_without_entities(tmp_path: Path) -> None:
    assert score("e2e_nlg", tmp_path, {"prediction": "B-PER", "reference": ["O", "B-PER"]})["rouge_l"] == 1


def test_the_column_of_clusters_may_be_in_the_reference(tmp_path: Path) -> None:
    lines = [{"prediction": "a", "reference": {"y": "a", "page": page}} for page in "xyx"]
    task = own_task(tmp_path, "answer: {type: text}\nevaluation: {cluster: page}\n")
    _, rows = loaded(tmp_path, task, *lines)
    assert rows.clusters is not None
    assert rows.clusters.tolist() == [0, 1, 0]


def test_a_file_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file"):
        read_lines(tmp_path / "absent.jsonl")


@pytest.mark.parametrize("said", [["a"], {"a": 1}, 1, True])
def test_a_prediction_that_is_no_text_is_none_of_a_task_of_texts(said: Any, text_task: TaskFile) -> None:
    with pytest.raises(DataError, match=f"predictions:2: prediction: expected a text, found {type(said).__name__}"):
        score_lines([{"prediction": "a", "reference": "a"}, {"prediction": said, "reference": "a"}], text_task)


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("json", {"references": [{"a": 1}, {"a": 2}]}, ['{"a": 1}', '{"a": 2}']),
        ("json", {"reference": '{"a": 1}'}, ['{"a": 1}']),
        ("json", {"target": '{"a": 1}'}, ['{"a": 1}']),
        ("json", {"answers": ['{"a": 1}']}, ['{"answers": ["{\\"a\\": 1}"]}']),
        ("json", {"target": {"a": 1}}, ['{"target": {"a": 1}}']),
        ("json", [1, 2], ["[1, 2]"]),
        ("text", {"target": "x", "answer": "z"}, ["x"]),
        ("text", {"answers": ["x", "z"]}, ["x", "z"]),
        ("text", {"query": "x"}, ["x"]),
        ("text", {"y": "x", "query": "z"}, ["z"]),
        ("text", ["x", 2, False], ["x", "2", "false"]),
    ],
)
def test_right_answers_are_found_in_what_stands_for_them(
    answer: str, reference: Any, right: list[str], tmp_path: Path
) -> None:
    task = own_task(tmp_path, f"answer: {{type: {answer}}}\n")
    assert list(right_answers([{"prediction": "a", "reference": reference}], task, "file")) == right


@pytest.mark.parametrize(
    ("labels", "right"),
    [(["red", "blue"], ["red\nblue"]), ([["red", "blue"], ["red"]], ["red\nblue", "red"])],
)
def test_a_list_of_labels_is_one_right_answer_where_answers_are_sets(
    labels: list[Any], right: list[str], tmp_path: Path
) -> None:
    task = own_task(tmp_path, "answer: {type: label, labels: [red, blue, green], many: true}\n")
    lines = [{"prediction": ["blue", "red"], "reference": labels}]
    assert list(right_answers(lines, task, "file")) == right
    metrics, rows = score_lines(lines, task)
    assert metrics[0].summary(rows.stats["exact_match"].mean(axis=0)) == 1


@pytest.mark.parametrize(
    ("prediction", "status", "expected"),
    [("a", None, "ok"), ("a", "refused", "refused"), ("a", "truncated", "truncated"), (None, None, "failed")],
)
def test_a_line_has_the_status_that_it_names(
    prediction: str | None, status: str | None, expected: str, text_task: TaskFile
) -> None:
    line = {"prediction": prediction, "reference": "a", **({} if status is None else {"status": status})}
    assert score_lines([line], text_task)[1].statuses == (expected,)


def test_the_column_of_clusters_may_be_in_the_line_and_where_it_is_missing_there_are_none(tmp_path: Path) -> None:
    task = own_task(tmp_path, "answer: {type: text}\nevaluation: {cluster: page}\n")
    lines = [{"prediction": "a", "reference": {"y": "a", "page": "x"}, "page": page} for page in "yzy"]
    _, rows = score_lines(lines, task)
    assert rows.clusters is not None
    assert rows.clusters.tolist() == [0, 1, 0]
    assert score_lines([*lines, {"prediction": "a", "reference": "a"}], task)[1].clusters is None


def test_slices_of_a_line_are_columns_of_its_row_beside_those_that_metrics_need(tmp_path: Path) -> None:
    row = {"prompt": "def f():\n", "test": "def check(f): ...", "entry_point": "f"}
    lines: list[dict[str, Any]] = [
        {"prediction": "pass", "reference": row, "slices": {"topic": "a", "test": "not this"}},
        {"prediction": "pass", "reference": row, "slices": "none"},
    ]
    (first, _), (second, _) = pairs("file", lines, load_task(TASKS, "magicoder"))
    assert first.fields == {"topic": "a", **second.fields}
    assert second.fields["test"] == row["test"]
