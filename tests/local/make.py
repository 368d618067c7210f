"""Makes the model that the tests run without torch: `python -m tests.local.make`, with the extra `local` installed.

A base too small to say anything sensible, trained on the shipped sample rows, with two adapters, in the form that
`harness mini` gives the miniature.
"""

from __future__ import annotations

from pathlib import Path

from harness.data.origin import locate
from harness.local.onnx import ADAPTER_FILE
from harness.mini.base import Recipe, train
from harness.mini.corpus import corpus
from harness.mini.graph import export_adapter, export_base
from harness.prompts import Prompts
from harness.spec.catalog import load_task
from harness.train import peft
from harness.train import recipe as lora
from harness.train.rows import Pair, load
from tests.local.mini import ADAPTERS, MINI, ROOT

TASKS = ("ag_news", "covid", "e2e_nlg", "glue_cola", "glue_sst2", "jigsaw")
BASE = Recipe(
    vocabulary=512, hidden=64, layers=2, heads=2, key_value_heads=1, intermediate=128, window=128, tokens_a_step=1024,
    steps=300,
)  # fmt: skip
ADAPTER = lora.Recipe(
    steps=80, rank=4, alpha=8, dropout=0.0, target_modules=lora.ALL_LINEAR, learning_rate=5e-3, batch=8, accumulate=1
)


def pairs(task: str) -> tuple[Pair, ...]:
    """The training rows among a task's samples."""
    file = load_task(ROOT / "tasks", task)
    return load(file, Prompts(file), locate(file, "sample")).pairs


def main() -> None:
    """Make base, adapters and their exported forms; the current folder is the project's, which the adapters name."""
    tasks = [(name, pairs(name)) for name in TASKS]
    train(corpus(tasks), MINI, BASE, print, held_out=2_000)
    for adapter in ADAPTERS:
        folder = Path(adapter)
        peft.train(str(MINI.relative_to(ROOT)), pairs(folder.name), ADAPTER, folder, print)
        if not (MINI / "model.onnx").is_file():
            export_base(MINI, folder, MINI)
        export_adapter(folder, folder / ADAPTER_FILE)


if __name__ == "__main__":
    main()
