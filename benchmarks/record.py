"""What `harness record` adds to a request: milliseconds at the median, alone and at a rate, and its memory over many.

    python -m benchmarks.record [--alone 100] [--rate 100] [--seconds 10] [--many 5000]

The upstream, in a process of its own, answers each POST after 100 ms. Requests go to it directly, through a recorder
and, for comparison, through the shortest pass-through that aiohttp allows, which logs nothing: in turns of one run, so
that differences depend less on what else the machine does. At a rate they are timed from when they were due. The memory
is that of the recorder and of its writing process (Pss, which counts shared pages once), after a warm-up and after many
requests to an upstream without latency.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks.transports import BODY, serve

LATENCY = 0.1
ROUNDS = 5
WARM = 10


@contextmanager
def upstream(run: Callable[[Any, Connection], None], argument: Any) -> Iterator[str]:
    """A server's base_url."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=run, args=(argument, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()
        process.join()


@contextmanager
def recorder(url: str, folder: str) -> Iterator[tuple[str, int]]:
    """A recorder in front of a server: its base_url and its process."""
    command = [sys.executable, "-m", "harness", "record", "--upstream", url, "--out", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.match(r"http://\S+", process.stdout.readline())
        assert found, "the recorder did not start"
        yield found[0], process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


async def ask(session: aiohttp.ClientSession, url: str, due: float) -> float:
    """Ask once; return the milliseconds since the request was due."""
    async with session.post(f"{url}/chat/completions", json=BODY) as reply:
        await reply.read()
    return (time.perf_counter() - due) * 1000


async def at_rate(session: aiohttp.ClientSession, url: str, rate: float, seconds: float) -> list[float]:
    """Ask at a rate, whether answers have come or not."""
    start = time.perf_counter()
    tasks = []
    for place in range(int(rate * seconds)):
        due = start + place / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(session, url, due)))
    return list(await asyncio.gather(*tasks))


async def many(session: aiohttp.ClientSession, url: str, number: int) -> None:
    """Ask 32 at a time."""
    left = iter(range(number))

    async def worker() -> None:
        for _ in left:
            await ask(session, url, 0)

    await asyncio.gather(*(worker() for _ in range(32)))


def megabytes(process: int) -> float:
    """The memory of a process and its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return sum(_pss(int(number)) for number in [process, *map(int, children)])


def _pss(process: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) / 1000 if found else 0.0


def bare(url: str, pipe: Connection) -> None:
    """Pass requests on and do nothing else, until killed."""

    async def run() -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as session:

            async def forward(request: web.BaseRequest) -> web.StreamResponse:
                target, headers = (
                    url.removesuffix("/v1") + request.path,
                    {"Content-Length": request.headers["Content-Length"]},
                )
                async with session.post(target, data=request.content, headers=headers) as reply:
                    response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.content_type})
                    response.content_length = reply.content_length
                    await response.prepare(request)
                    async for part in reply.content.iter_any():
                        await response.write(part)
                    return response

            runner = web.ServerRunner(web.Server(forward))
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            pipe.send(runner.addresses[0][1])
            await asyncio.Event().wait()

    asyncio.run(run())


async def latency(given: argparse.Namespace) -> None:
    """Print what is added to a request."""
    with (
        upstream(serve, LATENCY) as server,
        upstream(bare, server) as shortest,
        tempfile.TemporaryDirectory() as folder,
        recorder(server, folder) as (proxy, _),
    ):
        ways = {"direct": server, "bare": shortest, "recorded": proxy}
        single: dict[str, list[float]] = {name: [] for name in ways}
        rated: dict[str, list[float]] = {name: [] for name in ways}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            for turn in range(given.alone):
                for name, url in ways.items():
                    found = await ask(session, url, time.perf_counter())
                    single[name] += [found] if turn >= WARM else []
            for turn in range(ROUNDS + 1):  # the first warms up
                for name, url in ways.items():
                    more = await at_rate(session, url, given.rate, given.seconds / ROUNDS)
                    rated[name] += more if turn else []
        for what, times in (("alone", single), (f"{given.rate:g} requests/s", rated)):
            medians = {name: statistics.median(found) for name, found in times.items()}
            added = {name: found - medians["direct"] for name, found in medians.items() if name != "direct"}
            shown = ", ".join(f"{name} +{more:.2f} ms" for name, more in added.items())
            print(f"{what}: direct {medians['direct']:.2f} ms, {shown} (medians of {len(times['direct'])})")


async def memory(given: argparse.Namespace) -> None:
    """Print the memory after a warm-up and after many requests."""
    with (
        upstream(serve, 0) as server,
        tempfile.TemporaryDirectory() as folder,
        recorder(server, folder) as (proxy, process),
    ):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await many(session, proxy, 1000)
            before, start = megabytes(process), time.perf_counter()
            await many(session, proxy, given.many)
            rate = given.many / (time.perf_counter() - start)
            after = megabytes(process)
    print(f"memory: {before:.1f} MB after 1000 requests, {after:.1f} MB after {given.many} more ({rate:.0f}/s)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", type=int, default=100, help=f"one after another, of which {WARM} warm up")
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--many", type=int, default=5000)
    given = parser.parse_args()
    asyncio.run(latency(given))
    asyncio.run(memory(given))


if __name__ == "__main__":
    main()
