"""The real base that is known by name: the file is the pinned one, and both engines read the same tokens."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from harness.models.engines.decoding import Query
from harness.models.engines.gguf import base_folder, shape_of
from harness.models.engines.known_bases import KNOWN, gguf_file
from harness.models.engines.llamacpp import LlamaCpp
from harness.rows.origin import locate
from harness.rows.training import training_rows
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts

TASKS = Path(__file__).parents[2] / "tasks"
NAME = "smollm2-135m"
pytestmark = pytest.mark.local  # it fetches 98 MB where they are not there yet


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
