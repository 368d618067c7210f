"""A new adapter is scored on rows that it did not learn, and a poor training says what to change."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from harness.ask import run as asking
from harness.compare.intervals import Estimate
from harness.errors import HarnessError
from harness.models.backend import Reply, Request
from harness.rows.evaluation import choose
from harness.rows.origin import locate
from harness.rows.training import load
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from harness.train import outcome
from harness.train.outcome import HeldOut, advice, prepared_rows, score_held_out
from harness.train.recipe import SMALL_BASE, Curve
from tests.teach.conftest import Taught, own_text


class Answering:
    """A model that always says yes."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    identity: dict[str, Any] = {"backend": "stand-in"}  # noqa: RUF012

    def body(self, request: Request) -> dict[str, Any]:
        return {"prompt": request.prompt}

    async def ask(self, request: Request) -> Reply:
        self.asked.append(request.prompt)
        return Reply("yes")

    async def aclose(self) -> None:
        """Nothing to release."""


@pytest.fixture
def adapter(taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Answering:
    """A task with sample rows, and in place of its adapter a stand-in; the majority's answers are the real ones."""
    taught.task()
    model, opened = Answering(), asking.open_backend

    def stand_in(connections: Any, task: Any, entry: Any, folder: Any = None) -> Any:
        return model if entry.name == "trained" else opened(connections, task, entry, folder)

    monkeypatch.setattr(asking, "open_backend", stand_in)
    return model


def without_validation(taught: Taught) -> None:
    path = taught.folder / "tasks" / "samples" / "small.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"validation"' not in line))


def score(taught: Taught, learned: set[str]) -> HeldOut:
    file = load_task(taught.folder / "tasks", "small")
    return score_held_out(file, "base.gguf", taught.folder, "sample", learned, lambda line: None)


def test_neither_evaluated_rows_nor_learned_ones_are_asked(taught: Taught, adapter: Answering) -> None:
    without_validation(taught)
    file = load_task(taught.folder / "tasks", "small")
    prompts, origin = Prompts(file), locate(file, "sample")
    pairs = load(file, prompts, origin).pairs
    learned = {pair.prompt for pair in pairs[3:]}
    found = score(taught, learned)
    assert set(adapter.asked) == {pair.prompt for pair in pairs[:3]} - learned
    assert not set(adapter.asked) & {row.prompt for row in choose(file, prompts, origin).rows}
    assert (found.score.n, found.split) == (len(adapter.asked), "train")


def test_rows_of_a_validation_split_are_asked_where_there_is_one(taught: Taught, adapter: Answering) -> None:
    assert score(taught, set()).split == "validation"


def test_rows_that_were_not_even_held_out_are_preferred(taught: Taught, adapter: Answering) -> None:
    without_validation(taught)
    file = load_task(taught.folder / "tasks", "small")
    pairs = load(file, Prompts(file), locate(file, "sample")).pairs
    learned = {pair.prompt for pair in pairs[2:4]}  # the first two were held out, the others not read at all
    task, _ = prepared_rows(file, "sample", 2, taught.folder / "rows", learned)
    assert task.n == 2
    stored = next((taught.folder / "rows" / "small" / "_rows").glob("*.jsonl")).read_text().splitlines()
    assert not {json.loads(line)["prompt"] for line in stored} & {pair.prompt for pair in pairs[:4]}


def test_rows_learned_in_other_words_around_them_are_not_asked(taught: Taught, adapter: Answering) -> None:
    without_validation(taught)
    file = load_task(taught.folder / "tasks", "small")
    learned = {f"Other words: {own_text(number)}!" for number in range(35)}  # of 40 that may be learned
    task, _ = prepared_rows(file, "sample", 40, taught.folder / "rows", learned, alike=True)
    assert task.n == 5


def test_the_score_stands_beside_that_of_the_most_frequent_answer(taught: Taught, adapter: Answering) -> None:
    found = score(taught, set())
    assert found.score.low <= found.score.value <= found.score.high
    assert 0 <= found.majority <= 1
    assert found.text().startswith(f"{found.metric} ")
    assert (
        f" on {found.score.n} rows of split 'validation' that it did not learn, none of them evaluated" in found.text()
    )
    assert found.as_json()["score"]["n"] == found.score.n


def test_an_adapter_that_cannot_be_asked_has_no_score(
    taught: Taught, adapter: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_pairs(pairs: Any, options: Any, say: Any) -> list[Any]:
        say("the base does not fit")
        return []

    monkeypatch.setattr(outcome, "ask_pairs", ask_pairs)
    with pytest.raises(HarnessError, match="the base does not fit"):
        score(taught, set())


class TestAdvice:
    learned = Curve([0, 10, 20], [2.0, 1.2, 0.4], [2.0, 0.9, 0.5])
    good = HeldOut("accuracy", True, Estimate(0.9, 0.8, 0.95, 60), 0.5, "train")

    def say(self, curve: Curve = learned, held_out: HeldOut | None = good) -> str | None:
        return advice(SMALL_BASE, curve, 240, 60, held_out)

    def test_is_not_given_where_the_loss_fell_and_the_score_is_above_the_majority(self) -> None:
        assert self.say() is None
        assert self.say(held_out=None) is None

    def test_is_given_where_the_loss_hardly_fell(self) -> None:
        assert self.say(Curve([0, 9], [2.0, 2.0], [2.0, 1.9])) == (
            "warning: the loss hardly fell (from 2.000 to 1.900 nats a token). What may help: more training rows "
            "(240 were learned), more --epochs (60 updates of 16 rows were made), a higher --learning-rate (it was "
            "0.001), or a larger base"
        )

    def test_is_given_where_the_score_may_be_the_majoritys(self) -> None:
        found = self.say(held_out=replace(self.good, majority=0.85))
        assert found is not None
        assert "its accuracy is not clearly better than always the most frequent answer. " in found

    def test_knows_metrics_of_which_less_is_better(self) -> None:
        error = replace(self.good, metric="mae", higher_is_better=False)
        assert self.say(held_out=replace(error, majority=0.99)) is None
        assert self.say(held_out=replace(error, majority=0.5)) is not None

    def test_is_a_lower_learning_rate_where_the_validation_loss_rose(self) -> None:
        found = self.say(Curve([0, 9, 18], [2.0, 2.0, 1.0], [2.0, 1.9, 2.6]))
        assert found is not None
        assert "a lower --learning-rate (it was 0.001, and the validation loss rose at the end)" in found
