"""An adapter's card: how it was made, for programs and for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.rows.training import TrainingRows
from harness.tasks.catalog import load_task
from harness.train.card import Card, card, write
from harness.train.recipe import Curve, Hyperparameters, Trained
from tests.train.tiny import pairs

TRAINED = Trained(
    Curve([5, 10], [2.0, 1.5], [1.9, 1.4321]), 10, 10, 95, 2, 77, 5400.0, "cuda, NVIDIA A10", {"peft": "1.0"}
)
ROWS = TrainingRows(tuple(pairs(100)), "f00d", 3, None)


def made(price: float | None = None) -> Card:
    file = load_task(Path(__file__).parents[2] / "tasks", "jigsaw")
    return card(file, "models/own", "peft", Hyperparameters(rank=16), "sample", ROWS, TRAINED, price)


def test_it_says_everything_that_made_the_adapter() -> None:
    found = made()
    assert (found.task, found.base, found.engine, found.recipe["rank"]) == ("jigsaw", "models/own", "peft", 16)
    assert (found.rows, found.too_long, found.also_evaluated, found.longest_tokens) == (95, 2, 3, 77)
    assert (found.training_fingerprint, found.hours, found.usd) == ("f00d", 1.5, None)
    assert found.borrowed_from is None
    assert len(found.prompt_hash) == 16
    assert found.hardware.startswith("cuda, NVIDIA A10, ")
    assert {"peft", "python", "lora-leaderboard"} <= set(found.versions)


@pytest.mark.parametrize(("price", "usd"), [(2.0, 3.0), (0.0, 0.0), (None, None)])
def test_its_cost_follows_from_the_price_of_an_hour(price: float | None, usd: float | None) -> None:
    assert made(price).usd == usd


def test_it_is_written_for_programs_and_for_people(tmp_path: Path) -> None:
    write(made(2.0), tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["curve"]["validation"] == [1.9, 1.4321]
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("---\nbase_model: models/own\nlibrary_name: peft\n")
    assert "| validation loss | 1.4321 nats a token of the answers, at step 10 of 10 |" in text
    assert "| hours | 1.500, 3.00 USD |" in text
    assert "training" in (tmp_path / "losses.svg").read_text()


def test_the_plot_is_the_same_every_time(tmp_path: Path) -> None:
    plots = []
    for _ in range(2):
        write(made(), tmp_path)
        plots.append((tmp_path / "losses.svg").read_text())
    assert plots[0] == plots[1]
