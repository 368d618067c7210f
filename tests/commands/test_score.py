"""`harness score`: rows, groups, intervals, and two files against each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Command

TASK = """\
title: Answers
category: classification
dataset: {files: {test: rows.jsonl}}
prompt: "Question: {{ q }}"
target: "{{ a }}"
answer: ANSWER
metrics: METRICS
max_tokens: 8
"""
YES_NO = "{type: label, labels: [yes, no]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path, YES_NO, "[accuracy, macro_f1]")


def written(folder: Path, answer: str, metrics: str) -> Path:
    (folder / "t.yaml").write_text(TASK.replace("ANSWER", answer).replace("METRICS", metrics))
    return folder


def lines(path: Path, *found: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    return str(path)


def answers(path: Path, said: Sequence[str | None], right: Sequence[str], **columns: Sequence[str]) -> str:
    extra = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)] or [{}] * len(
        said
    )
    rows = zip(said, right, extra, strict=True)
    return lines(path, *({"id": f"r{n}", "prediction": a, "reference": b, **c} for n, (a, b, c) in enumerate(rows)))


def test_the_verdicts_of_a_judge_are_counted(harness: Command, tmp_path: Path) -> None:
    written(tmp_path, "{type: label, labels: [win, draw, loss]}", "[win_rate]")
    path = answers(tmp_path / "a.jsonl", ["win", "draw", "loss", "?"], ["win"] * 4)
    code, out, _ = harness("score", "t", "--predictions", path, "--tasks", str(tmp_path))
    assert code == 0
    assert "win_rate                     0.3750" in out
    assert "wins 1, draws 1, losses 1" in out
    _, out, _ = harness("score", "t", "--predictions", path, "--tasks", str(tmp_path), "--json")
    assert json.loads(out)["counts"] == {"win_rate": {"wins": 1, "draws": 1, "losses": 1}}


def test_instructions_are_given_as_the_columns_of_a_row(harness: Command, tmp_path: Path) -> None:
    row = {
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{"num_words": None}, {"num_words": 3, "relation": "at least"}],
    }
    path = lines(tmp_path / "a.jsonl", {"prediction": "a b c", "reference": row}, {"prediction": "a", "reference": row})
    code, out, _ = harness("score", "ifeval", "--predictions", path, "--json")
    assert code == 0
    assert json.loads(out)["metrics"] == {
        "ifeval_prompt_strict": 0.5, "ifeval_prompt_loose": 0.5,
        "ifeval_instruction_strict": 0.75, "ifeval_instruction_loose": 0.75,
    }  # fmt: skip


def test_an_unknown_instruction_is_an_error_with_its_line(harness: Command, tmp_path: Path) -> None:
    row = {"instruction_id_list": ["punctuation:no_commas"], "kwargs": [{}]}
    path = lines(tmp_path / "a.jsonl", {"prediction": "a", "reference": row})
    code, _, err = harness("score", "ifeval", "--predictions", path)
    assert code == 2
    assert "a.jsonl:1: reference: unknown instruction 'punctuation:no_commas' (did you mean 'punctuation:no_co" in err


def test_json_has_each_rows_status_and_scores(harness: Command, folder: Path) -> None:
    path = answers(folder / "a.jsonl", ["yes", "maybe", None], ["yes", "no", "no"])
    code, out, _ = harness("score", "t", "--predictions", path, "--tasks", str(folder), "--json", "--rows")
    found = json.loads(out)
    assert code == 0
    assert found["metrics"]["accuracy"] == pytest.approx(1 / 3)
    assert found["intervals"]["accuracy"][0] < 1 / 3 < found["intervals"]["accuracy"][1]
    assert [(row["id"], row["status"], row["scores"]["accuracy"]) for row in found["rows"]] == [
        ("r0", "ok", 1.0), ("r1", "unparsed", 0.0), ("r2", "failed", 0.0),
    ]  # fmt: skip


def test_a_metric_of_the_whole_set_has_no_score_of_a_row(harness: Command, tmp_path: Path) -> None:
    folder = written(tmp_path, "{type: number}", "[number_match, spearman]")
    path = answers(folder / "a.jsonl", ["1", "3", "2"], ["1", "2", "3"])
    _, out, _ = harness("score", "t", "--predictions", path, "--tasks", str(folder), "--json", "--rows")
    assert [row["scores"] for row in json.loads(out)["rows"]] == [
        {"number_match": score, "spearman": None} for score in (1.0, 0.0, 0.0)
    ]


def test_rows_are_grouped_by_a_column_of_the_lines_or_of_their_references(harness: Command, folder: Path) -> None:
    path = answers(folder / "a.jsonl", ["yes", "no", "no"], ["yes", "no", "yes"], part=["x", "y", "x"])
    _, out, _ = harness("score", "t", "--predictions", path, "--tasks", str(folder), "--json", "--by", "part")
    groups = json.loads(out)["by"]["part"]
    assert {name: (group["n"], group["metrics"]["accuracy"]) for name, group in groups.items()} == {
        "x": (2, 0.5), "y": (1, 1.0),
    }  # fmt: skip
    row = {"prediction": "yes", "reference": {"q": "1", "a": "yes", "kind": "easy"}}
    _, out, _ = harness(
        "score", "t", "--predictions", lines(folder / "b.jsonl", row), "--tasks", str(folder), "--by", "kind"
    )
    assert "kind = easy: n = 1, 1 ok" in out


def test_a_null_is_another_group_than_its_name(harness: Command, folder: Path) -> None:
    path = answers(folder / "a.jsonl", ["yes", "no", "no"], ["yes", "no", "yes"], part=[None, "null", "x"])
    _, out, _ = harness("score", "t", "--predictions", path, "--tasks", str(folder), "--json", "--by", "part")
    assert {name: group["n"] for name, group in json.loads(out)["by"]["part"].items()} == {
        "null": 1,
        '"null"': 1,
        "x": 1,
    }


def test_a_column_that_is_not_there_is_named(harness: Command, folder: Path) -> None:
    path = answers(folder / "a.jsonl", ["yes"], ["yes"], part=["x"])
    code, _, err = harness("score", "t", "--predictions", path, "--tasks", str(folder), "--by", "prat")
    assert code == 2
    assert "a.jsonl:1: no column 'prat' to group by (did you mean 'part'?)" in err


def test_two_files_are_compared_row_by_row_whatever_their_order(harness: Command, folder: Path) -> None:
    right = ["yes", "no"] * 10
    first = answers(folder / "a.jsonl", right, right)
    said = [{"id": f"r{n}", "prediction": "yes", "reference": gold} for n, gold in enumerate(right)]
    second = lines(folder / "b.jsonl", *reversed(said))
    arguments = ["--predictions", first, "--against", second, "--tasks", str(folder)]
    _, out, _ = harness("score", "t", *arguments, "--json")
    found = json.loads(out)["against"]
    assert found["metrics"]["accuracy"] == 0.5
    compared = found["comparisons"]["accuracy"]
    assert (compared["difference"], compared["verdict"]) == (0.5, "better")
    assert compared["interval"][0] < 0.5 < compared["interval"][1]
    assert compared["p_value"] == pytest.approx(2 * 2 * 0.5**10)  # of two metrics
    _, out, _ = harness("score", "t", *arguments)
    assert f"{first} beats {second} (+0.500 accuracy, 95 % interval " in out
    assert "corrected for 2 comparisons" in out


def test_predictions_that_are_null_alone_make_no_verdict(harness: Command, folder: Path) -> None:
    """The same predictions, 15 of 600 null in the second file: "a beats b (p = 0.002)"."""
    right = ["yes", "no"] * 300
    first = answers(folder / "a.jsonl", right, right)
    second = answers(folder / "b.jsonl", [*right[:-15], *[None] * 15], right)
    _, out, _ = harness("score", "t", "--predictions", first, "--against", second, "--tasks", str(folder))
    assert f"cannot be told: 15 rows of {second} have no answer" in out
    assert "beats" not in out


def test_rows_of_a_cluster_count_together(harness: Command, folder: Path) -> None:
    """600 rows of 60 documents had the interval of 600 independent rows."""
    text = (folder / "t.yaml").read_text()
    right = ["yes", "no"] * 300
    said = ["yes" if n // 10 % 3 else gold for n, gold in enumerate(right)]  # a document is right or half right
    documents = [f"d{n // 10}" for n in range(600)]
    path = answers(folder / "a.jsonl", said, right, document=documents)
    where = ("score", "t", "--predictions", path, "--tasks", str(folder), "--json")
    low, high = json.loads(harness(*where)[1])["intervals"]["accuracy"]
    (folder / "t.yaml").write_text(text + "evaluation: {cluster: document}\n")
    wider = json.loads(harness(*where)[1])["intervals"]["accuracy"]
    assert wider[0] < low
    assert wider[1] > high
    code, _, err = harness(*where[:3], answers(folder / "b.jsonl", said, right), *where[4:])
    assert code == 0
    assert "t: no column 'document', so rows are taken as independent" in err


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"id": "r1", "prediction": "yes", "reference": "yes"}, "b.jsonl: no prediction for row 'r0'"),
        ({"id": "r0", "prediction": "yes", "reference": "no"}, "b.jsonl: row 'r0' has another right answer"),
    ],
)
def test_files_of_other_rows_are_not_compared(
    harness: Command, folder: Path, other: dict[str, Any], message: str
) -> None:
    first = answers(folder / "a.jsonl", ["yes"], ["yes"])
    second = lines(folder / "b.jsonl", other)
    code, out, err = harness("score", "t", "--predictions", first, "--against", second, "--tasks", str(folder))
    assert (code, out) == (2, "")
    assert message in err


def test_for_sets_of_labels_a_list_is_the_set(harness: Command, tmp_path: Path) -> None:
    folder = written(tmp_path, '{type: label, labels: [sport, music, "food, drink"], many: true}', "[accuracy]")
    rows = [
        {"prediction": "sport, music", "reference": ["music", "sport"]},
        {"prediction": ["food, drink"], "reference": ["food, drink"]},
        {"prediction": "sport", "reference": {"references": [["sport"], ["music"]]}},
    ]
    path = lines(folder / "a.jsonl", *rows)
    _, out, _ = harness("score", "t", "--predictions", path, "--tasks", str(folder), "--json")
    assert json.loads(out)["metrics"] == {"accuracy": 1.0}


def test_a_script_that_rouge_does_not_see_is_named(harness: Command, tmp_path: Path) -> None:
    folder = written(tmp_path, "{type: text}", "[rouge_l]")
    path = answers(folder / "a.jsonl", ["доброе утро"], ["доброе утро"])
    code, _, err = harness("score", "t", "--predictions", path, "--tasks", str(folder))
    assert code == 0
    assert "rouge_l cannot score 1 of 1 right answers" in err


def test_the_figures_of_the_table_are_in_the_document(folder: Path, harness: Command) -> None:
    found = [{"prediction": "yes", "reference": "yes"}, {"prediction": "yes", "reference": "no"}]
    path = lines(folder / "p.jsonl", *found, {"prediction": "maybe", "reference": "no"})
    arguments = ("score", "t", "--predictions", path, "--tasks", str(folder), "--table")
    code, out, _ = harness(*arguments, "--json")
    assert code == 0
    (part,) = json.loads(out)["table"]
    assert part["name"] == "all rows"
    yes = next(one for one in part["whole"]["classes"] if one["label"] == "yes")
    assert (yes["precision"], yes["recall"], yes["support"]) == (0.5, 1.0, 1)
    assert (part["whole"]["n"], part["whole"]["unusable"], part["dropped"]["n"]) == (3, 1, 2)
    assert f"{part['whole']['accuracy']['value']:.3f} [" in harness(*arguments)[1]
