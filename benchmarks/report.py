"""How long a report of many results takes, and its page to open: 36 tasks, 6 models, 1,000 rows of each.

    python -m benchmarks.report FOLDER --data MIRROR [--tasks 36] [--rows 1000]

The results are made in FOLDER, once: the two baselines on real rows, one model from recorded answers, and three that
are asked over HTTP, each from a server of its own on loopback that is right as often, as slow and as often broken as
its entry in `SIMULATED` says. Too few tasks have that many rows, so some are taken twice, with other rows; with
`--tasks 0` every task is taken once, as it is. They are scored as `harness bench` would, which leaves the scores in its
cache. Then `harness report` runs in a process of its own, and Chromium opens the page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fanout import ROOT
from harness.ask.run import BenchOptions, bench
from harness.rows.evaluation import EvaluationRow
from harness.score.scoring import score_all
from harness.store.results import Manifest, read_manifests, read_rows
from tests.loopback import FAULTS, Fault, Loopback

TASKS = ROOT / "tasks"


@dataclass(frozen=True)
class Simulated:
    """A model that is right on this share of a middling task's rows, that slow (median, seconds), at that price."""

    skill: float
    latency: float
    settings: dict[str, Any]
    chatty: float = 0.01
    broken: float = 0.0


SIMULATED = {
    "gpt-4": Simulated(0.80, 0.060, {"price": {"input": 30, "output": 60}}, broken=0.002),
    "mistral-7b": Simulated(0.42, 0.020, {"price": {"input": 0.25, "output": 0.25}}, chatty=0.25),
    "mistral-7b-lora": Simulated(
        0.83, 0.022, {"price": {"input": 0.25, "output": 0.25}, "base": "mistral-7b"}, broken=0.001
    ),
}
RECORDED = {"gpt-3.5-turbo": Simulated(0.70, 0, {"price": {"input": 0.5, "output": 1.5}})}


def share(*parts: str) -> float:
    """A number from 0 to 1 that depends on nothing but these texts."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8]) / 2**64


class Rows:
    """The rows of a results folder by prompt, read when they are first asked for, and what a model says to each."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.read: set[Path] = set()
        self.by_prompt: dict[str, tuple[str, str]] = {}
        self.answers: dict[str, list[str]] = {}

    def answer(self, model: str, prompt: str) -> str:
        """Right or wrong in the way of a model of that skill; hard rows are hard for all."""
        if prompt not in self.by_prompt:
            self._read()
        task, reference = self.by_prompt[prompt]
        made = (SIMULATED | RECORDED)[model]
        skill = min(0.98, max(0.05, made.skill + 0.3 * (share(task) - 0.5) + 0.3 * (share(model, task) - 0.5)))
        if share("luck" if share(model, prompt) < 0.6 else model, prompt, "row") < skill:
            return reference
        if share(model, prompt, "chatty") < made.chatty:
            return "I would need to know more about this to say."
        other = self.answers[task][int(share(model, prompt, "other") * len(self.answers[task]))]
        if len(reference.split()) < 6:
            return other
        words = reference.split()  # a long answer is wrong in part
        return " ".join([*words[: max(1, int(len(words) * share(model, prompt, "part")))], *other.split()[-4:]])

    def _read(self) -> None:
        for path in set(self.results.glob("*/_rows/*.jsonl")) - self.read:
            self.read.add(path)
            task = path.parts[-3]
            for row in read_rows(self.results, task, path.stem):
                self.by_prompt[row.prompt] = task, row.references[0]
                self.answers.setdefault(task, []).append(row.references[0])


class Server(Loopback):
    """A loopback server that answers as one of the simulated models."""

    def __init__(self, name: str, results: Path) -> None:
        super().__init__()
        self.made, rows, self.draw = SIMULATED[name], Rows(results), random.Random(name)
        self.answer = lambda prompt: rows.answer(name, prompt)
        self.plan = self._plan

    def _plan(self, prompt: str, attempt: int) -> Fault | None:
        self.latency = self.made.latency * math.exp(self.draw.gauss(0, 0.4))  # of the next request
        return FAULTS["invalid"] if share(prompt, "broken") < self.made.broken else None


def serve(name: str, results: Path) -> None:
    """Serve one model until killed; its address is the first line printed."""
    import asyncio

    server = Server(name, results)
    asyncio.run(server.serve(0, lambda: print(server.openai_url, flush=True)))


