"""What complete harnesses need for the same rows: lm-eval and inspect_ai beside ours, side by side in one run.

    python -m benchmarks.peers [--rows 1000] [--concurrency 200] [--latency 100] [--runs 3]

Each peer gets a virtual environment of its own in a temporary folder, or in `--environments`, where it stays; they
are no dependencies. All ask the same server, which does nothing but wait, and which itself takes the time of the
asking: from its first request to its last answer. The whole process is from start to printed score.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.fanout import prepare, prompts
from benchmarks.transports import Waiter

Command = tuple[list[str], Mapping[str, str]]
PACKAGES = {"lm-eval": ["lm-eval[api]"], "inspect_ai": ["inspect-ai", "openai"]}
LM_EVAL = """\
task: fanout
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{text}}}}"
doc_to_target: "no"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4}}
metric_list: [{{metric: exact_match}}]
"""
INSPECT = """\
from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.scorer import exact
from inspect_ai.solver import generate

@task
def fanout():
    return Task(dataset=json_dataset("rows.jsonl"), solver=generate(), scorer=exact())
"""


class Timer(Waiter):
    """The server, which notes when it was asked first and when it answered last."""

    first = last = 0.0
    answers = 0

    def data_received(self, data: bytes) -> None:
        """Note the first request, and the moment at which the answer to this one is due."""
        asked = self.buffer.count(b"\r\n\r\n") + data.count(b"\r\n\r\n")
        now = time.monotonic()
        Timer.first = Timer.first or now
        super().data_received(data)
        Timer.answers += asked - self.buffer.count(b"\r\n\r\n")
        Timer.last = now + self.latency


def serve(latency: float, pipe: Connection) -> None:
    """Serve until killed; send (first request, last answer, answers), in monotonic time, when the pipe asks for it."""

    def tell() -> None:
        while pipe.recv():
            pipe.send((Timer.first, Timer.last, Timer.answers))
            Timer.first = Timer.last = Timer.answers = 0

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Timer(latency), "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        threading.Thread(target=tell, daemon=True).start()
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def server(latency: float) -> Iterator[tuple[str, Connection]]:
    """Run the server in a process of its own; give its base URL and its pipe."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(latency, there), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{here.recv()}/v1", here
    process.terminate()
    process.join()


def ours(url: str, rows: int, concurrency: int, folder: Path, environments: Path) -> Command:
    """Return the command of `harness bench`, and its environment."""
    return prepare(url, rows, concurrency, folder, 60, 1)


def lm_eval(url: str, rows: int, concurrency: int, folder: Path, environments: Path) -> Command:
    """Return the command of lm-eval's local-chat-completions."""
    asked = folder / "rows.jsonl"
    asked.write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in prompts(rows)))
    (folder / "fanout.yaml").write_text(LM_EVAL.format(rows=asked))
    model = f"model=m,base_url={url}/chat/completions,num_concurrent={concurrency},tokenized_requests=False"
    command = [str(environments / "lm-eval/bin/lm_eval"), "--model", "local-chat-completions", "--model_args", model]
    command += ["--tasks", "fanout", "--include_path", str(folder), "--apply_chat_template"]
    return command, {**os.environ, "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none", "HF_HOME": str(folder)}


def inspect(url: str, rows: int, concurrency: int, folder: Path, environments: Path) -> Command:
    """Return the command of inspect_ai with an OpenAI-compatible server."""
    lines = (json.dumps({"input": prompt, "target": "no"}) + "\n" for prompt in prompts(rows))
    (folder / "rows.jsonl").write_text("".join(lines))
    (folder / "fanout.py").write_text(INSPECT)
    command = [str(environments / "inspect_ai/bin/inspect"), "eval", "fanout.py", "--model", "openai-api/local/m"]
    command += ["--max-connections", str(concurrency), "--max-samples", str(concurrency), "--max-tokens", "4"]
    command += ["--temperature", "0", "--display", "plain", "--log-dir", str(folder / "logs")]
    return command, {**os.environ, "LOCAL_API_KEY": "none", "LOCAL_BASE_URL": url}


CONTENDERS: dict[str, Callable[[str, int, int, Path, Path], Command]] = {
    "harness": ours,
    "lm-eval": lm_eval,
    "inspect_ai": inspect,
}


def install(environments: Path) -> None:
    """Make the peers' environments, unless they are there."""
    for name, packages in PACKAGES.items():
        if not (environments / name).is_dir():
            subprocess.run([sys.executable, "-m", "venv", str(environments / name)], check=True)
            pip = [str(environments / name / "bin/python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, *packages], check=True)


def run(name: str, url: str, pipe: Connection, rows: int, concurrency: int, environments: Path) -> tuple[float, float]:
    """Run one contender on all rows; return the seconds of the asking and of the whole process."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command, environment = CONTENDERS[name](url, rows, concurrency, folder, environments)
        began = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - began
    pipe.send("span")
    first, last, answers = pipe.recv()
    if done.returncode or answers < rows:
        raise SystemExit(f"{name}: {answers} answers, exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return last - first, whole


def main() -> None:
    """Measure and print a Markdown table of medians."""
    parser = argparse.ArgumentParser(description="Compare complete harnesses on the same rows.")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--latency", type=float, default=100, metavar="MS")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--environments", type=Path)
    given = parser.parse_args()
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as temporary, server(given.latency / 1000) as (url, pipe):
        environments = (given.environments or Path(temporary)).resolve()
        install(environments)
        for _ in range(given.runs):
            for name, found in results.items():
                found.append(run(name, url, pipe, given.rows, given.concurrency, environments))
    ideal = given.rows * given.latency / 1000 / given.concurrency
    print(f"\n{given.rows:,} rows, concurrency {given.concurrency}, latency {given.latency:g} ms, {given.runs} runs\n")
    print("| | asking / ideal | asking, s | whole process, s | whole / ours |\n|---|--:|--:|--:|--:|")
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in results.items()
    }
    for name, (asking, whole) in medians.items():
        print(f"| {name} | {asking / ideal:.2f} | {asking:.2f} | {whole:.1f} | {whole / medians['harness'][1]:.1f} |")


if __name__ == "__main__":
    main()
