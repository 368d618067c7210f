"""A project whose models have recorded answers of known quality and length, and a judge on a loopback server."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.ask.run import BenchOptions, bench
from harness.judge.judge import Judged, JudgeOptions, judge
from tests.loopback import Loopback

TASK = """\
title: Small
category: generation
dataset: {splits: {test: test}}
prompt: "Describe {{ text }}."
target: "{{ text }}"
answer: {type: text}
metrics: [exact_match]
max_tokens: 40
judge: {criteria: "The answer with more detail is better."}
"""
STRENGTHS = {"strong": 1.2, "good": 0.4, "weak": -0.6}


@dataclass(frozen=True)
class Habits:
    """Logarithms of the odds for the first place and a doubled length, the share of ties, and whether it is certain."""

    place: float = 0.0
    length: float = 0.0
    ties: float = 0.0
    certain: bool = False

    def verdict(self, prompt: str) -> str:
        """The verdict on the two answers of a prompt, the same each time."""
        first, second = shown(prompt)
        a, b = (
            float(found[1]) if (found := re.search(r"quality (-?[\d.]+)", one)) else -9.0 for one in (first, second)
        )
        ratio = math.log2((1 + len(first)) / (1 + len(second)))
        odds = (a - b) * (1000 if self.certain else 1) + self.place + self.length * ratio
        tie, win = (
            int(part, 16) / 16**8 for part in re.findall("." * 8, hashlib.sha256(prompt.encode()).hexdigest())[:2]
        )
        if tie < self.ties:
            return "tie"
        return "A" if odds > 500 or (odds > -500 and win < 1 / (1 + math.exp(-odds))) else "B"

    def reply(self, prompt: str) -> str:
        """What the judge answers."""
        return json.dumps({"reason": "One has more detail.", "winner": self.verdict(prompt)})


def shown(prompt: str) -> tuple[str, str]:
    """The two answers that a judge is shown."""
    fence = re.search(r"=== [0-9a-f]{16}", prompt)
    assert fence
    parts = re.split(rf"^{fence[0]} (.*)\n", prompt, flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    return texts["answer A"].removesuffix("\n"), texts["answer B"].removesuffix("\n")


Answer = Callable[[int], str]


def of_quality(strength: float, length: int = 20) -> Answer:
    """Answers to rows by their number, of this quality and about this long."""
    return lambda row: f"quality {strength:.3f} of row {row} " + "x" * (length + 7 * row % 13)


class Arena:
    """A folder with tasks of `rows` rows, models with recorded answers, and a judge."""

    def __init__(self, folder: Path, server: Loopback, rows: int = 30, habits: Habits | None = None) -> None:
        self.folder, self.server, self.rows = folder, server, rows
        self.results = folder / "results"
        self.models: dict[str, dict[str, Any]] = {}
        self.said: list[str] = []
        server.answer = (habits or Habits()).reply
        (folder / "tasks" / "samples").mkdir(parents=True)
        self.task("small")
        self.model("judge", backend="openai", base_url=server.openai_url, model="judge", concurrency=4, gpu_per_hour=0)

    def task(self, name: str, text: str = TASK, start: int = 0) -> None:
        """Write a task whose rows are numbered from `start`."""
        (self.folder / "tasks" / f"{name}.yaml").write_text(text)
        rows = [{"text": f"{name} {start + n}", "_split": "test"} for n in range(self.rows)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / "tasks" / "samples" / f"{name}.jsonl").write_text(lines)

    def model(self, name: str, **entry: Any) -> None:
        """Put a model into the models file."""
        self.models[name] = entry
        (self.folder / "models.yaml").write_text(json.dumps(self.models))

    def contestants(self, answers: Mapping[str, Answer], task: str = "small") -> None:
        """Record the answers of models to a task."""
        for name, answer in answers.items():
            path = self.folder / f"{name}-{task}.jsonl"
            lines = [{"prompt": f"Describe {task} {n}.", "completion": answer(n)} for n in range(self.rows)]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            self.model(name, backend="recorded", path=str(self.folder / f"{name}-{{task}}.jsonl"))
        files = BenchOptions(
            (task,), tuple(answers), self.folder / "models.yaml", self.folder / "tasks", self.results, "sample"
        )
        bench(files, lambda line: None)

    @property
    def options(self) -> JudgeOptions:
        """All recorded models on the task `small`."""
        names = tuple(name for name, entry in self.models.items() if entry["backend"] == "recorded")
        return JudgeOptions(
            ("small",), names, "judge", self.folder / "models.yaml", self.folder / "tasks", self.results
        )

    def judge(self, **changes: Any) -> Judged:
        """Run the tournament of the options with these changes."""
        return judge(replace(self.options, **changes), self.said.append)

    def lines(self, task: str = "small") -> Iterator[dict[str, Any]]:
        """The recorded verdicts."""
        path = self.results / task / "_judge" / "judge" / "responses.jsonl"
        text = path.read_text() if path.is_file() else ""
        return (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))
