"""When requests are sent, and to which model: clients that wait for their answers, or arrivals at a rate.

Clocks are those of the running event loop. Requests that arrive at a rate are timed from when they were due: a server
that stalls is charged for all that had to wait, not only for what happened to be in flight (coordinated omission).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from random import Random
from typing import Literal

from harness.errors import AskError, BadReply, Rejected, Throttled, Unavailable
from harness.models.backend import Reply

Assign = Literal["round-robin", "random", "skewed"]
Heard = tuple[Reply, Sequence[float]]
"""An answer, and the seconds from its request to each of its parts; no parts where it came whole."""
Ask = Callable[[str], Awaitable[Heard]]
"""Asks the model of a name for one answer."""
PROBE_S = 0.01
NOT_SENT = "not sent"
"""The kind of error of a request for which this process could open no connection."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One request. `due`, `sent` and `ended` are seconds of the loop's clock, `parts` seconds from `sent`.

    `switched` says whether the request sent before it was for another model, `error` what kind of failure it met.
    """

    model: str
    due: float
    sent: float
    ended: float
    switched: bool
    parts: tuple[float, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    reason: str = ""

    @property
    def e2el(self) -> float:
        """Seconds from when it was due to the end of the answer."""
        return self.ended - self.due

    @property
    def ttft(self) -> float | None:
        """Seconds from when it was due to the first part of the answer; None where it came whole."""
        return self.sent - self.due + self.parts[0] if self.parts else None


def assigned(names: Sequence[str], assign: Assign, random: Random) -> Iterator[str]:
    """Yield for ever which model is asked next: in turn, each as often, or the n-th one 1/n as often as the first."""
    if assign == "round-robin":
        yield from cycle(names)
    weights = [1 / rank if assign == "skewed" else 1 for rank in range(1, len(names) + 1)]
    while True:
        yield from random.choices(names, weights, k=64)


def poisson(rate: float, random: Random) -> Iterator[float]:
    """Yield for ever the seconds from one arrival to the next, of `rate` a second on average."""
    while True:
        yield random.expovariate(rate)


class Load:
    """Requests to some models, whose results are collected in `timed` as they end.

    `timed` holds those that have ended, `lags` how late timers of this process went off, in seconds; a request has
    failed after `timeout` seconds.
    """

    def __init__(self, ask: Ask, names: Iterator[str], timeout: float) -> None:
        self._ask, self._names, self._timeout = ask, names, timeout
        self._last: str | None = None
        self.timed: list[Timed] = []
        self.lags: list[float] = []

    async def closed(self, clients: int, *, seconds: float = float("inf"), most: float = float("inf")) -> None:
        """Have clients ask one request after another, until the time is over or `most` were sent."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        sent = 0

        async def client() -> None:
            nonlocal sent
            while sent < most and loop.time() < end:
                sent += 1
                await self._one(loop.time())

        async with self._probed(), asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())

    async def open(self, gaps: Iterator[float], seconds: float) -> None:
        """Send requests at their times, whether others are answered or not; wait for the last answers."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        end = due + seconds
        async with asyncio.TaskGroup() as group:
            while (due := due + next(gaps)) < end:
                await asyncio.sleep(max(0.0, due - loop.time()))  # also when it is late: others have to go on
                group.create_task(self._late(due))

    async def _late(self, due: float) -> None:
        self.lags.append(asyncio.get_running_loop().time() - due)
        await self._one(due)

    async def _one(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        name = next(self._names)
        switched, self._last = self._last not in (None, name), name
        sent = loop.time()
        reply, parts = Reply(""), tuple[float, ...]()
        error, reason = None, ""
        try:
            async with asyncio.timeout(self._timeout):
                reply, heard = await self._ask(name)
                parts = tuple(heard)
        except (AskError, TimeoutError) as failed:
            error, reason = kind_of(failed), str(failed) or f"no answer within {self._timeout:g} s"
        counts = reply.input_tokens, reply.output_tokens
        self.timed.append(Timed(name, due, sent, loop.time(), switched, parts, *counts, error, reason))

    @asynccontextmanager
    async def _probed(self) -> AsyncIterator[None]:
        """Note meanwhile how late timers are: clients that wait for answers have no times of their own to miss."""
        loop = asyncio.get_running_loop()

        async def probe() -> None:
            while True:
                due = loop.time() + PROBE_S
                await asyncio.sleep(PROBE_S)
                self.lags.append(loop.time() - due)

        task = asyncio.create_task(probe())
        try:
            yield
        finally:
            task.cancel()


def kind_of(failed: AskError | TimeoutError) -> str:
    """Return in a word what kind of failure a request met."""
    match failed:
        case TimeoutError():
            return "timeout"
        case Throttled():
            return "throttled"
        case Unavailable(absent=True):
            return "not reached"
        case Unavailable():
            return NOT_SENT if _out_of_files(failed) else "unavailable"
        case BadReply():
            return "malformed"
        case Rejected():
            return "refused"
    return "failed"


def _out_of_files(failed: BaseException | None) -> bool:
    while failed is not None and getattr(failed, "errno", None) not in (errno.EMFILE, errno.ENFILE):
        failed = failed.__cause__
    return failed is not None
