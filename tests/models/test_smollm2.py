"""The real base that is known by name: the file is the pinned one, and both engines read the same tokens."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from harness.ask.run import BenchOptions, bench
from harness.models.engines.decoding import Query
from harness.models.engines.gguf import base_folder, shape_of
from harness.models.engines.known_bases import KNOWN, gguf_file
from harness.models.engines.llamacpp import LlamaCpp
from harness.rows.origin import locate
from harness.rows.training import training_rows
from harness.score.scoring import score_all
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "tasks"
NAME = "smollm2-135m"
pytestmark = pytest.mark.local  # it fetches 98 MB where they are not there yet


@pytest.fixture(autouse=True)
def _users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place of the tests where the base is looked for on this machine, and may be fetched."""
    monkeypatch.delenv("LORA_LEADERBOARD_CACHE")
    monkeypatch.delenv("PIP_NO_INDEX")


def test_it_is_the_pinned_file_of_a_known_shape() -> None:
    path = gguf_file(NAME, print)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == KNOWN[NAME].sha256
    shape = shape_of(path)
    assert (shape.layers, shape.width, shape.inner, shape.heads, shape.key_value_heads) == (30, 576, 1536, 9, 3)


def test_it_answers_and_reads_as_many_tokens_as_the_unpacked_tokenizer() -> None:
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(Path(base_folder(NAME, print)) / "tokenizer.json"))
    engine = LlamaCpp(NAME, threads=1)
    assert asyncio.run(engine.ask(None, Query("The capital of France is", 3))).text.startswith(" Paris")
    for task in ("wikisql", "conllpp", "gsm8k"):
        file = load_task(TASKS, task)
        prompts, _ = training_rows(file, Prompts(file), locate(file, "sample"))
        for prompt in prompts[:4]:
            found = asyncio.run(engine.ask(None, Query(prompt, 1)))
            assert found.input_tokens == len(words.encode(prompt).ids)
    engine.close()


def test_the_shipped_adapter_of_ag_news_is_right_where_the_base_is_not(tmp_path: Path) -> None:
    """On the sample rows that README's first command asks; README shows this table."""
    options = BenchOptions(
        ("ag_news",), ("smollm2", "smollm2-lora"), ROOT / "models.yaml", TASKS, tmp_path / "results", "sample"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        runs = score_all(options.results, bench(options, print), print)
    right = {run.manifest.model: run.rows.stats["accuracy"].mean() for run in runs}
    assert right["smollm2"] < 0.3
    assert right["smollm2-lora"] > 0.8
