"""One adapter of the miniature for each task that has training rows, in both forms: PEFT's and onnxruntime-genai's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import DataError, UserError
from harness.models.engines.onnx import ADAPTER_FILE, is_exported
from harness.rows.training import Pair
from harness.tasks.prompts import common_start
from harness.train.recipe import ALL_LINEAR, Hyperparameters
from harness.train.train import TrainOptions, train
from studies.mini import ADAPTERS, MODEL
from studies.mini.corpus import real_pairs
from studies.mini.graph import EMBEDDINGS, export_adapter, export_base

Say = Callable[[str], None]

# A task's whole training reads about so many characters of prompts, without what they share, and of answers: it takes
# about as long for each. Short rows are cheap, but a step's overhead is not.
CHARACTERS, MOST_STEPS, MOST_EPOCHS = 1_700_000, 1_000, 6
CHARACTERS_A_BATCH = 8_000
LONGEST = 3_000  # characters; longer rows do not fit the model and are left out of the training


def recipe(pairs: Sequence[Pair], shared: int) -> Hyperparameters:
    """Return the recipe for a task's rows, whose prompts begin with so many characters that all of them share.

    The learning rate is far above that for a large model. The input embeddings are adapted, too: a small base has read
    most words too seldom to know them, and what an answer depends on is often a word.
    """
    own = statistics.fmean(min(LONGEST, len(pair.prompt) - shared + len(pair.target)) for pair in pairs)
    batch = max(8, min(32, round(CHARACTERS_A_BATCH / own)))
    steps = min(MOST_STEPS, round(CHARACTERS / own / batch), MOST_EPOCHS * len(pairs) // batch)
    return Hyperparameters(
        steps=max(20, steps),
        rank=8,
        alpha=16,
        dropout=0.0,
        target_modules=(*ALL_LINEAR, EMBEDDINGS),
        learning_rate=2e-3,
        warmup=0.05,
        batch=batch,
        accumulate=1,
    )


def make(tasks: Sequence[str], tasks_folder: Path | None, data: str, say: Say) -> None:
    """Train an adapter for each of these tasks that has training rows at this place, and export it.

    A task whose adapter is there already is passed over, so that the work can be stopped and gone on with.
    """
    for name in tasks:
        folder = ADAPTERS / name
        if (folder / ADAPTER_FILE).is_file():
            say(f"{name}: {folder} is there already")
            continue
        try:
            pairs = real_pairs(name, tasks_folder, data)
        except (DataError, UserError) as error:
            say(f"{name}: no adapter: {error}")
            continue
        chosen = recipe(pairs, len(common_start([pair.prompt for pair in pairs])))
        began = time.perf_counter()
        train(TrainOptions(name, str(MODEL), "peft", chosen, data, tasks_folder, folder), say)
        export(folder)
        say(f"{name}: {folder}, {time.perf_counter() - began:.0f} s")


def export(folder: Path) -> None:
    """Write a PEFT adapter's form for onnxruntime-genai.

    The first adapter brings the base's graph along, whose branches all of them share.
    """
    if not is_exported(MODEL):
        export_base(MODEL, folder, MODEL)
    export_adapter(folder, folder / ADAPTER_FILE)
