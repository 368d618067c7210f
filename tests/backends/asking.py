"""Short ways for the tests of this folder to ask a backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import httpx

from harness.backends.base import Backend, Reply, Request
from harness.backends.transport import client

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in a loop of its own that complains about nothing left behind."""
    return asyncio.run(coroutine)


def request(prompt: str = "Is it?", **changes: Any) -> Request:
    """A request for row `r1` of the task `jigsaw`."""
    return Request(**{"task": "jigsaw", "row": "r1", "prompt": prompt, "max_tokens": 4, **changes})


def ask(opened: Callable[[httpx.AsyncClient], Backend], asked: Request | None = None) -> Reply:
    """Ask one request of the backend that `opened` makes from a fresh client whose patience is short."""

    async def asking() -> Reply:
        async with client(timeout=2) as connection:
            backend = opened(connection)
            try:
                return await backend.ask(asked or request())
            finally:
                await backend.aclose()

    return run(asking())
