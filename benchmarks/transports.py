"""Which HTTP transport carries the requests: requests per second and CPU of each, side by side in one run.

    python benchmarks/transports.py [--requests 2000] [--concurrency 200] [--latency 0 100] [--runs 3]

A server that does nothing but wait runs in its own process. Every transport is measured in a fresh process of its own,
which first warms its connections, so that one transport's garbage or threads are never another's cost. The transports
take turns, run by run; the table gives medians and, because absolute figures depend on the machine, the ratio to bare
aiohttp. `httpx` is the library's default transport. pyreqwest and httpx-aiohttp are measured when they
are installed (they are no dependencies). pyreqwest alone takes the least; it is not used because the process may crash
at its end, when the interpreter is gone before pyreqwest's threads are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

import httpx

Ask = Callable[[str], Awaitable[None]]

BODY = {"model": "m", "messages": [{"role": "user", "content": "Is this toxic? " * 20}], "max_tokens": 4}
REPLY = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "no"}}],
        "usage": {"prompt_tokens": 80, "completion_tokens": 1, "total_tokens": 81},
    }
).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(REPLY), REPLY)


class Waiter(asyncio.Protocol):
    """Just enough HTTP/1.1 to answer every POST alike, `latency` seconds after its last byte, and no GET."""

    answer = ANSWER

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            if b"content-length:" not in head:
                self.buffer = self.buffer[end + 4 :]
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if delay := self.delay():
                asyncio.get_running_loop().call_later(delay, self.transport.write, self.answer)
            else:
                self.transport.write(self.answer)

    def delay(self) -> float:
        """Seconds until the next answer."""
        return self.latency


def serve(latency: float, pipe: Connection, kind: type[Waiter] = Waiter) -> None:
    """Serve until killed; the port goes through `pipe`."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: kind(latency), "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@asynccontextmanager
async def bare_aiohttp() -> AsyncIterator[Ask]:
    """What all others are measured against."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(url: str) -> None:
            async with session.post(url, json=BODY) as reply:
                await reply.json()

        yield ask


async def through_httpx(client: httpx.AsyncClient) -> AsyncIterator[Ask]:
    """Ask in the way of httpx's manual, whatever carries it."""

    async def ask(url: str) -> None:
        reply = await client.post(url, json=BODY)
        reply.json()

    async with client:
        yield ask


@asynccontextmanager
async def plain_httpx() -> AsyncIterator[Ask]:
    """Give httpx its own transport."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async for ask in through_httpx(httpx.AsyncClient(limits=limits, timeout=60)):
        yield ask


@asynccontextmanager
async def httpx_aiohttp() -> AsyncIterator[Ask]:
    """Give httpx aiohttp as transport."""
    from httpx_aiohttp import HttpxAiohttpClient

    async for ask in through_httpx(HttpxAiohttpClient(limits=httpx.Limits(max_connections=0), timeout=60)):
        yield ask


@asynccontextmanager
async def ours() -> AsyncIterator[Ask]:
    """Ask as the harness asks."""
    from harness.models.http import Transport, post
    from harness.models.openai import FORM

    async with Transport() as connection:

        async def ask(url: str) -> None:
            await post(connection, httpx.URL(url), BODY, FORM.readers())

        yield ask


@asynccontextmanager
async def httpx_pyreqwest() -> AsyncIterator[Ask]:
    """Give httpx pyreqwest as transport."""
    from pyreqwest.compatibility.httpx import HttpxTransport

    async for ask in through_httpx(httpx.AsyncClient(transport=HttpxTransport(), timeout=60)):
        yield ask


@asynccontextmanager
async def bare_pyreqwest() -> AsyncIterator[Ask]:
    """Ask through pyreqwest without httpx."""
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def ask(url: str) -> None:
            reply = await client.post(url).body_json(BODY).build().send()
            await reply.json()

        yield ask


TRANSPORTS = {
    "aiohttp, bare": bare_aiohttp,
    "httpx + aiohttp": httpx_aiohttp,
    "harness post()": ours,
    "httpx + pyreqwest": httpx_pyreqwest,
    "pyreqwest, bare": bare_pyreqwest,
    "httpx, its own": plain_httpx,
}


async def timed(name: str, url: str, requests: int, concurrency: int) -> tuple[float, float]:
    """Requests per second and CPU seconds per 1,000 requests of one transport."""
    async with TRANSPORTS[name]() as ask:
        await asyncio.gather(*(ask(url) for _ in range(concurrency)))
        left = iter(range(requests))

        async def worker() -> None:
            for _ in left:
                await ask(url)

        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return requests / wall, cpu / requests * 1000


def measure(name: str, url: str, requests: int, concurrency: int) -> tuple[float, float] | None:
    """Run `timed` in a fresh process; None when the transport is not installed or cannot do it within a minute."""
    command = [sys.executable, "-m", "benchmarks.transports", "--one", name, "--url", url]
    command += ["--requests", str(requests), "--concurrency", str(concurrency)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        if "No module named" not in done.stderr:
            print(done.stderr, file=sys.stderr)
        return None
    rate, cpu = json.loads(done.stdout)
    return rate, cpu


def table(latency: float, requests: int, concurrency: int, runs: int) -> None:
    """Measure every transport `runs` times at one latency (seconds) and print a Markdown table of medians."""
    ours_end, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(latency, theirs), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours_end.recv()}/v1/chat/completions"
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in TRANSPORTS}
    for _ in range(runs):
        for name in TRANSPORTS:
            if (result := measure(name, url, requests, concurrency)) is not None:
                results[name].append(result)
    server.terminate()
    server.join()
    ideal = f", ideal {concurrency / latency:,.0f} requests/s" if latency else ""
    print(f"\n{requests:,} requests, concurrency {concurrency}, latency {latency * 1000:.0f} ms{ideal}, {runs} runs\n")
    print("| transport | requests/s | CPU s per 1,000 | rate / aiohttp | CPU / aiohttp |\n|---|--:|--:|--:|--:|")
    medians = {n: tuple(map(statistics.median, zip(*r, strict=True))) for n, r in results.items() if r}
    base_rate, base_cpu = medians["aiohttp, bare"]
    for name in TRANSPORTS:
        if name not in medians:
            print(f"| {name} | not measured | | | |")
            continue
        rate, cpu = medians[name]
        print(f"| {name} | {rate:,.0f} | {cpu:.2f} | {rate / base_rate:.2f} | {cpu / base_cpu:.2f} |")


def main() -> None:
    """Measure and print one table for each latency."""
    parser = argparse.ArgumentParser(description="Compare HTTP transports against a server in its own process.")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 100], metavar="MS")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=TRANSPORTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(asyncio.run(timed(given.one, given.url, given.requests, given.concurrency))))
        return
    for latency in given.latency:
        table(latency / 1000, given.requests, given.concurrency, given.runs)


if __name__ == "__main__":
    main()
