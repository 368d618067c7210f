"""Short ways for the tests of this folder to ask a backend."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx

from harness.errors import AskError, BadReply, ModelRejected, NotUnderstood, Rejected, Throttled, Unavailable
from harness.models.backend import Backend, Reply, Request
from harness.models.http import Transport

T = TypeVar("T")

# What every backend makes of the faults of `tests.loopback`.
ERRORS: list[tuple[str, type[AskError]]] = [
    ("throttle", Throttled),
    ("error", Unavailable),
    ("drop", Unavailable),
    ("broken", BadReply),
    ("empty", NotUnderstood),
    ("invalid", Rejected),
    ("unauthorized", ModelRejected),
    ("missing", ModelRejected),
]


def _refuse(asked: httpx.Request) -> httpx.Response:
    raise AssertionError(f"{asked.url} must not be asked")


# For what is to be tested without sending anything.
NO_NETWORK = httpx.MockTransport(_refuse)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in a loop of its own that complains about nothing left behind."""
    return asyncio.run(coroutine)


def request(prompt: str = "Is it?", **changes: Any) -> Request:
    """A request for row `r1` of the task `jigsaw`."""
    return Request(**{"task": "jigsaw", "row": "r1", "prompt": prompt, "max_tokens": 4, **changes})


def ask(opened: Callable[[httpx.AsyncBaseTransport], Backend], asked: Request | None = None) -> Reply:
    """Ask one request of the backend that `opened` makes from a fresh client, with little patience."""

    async def asking() -> Reply:
        async with asyncio.timeout(2), Transport() as connection:
            backend = opened(connection)
            try:
                return await backend.ask(asked or request())
            finally:
                await backend.aclose()

    return run(asking())


async def listen(answers: list[bytes], heads: list[bytes], *, close: bool = False) -> asyncio.Server:
    """A server that keeps the heads of requests and gives its answers in turn, and may hang up after each."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                if length := re.search(rb"content-length: (\d+)", head.lower()):
                    await reader.readexactly(int(length[1]))
                writer.write(answers[min(len(heads), len(answers)) - 1])
                if close:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)
