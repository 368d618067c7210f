"""`harness rank`: what it prints of votes from files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import app
from harness.errors import UserError

WINNERS = ["a1", "a2", "b3", "t4", "a5", "b6", "a7", "a8", "b9", "t0"]


def votes(judge: str, shift: int = 0) -> list[dict[str, Any]]:
    """Ten votes on x and y and as many on y and z, in turn of sides."""
    found = []
    for n, code in enumerate(WINNERS):
        winner = {"a": "model_a", "b": "model_b", "t": "tie"}[WINNERS[(n + shift) % 10][0]]
        for pair in (("x", "y"), ("z", "y")):
            found.append({"model_a": pair[0], "model_b": pair[1], "winner": winner, "judge": judge, "row": code})
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(vote) + "\n" for vote in [*votes("gpt-4"), *votes("ann", 3), *votes("bob", 4)]))
    return path


def rank(*arguments: str | Path) -> Result:
    return CliRunner().invoke(
        app, ["rank", *map(str, arguments), "--resamples", "100"], catch_exceptions=False, standalone_mode=False
    )


def whole(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(rank(*arguments, "--json").output)
    return found


def test_people_are_compared_with_the_judges_and_not_ranked_by(file: Path) -> None:
    found = whole(file, "--human", "ann", "--human", "bob")
    assert [one["judge"] for one in found["judges"]] == ["gpt-4"]
    assert found["rankings"][0]["votes"] == 20
    assert [(one["first"], one["second"]) for one in found["agreement"]] == [("gpt-4", "people"), ("ann", "bob")]
    assert found["agreement"][0]["share"]["n"] == 20
    people = file.with_name("people.jsonl")
    people.write_text("".join(json.dumps(vote) + "\n" for vote in votes("ann", 3)))
    by_file = whole(file, "--human", people)
    assert by_file["rankings"][0]["votes"] == 60
    assert {one["first"] for one in by_file["agreement"]} == {"gpt-4", "ann", "bob"}


def test_the_table_and_the_document_say_the_same(file: Path) -> None:
    text, document = rank(file, "--anchor", "y").output, whole(file, "--anchor", "y")
    assert "60 votes on 10 rows, y = 1,000" in text
    for one in document["rankings"][0]["standings"]:
        assert f"{one['elo']['value']:,.0f} [{one['elo']['low']:,.0f}, {one['elo']['high']:,.0f}]" in text
        assert f"{one['win_rate']:.3f}" in text
    for judge in document["judges"]:
        assert f"{judge['first']['value']:.3f} [{judge['first']['low']:.3f}, {judge['first']['high']:.3f}]" in text


def test_what_is_held_equal_stands_in_a_ranking_of_its_own(file: Path) -> None:
    assert [one["controlled"] for one in whole(file, "--control", "position")["rankings"]] == [[], ["position"]]
    assert "position held equal" in rank(file, "--control", "position").output


def test_each_task_has_a_ranking_after_the_pooled_one(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    lines = [{**vote, "task": task} for task in ("s", "t") for vote in votes("gpt-4")]
    path.write_text("".join(json.dumps(vote) + "\n" for vote in lines))
    found = whole(path)["rankings"]
    assert [(one["over"], one["votes"], one["rows"]) for one in found] == [
        ("all tasks", 40, 20),
        ("s", 20, 10),
        ("t", 20, 10),
    ]


def test_a_related_judge_is_named_and_its_preference_only_against_others(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"

    def write(*judges: str) -> str:
        lines = [
            {**vote, "model_a": vote["model_a"].replace("x", "gpt-3.5")}
            for n, judge in enumerate(judges)
            for vote in votes(judge, n)
        ]
        path.write_text("".join(json.dumps(vote) + "\n" for vote in lines))
        return rank(path).output

    assert "The judge gpt-4 is related to gpt-3.5 (family gpt): one judge alone cannot tell" in write("gpt-4")
    assert "it gives them" in write("gpt-4", "claude-3")


def test_a_model_that_cannot_be_ranked_is_named(file: Path) -> None:
    file.write_text(file.read_text() + json.dumps({**votes("gpt-4")[0], "model_a": "new", "winner": "model_a"}) + "\n")
    assert "new: not rankable from these votes: undefeated" in rank(file).output


def test_the_matrix_of_win_rates_is_drawn(file: Path, tmp_path: Path) -> None:
    rank(file, "--plot", tmp_path / "wins")
    drawing = (tmp_path / "wins.svg").read_text()
    assert (tmp_path / "wins.png").stat().st_size > 1000
    rates = whole(file)["rankings"][0]["win_rates"]
    assert all(f">{rate:.2f}<" in drawing for row in rates for rate in row if rate is not None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "a"], "--columns: expected NAME=COLUMN, found 'a'"),
        (["--columns", "winner=winer"], "no column 'winer'"),
        (["--human", "an"], "neither a file nor a judge of the votes.*did you mean 'ann'"),
        (["--anchor", "q"], "--anchor q cannot be ranked"),
    ],
)
def test_what_is_wrong_is_said(file: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rank(file, *arguments)


def test_no_file_of_votes_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        rank(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("model_a,model_b,winner\n")
    with pytest.raises(UserError, match="there are no votes"):
        rank(tmp_path / "empty.csv")
