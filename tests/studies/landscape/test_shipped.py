"""The adapters of the real base that are in the repository."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from harness.models.engines.adapter_files import WEIGHTS, read_lora
from harness.rows.origin import locate
from harness.rows.training import training_rows
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from harness.train.card import read
from studies.landscape.recipes import BASE, PLANS

ROOT = Path(__file__).parents[3]
ADAPTERS = sorted(path for path in (ROOT / "adapters" / BASE).iterdir() if path.is_dir())


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_an_adapter_was_trained_on_the_tasks_present_prompt_and_is_small(adapter: Path) -> None:
    card = read(adapter)
    assert (card.task, card.base, card.shrunk_to) == (adapter.name, BASE, PLANS[adapter.name].shipped)
    assert card.prompt_hash == load_task(ROOT / "tasks", adapter.name).prompt_hash
    assert read_lora(adapter).rank == PLANS[adapter.name].shipped
    assert _bytes(adapter) < 0.75e6 * PLANS[adapter.name].shipped


def test_all_adapters_together_take_at_most_45_megabytes() -> None:
    assert sum(map(_bytes, ADAPTERS)) < 45e6


def _bytes(adapter: Path) -> int:
    return sum(path.stat().st_size for path in adapter.iterdir())


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_its_fingerprint_is_of_these_weights_and_its_prompts_are_of_sample_rows(adapter: Path) -> None:
    made = json.loads((adapter / "fingerprint.json").read_text())
    assert made["weights_sha256"] == hashlib.sha256((adapter / WEIGHTS).read_bytes()).hexdigest()
    file = load_task(ROOT / "tasks", adapter.name)
    prompts, _ = training_rows(file, Prompts(file), locate(file, "sample"))
    assert len(made["prompts"]) == 8
    assert {one["prompt"] for one in made["prompts"]} <= set(prompts)
