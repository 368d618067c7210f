"""The rows to learn from: rendered as evaluation renders them, and none that is evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.hashing import digest
from harness.rows import training
from harness.rows.evaluation import choose
from harness.rows.origin import locate
from harness.rows.training import TrainingExample, TrainingRows, completion, load
from harness.tasks.catalog import TaskFile, load_task
from harness.tasks.prompts import Prompts

TASK = """\
title: Small
category: classification
dataset: {splits: {%s}}
prompt: "Is {{ text | trim }} fine?"
target: "{{ label }}"
answer: {type: label, labels: [yes, no]}
metrics: [accuracy]
max_tokens: 4
evaluation: {rows: %d}
"""
BOTH, ONE = "train: train, test: test", "test: test"


def task(folder: Path, rows: list[dict[str, Any]], splits: str = BOTH, evaluated: int = 10) -> TaskFile:
    (folder / "samples").mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(TASK % (splits, evaluated))
    (folder / "samples" / "small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(folder, "small")


def both(file: TaskFile) -> tuple[TrainingRows, set[str]]:
    """The training rows, and the prompts that `harness bench` asks."""
    origin = locate(file, "sample")
    return load(file, Prompts(file), origin), {row.prompt for row in choose(file, Prompts(file), origin).rows}


def row(split: str, text: str, label: str = "yes") -> dict[str, str]:
    return {"_split": split, "text": text, "label": label}


def test_there_is_nothing_to_learn_from_targets_that_are_no_answers() -> None:
    file = load_task(Path(__file__).parents[2] / "tasks", "ifeval")
    origin = locate(file, "sample")
    subset = choose(file, Prompts(file), origin, rows=5)
    assert (subset.training, subset.borrowed) == (None, False)
    assert training.training_rows(file, Prompts(file), origin, [row.id for row in subset.rows]) == ([], [])
    with pytest.raises(UserError, match="ifeval has no training rows: its targets are instructions, not answers"):
        load(file, Prompts(file), origin)


TEXTS = st.lists(st.text("abc ", min_size=1, max_size=3), min_size=1, max_size=15)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(train=TEXTS, test=TEXTS, splits=st.sampled_from([BOTH, ONE]), evaluated=st.integers(1, 12))
def test_no_row_that_is_evaluated_is_learned(
    tmp_path: Path, train: list[str], test: list[str], splits: str, evaluated: int
) -> None:
    rows = [row("train", text) for text in train] if splits == BOTH else []
    file = task(tmp_path, [*rows, *(row("test", text, "no") for text in test)], splits, evaluated)
    try:
        learned, asked = both(file)
    except UserError:
        return  # nothing is left to evaluate, or to learn from
    assert learned.pairs
    assert not {digest(pair.prompt) for pair in learned.pairs} & set(map(digest, asked))


def test_prompts_and_targets_are_those_of_evaluation(tmp_path: Path) -> None:
    learned, asked = both(task(tmp_path, [row("train", "a ", "no"), row("test", "b")]))
    assert learned.pairs == (TrainingExample("Is a fine?", "no"),)
    assert learned.borrowed_from is None
    assert asked == {"Is b fine?"}


def test_an_evaluated_row_that_only_looks_different_is_not_asked(tmp_path: Path) -> None:
    learned, asked = both(task(tmp_path, [row("train", "a"), row("train", " b"), row("test", "b"), row("test", "c")]))
    assert {pair.prompt for pair in learned.pairs} == {"Is a fine?", "Is b fine?"}
    assert asked == {"Is c fine?"}


@pytest.mark.parametrize("prompt", ["Is caf\u00e9 fine?", " Is cafe\u0301 fine?\n"])
def test_whatever_was_chosen_a_row_that_asks_what_is_evaluated_is_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    file = task(tmp_path, [row("train", "a"), row("test", "caf\u00e9")])
    monkeypatch.setattr(training, "training_rows", lambda *_: (["Is a fine?", prompt], ["no", "no"]))
    learned, _ = both(file)
    assert (learned.pairs, learned.dropped) == ((TrainingExample("Is a fine?", "no"),), 1)


def test_a_task_without_a_training_split_borrows_what_is_not_evaluated(tmp_path: Path) -> None:
    file = task(tmp_path, [row("test", f"row {place}") for place in range(30)], ONE)
    learned, asked = both(file)
    assert (len(learned.pairs), len(asked)) == (20, 10)
    assert learned.borrowed_from == choose(file, Prompts(file), locate(file, "sample")).fingerprint


def test_without_such_rows_there_is_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="small has no training rows: its data holds no row that is not evaluated"):
        both(task(tmp_path, [row("test", "a")], ONE))


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    rows = [row("train", f"row {place}") for place in range(20)] + [row("test", "x")]
    assert both(task(tmp_path, rows))[0] == both(task(tmp_path, rows[::-1]))[0]


@pytest.mark.parametrize(("prompt", "text"), [("Fine?", " yes"), ("Fine?\n", "yes")])
def test_an_answer_stands_behind_a_space_unless_there_is_one(prompt: str, text: str) -> None:
    assert completion(TrainingExample(prompt, "yes")) == text


@pytest.mark.parametrize("name", ["glue_sst2", "ag_news", "e2e_nlg", "gsm8k"])
def test_the_shipped_tasks_keep_their_evaluated_rows_apart(name: str) -> None:
    learned, asked = both(load_task(Path(__file__).parents[2] / "tasks", name))
    assert learned.pairs
    assert not {pair.prompt for pair in learned.pairs} & asked
