"""What `harness serve` costs: 30 adapters at once beside one after another, and the front beside raw llama.cpp.

    python -m benchmarks.serving adapters [--rows 3] [--rounds 2] [--concurrency 1 --concurrency 8]
    python -m benchmarks.serving load [--requests 60] [--adapters 1 --adapters 30] [--concurrency 1 --concurrency 32]
    python -m benchmarks.serving front [--requests 300]
    python -m benchmarks.serving memory
    python -m benchmarks.serving start [--times 5]
    python -m benchmarks.serving hangups [--number 1000]
    python -m benchmarks.serving proofs [--slots 1 --slots 8] [--precision Q8_0]

All but `front` and `hangups` serve the shipped base with 30 adapters, copies of five. Every figure is beside another
of the same run, in turns, because what else the machine does weighs on both; CPU is that of the serving process.
`front` has a tiny base of random weights, whose answers take a few milliseconds: what the front adds shows there.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import click

from harness.ask.prepare import request_for, select_rows
from harness.models.engines.known_bases import gguf_file
from harness.models.engines.llamacpp import converted
from harness.models.entry import OpenAIModel
from harness.models.http import Transport
from harness.models.proof import Proof, prove
from harness.tasks.catalog import load_task
from tests.models import tiny_gguf

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "adapters" / "smollm2-135m"
TASKS = ("glue_sst2", "ag_news", "glue_cola", "covid", "jigsaw")
ADAPTERS = 30
BASE = "smollm2-135m"
FOUR_TOKENS = {"max_tokens": 4, "stop": [], "ignore_eos": True}


@dataclass(frozen=True)
class Front:
    """A running server: its base_url without the version, and its process."""

    address: str
    pid: int

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far, of the threads that are there."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    @property
    def megabytes(self) -> float:
        """Resident memory, shared pages counted once."""
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{self.pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) / 1000 if found else 0.0


@contextmanager
def harness(*arguments: str) -> Iterator[Front]:
    """Run `harness serve`."""
    with _process([sys.executable, "-m", "harness", "serve", "--port", "0", *arguments]) as front:
        yield front


@contextmanager
def _process(command: Sequence[str]) -> Iterator[Front]:
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.match(r"http://[^/\s]+", process.stdout.readline())
            assert found, "the server did not start"
            yield Front(found[0], process.pid)
        finally:
            process.terminate()


@contextmanager
def thirty() -> Iterator[tuple[Path, dict[str, list[dict[str, Any]]]]]:
    """A folder of 30 adapters, and the sample rows of each one's task as requests."""
    rows = {task: _bodies(task) for task in TASKS}
    with tempfile.TemporaryDirectory() as folder:
        bodies = {}
        for number in range(ADAPTERS):
            task = TASKS[number % len(TASKS)]
            name = f"{task}-{number}"
            shutil.copytree(SHIPPED / task, Path(folder) / name)
            bodies[name] = [{"model": name, **body} for body in rows[task]]
        yield Path(folder), bodies


def _bodies(task: str) -> list[dict[str, Any]]:
    file = load_task(None, task)
    _, chosen = select_rows(file, "sample", 0, None, strict=False)
    asked = [request_for(file, row) for row in islice(chosen, 12)]
    return [
        {"prompt": one.prompt, "max_tokens": one.max_tokens, "stop": list(one.stop), "temperature": 0} for one in asked
    ]


async def ask(address: str, bodies: Sequence[dict[str, Any]], concurrency: int = 1) -> list[float]:
    """Ask for completions; return the milliseconds that each took."""
    left, times = iter(bodies), []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:

        async def worker() -> None:
            for body in left:
                began = time.perf_counter()
                async with session.post(f"{address}/v1/completions", json=body) as reply:
                    found = await reply.json()
                    assert reply.status == 200, found
                times.append((time.perf_counter() - began) * 1000)

        await asyncio.gather(*(worker() for _ in range(concurrency)))
    return times


@click.group()
def command() -> None:
    """What `harness serve` costs."""


