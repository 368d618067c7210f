"""Votes from files: Arena's columns and others, winners and scores, judges' own texts, and what is wrong with them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.errors import UserError
from harness.judge.votes import Vote, Votes, as_lines, read_votes

ARENA = [
    {"question_id": "1", "model_a": "x", "model_b": "y", "winner": "model_a", "judge": "ann"},
    {"question_id": "1", "model_a": "y", "model_b": "x", "winner": "tie", "judge": "bob"},
    {"question_id": "2", "model_a": "x", "model_b": "z", "winner": "tie (bothbad)", "judge": "ann"},
    {"question_id": "3", "model_a": "z", "model_b": "y", "winner": "model_b", "judge": "ann"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outcomes(path: Path, **columns: str) -> list[float]:
    return [vote.outcome for vote in read_votes([path], columns)]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_arenas_columns_are_read_from_each_kind_of_file(tmp_path: Path, ending: str) -> None:
    votes = list(read_votes([write(tmp_path / f"votes.{ending}", ARENA)], {}))
    assert [(one.row, one.first, one.second, one.outcome, one.judge) for one in votes] == [
        ("1", "x", "y", 1.0, "ann"),
        ("1", "y", "x", 0.5, "bob"),
        ("2", "x", "z", 0.5, "ann"),
        ("3", "z", "y", 0.0, "ann"),
    ]


@pytest.mark.parametrize(
    ("winner", "outcome"),
    [
        ("left", 1.0),
        ("right", 0.0),
        ("1", 1.0),
        ("2", 0.0),
        ("0", 0.5),
        ("x", 1.0),
        ("y", 0.0),
        ("Tie", 0.5),
        ("A", 1.0),
        (1.0, 1.0),
        ("2.0", 0.0),
        (0.0, 0.5),
        (1.5, 0.5),
        (1.0003, 1.0),
        (1.87, 0.0),
        ("tie (bothbad)", 0.5),
        ("tie (inconsistent)", 0.5),
    ],
)
def test_winners_by_side_number_or_name(tmp_path: Path, winner: str | float, outcome: float) -> None:
    path = write(tmp_path / "votes.jsonl", [{"left": "x", "right": "y", "who": winner}])
    assert outcomes(path, a="left", b="right", winner="who") == [outcome]


def test_pairs_of_fastchat_with_both_orders_and_a_judge_in_two_parts(tmp_path: Path) -> None:
    pair = {"question_id": 81, "model_1": "x", "model_2": "y", "turn": 1, "judge": ["gpt-4", "pair-v2"]}
    path = write(tmp_path / "gpt-4_pair.jsonl", [{**pair, "winner": "model_1"}, {**pair, "winner": "error"}])
    votes = list(read_votes([path], {"a": "model_1", "b": "model_2"}))
    assert [(one.judge, one.turn, str(one.outcome)) for one in votes] == [
        ("gpt-4 pair-v2", "1", "1.0"), ("gpt-4 pair-v2", "1", "nan"),
    ]  # fmt: skip


def test_a_model_that_is_named_like_a_side_is_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / "votes.jsonl", [{"model_a": "b", "model_b": "a", "winner": "a"}])
    assert outcomes(path) == [0.0]


def test_scores_decide_where_there_is_no_winner(tmp_path: Path) -> None:
    rows = [{"model_a": "x", "model_b": "y", "score_a": a, "score_b": b} for a, b in ((9, 7), (3, 8.5), (5, 5))]
    votes = list(read_votes([write(tmp_path / "votes.csv", rows)], {}))
    assert [vote.outcome for vote in votes] == [1.0, 0.0, 0.5]
    assert votes[1].scores == (3, 8.5)


def test_numbers_of_parquet_with_nulls_are_winners_and_unread_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "votes.parquet"
    pq.write_table(pa.table({"model_a": ["x"] * 3, "model_b": ["y"] * 3, "winner": pa.array([1, None, 2.0])}), path)
    assert repr(outcomes(path)) == "[1.0, nan, 0.0]"


def test_scores_decide_where_a_csv_leaves_the_winner_empty(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("model_a,model_b,winner,score_a,score_b\nx,y,,3,4\nx,y,model_a,3,4\n")
    assert outcomes(path) == [0.0, 1.0]


def test_column_names_are_known_in_any_case_and_with_spaces_around(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("Model_A, Model_B, Winner\nx, y, model_b\n")
    assert [(one.first, one.second, one.outcome) for one in read_votes([path], {})] == [("x", "y", 0.0)]


def test_the_texts_of_a_judge_are_read_as_verdicts(tmp_path: Path) -> None:
    rows = [{"model_a": "x", "model_b": "y", "said": text} for text in ("[[B]]", "Output (a)", "I cannot say.")]
    found = outcomes(write(tmp_path / "votes.jsonl", rows), completion="said")
    assert found[:2] == [0.0, 1.0]
    assert math.isnan(found[2])


def test_columns_of_several_judges_are_votes_of_each(tmp_path: Path) -> None:
    rows = [{"model_a": "x", "model_b": "y", "first": 1, "second": 2, "third": 0}]
    votes = list(read_votes([write(tmp_path / "v.parquet", rows)], {"winner": "first+second+third"}))
    assert [(vote.judge, vote.outcome) for vote in votes] == [("first", 1.0), ("second", 0.0), ("third", 0.5)]


def test_two_files_of_the_same_name_are_two_judges(tmp_path: Path) -> None:
    rows = [{"model_a": "x", "model_b": "y", "winner": "model_a"}]
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(write(tmp_path / folder / "votes.jsonl", rows))
    assert len({vote.judge for vote in read_votes(paths, {})}) == 2
    assert {vote.judge for vote in read_votes(paths[:1], {})} == {"votes"}


def test_lengths_are_those_of_the_answers(tmp_path: Path) -> None:
    rows = [{"model_a": "x", "model_b": "y", "winner": "tie", "response_a": "42", "response_b": "four"}]
    (vote,) = read_votes([write(tmp_path / "votes.jsonl", rows)], {})
    assert vote.lengths == (2, 4)
    assert Votes.of([vote]).length_ratio[0] == pytest.approx(math.log2(3 / 5))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    votes = [
        Vote("r1", "x", "y", 1.0, "j", "t", (3.0, 4.0), usd=0.25),
        Vote("r1", "y", "x", math.nan, "j", "t", (4.0, 3.0), usd=0.0),
        Vote("r2", "x", "z", 0.5, "j", "t", (3.0, 3.0), asked=False, turn="2"),
    ]
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(as_lines(votes)))
    assert [repr(vote) for vote in read_votes([path], {})] == [repr(vote) for vote in votes]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (ARENA, {"winer": "winner"}, "a vote has no 'winer'.*did you mean 'winner'"),
        (ARENA, {"winner": "winer"}, "no column 'winer'.*did you mean 'winner'"),
        ([{"left": "x", "winner": "tie"}], {}, "first model.*--columns a=COLUMN .it has: left, winner"),
        ([{**ARENA[0], "model_b": None}], {}, "vote 1: it does not name both models: 'x' and ''"),
        ([{"model_a": "x", "model_b": "y"}], {}, "no column of winners"),
        ([*ARENA, {**ARENA[0], "winner": "modela"}], {}, "vote 5: the winner is 'modela', expected model_a, model_b"),
        ([{**ARENA[0], "model_b": "x"}], {}, "vote 1: 'x' is compared with itself"),
        ([{**ARENA[0], "score_a": "high", "score_b": 1}], {}, "vote 1: score_a is 'high', expected a number"),
        ([{**ARENA[0], "score_a": "inf", "score_b": 1}], {}, "vote 1: score_a is 'inf', expected a number"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_vote(
    tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        list(read_votes([write(tmp_path / "votes.jsonl", rows)], columns))


def test_a_torn_last_line_is_said_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "votes.jsonl", ARENA)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=r"votes.jsonl:4: not valid JSON"):
        list(read_votes([path], {}))


def test_rows_of_two_tasks_are_different_rows() -> None:
    votes = Votes.of(
        [Vote("1", "x", "y", 1.0, task="s"), Vote("1", "x", "y", 1.0, task="t"), Vote("1", "y", "x", 0.0, task="t")]
    )
    assert votes.row.tolist() == [0, 1, 1]
    assert votes.tasks == ("s", "t")
