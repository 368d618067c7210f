"""How much of a task is read in a round follows from the length of its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.tasks.catalog import task_names
from harness.train.batches import Encoded
from studies.landscape.recipes import MOST_EPOCHS, PLANS, TOKENS, Plan, recipe, validation_share

TASKS = Path(__file__).parents[3] / "tasks"


def encoded(rows: int, own: int, frame: int = 40) -> Encoded:
    """So many rows of one length."""
    return Encoded([1] * frame, (([1] * (own - 3), [2] * 3),) * rows, 0)


def test_every_plan_is_of_a_task() -> None:
    assert set(PLANS) <= set(task_names(TASKS))
    assert len(PLANS) == 30


@pytest.mark.parametrize(("own", "batch"), [(20, 32), (80, 16), (900, 8)])
def test_a_round_reads_about_its_tokens(own: int, batch: int) -> None:
    found = recipe(Plan(share=1.5), encoded(20_000, own), 0, 0, None)
    assert found is not None
    assert found.rows_per_update == batch
    assert found.steps * (40 + batch * own) == pytest.approx(1.5 * TOKENS[0], abs=(40 + batch * own) / 2)


def test_few_rows_are_read_a_few_times_over_all_rounds() -> None:
    rows = encoded(100, 80)
    first = recipe(Plan(), rows, 0, 0, None)
    assert first is not None
    epochs = first.steps * first.rows_per_update / (100 * 0.8)
    assert epochs == pytest.approx(MOST_EPOCHS, rel=0.1)
    assert recipe(Plan(), rows, epochs, 1, "before") is None


def test_a_later_round_goes_on_more_slowly_with_other_rows() -> None:
    first, second = (recipe(Plan(), encoded(20_000, 80), 0.2 * number, number, None) for number in (0, 1))
    assert first is not None
    assert second is not None
    assert second.learning_rate < first.learning_rate
    assert second.steps > first.steps
    assert second.seed != first.seed
    assert second.validation == first.validation


@pytest.mark.parametrize(("rows", "held"), [(20_000, 64), (1_000, 64), (300, 60)])
def test_what_is_held_out(rows: int, held: int) -> None:
    assert round(rows * validation_share(rows)) == held
