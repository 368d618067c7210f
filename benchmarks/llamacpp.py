"""How fast, and how like transformers, the shipped base and its adapters answer in this process.

    python -m benchmarks.llamacpp speed --data DIR [--task ag_news] [--rows 200]
    python -m benchmarks.llamacpp equality --data DIR [--task glue_sst2 …] [--rows 100]

`speed` sets `backend: llamacpp` beside llama.cpp's own server, asked over HTTP: the same rows, adapter and threads,
in turns of 25 rows, loading not counted. `equality` counts the answers that transformers and PEFT give, too, on the
dequantised weights, and prints each that differs; it needs the extra `local`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click
import httpx

from harness.ask.prepare import request_for, select_rows
from harness.models.backend import Request
from harness.models.engines.decoding import DecodedAnswer, Query, answer
from harness.models.engines.gguf import base_folder, shape_of, write_adapter
from harness.models.engines.known_bases import gguf_file
from harness.models.engines.llamacpp import LlamaCpp
from harness.tasks.catalog import load_task
from tests.models.llamacpp_server import serving

BASE = "smollm2-135m"
ADAPTERS = Path(__file__).parents[1] / "adapters" / BASE
TURN = 25

_data = click.option("--data", required=True, help="Folder of a mirror.")
_threads = click.option("--threads", type=int, default=os.cpu_count(), show_default=True)


@click.group()
def command() -> None:
    """The shipped base in this process."""


@command.command()
@_data
@_threads
@click.option("--task", default="ag_news", show_default=True)
@click.option("--rows", type=int, default=200, show_default=True)
def speed(data: str, threads: int, task: str, rows: int) -> None:
    """Rows a second, in this process and over HTTP."""
    requests = _requests(task, data, rows)
    base, folder = gguf_file(BASE, print), ADAPTERS / task
    ours = LlamaCpp(BASE, threads)
    with (
        tempfile.TemporaryDirectory() as place,
        _served(base, folder, Path(place) / "adapter.gguf", threads) as address,
        httpx.Client(timeout=600) as client,
    ):
        asyncio.run(ours.ask(str(folder), _query(requests[0])))
        _post(client, address, requests[0])
        spent = {"in this process": 0.0, "llama.cpp's server": 0.0}
        answers: dict[str, list[str]] = {name: [] for name in spent}
        for start in range(0, len(requests), TURN):
            turn = requests[start : start + TURN]
            began = time.perf_counter()
            answers["in this process"] += [asyncio.run(ours.ask(str(folder), _query(one))).text for one in turn]
            between = time.perf_counter()
            answers["llama.cpp's server"] += [_post(client, address, one) for one in turn]
            spent["in this process"] += between - began
            spent["llama.cpp's server"] += time.perf_counter() - between
    ours.close()
    same = sum(one == other for one, other in zip(*answers.values(), strict=True))
    for name, seconds in spent.items():
        print(f"{name}: {len(requests) / seconds:.2f} rows/s")
    ratio = spent["in this process"] / spent["llama.cpp's server"]
    print(f"time, ours / server's: {ratio:.2f}; same answers: {same} of {len(requests)}; {threads} threads")


@command.command()
@_data
@_threads
@click.option("--task", "tasks", multiple=True, default=("glue_sst2", "ag_news"), show_default=True)
@click.option("--rows", type=int, default=100, show_default=True)
def equality(data: str, threads: int, tasks: Sequence[str], rows: int) -> None:
    """Answers that transformers and PEFT give, too."""
    import torch

    from harness.models.engines.transformers import TransformersEngine

    torch.set_num_threads(threads)
    plain, ours = TransformersEngine(str(base_folder(BASE, print))), LlamaCpp(BASE, threads)
    for task in tasks:
        adapter = str(ADAPTERS / task)
        same = 0
        requests = _requests(task, data, rows)
        for one in requests:
            [expected] = answer(plain, adapter, [_query(one)])
            found = asyncio.run(ours.ask(adapter, _query(one)))
            text = expected.text if isinstance(expected, DecodedAnswer) else repr(expected)
            if found.text == text:
                same += 1
            else:
                print(f"{task}, {one.row}: llama.cpp {found.text!r}, transformers {text!r}")
        print(f"{task}: {same} of {len(requests)} answers are the same")
    ours.close()


def _served(base: Path, adapter: Path, converted: Path, threads: int) -> AbstractContextManager[str]:
    write_adapter(adapter, shape_of(base), converted)
    return serving(base, [converted], threads)


def _requests(task: str, data: str, rows: int) -> list[Request]:
    file = load_task(None, task)
    _, chosen = select_rows(file, data, 0, rows, strict=True)
    return [request_for(file, row) for row in chosen]


def _query(asked: Request) -> Query:
    return Query(asked.prompt, asked.max_tokens, asked.stop)


def _post(client: httpx.Client, address: str, asked: Request) -> str:
    body = {
        "prompt": asked.prompt, "max_tokens": asked.max_tokens, "stop": list(asked.stop), "temperature": 0,
        "lora": [{"id": 0, "scale": 1.0}],
    }  # fmt: skip
    return str(client.post(f"{address}/v1/completions", json=body).raise_for_status().json()["choices"][0]["text"])


if __name__ == "__main__":
    command()
