"""What the fan-out bears: a server that fails, kill -9, many rows.

python -m benchmarks.ordeals faults     1,000 rows through a server that fails in 9 % of its answers
python -m benchmarks.ordeals kills      kill -9 and SIGHUP in turn, at ten random moments: what the server was asked
python -m benchmarks.ordeals batches    kill -9 while rows are asked in batches: what the vendor was paid for
python -m benchmarks.ordeals training   kill -9 of `harness train`: whether the same adapter comes out (needs torch)
python -m benchmarks.ordeals cuts       every file of the results cut at random places: what the next run loses and asks
python -m benchmarks.ordeals memory     the largest memory while 200,000 rows are asked
python -m benchmarks.ordeals start --data DIR --task ag_news     from the command to the first request
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fanout import ROOT, measure, prepare, servers, whole
from benchmarks.peers import server
from harness.api import bench
from harness.hashing import file_sha256

FAULTS = "throttle=0.05,error=0.02,reset=0.01,hang=0.005,broken=0.005"


@contextmanager
def loopback(*arguments: str) -> Iterator[str]:
    """Run the server of the tests, and give its address."""
    command = [sys.executable, "-m", "tests.loopback", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def faults(requests: int, concurrency: int, runs: int) -> None:
    """Time a whole run through a server that fails in every way there is, beside the same server when it does not."""
    print(f"\n{requests:,} rows, concurrency {concurrency}, latency 100 ms, deadline 2 s, {runs} runs\n")
    for given in ("", FAULTS):
        seconds = []
        for _ in range(runs):
            with loopback("--latency", "0.1", "--faults", given) as address, tempfile.TemporaryDirectory() as folder:
                seconds.append(whole(f"{address}/v1", requests, concurrency, Path(folder), timeout=2)[0])
        print(f"{given or 'no faults'}: all answered, whole process {statistics.median(seconds):.2f} s", flush=True)


def kills(requests: int, concurrency: int, times: int) -> None:
    """Kill a run at random moments and give the command again each time; print the server's own count at the end.

    Every other time it is SIGHUP, as a terminal sends that is closed: what is in flight is waited for.
    """
    with loopback("--latency", "0.05") as address, tempfile.TemporaryDirectory() as folder:
        command, environment = prepare(f"{address}/v1", requests, concurrency, Path(folder), 60, 1)
        answers = Path(folder) / "results" / "benchmark0" / "m" / "responses.jsonl"
        interrupted = 0
        for number in range(times):
            with subprocess.Popen(command, cwd=folder, env=environment, stdout=-3, stderr=-3) as process:
                before = answers.read_bytes().count(b"\n") if answers.is_file() else 0
                while process.poll() is None and not (answers.is_file() and answers.stat().st_size):
                    time.sleep(0.01)
                while process.poll() is None and answers.read_bytes().count(b"\n") == before:
                    time.sleep(0.01)
                time.sleep(random.uniform(0, requests * 0.05 / concurrency / times))
                interrupted += process.poll() is None
                process.send_signal(signal.SIGHUP if number % 2 else signal.SIGKILL)
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
        with urllib.request.urlopen(f"{address}/counts") as reply:
            asked = Counter(json.load(reply).values())
        lines = [json.loads(line)["row"] for line in answers.read_text().splitlines()]
    print(f"killed {interrupted} times: {len(lines):,} answers for {len(set(lines)):,} rows")
    for count, rows in sorted(asked.items()):
        print(f"asked {count} times: {rows:,} rows")


def batches(requests: int, times: int) -> None:
    """Kill a process that asks in batches at random moments, start it again each time, and count what was paid.

    Raises:
        SystemExit: a row was submitted twice, or never.
    """
    from tests.loopback_vendors import BatchServer
    from tests.models.test_batch import CHILD

    killed, sizes, paid = 0, Counter[int](), Counter[int]()
    for _ in range(times):
        with BatchServer() as served, tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", CHILD, served.openai_url, f"{folder}/batches.jsonl", str(requests)]
            left = 4
            while True:
                calls = sum(served.called.values())
                with subprocess.Popen(command, cwd=ROOT) as process:
                    while process.poll() is None and sum(served.called.values()) == calls:
                        time.sleep(0.001)
                    try:
                        process.wait(random.uniform(0, 0.3) if left else None)
                        break
                    except subprocess.TimeoutExpired:
                        process.kill()
                        left, killed = left - 1, killed + 1
            sizes.update(served.sizes())
            paid.update(served.paid.values())
    if set(paid) != {1} or paid[1] != requests * times:
        raise SystemExit(f"rows by how often they were paid for: {dict(paid)}")
    print(
        f"killed {killed} times in {times} runs: {sum(sizes.values())} batches, each of {paid[1]:,} rows paid for once"
    )


def training(times: int) -> None:
    """Kill a training at random moments, give the command again each time, and compare its adapter with another's.

    Raises:
        SystemExit: the adapters differ.
    """
    from tests.models import tiny_gguf

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tiny_gguf.write_base(folder / "base.gguf", seed=0)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LORA_LEADERBOARD_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-m", "harness", "train", "glue_sst2", "--base", "base.gguf", "--data", "sample"]
        command += ["--steps", "60", "--no-score", "--no-fingerprint", "--out"]

        def train(name: str, seconds: float | None = None) -> bool:
            with subprocess.Popen([*command, name], cwd=folder, env=environment, stdout=-3, stderr=-3) as process:
                try:
                    return process.wait(seconds) == 0
                except subprocess.TimeoutExpired:
                    process.kill()
                    return False

        began = time.monotonic()
        assert train("whole")
        whole = time.monotonic() - began
        killed, names = 0, ["whole"]
        while killed < times:
            names.append(f"killed-{len(names)}")
            while not train(names[-1], random.uniform(0, whole)):
                killed += 1
        hashes = {file_sha256(folder / name / "adapter_model.safetensors") for name in names}
    if len(hashes) != 1:
        raise SystemExit(f"another adapter after {killed} kills")
    print(
        f"killed {killed} times in {len(names) - 1} trainings: the adapter of one of {whole:.0f} s that was not killed"
    )


def cuts(requests: int, times: int) -> None:
    """Cut one file of finished results at a random place, as a power loss may, and bench again; and so on.

    Raises:
        SystemExit: an answer was lost that the file still held, or one is missing in the end.
    """
    random.seed(0)
    with loopback() as address, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(f"{address}/v1", requests, 8, folder, 60, 1)
        answers = folder / "results" / "benchmark0" / "m" / "responses.jsonl"

        def bench_again() -> int:
            before = _asked(address)
            found = bench(
                data="sample", tasks_folder=folder / "tasks", models_file=folder / "models.yaml",
                results=folder / "results", say=lambda line: None,
            )  # fmt: skip
            if found.runs[0].rows.counts()["ok"] != requests:
                raise SystemExit(f"{found.runs[0].rows.counts()} of {requests} rows")
            return _asked(address) - before

        bench_again()
        files, again = Counter[str](), 0
        for _ in range(times):
            chosen = random.choice([path for path in sorted((folder / "results").rglob("*")) if path.is_file()])
            content = chosen.read_bytes()
            chosen.write_bytes(content[: random.randrange(len(content) + 1)])
            whole = answers.read_bytes().count(b"\n")
            asked = bench_again()
            if asked > requests - whole:
                raise SystemExit(f"{chosen} cut: {asked} rows asked, {requests - whole} were lost")
            files[chosen.name.split(".", 1)[-1] if chosen.parent.name == "_rows" else chosen.name] += 1
            again += asked
    print(f"{times} cuts ({', '.join(f'{count} {name}' for name, count in files.most_common())}): no row lost")
    print(f"asked again: {again} rows, none whose answer was still whole")


def _asked(address: str) -> int:
    with urllib.request.urlopen(f"{address}/counts") as reply:
        return sum(json.load(reply).values())


def memory(requests: int, concurrency: int) -> None:
    """Print the largest memory while many rows are asked: by the fan-out alone, and by `harness bench`."""
    with servers(0.0) as url:
        for name in ("harness", "many tasks", "whole process"):  # the most of all so far, so the least first
            seconds, _ = measure(name, url, requests, concurrency)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{name}: {requests:,} rows in {seconds:.0f} s, at most {peak:.0f} MB", flush=True)


def start(data: Path, task: str, runs: int) -> None:
    """Time a run of 1,000 rows of a mirror from the command to its first request; the first run warms the disk."""
    seconds = []
    with server(0.0) as (url, pipe):
        for _ in range(runs + 1):
            with tempfile.TemporaryDirectory() as folder:
                command, environment = prepare(url, 1, 32, Path(folder), 60, 1)
                command = [*command[:4], "--data", str(data.resolve()), "--task", task, "--tasks", str(ROOT / "tasks")]
                began = time.monotonic()
                subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
                pipe.send("span")
                seconds.append(pipe.recv()[0] - began)
    print(f"{task}: first request after {statistics.median(seconds[1:]):.2f} s (cold {seconds[0]:.2f} s), {runs} runs")


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description="Show what the fan-out bears.")
    parser.add_argument("ordeal", choices=["faults", "kills", "batches", "training", "cuts", "memory", "start"])
    parser.add_argument("--rows", type=int, help="default: 1,000 with faults, 2,000 with kills, 20 in batches, …")
    parser.add_argument("--times", type=int, help="kills (default: 10), runs in batches (20) or cuts (300)")
    parser.add_argument("--data", type=Path, help="a mirror, for start")
    parser.add_argument("--task", default="ag_news")
    given = parser.parse_args()
    if given.ordeal == "faults":
        faults(given.rows or 1000, concurrency=200, runs=3)
    elif given.ordeal == "kills":
        kills(given.rows or 2000, concurrency=8, times=given.times or 10)
    elif given.ordeal == "batches":
        batches(given.rows or 20, given.times or 20)
    elif given.ordeal == "training":
        training(given.times or 10)
    elif given.ordeal == "cuts":
        cuts(given.rows or 50, given.times or 300)
    elif given.ordeal == "start":
        start(given.data or parser.error("--data is needed"), given.task, runs=5)
    else:
        memory(given.rows or 200_000, concurrency=200)


if __name__ == "__main__":
    main()
