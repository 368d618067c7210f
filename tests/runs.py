"""A small project on disk whose runs tests can plan, make, retry, forget and export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.ask.run import BenchOptions, bench
from harness.store.results import Manifest

TASK = """\
title: Small
category: classification
dataset: {splits: {train: train, test: test}}
prompt: "Is {{ text }} fine? Answer with one word."
target: "{{ label }}"
answer: {type: label, labels: [yes, no]}
metrics: [accuracy, macro_f1]
max_tokens: 4
"""
ROWS = 40


class Small:
    """A folder with the task `small` of 40 rows, half of them yes, a file of models, and results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.models: dict[str, dict[str, Any]] = {}
        samples = folder / "tasks" / "samples"
        samples.mkdir(parents=True)
        rows = [
            {"text": f"row {number}", "label": ("yes", "no")[number % 2], "_split": "test"} for number in range(ROWS)
        ]
        (samples / "small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.task()

    def task(self, name: str = "small", text: str = TASK) -> None:
        """Write a task file; the rows are the same for each."""
        (self.folder / "tasks" / f"{name}.yaml").write_text(text)
        samples = self.folder / "tasks" / "samples"
        (samples / f"{name}.jsonl").write_text((samples / "small.jsonl").read_text())

    def model(self, name: str, url: str, **settings: Any) -> None:
        """Put an OpenAI-compatible model into the file of models."""
        self.models[name] = {"backend": "openai", "base_url": url, "model": name, "concurrency": 4, **settings}
        (self.folder / "models.yaml").write_text(json.dumps(self.models))

    @property
    def options(self) -> BenchOptions:
        """All tasks and models, all rows."""
        models = self.folder / "models.yaml"
        return BenchOptions((), (), models, self.folder / "tasks", self.results, "sample")

    def bench(self, **changes: Any) -> list[Manifest]:
        """Run what the options, with these changes, ask for."""
        return bench(replace(self.options, **changes), lambda line: None)

    def arguments(self, *, data: bool = True) -> list[str]:
        """The options as the command line takes them."""
        shared = ["--tasks", str(self.folder / "tasks"), "--models", str(self.folder / "models.yaml")]
        return [*shared, "--results", str(self.results), *(["--data", "sample"] if data else [])]
