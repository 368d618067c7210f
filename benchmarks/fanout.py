"""What the fan-out costs: its requests per second and CPU beside bare loops, side by side in one run.

    python -m benchmarks.fanout [--requests 1000 20000] [--concurrency 50 200] [--latency 0 100] [--runs 3]

A server that does nothing but wait runs in two processes on one port. Every contender asks the same chat requests, each
with a prompt of its own, in a fresh process, opening its connections as it goes; they take turns, run by run, and the
table gives medians. Absolute figures depend on the machine; the ratios to the bare loops are what counts.

- `harness`: rows read from disk, the fan-out with one model, every answer parsed and written to disk as it arrives.
- `post`: a bare loop over the harness's own way of sending a request.
- `aiohttp`: a bare loop over aiohttp, which carries it.
- `whole process`: `harness bench`, from the start of the process to the printed table.

`benchmarks/peers.py` runs lm-eval and inspect_ai beside the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.transports import Waiter

Ask = Callable[[str], Awaitable[object]]
ROOT = Path(__file__).parents[1]
SERVERS = 2
MANY_TASKS = 200
TASK = """\
title: Benchmark
category: classification
dataset: {splits: {train: train, test: test}}
prompt: "Is this comment toxic? {{ text }} Answer yes or no:"
target: "no"
answer: {type: label, labels: [yes, no]}
metrics: [accuracy]
max_tokens: 4
evaluation: {rows: 1000000}
"""


def prompts(requests: int) -> Iterator[str]:
    """Give every request a prompt of its own, of the length of a short comment."""
    middle = "which goes on for a while, " * 8
    return (f"Is this comment toxic? Comment {number}, {middle}. Answer:" for number in range(requests))


def body(prompt: str) -> dict[str, object]:
    """Return the request that the harness would send for a prompt."""
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": 4, "temperature": 0.0}


def serve(latency: float, port: int, ready: Connection) -> None:
    """Answer on a port that other processes share, until killed."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Waiter(latency), "127.0.0.1", port, backlog=1024, reuse_port=True)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextlib.contextmanager
def servers(latency: float) -> Iterator[str]:
    """Run the server in its processes; give the base URL."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        here, there = multiprocessing.Pipe()
        processes = [context.Process(target=serve, args=(latency, port, there), daemon=True) for _ in range(SERVERS)]
        for process in processes:
            process.start()
        try:
            for _ in processes:
                here.recv()
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            for process in processes:
                process.terminate()
                process.join()


@contextlib.asynccontextmanager
async def bare_aiohttp(url: str) -> AsyncIterator[Ask]:
    """Ask with nothing but aiohttp."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(prompt: str) -> object:
            async with session.post(f"{url}/chat/completions", json=body(prompt)) as reply:
                return await reply.json()

        yield ask


@contextlib.asynccontextmanager
async def bare_post(url: str) -> AsyncIterator[Ask]:
    """Ask with the harness's own way of sending a request, and nothing else of it."""
    from harness.models.http import Transport, address, post
    from harness.models.openai import FORM

    place = address(url, "/chat/completions")
    async with Transport() as connection:

        async def ask(prompt: str) -> object:
            return await post(connection, place, body(prompt), FORM.readers())

        yield ask


LOOPS = {"aiohttp": bare_aiohttp, "post": bare_post}


async def loop(name: str, url: str, requests: int, concurrency: int) -> tuple[float, float]:
    """Run a bare loop; return its seconds and its CPU seconds."""
    async with LOOPS[name](url) as ask:
        left = prompts(requests)

        async def worker() -> None:
            for prompt in left:
                await ask(prompt)

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return time.perf_counter() - wall, time.process_time() - cpu


async def harness(url: str, requests: int, concurrency: int, folder: Path) -> tuple[float, float]:
    """Run the fan-out from rows on disk to answers on disk; return its seconds and its CPU seconds."""
    from harness.ask.attempts import Job, Limits
    from harness.ask.budget import Budget
    from harness.ask.fanout import run
    from harness.ask.progress import Progress
    from harness.hashing import digest
    from harness.models.backend import Request
    from harness.models.entry import OpenAIModel
    from harness.models.http import Transport
    from harness.models.openai import OpenAIBackend
    from harness.rows.evaluation import EvaluationRow
    from harness.store.results import ResponseLog, read_rows, response_key, write_rows

    settings = digest("settings")
    rows = (EvaluationRow(f"{number:016x}", prompt, ("no",), {}) for number, prompt in enumerate(prompts(requests)))
    fingerprint = write_rows(folder, "benchmark", rows)
    async with Transport() as connection:
        backend = OpenAIBackend(OpenAIModel(backend="openai", base_url=url, model="m"), connection)
        with ResponseLog(folder / "benchmark" / "m") as log:

            def unanswered() -> Iterator[tuple[str, Request]]:
                for row in read_rows(folder, "benchmark", fingerprint):
                    key = response_key(settings, row.prompt)
                    if key not in log:
                        yield key, Request("benchmark", row.id, row.prompt, 4)

            async def finish() -> None: ...

            limits = Limits(concurrency, None, 60, 6)
            job = Job("benchmark", "m", backend, url, limits, unanswered(), requests, log.append, finish)
            with Progress([job], Budget(None)) as progress:
                wall, cpu = time.perf_counter(), time.process_time()
                await run([job], progress.watch)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert job.answered == requests
    return wall, cpu


