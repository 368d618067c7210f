"""A project with a task, and models for it in a tiny base and on a loopback server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.loopback import Loopback
from tests.models import tiny_gguf
from tests.serve.front import project

KEY = "sk-a-key-of-this-test"
PLANTED = """<img src=x onerror="window.planted = 1"> **bold** [link](javascript:void(window.planted=2)) red"""
_COLOURS = """\
title: Colours
category: classification
dataset: {hub: org/colours, splits: {train: train, test: test}}
prompt: "Which colour has {{ text }}? Answer red, green or blue."
target: "{{ colour }}"
answer: {type: label, labels: [red, green, blue]}
metrics: [accuracy, macro_f1]
max_tokens: 4
"""
_STORIES = """\
title: Stories
category: generation
dataset: {hub: org/stories, splits: {train: train, test: test}}
prompt: "Tell of {{ text }} in a line."
target: "there was once {{ text }} that was {{ colour }}"
answer: {type: text}
metrics: [rouge_l]
max_tokens: 12
"""


def write(folder: Path, server: Loopback, **more: dict[str, Any]) -> Path:
    """Write the tasks `colours` and `stories` with sample rows, an adapter for the first, and the models file."""
    (folder / "tasks" / "samples").mkdir(parents=True)
    for name, text in (("colours", _COLOURS), ("stories", _STORIES)):
        (folder / "tasks" / f"{name}.yaml").write_text(text)
        rows = [
            {"text": f"thing {i} {PLANTED}" if i == 1 else f"thing {i}", "colour": ("red", "green", "blue")[i % 3]}
            for i in range(9)
        ]
        lines = [json.dumps({**row, "_split": "train" if i > 5 else "test"}) for i, row in enumerate(rows)]
        (folder / "tasks" / "samples" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    tiny_gguf.write_adapter(folder / "adapters" / "colours", seed=3)
    served = {"backend": "openai", "base_url": server.openai_url, "model": "m", "api_key": KEY}
    return project(folder, served={**served, "price": {"input": 1, "output": 2}}, **more)
