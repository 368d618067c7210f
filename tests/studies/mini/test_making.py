"""The miniature is made from a mirror: a base, then an adapter for each task, in both forms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from harness.models.engines.decoding import Answer, Query, answer
from harness.models.engines.onnx import OnnxEngine
from harness.rows.training import Pair
from harness.train.checkpoint import CHECKPOINT
from studies.mini import ADAPTERS, MODEL, adapters, base
from studies.mini.corpus import corpus, real_pairs

TASKS = Path(__file__).parents[3] / "tasks"
TINY = base.BaseModelConfig(
    vocabulary=400, hidden=64, layers=1, heads=2, key_value_heads=1, intermediate=64, window=32, tokens_a_step=64,
    tokens_a_batch=64, steps=4,
)  # fmt: skip


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror that holds one task, with the rows of its samples."""
    rows = [json.loads(line) for line in (TASKS / "samples" / "glue_sst2.jsonl").read_text().splitlines()]
    folder = tmp_path / "mirror" / "nyu-mll__glue" / "sst2"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        found = [
            {key: value for key, value in row.items() if key != "_split"} for row in rows if row["_split"] == split
        ]
        pd.DataFrame(found).to_parquet(folder / f"{split}.parquet")
    return tmp_path / "mirror"


def test_a_row_is_plain_text_or_one_to_answer() -> None:
    pairs = [Pair(f"Is this good?\nText {n}: it was fine\nGood:", "yes") for n in range(8)]
    text = corpus([("small", pairs)])
    assert len(text.formatted["small"]) == text.shares[0].formatted_rows == 2
    assert set(text.formatted["small"]) < set(pairs)
    assert len(text.documents) == text.shares[0].raw_rows == 6
    assert all("good" not in document.lower() for document in text.documents)
    answered = {pair.prompt.split("\n")[1] for pair in text.formatted["small"]}
    assert not any(own.startswith(document.split(":")[0]) for document in text.documents for own in answered)
    assert text.shares[0].raw_characters == sum(map(len, text.documents))


@pytest.mark.local
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_base_and_adapters_are_made_and_answer(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base, "BaseModelConfig", lambda: TINY)
    monkeypatch.setattr(base, "HELD_OUT", 100)
    monkeypatch.setattr(adapters, "MOST_STEPS", 6)
    said: list[str] = []
    base.make(["glue_sst2", "customer_support"], TASKS, str(mirror), said.append)
    assert any("customer_support: not in the corpus" in line for line in said)
    adapters.make(["glue_sst2", "customer_support"], TASKS, str(mirror), said.append)
    assert any("customer_support: no adapter" in line for line in said)
    prompt = real_pairs("glue_sst2", TASKS, str(mirror))[0].prompt
    engine = OnnxEngine(MODEL)
    for adapter in (None, str(ADAPTERS / "glue_sst2")):
        assert isinstance(answer(engine, adapter, [Query(prompt, 4)])[0], Answer)
    card = json.loads((ADAPTERS / "glue_sst2" / "card.json").read_text())
    assert (card["base"], card["data"], card["recipe"]["rank"]) == ("models/mini", "mirror", 8)
    written = {path: path.stat().st_mtime_ns for path in ADAPTERS.rglob("*")}
    adapters.make(["glue_sst2"], TASKS, str(mirror), said.append)
    assert "is there already" in said[-1]
    assert written == {path: path.stat().st_mtime_ns for path in ADAPTERS.rglob("*")}


class Stopped(Exception):
    """In place of a kill."""


@pytest.mark.local
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_base_that_was_stopped_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    text = corpus([("small", [Pair(f"Is this good?\nText {n}: it was fine\nGood:", "yes") for n in range(400)])])
    recipe = replace(TINY, steps=20, context=64)
    whole = base.train(text, tmp_path / "whole", recipe, lambda _: None, 64)

    def stop(line: str) -> None:
        if line.startswith("step 12 "):
            raise Stopped

    with pytest.raises(Stopped):
        base.train(text, tmp_path / "stopped", recipe, stop, 64)
    said: list[str] = []
    found = base.train(text, tmp_path / "stopped", recipe, said.append, 64)
    assert next(line.split()[1] for line in said if line.startswith("step")) == "12"
    assert found["curve"] == whole["curve"]
    assert not (tmp_path / "stopped" / CHECKPOINT).exists()
