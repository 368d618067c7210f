"""The hyper-parameters that both engines understand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.train.recipe import Hyperparameters, learning_rate_factor


@pytest.mark.parametrize(
    ("recipe", "rows", "updates"),
    [
        (Hyperparameters(), 1000, 188),
        (Hyperparameters(epochs=0.5, batch=4, accumulate=2), 100, 7),
        (Hyperparameters(steps=40), 1000, 40),
        (Hyperparameters(), 1, 1),
    ],
)
def test_epochs_become_updates_unless_steps_are_given(recipe: Hyperparameters, rows: int, updates: int) -> None:
    assert recipe.updates(rows) == updates


def test_the_defaults_are_the_published_recipe() -> None:
    recipe = Hyperparameters()
    assert (recipe.rank, recipe.alpha, recipe.dropout, recipe.target_modules) == (8, 16, 0.05, ("q_proj", "v_proj"))
    assert (recipe.learning_rate, recipe.warmup, recipe.batch, recipe.accumulate) == (2e-4, 0.03, 1, 16)


def test_the_learning_rate_rises_and_falls() -> None:
    assert [round(learning_rate_factor(done, 0.2), 3) for done in (0, 0.1, 0.2, 0.6, 1)] == [0, 0.5, 1, 0.5, 0]


@given(st.floats(0, 1), st.floats(0, 0.5))
def test_it_is_never_above_one_or_below_none(done: float, warmup: float) -> None:
    assert 0 <= learning_rate_factor(done, warmup) <= 1
