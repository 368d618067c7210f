"""Weights of a merge are chosen on rows that may be learned, and the evaluated ones are left alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.ask import run as asking
from harness.cli import main
from harness.errors import HarnessError
from harness.models.backend import Reply, Request
from harness.rows.evaluation import choose
from harness.rows.origin import locate
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from harness.train import search as searching
from harness.train.merge import MergeOptions
from harness.train.search import SearchOptions, grid, search
from tests.runs import TASK
from tests.teach.conftest import Taught
from tests.train.test_merge import adapter

ROWS = 4  # as many as the split `validation` has


def test_the_grid_has_all_quarters_and_the_plain_sum() -> None:
    assert list(grid(2)) == [(0.25, 0.75), (0.5, 0.5), (0.75, 0.25), (1, 1)]
    assert list(grid(3)) == [(0.25, 0.25, 0.5), (0.25, 0.5, 0.25), (0.5, 0.25, 0.25), (1, 1, 1)]
    assert list(grid(5)) == [(0.2,) * 5, (1,) * 5]


class Answering:
    """A model that is right the more often, the nearer the first weight of its adapter is to 0.75."""

    asked: list[Request] = []  # noqa: RUF012  of all instances

    def __init__(self, card: dict[str, Any]) -> None:
        self.weights = [parent["weight"] for parent in card["parents"]]
        self.right = int(ROWS * (1 - abs(self.weights[0] - 0.75)))

    @property
    def identity(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def body(self, request: Request) -> dict[str, Any]:
        return {"prompt": request.prompt}

    async def ask(self, request: Request) -> Reply:
        self.asked.append(request)
        self.right -= 1
        return Reply("yes" if self.right >= 0 else "no")

    async def aclose(self) -> None:
        """Nothing to release."""


@pytest.fixture
def merging(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> MergeOptions:
    """Two adapters, and rows whose right answer is always yes; the model is a stand-in, the asking is not."""
    taught.task(text=TASK.replace('"{{ label }}"', '"yes"'))
    Answering.asked = []

    def opened(connections: object, task: object, entry: Any, folder: object = None) -> Answering:
        return Answering(json.loads((Path(entry.model.adapter) / "card.json").read_text()))

    monkeypatch.setattr(asking, "open_backend", opened)
    parents = [adapter(taught.folder / name, 2, seed) for seed, name in enumerate(("a", "b"))]
    return MergeOptions(parents, (1, 1), "sum", taught.folder / "merged")


def options(taught: Taught, **changes: Any) -> SearchOptions:
    return SearchOptions(("small",), taught.folder / "tasks", "sample", **{"rows": ROWS, **changes})


def test_the_best_weights_come_first_and_no_evaluated_row_is_asked(taught: Taught, merging: MergeOptions) -> None:
    found = search(merging, options(taught), lambda line: None)
    assert len(found.candidates) == 4
    means = [one.mean for one in found.candidates]
    assert means == sorted(means, reverse=True)
    assert (found.candidates[0].weights, means[0]) == ((0.75, 0.25), 1)
    assert (found.candidates[-1].weights, means[-1]) == ((0.25, 0.75), 0.5)
    assert all(one.scores["small"].low <= one.mean <= one.scores["small"].high for one in found.candidates)
    file = load_task(taught.folder / "tasks", "small")
    evaluated = {row.prompt for row in choose(file, Prompts(file), locate(file, "sample")).rows}
    assert Answering.asked
    assert not evaluated & {request.prompt for request in Answering.asked}
    assert not (taught.folder / "merged").exists()


def test_without_a_validation_split_rows_of_the_training_split_are_asked(taught: Taught, merging: MergeOptions) -> None:
    assert search(merging, options(taught), lambda line: None).splits == {"small": "validation"}
    path = taught.folder / "tasks" / "samples" / "small.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"validation"' not in line))
    found = search(merging, options(taught, rows=6), lambda line: None)
    assert found.splits == {"small": "train"}
    assert found.candidates[0].scores["small"].n == 6


def test_a_task_that_was_not_asked_of_all_chooses_nothing(
    taught: Taught, merging: MergeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ask_pairs", lambda pairs, options, say: [])
    with pytest.raises(HarnessError, match="none can be chosen"):
        search(merging, options(taught), lambda line: None)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["harness", "merge", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    return int(str(ended.value.code or 0)), shown.out + shown.err


def test_the_command_merges_by_the_best_and_its_card_says_how_it_was_chosen(
    taught: Taught, merging: MergeOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--search", "--task", "small", "--rows", ROWS, "--data", "sample", "--tasks", taught.folder / "tasks")
    code, out = run(monkeypatch, capsys, *merging.adapters, *more, "--out", merging.out)
    assert code == 0, out
    assert "4 weightings tried; the best 3 by the mean over tasks:" in out
    assert "(n = 4)" in out
    card = json.loads((merging.out / "card.json").read_text())
    assert card["search"]["tried"] == 4
    assert [one["weight"] for one in card["parents"]] == card["search"]["best"][0]["weights"]
    assert len(card["search"]["best"]) == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--search"], "--search needs --task"),
        (["--weights", "1,1", "--task", "small"], "--task needs --search"),
        (["--search", "--task", "small", "--weights", "1,1"], "leave --weights out"),
        ([], "Missing option '--weights': 2 numbers"),
    ],
)
def test_options_that_do_not_fit_each_other(
    merging: MergeOptions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    code, out = run(monkeypatch, capsys, *merging.adapters, *more, "--out", merging.out)
    assert code == 2
    assert message in out
