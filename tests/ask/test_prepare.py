"""An adapter that learned from the evaluated split is asked only the rows that were kept from it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.ask.prepare import PreparedTask, open_backend
from harness.errors import DataError
from harness.models.backend import Backend
from harness.models.connect import Connections
from harness.models.entry import LocalModel, ModelEntry
from harness.rows.evaluation import Subset
from harness.rows.origin import Origin
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts

FILE = load_task(Path(__file__).parents[2] / "tasks", "boolq")
SUBSET = Subset((), 3000, 0, 0, "this split", "the rows that are left", borrowed=True)
KEPT = PreparedTask(FILE, Prompts(FILE), Origin("mirror", {}), SUBSET, "", 1000)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter whose card says that it learned from this split."""
    (tmp_path / "card.json").write_text(json.dumps({"borrowed_from": "this split"}))
    return tmp_path


def opened(task: PreparedTask, adapter: Path) -> Backend:
    async def opened() -> Backend:
        async with Connections() as found:
            model = LocalModel(backend="local", model="some/base", adapter=str(adapter))
            return open_backend(found, task, ModelEntry("tuned", model, ()))

    return asyncio.run(opened())


@pytest.mark.parametrize(
    "task",
    [KEPT, replace(KEPT, n=10), replace(KEPT, origin=Origin("sample", {}), seed=3)],
    ids=["all", "few", "sample"],
)
def test_rows_that_were_kept_from_it_are_asked(task: PreparedTask, adapter: Path) -> None:
    assert opened(task, adapter)


@pytest.mark.parametrize(
    "task",
    [
        replace(KEPT, seed=1),
        replace(KEPT, n=1001),
        replace(KEPT, subset=replace(SUBSET, fingerprint="the whole split")),
    ],
    ids=["another seed", "more rows", "other data"],
)
def test_others_are_not(task: PreparedTask, adapter: Path) -> None:
    with pytest.raises(DataError, match=r"may have learned these: .* 1,000 at most of the same data, with --seed 0"):
        opened(task, adapter)


@pytest.mark.parametrize("card", [{"borrowed_from": None}, {}, None], ids=["training split", "older card", "no card"])
def test_one_that_learned_from_a_training_split_is_asked_any(card: object, adapter: Path) -> None:
    (adapter / "card.json").unlink()
    if card is not None:
        (adapter / "card.json").write_text(json.dumps(card))
    assert opened(replace(KEPT, seed=1), adapter)


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_what_is_no_card_is_said(text: str, adapter: Path) -> None:
    (adapter / "card.json").write_text(text)
    with pytest.raises(DataError, match=r"card\.json is no card as `harness train` writes it: "):
        opened(KEPT, adapter)