@command.command()
@click.option("--rows", type=int, default=3, show_default=True, help="Of each adapter, in a round.")
@click.option("--rounds", type=int, default=2, show_default=True)
@click.option("--concurrency", type=int, multiple=True, default=(1, 8), show_default=True)
def adapters(rows: int, rounds: int, concurrency: Sequence[int]) -> None:
    """30 adapters in turn beside one after another, each in its slot, and all in one slot."""
    with thirty() as (folder, bodies), harness("--adapters", str(folder), "--slots", str(ADAPTERS)) as front:
        asyncio.run(ask(front.address, [body for some in bodies.values() for body in some[:1]]))
        orders = {
            "in turn": [some[place] for place in range(rows) for some in bodies.values()],
            "one after another": [body for some in bodies.values() for body in some[:rows]],
        }
        with harness("--adapters", str(folder), "--slots", "1") as single:
            for number in concurrency:
                found: dict[str, list[tuple[float, float, list[float]]]] = {}
                for _ in range(rounds):
                    for name, order in orders.items():
                        found.setdefault(name, []).append(_measured(front, order, number))
                    found.setdefault("in turn, one slot", []).append(_measured(single, orders["in turn"], number))
                _show_orders(number, len(orders["in turn"]), found)


def _measured(front: Front, order: Sequence[dict[str, Any]], concurrency: int) -> tuple[float, float, list[float]]:
    """CPU seconds, seconds, and milliseconds of each request."""
    cpu, began = front.cpu, time.perf_counter()
    times = asyncio.run(ask(front.address, order, concurrency))
    return front.cpu - cpu, time.perf_counter() - began, times


def _show_orders(concurrency: int, rows: int, found: dict[str, list[tuple[float, float, list[float]]]]) -> None:
    rates = {}
    for name, rounds in found.items():
        cpu, wall = (sum(one[place] for one in rounds) for place in (0, 1))
        times = sorted(milliseconds for one in rounds for milliseconds in one[2])
        done = rows * len(rounds)
        rates[name] = done / cpu
        print(
            f"concurrency {concurrency}, {name}: {done / cpu:.2f} rows/CPU-s, {done / wall:.2f} rows/s, p50 "
            f"{statistics.median(times):.0f} ms, p99 {times[int(0.99 * (len(times) - 1))]:.0f} ms ({done} rows)"
        )
    for name in ("in turn", "in turn, one slot"):
        print(f"concurrency {concurrency}: {name} / one after another {rates[name] / rates['one after another']:.2f}")


