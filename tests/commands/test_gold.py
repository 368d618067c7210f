"""A right answer that is not understood is an error, found before a model is asked and before a score is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.conftest import Command

TASK = """\
title: Answers
category: classification
dataset: {files: {test: rows.jsonl}}
prompt: "Question: {{ q }}"
target: "{{ a }}"
answer: ANSWER
metrics: [METRIC]
max_tokens: 8
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A task whose second row has a right answer outside its labels, and a model that has answered both."""
    return written(tmp_path, "{type: label, labels: [good, bad]}", "accuracy", "good", "Bad, it is")


def written(folder: Path, answer: str, metric: str, *golds: str) -> Path:
    (folder / "t.yaml").write_text(TASK.replace("ANSWER", answer).replace("METRIC", metric))
    rows = [{"q": f"row {n}", "a": gold} for n, gold in enumerate(golds)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = [{"prompt": f"Question: row {n}", "completion": "good"} for n in range(len(golds))]
    (folder / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    (folder / "models.yaml").write_text(f"said:\n  backend: recorded\n  path: {folder}/said.jsonl\n")
    return folder


def test_check_names_the_value_and_its_row(harness: Command, folder: Path) -> None:
    code, _, err = harness("check", "t", "--tasks", str(folder))
    assert code == 2
    assert "t.yaml:5: target: the right answer 'Bad, it is' of evaluation row" in err


def test_bench_stops_before_anything_is_asked(harness: Command, folder: Path) -> None:
    results = folder / "results"
    models = ["--models", str(folder / "models.yaml"), "--results", str(results)]
    code, _, err = harness("bench", "--task", "t", *models, "--tasks", str(folder))
    assert code == 2
    assert "the right answer 'Bad, it is' of row" in err
    assert list(results.rglob("*.jsonl")) == []


def test_score_stops_before_a_score_is_printed(harness: Command, folder: Path) -> None:
    predictions = folder / "predictions.jsonl"
    lines = [{"prediction": "good", "reference": "good"}, {"prediction": "good", "reference": "Bad, it is"}]
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = harness("score", "t", "--predictions", str(predictions), "--tasks", str(folder))
    assert code == 2
    assert "predictions.jsonl:2: reference: " in err
    assert "accuracy" not in out


def test_a_pattern_that_does_not_find_the_right_answers_is_named(harness: Command, tmp_path: Path) -> None:
    answer = "{type: regex, pattern: 'the answer is (.*)\\.'}"
    written(tmp_path, answer, "exact_match", "Paris", "Lima")
    code, _, err = harness("check", "t", "--tasks", str(tmp_path))
    assert code == 2
    assert "the right answer 'Paris'" in err
    assert "pattern" in err