def whole(
    url: str, requests: int, concurrency: int, folder: Path, timeout: float = 60, tasks: int = 1
) -> tuple[float, float]:
    """Run `harness bench` on so many rows; return its seconds, start to table, and its CPU seconds."""
    command, environment = prepare(url, requests, concurrency, folder, timeout, tasks)
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    assert sum(result["statuses"]["ok"] for result in json.loads(done.stdout)["results"]) == requests
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(
    url: str, requests: int, concurrency: int, folder: Path, timeout: float, tasks: int
) -> tuple[list[str], dict[str, str]]:
    """Write tasks, rows and a models file; return the command that asks them, and its environment."""
    samples = folder / "tasks" / "samples"
    samples.mkdir(parents=True)
    asked = list(prompts(requests))
    for task in range(tasks):
        (folder / "tasks" / f"benchmark{task}.yaml").write_text(TASK)
        rows = (json.dumps({"text": prompt, "_split": "test"}) + "\n" for prompt in asked[task::tasks])
        (samples / f"benchmark{task}.jsonl").write_text("".join(rows))
    model = {"backend": "openai", "base_url": url, "model": "m", "concurrency": concurrency, "timeout": timeout}
    (folder / "models.yaml").write_text(f"m: {json.dumps(model)}\n")
    command = [sys.executable, "-m", "harness", "bench", "--data", "sample", "--json"]
    return command, {**os.environ, "PYTHONPATH": str(ROOT)}


def child(name: str, url: str, requests: int, concurrency: int) -> tuple[float, float]:
    """Measure one contender, in this process or, for a whole process, under it."""
    if name in LOOPS:
        return asyncio.run(loop(name, url, requests, concurrency))
    with tempfile.TemporaryDirectory() as folder:
        if name == "harness":
            return asyncio.run(harness(url, requests, concurrency, Path(folder)))
        return whole(url, requests, concurrency, Path(folder), tasks=MANY_TASKS if name == "many tasks" else 1)


def measure(name: str, url: str, requests: int, concurrency: int) -> tuple[float, float]:
    """Run `child` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.fanout", "--one", name, "--url", url]
    command += ["--requests", str(requests), "--concurrency", str(concurrency)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, cpu = json.loads(done.stdout)
    return seconds, cpu


def table(latency: float, requests: int, concurrency: int, runs: int) -> None:
    """Measure every contender `runs` times at one latency (seconds) and print a Markdown table of medians."""
    names = ("harness", "post", "aiohttp", "whole process")
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with servers(latency) as url:
        for _ in range(runs):
            for name in names:
                results[name].append(measure(name, url, requests, concurrency))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in results.items()
    }
    ideal = requests * latency / concurrency
    note = f", ideal {ideal:.2f} s" if ideal else ""
    print(f"\n{requests:,} requests, concurrency {concurrency}, latency {latency * 1000:.0f} ms{note}, {runs} runs\n")
    head = ["", "seconds", "requests/s", "CPU s per 1,000", "rate / post", "CPU / post"] + ["seconds / ideal"] * bool(
        ideal
    )
    print("|".join(["", *head, ""]) + "\n|---" + "|--:" * (len(head) - 1) + "|")
    for name, (seconds, cpu) in medians.items():
        base_seconds, base_cpu = medians["post"]
        cells = [name, f"{seconds:.2f}", f"{requests / seconds:,.0f}", f"{cpu / requests * 1000:.2f}"]
        cells += [f"{base_seconds / seconds:.2f}", f"{cpu / base_cpu:.2f}"]
        print("|".join(["", *cells, *([f"{seconds / ideal:.2f}"] if ideal else []), ""]), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print one table for each combination."""
    parser = argparse.ArgumentParser(description="Measure the fan-out beside bare loops.")
    parser.add_argument("--requests", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 100], metavar="MS")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(child(given.one, given.url, given.requests[0], given.concurrency[0])))
    else:
        for latency in given.latency:
            for requests in given.requests:
                for concurrency in given.concurrency:
                    table(latency / 1000, requests, concurrency, given.runs)


if __name__ == "__main__":
    main()