@command.command()
@click.option("--requests", type=int, default=60, show_default=True)
@click.option("--adapters", "numbers", type=int, multiple=True, default=(1, 8, ADAPTERS), show_default=True)
@click.option("--concurrency", type=int, multiple=True, default=(1, 8, 32), show_default=True)
def load(requests: int, numbers: Sequence[int], concurrency: Sequence[int]) -> None:
    """Adapters in turn, each in its slot and all in one, beside raw llama.cpp and the base alone; four tokens each."""
    base = gguf_file(BASE, print)
    with thirty() as (folder, bodies), ExitStack() as stack:
        pinned = stack.enter_context(harness("--adapters", str(folder), "--slots", str(ADAPTERS)))
        single = stack.enter_context(harness("--adapters", str(folder), "--slots", "1"))
        files = [str(converted(folder / name, base)) for name in bodies]
        threads = str(len(os.sched_getaffinity(0)))
        raw = stack.enter_context(
            _process([sys.executable, "-m", "tests.models.llamacpp_server", threads, str(base), *files])
        )
        warm = [body for some in bodies.values() for body in some[:1]]
        for front in (pinned, single):
            asyncio.run(ask(front.address, warm))
        for number in numbers:
            names = list(bodies)[:number]
            places = range(requests)
            order = [{**bodies[names[at % number]][at // number % 12], **FOUR_TOKENS} for at in places]
            ways = {
                "each in its slot": (pinned, order),
                "all in one slot": (single, order),
                "raw llama.cpp": (raw, [{**body, "lora": _scales(at % number)} for at, body in enumerate(order)]),
                "base alone": (single, [{**body, "model": BASE} for body in order]),
            }
            for at_once in concurrency:
                found = {name: _measured(server, asked, at_once) for name, (server, asked) in ways.items()}
                _show_load(number, at_once, found)


def _scales(chosen: int) -> list[dict[str, float]]:
    return [{"id": number, "scale": float(number == chosen)} for number in range(ADAPTERS)]


def _show_load(number: int, at_once: int, found: dict[str, tuple[float, float, list[float]]]) -> None:
    raw_rate = len(found["raw llama.cpp"][2]) / found["raw llama.cpp"][0]
    for name, (cpu, wall, times) in found.items():
        rate, ordered = len(times) / cpu, sorted(times)
        print(
            f"| {number} | {at_once} | {name} | {rate:.2f} | {rate / raw_rate:.2f} | {len(times) / wall:.2f} | "
            f"{statistics.median(times):,.0f} | {ordered[int(0.99 * (len(times) - 1))]:,.0f} |",
            flush=True,
        )


@command.command()
@click.option("--requests", type=int, default=300, show_default=True)
def front(requests: int) -> None:
    """What the front adds to a request, beside llama.cpp's own server."""
    with tempfile.TemporaryDirectory() as folder:
        made = tiny_gguf.write_served(Path(folder))
        entry = {"backend": "llamacpp", "model": str(made / "tiny.gguf"), "threads": 1}
        entries = {"tiny": entry, "tuned": {**entry, "adapter": f"{folder}/adapter{{task}}"}}
        (made / "models.json").write_text(json.dumps(entries))
        raw = [sys.executable, "-m", "tests.models.llamacpp_server", "1", str(made / "tiny.gguf")]
        raw += [str(made / f"adapter{number}.gguf") for number in (1, 2)]
        own = {"prompt": "1, 2, 3, 12,", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        scales = [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}]
        with harness("--models-file", str(made / "models.json")) as ours, _process(raw) as theirs:
            ways = {"front": (ours, {**own, "model": "1"}), "raw": (theirs, {**own, "lora": scales})}
            cpu, times = dict.fromkeys(ways, 0.0), {name: list[float]() for name in ways}
            for turn in range(11):  # the first warms up
                for name, (server, body) in ways.items():
                    before = server.cpu
                    found = asyncio.run(ask(server.address, [body] * (requests // 10)))
                    if turn:
                        cpu[name] += server.cpu - before
                        times[name] += found
        number = len(times["raw"])
        per = {name: 1000 * seconds / number for name, seconds in cpu.items()}
        medians = {name: statistics.median(some) for name, some in times.items()}
        print(f"CPU a request: raw {per['raw']:.2f} ms, front +{per['front'] - per['raw']:.2f} ms ({number} requests)")
        print(f"median: raw {medians['raw']:.2f} ms, front +{medians['front'] - medians['raw']:.2f} ms")


@command.command()
def memory() -> None:
    """Memory with 30 adapters, in 30 slots of 512 tokens and in one, after each has answered."""
    with thirty() as (folder, bodies):
        for slots in (ADAPTERS, 1):
            with harness("--adapters", str(folder), "--slots", str(slots)) as front:
                before = front.megabytes
                asyncio.run(ask(front.address, [body for some in bodies.values() for body in some[:1]]))
                print(f"{slots} slots: {before:.0f} MB when ready, {front.megabytes:.0f} MB after 30 requests")


@command.command()
@click.option("--times", type=int, default=5, show_default=True)
def start(times: int) -> None:
    """Seconds from the command to the first answer of `/health`, with 30 adapters that were served before."""
    with thirty() as (folder, _):
        found = []
        for _ in range(times + 1):  # the first converts the adapters
            began = time.perf_counter()
            with harness("--adapters", str(folder)) as front:
                found.append((time.perf_counter() - began, front.cpu))
    print(f"first start: {found[0][0]:.2f} s, CPU {found[0][1]:.2f} s")
    wall, cpu = zip(*found[1:], strict=True)
    print(f"later: median {statistics.median(wall):.2f} s, CPU {statistics.median(cpu):.2f} s ({times} starts)")


@command.command()
@click.option("--slots", type=int, multiple=True, default=(1, 8), show_default=True)
@click.option("--precision", help="Of the base's weights, such as Q8_0. Default: as it is shipped.")
def proofs(slots: Sequence[int], precision: str | None) -> None:
    """The proof of each shipped adapter, against its own fingerprint and against the next adapter's."""
    names = sorted(path.parent.name for path in SHIPPED.glob("*/fingerprint.json"))
    for number in slots:
        with _base_of(precision) as given, harness("--slots", str(number), "--context", "2048", *given) as front:
            for what, shift in (("its own fingerprint", 0), ("another's", 1)):
                others = names[shift:] + names[:shift]
                found = asyncio.run(_proofs(front, dict(zip(names, others, strict=True))))
                shares = sorted(one.to_adapter / one.apart for one in found.values() if one.to_adapter and one.apart)
                counts = Counter(one.verdict for one in found.values())
                told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
                print(
                    f"{number} slots, {what}: {told}; distance {shares[0]:.3f} to {shares[-1]:.3f} of base's",
                    flush=True,
                )
                if not shift:
                    print(*(f"  {name}: {one}" for name, one in found.items() if one.verdict != "proven"), sep="\n")


@contextmanager
def _base_of(precision: str | None) -> Iterator[Sequence[str]]:
    """Options by which the base with its adapters is served in another precision."""
    if precision is None:
        yield ()
        return
    with tempfile.TemporaryDirectory() as folder:
        base, models = Path(folder) / f"{precision}.gguf", Path(folder) / "models.json"
        _convert(gguf_file(BASE, print), base, precision)
        entry = {"backend": "llamacpp", "model": str(base)}
        models.write_text(json.dumps({"base": entry, "tuned": {**entry, "adapter": f"{SHIPPED}/{{task}}"}}))
        yield "--models-file", str(models)


def _convert(source: Path, target: Path, precision: str) -> None:
    """Write a GGUF file with its matrices in another precision."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    wanted = gguf.GGMLQuantizationType[precision]
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        kind = wanted if weights.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


async def _proofs(front: Front, prints: Mapping[str, str]) -> dict[str, Proof]:
    """What the proof says of each adapter, by name, with the fingerprint of the adapter that is given."""
    found = {}
    async with Transport() as transport:
        for name, other in prints.items():
            entry = OpenAIModel(
                backend="openai", base_url=f"{front.address}/v1", model=name, fingerprint=str(SHIPPED / other)
            )
            if (one := await prove(transport, entry, name)) is not None:
                found[name] = one
    return found


@command.command()
@click.option("--number", type=int, default=1000, show_default=True)
def hangups(number: int) -> None:
    """Clients that hang up in the middle of their answer, or before it: slots that are not free afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_gguf.write_base(Path(folder) / "tiny.gguf")
        for seed in range(ADAPTERS):
            tiny_gguf.write_adapter(Path(folder) / "adapters" / f"a{seed}", seed=seed)
        entry = {"backend": "llamacpp", "model": f"{folder}/tiny.gguf", "threads": 1}
        (Path(folder) / "models.json").write_text(json.dumps({"tiny": entry}))
        given = ("--models-file", f"{folder}/models.json", "--adapters", f"{folder}/adapters")
        with harness(*given, "--max-queue", "5000") as server:
            for place in range(number):
                _hang_up(server, f"a{place % ADAPTERS}", streamed=place % 2 == 0, at_once=place % 3 == 0)
            body = {"prompt": "1 2", "max_tokens": 4, "temperature": 0}
            answered = 0
            for seed in range(ADAPTERS):
                asked = asyncio.wait_for(ask(server.address, [{**body, "model": f"a{seed}"}]), 60)
                try:
                    asyncio.run(asked)
                    answered += 1
                except TimeoutError:
                    continue
            print(f"{number} hang-ups: {ADAPTERS - answered} of {ADAPTERS} slots leaked")


def _hang_up(server: Front, model: str, *, streamed: bool, at_once: bool) -> None:
    body = {"model": model, "prompt": "ab 1 2", "max_tokens": 300, "ignore_eos": True, "stream": streamed}
    content = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2]))) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        if not at_once:
            connection.settimeout(60 if streamed else 0.005)
            with suppress(TimeoutError):
                connection.recv(100)


if __name__ == "__main__":
    command()
