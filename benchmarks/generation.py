"""How fast models answer in this process: our two engines beside one-by-one `generate`, and Ludwig's `predict`.

    python -m benchmarks.generation --data DIR [--task ag_news] [--rows 1000] [--ludwig PYTHON]

The miniature must have been made (`make mini`). The same rows, base and adapter for all, greedy, loading not counted.
The contenders take turns at 64 rows each, so that all meet whatever else the machine does. `--ludwig` names the
Python of Ludwig's environment (`.venv-ludwig/bin/python` after a first `make train`); it answers the first 200 rows,
after the others. With other work on the machine set OMP_NUM_THREADS=1: torch's threads wait for each other, and the
ratios then say nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.ask.prepare import request_for, select_rows
from harness.models.engines.decoding import Engine, Query
from harness.models.engines.onnx import OnnxEngine
from harness.models.engines.runner import Runner
from harness.models.engines.transformers import TransformersEngine
from harness.models.entry import LocalModel
from harness.tasks.catalog import load_task

ROOT = Path(__file__).parents[1]
BASE = ROOT / "models" / "mini"
Answer = Callable[[Sequence[Query]], list[str]]
TURN = 64
LUDWIG_ROWS = 200


@dataclass(frozen=True)
class Took:
    """What answering took, wall time and CPU time of all threads, in seconds."""

    answers: list[str]
    seconds: float
    cpu: float


def ours(engine: Engine, adapter: str, queries: Sequence[Query]) -> list[str]:
    """Answer as `backend: local` does: as many rows wait as its entry allows, and are put into batches."""

    async def ask_all() -> list[str]:
        runner, gate = Runner(lambda: engine), asyncio.Semaphore(LocalModel(backend="local", model="-").concurrency)

        async def ask(query: Query) -> str:
            async with gate:
                return (await runner.ask(adapter, query)).text

        answers = await asyncio.gather(*map(ask, queries))
        runner.close()
        return answers

    return asyncio.run(ask_all())


def one_by_one(base: Path, adapter: str) -> Answer:
    """Load the model with the plainest means, and return what answers with `generate`."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()

    def answer(query: Query) -> str:
        prompt = words(query.prompt, return_tensors="pt")
        found = model.generate(**prompt, max_new_tokens=query.max_tokens, do_sample=False)
        return str(words.decode(found[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))

    return lambda queries: [answer(query) for query in queries]


def in_turns(contenders: dict[str, Answer], queries: Sequence[Query]) -> dict[str, Took]:
    """Let all answer all queries, a few at a time, and measure each of them."""
    found = {name: Took([], 0, 0) for name in contenders}
    for answer in contenders.values():
        answer(queries[:32])  # the first batch loads the adapter
    for start in range(0, len(queries), TURN):
        for name, answer in contenders.items():
            began, cpu = time.perf_counter(), time.process_time()
            answers = answer(queries[start : start + TURN])
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            before = found[name]
            found[name] = Took([*before.answers, *answers], before.seconds + seconds, before.cpu + cpu)
    return found


def ludwig(python: Path, base: Path, adapter: str, end: int, queries: Sequence[Query]) -> Took:
    """Let Ludwig answer, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        job = {"prompts": [query.prompt for query in queries], "max_tokens": queries[0].max_tokens, "end": end}
        (Path(folder) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        script = Path(__file__).with_name("ludwig_predict.py")
        # -P: this folder has a module named as one of the standard library.
        command = [str(python.absolute()), "-P", str(script), str(base), adapter, "job.json"]
        environment = {**os.environ, "LUDWIG_CACHE": folder, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Ludwig failed:\n{done.stderr[-2000:]}")
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def queries_of(task: str, data: str, count: int) -> list[Query]:
    """So many of the rows that are evaluated, as they are asked."""
    file = load_task(ROOT / "tasks", task)
    _, rows = select_rows(file, data, 0, count, strict=True)
    requests = (request_for(file, row) for row in rows)
    return [Query(request.prompt, request.max_tokens, request.stop) for request in requests]


def table(found: dict[str, Took]) -> str:
    """Markdown: rates, their ratios to one-by-one `generate`, and how many of its answers each one gives."""
    reference = found["generate, one by one"]
    lines = ["| | answers/s | ratio | answers/CPU-s | ratio | same answers |", "|---|--:|--:|--:|--:|--:|"]
    for name, took in found.items():
        count = len(took.answers)
        wall, cpu = count / took.seconds, count / took.cpu
        ratios = wall * reference.seconds / len(reference.answers), cpu * reference.cpu / len(reference.answers)
        same = sum(map(str.__eq__, took.answers, reference.answers))
        lines.append(f"| {name} | {wall:.0f} | {ratios[0]:.2f} | {cpu:.0f} | {ratios[1]:.2f} | {same} of {count} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Compare engines on the same rows.")
    parser.add_argument("--data", required=True, help="a mirror of the datasets")
    parser.add_argument("--task", default="ag_news")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--ludwig", type=Path, metavar="PYTHON")
    given = parser.parse_args()
    adapter = str(ROOT / "adapters" / "mini" / given.task)
    queries = queries_of(given.task, given.data, given.rows)
    onnx, torch = OnnxEngine(BASE), TransformersEngine(str(BASE))
    contenders: dict[str, Answer] = {
        "generate, one by one": one_by_one(BASE, adapter),
        "ours, transformers": lambda asked: ours(torch, adapter, asked),
        "ours, onnxruntime-genai": lambda asked: ours(onnx, adapter, asked),
    }
    found = in_turns(contenders, queries)
    if given.ludwig:
        found["Ludwig, predict"] = ludwig(given.ludwig, BASE, adapter, min(torch.end), queries[:LUDWIG_ROWS])
    print(f"\n{given.task}: {len(queries):,} rows, {os.cpu_count()} cores\n\n{table(found)}")


if __name__ == "__main__":
    main()
