"""`harness new`: from rows to a task file that checks, and to a first score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.tasks.catalog import load_task
from tests.commands.conftest import Command

SPAM = [{"id": n, "Message text": f"message {n}", "kind": "spam" if n % 10 == 0 else "ham"} for n in range(40)]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def jsonl(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def test_labelled_rows_of_a_csv_become_a_task_that_can_be_asked(harness: Command) -> None:
    pd.DataFrame(SPAM).to_csv("mails.csv", index=False, sep=";")
    code, out, err = harness("new", "mails", "--from", "mails.csv")
    assert (code, err) == (0, "")
    assert out.startswith(
        "wrote tasks/mails.yaml\n  the right answers are those in column 'kind'; --target names another"
    )
    assert "column 'id' is not in the prompt" in out
    assert "no problems found" not in out  # the facts are shown, and problems would have been an error
    task = load_task(Path("tasks"), "mails").task
    assert (task.answer.type, task.answer.labels, task.answer.positive) == ("label", ["ham", "spam"], "spam")
    assert [metric.name for metric in task.metrics] == ["f1", "accuracy", "macro_f1"]
    assert (task.dataset.files, task.evaluation.rows) == ({"test": "../mails.csv"}, 20)
    assert harness("bench", "--task", "mails", "--model", "tfidf")[0] == 0


def test_two_files_are_training_rows_and_evaluated_rows(harness: Command) -> None:
    jsonl("train.jsonl", SPAM)
    jsonl("test.jsonl", [row | {"Message text": f"new {row['id']}"} for row in SPAM])
    assert harness("new", "mails", "--from", "train.jsonl", "--test", "test.jsonl", "--tasks", "mine")[0] == 0
    assert load_task(Path("mine"), "mails").task.dataset.files == {"train": "../train.jsonl", "test": "../test.jsonl"}


@pytest.mark.parametrize(
    ("targets", "answer", "first"),
    [
        ([f"{n}.5" for n in range(30)], "number", "number_match"),
        ([1, 2, 3] * 10, "label", "accuracy"),
        ([True, False] * 15, "label", "accuracy"),
        ([{"n": n} for n in range(30)], "json", "json_f1"),
        ([f"it is the number {n}" for n in range(30)], "text", "rouge_l"),
        ([f"city {n}" for n in range(30)], "text", "exact_match"),
        (["Yes", "yes", "no"] * 10, "text", "exact_match"),
    ],
)
def test_the_kind_of_answer_follows_from_the_targets(
    harness: Command, targets: list[Any], answer: str, first: str
) -> None:
    rows = jsonl("rows.jsonl", [{"question": f"question {n}?", "reply": target} for n, target in enumerate(targets)])
    code, out, err = harness("new", "mine", "--from", rows)
    assert (code, err) == (0, "")
    task = load_task(Path("tasks"), "mine").task
    assert (task.answer.type, task.metrics[0].name) == (answer, first)
    assert ("'Yes' and 'yes' would be the same label" in out) == ("Yes" in targets)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "none.csv"], "none.csv: no such file"),
        (["--from", "rows.jsonl", "--target", "answr"], "rows.jsonl: no column 'answr' (did you mean 'answer'?)"),
        (["--from", "empty.jsonl"], "empty.jsonl: it has no rows; expected one row an example"),
        (["--from", "bare.jsonl"], "there is no column beside 'answer' that a prompt could show"),
        (["--from", "rows.jsonl", "--test", "other.jsonl"], "other.jsonl: no column 'answer' (it has: text)"),
        (["--from", "rows.xlsx"], "a '.xlsx' file cannot be read"),
    ],
)
def test_mistakes_write_nothing(harness: Command, arguments: list[str], message: str) -> None:
    jsonl("rows.jsonl", [{"text": "a", "answer": "b"}])
    jsonl("bare.jsonl", [{"answer": "b"}])
    jsonl("other.jsonl", [{"text": "b"}])
    jsonl("empty.jsonl", [])
    Path("rows.xlsx").touch()
    code, out, err = harness("new", "mine", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("tasks").exists()


def test_a_task_that_exists_is_left_alone(harness: Command) -> None:
    rows = jsonl("rows.jsonl", SPAM)
    harness("new", "mine", "--from", rows)
    Path("tasks/mine.yaml").write_text("edited")
    assert harness("new", "mine", "--from", rows)[0] == 2
    assert Path("tasks/mine.yaml").read_text() == "edited"