@contextmanager
def servers(results: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Run a server for each simulated model; give their entries of a models file."""
    processes, entries = [], {}
    try:
        for name, made in SIMULATED.items():
            command = [sys.executable, "-m", "benchmarks.report", str(results), "--serve", name]
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            processes.append(process)
            assert process.stdout
            url = process.stdout.readline().strip()
            entries[name] = {"backend": "openai", "base_url": url, "model": name, "attempts": 2, **made.settings}
        yield entries
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Group(NamedTuple):
    """Tasks by name (none: all) in a folder of task files, and the seed that chooses their rows."""

    names: tuple[str, ...]
    seed: int = 0
    folder: Path = TASKS


def make(folder: Path, data: str, tasks: int, rows: int) -> Path:
    """Make the results, unless they are there; return their folder."""
    results, models = folder / "results", folder / "models.yaml"
    if (folder / "done").exists():
        return results
    folder.mkdir(parents=True, exist_ok=True)
    baselines = {name: {"backend": "baseline", "method": name} for name in ("majority", "tfidf")}

    def ask(group: Group, entries: dict[str, Any]) -> list[Manifest]:
        models.write_text(json.dumps(entries))
        where = {"models_file": models, "tasks_folder": group.folder, "results": results}
        return bench(BenchOptions(tasks=group.names, models=(), data=data, rows=rows, seed=group.seed, **where), print)

    first = ask(Group(()), baselines)
    groups = [Group(tuple(sorted({run.task for run in first})))]
    if tasks:
        whole = sorted({run.task for run in first if run.n == rows and run.kind == "benchmark"})[:tasks]
        for name in {run.task for run in first} - set(whole):
            shutil.rmtree(results / name)
        again = Group(tuple(f"{name}_again" for name in whole[: tasks - len(whole)]), 1, folder / "again")
        again.folder.mkdir(exist_ok=True)
        for name in again.names:
            shutil.copy(TASKS / f"{name.removesuffix('_again')}.yaml", again.folder / f"{name}.yaml")
        groups = [Group(tuple(whole)), *([again] if again.names else [])]
        for group in groups[1:]:
            ask(group, baselines)
    with servers(results) as entries:
        for group in groups:
            ask(group, entries)
    said = Rows(results)
    for run in read_manifests(results):
        if run.model == "majority":
            _record(folder, run, list(read_rows(results, run.task, run.rows)), said)
    for group in groups:
        paths = {"backend": "recorded", "path": f"{folder}/recorded/{{task}}.jsonl"}
        ask(group, {name: paths | made.settings for name, made in RECORDED.items()})
    score_all(results, read_manifests(results), print)
    (folder / "done").touch()
    return results


def _record(folder: Path, run: Manifest, rows: list[EvaluationRow], said: Rows) -> None:
    (folder / "recorded").mkdir(exist_ok=True)
    with (folder / "recorded" / f"{run.task}.jsonl").open("w") as file:
        for row in rows:
            text = said.answer("gpt-3.5-turbo", row.prompt)
            tokens = {"input_tokens": len(row.prompt.split()), "output_tokens": len(text.split())}
            file.write(json.dumps({"row": row.id, "completion": text, **tokens}) + "\n")


def measure(results: Path, out: Path) -> None:
    """Time the report and the opening of its page; print what was found."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "harness", "report", "--results", results, "--out", out], check=True, stdout=-3
    )
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = list(read_manifests(results))
    answers = sum(run.n for run in runs)
    print(f"{len({r.task for r in runs})} tasks, {len({r.model for r in runs})} models, {answers:,} answers")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"report: {seconds:.1f} s, CPU {cpu:.1f} s, largest process {after.ru_maxrss / 1024:,.0f} MB")
    size = sum(path.stat().st_size for path in (out / "data").iterdir())
    print(f"index.html {(out / 'index.html').stat().st_size / 1e6:.1f} MB, data {size / 1e6:.1f} MB")
    print(f"page opened in {opened(out / 'index.html'):.2f} s")


def opened(page: Path) -> float:
    """Seconds that Chromium takes from the address to the end of loading, with everything drawn."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        start = time.perf_counter()
        driver.get(page.resolve().as_uri())
        driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        return time.perf_counter() - start
    finally:
        driver.quit()


def main() -> None:
    """Make the results if need be, and measure."""
    parser = argparse.ArgumentParser(description="Measure the report on many results.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="hub")
    parser.add_argument("--tasks", type=int, default=36)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.folder)
    else:
        measure(make(given.folder.resolve(), given.data, given.tasks, given.rows), given.folder / "report")


if __name__ == "__main__":
    main()
