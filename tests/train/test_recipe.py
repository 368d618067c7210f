"""The hyper-parameters that both engines understand."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.train.recipe import SMALL_BASE, Hyperparameters, learning_rate_factor, recipe_for, rows_per_update


@pytest.mark.parametrize(
    ("recipe", "rows", "updates"),
    [
        (Hyperparameters(), 1000, 188),
        (Hyperparameters(epochs=0.5, rows_per_update=8), 100, 7),
        (Hyperparameters(steps=40), 1000, 40),
        (Hyperparameters(), 1, 1),
        (SMALL_BASE, 240, 60),
        (SMALL_BASE, 936, 60),
        (SMALL_BASE, 64, 24),  # six epochs of few rows
        (SMALL_BASE, 3200, 200),  # one epoch of many
        (Hyperparameters(epochs=None, rows_per_update=32), 320, 60),
    ],
)
def test_epochs_become_updates_unless_steps_are_given(recipe: Hyperparameters, rows: int, updates: int) -> None:
    assert recipe.updates(rows) == updates


def test_the_defaults_are_the_published_recipe() -> None:
    recipe = Hyperparameters()
    assert (recipe.rank, recipe.alpha, recipe.dropout, recipe.target_modules) == (8, 16, 0.05, ("q_proj", "v_proj"))
    assert (recipe.learning_rate, recipe.warmup, recipe.rows_per_update, recipe.epochs) == (2e-4, 0.03, 16, 3)


@pytest.mark.parametrize(
    ("rows", "held"), [(4, 0), (100, 20), (300, 60), (320, 64), (1000, 64), (2000, 100), (20_000, 200)]
)
def test_enough_rows_are_held_out_for_a_score_but_no_more_than_a_fifth(rows: int, held: int) -> None:
    assert Hyperparameters().held(rows) == held


def test_a_share_of_rows_that_is_given_is_held_out_up_to_200() -> None:
    assert [Hyperparameters(validation=0.1).held(rows) for rows in (5, 100, 10_000)] == [0, 10, 200]


class TestTheRecipeOfABase:
    @pytest.mark.parametrize(
        ("base", "small"),
        [
            ("smollm2-135m", True), ("HuggingFaceTB/SmolLM2-360M-Instruct", True), ("Qwen/Qwen2.5-0.5B", True),
            ("org/Model-1B", True), ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", False), ("mistralai/Mistral-7B-v0.1", False),
            ("some/base", False), ("org/v2-4bit", False),
        ],
    )  # fmt: skip
    def test_follows_from_the_size_in_its_name(self, base: str, small: bool) -> None:
        recipe = recipe_for(base)
        assert (recipe.learning_rate, recipe.epochs) == ((1e-3, None) if small else (2e-4, 3))

    def test_or_from_that_of_its_weights_where_they_are_on_this_machine(self, tmp_path: Path) -> None:
        folder = tmp_path / "model-7B"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"\0" * 1000)
        assert recipe_for(str(folder)).learning_rate == 1e-3
        os.truncate(folder / "model.safetensors", 3_000_000_000)  # takes no space on disk
        assert recipe_for(str(folder)).learning_rate == 2e-4
        gguf = tmp_path / "model.gguf"
        gguf.touch()
        os.truncate(gguf, 4_000_000_000)
        assert recipe_for(str(gguf)).learning_rate == 2e-4

    def test_keeps_what_is_given(self) -> None:
        recipe = recipe_for("smollm2-135m", learning_rate=0.5, rank=4)
        assert (recipe.learning_rate, recipe.rank, recipe.alpha) == (0.5, 4, 8)


def test_rows_of_an_update_are_read_from_cards_old_and_new() -> None:
    assert rows_per_update({"batch": 8, "accumulate": 2}) == 16
    assert rows_per_update(asdict(Hyperparameters(rows_per_update=32, batch=4))) == 32


def test_the_learning_rate_rises_and_falls() -> None:
    assert [round(learning_rate_factor(done, 0.2), 3) for done in (0, 0.1, 0.2, 0.6, 1)] == [0, 0.5, 1, 0.5, 0]


@given(st.floats(0, 1), st.floats(0, 0.5))
def test_it_is_never_above_one_or_below_none(done: float, warmup: float) -> None:
    assert 0 <= learning_rate_factor(done, warmup) <= 1
