"""The gate of one endpoint: whether the next request may be sent now, given how the server has answered so far."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from asyncio_throttle.throttler import Throttler

from harness.errors import HarnessError, Quota

Notice = Callable[[str], None]


# After a setback the window grows by a twentieth of its full size in each round trip, and by one request at least.
GROWTH = 0.05
# Requests come evenly, one in each interval. Above so many a minute, a few share a longer interval: to look for the end
# of a shorter one would take more time than the interval.
EVEN = 1000
SHORTEST_POLL = 0.001


class Halted(Exception):
    """Nothing more is sent to this endpoint; the row that was to be sent stays as it is."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How much is borne before something is given up. Times are in seconds.

    Attributes:
        first_wait: Longest wait before a row's second attempt; doubled for each further one.
        longest_wait: Where the doubling ends, for rows and for the probes of an endpoint that is down.
        longest_pause: A model whose server asks for a longer pause than this is given up.
        suspicious: Failures in a row, without an answer in between, after which an endpoint counts as down.
        down: How long an endpoint may be down before it is given up.
        unheard: The same for one that has never answered anything: a wrong address more likely than a lost network.
        throttled: How long it may answer nothing but "slow down".
        hopeless: A model whose first so many rows all failed is given up.
    """

    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_pause: float = 600.0
    suspicious: int = 5
    down: float = 120.0
    unheard: float = 60.0
    throttled: float = 900.0
    hopeless: int = 20


class Gate:
    """Lets requests through to one endpoint.

    Never more than `most` are in flight; fewer for a while after the server has asked to slow down. Requests are
    spread evenly over the minute when there is a limit to their number. An endpoint that fails everything is down:
    single requests, further and further apart, find out whether it answers again.

    Args:
        name: What to call the endpoint in messages.
        most: Most requests in flight.
        per_minute: Most requests a minute; None for no limit.
        patience: When to give up.
        notice: Gets a line when the endpoint goes down or comes back.
    """

    def __init__(self, name: str, most: int, per_minute: float | None, patience: Patience, notice: Notice) -> None:
        self.in_flight = 0
        self.window = float(most)
        self.halted: str | None = None
        self._name, self._most, self._patience, self._notice = name, most, patience, notice
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waits: set[asyncio.Timeout] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pause_until = self._narrowed_at = 0.0
        self._throttler = _throttler(per_minute) if per_minute else None
        self._first_in_line = asyncio.Lock()
        self._tokens = 0
        self._heard = False
        self._failures = 0
        self._failing_since = self._throttled_since = 0.0
        self._probe_at = self._probe_wait = 0.0

    @property
    def down(self) -> bool:
        """Whether everything has failed of late."""
        return self._failures >= self._patience.suspicious

    async def enter(self) -> float:
        """Wait until a request may be sent; return the time, on the monotonic clock. `leave` must follow.

        Raises:
            Halted: the endpoint was given up, or the run stopped.
        """
        if self._throttler is None:
            await self._admitted()
        else:
            # One at a time stands at the throttler, because everyone who waits there polls. It comes before the window,
            # so that after a pause one request is sent ahead of its time, and not as many as have waited.
            async with self._first_in_line:
                await self._until_halted(self._throttler.acquire())  # type: ignore[no-untyped-call]
                await self._admitted()
        return time.monotonic()

    def leave(self) -> None:
        """A request has come back, with or without an answer."""
        self.in_flight -= 1
        self._pump()

    async def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the end.

        Raises:
            Halted: as for `enter`.
        """
        await self._until_halted(asyncio.sleep(seconds))

    def halt(self, reason: str) -> None:
        """Let nothing more through; what is in flight may still come back."""
        if self.halted is not None:
            return
        self.halted = reason
        for wait in self._waits:
            wait.reschedule(0.0)
        if self._timer:
            self._timer.cancel()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(Halted(reason))
        self._waiting.clear()

    def answered(self, tokens: int) -> None:
        """The endpoint answered well, which took so many tokens (0: not known)."""
        self._tokens = tokens or self._tokens
        self._throttled_since = 0.0
        self.alive()
        if self.window < self._most:
            self.window = min(self._most, self.window + max(1.0, GROWTH * self._most) / self.window)

    def alive(self) -> None:
        """The endpoint answered, be it with a refusal."""
        self._heard = True
        if self.down:
            self._notice(f"{self._name} answers again")
        self._failures = 0
        self._failing_since = self._probe_at = self._probe_wait = 0.0

    def slow_down(self, sent: float, retry_after: float | None, reason: str) -> None:
        """The endpoint asked to slow down in answer to a request that was sent at this time.

        Requests that were already under way when the window was halved do not halve it again.
        """
        now = time.monotonic()
        self.alive()
        self.narrow(sent)
        if retry_after:
            self._pause_until = max(self._pause_until, now + retry_after)
        self._throttled_since = self._throttled_since or now
        if now - self._throttled_since >= self._patience.throttled:
            self.halt(f"{self._name} has asked to slow down for {_minutes(now - self._throttled_since)} ({reason})")

    def narrow(self, sent: float) -> None:
        """Halve what may be in flight, at most once in a round trip."""
        if sent > self._narrowed_at:
            self.window = max(1.0, self.window / 2)
            self._narrowed_at = time.monotonic()

    def failed(self, reason: str) -> None:
        """The endpoint did not answer, or with an error of its own."""
        now = time.monotonic()
        self._failures += 1
        self._failing_since = self._failing_since or now
        if not self.down:
            return
        if self._failures == self._patience.suspicious:
            self._notice(f"{self._name} fails everything ({reason}); trying it with single requests")
        failing = now - self._failing_since
        if failing >= (self._patience.down if self._heard else self._patience.unheard):
            self.halt(f"{self._name} has answered nothing for {_minutes(failing)} ({reason})")
        elif now >= self._probe_at:
            self._probe_wait = min(2 * self._probe_wait or self._patience.first_wait, self._patience.longest_wait)
            self._probe_at = now + self._probe_wait

    def read_quota(self, quota: Iterable[Quota]) -> None:
        """Pause when an answer's headers say that the quota of requests or tokens is used up."""
        for limit in quota:
            needed = max(1, self._tokens) if limit.unit == "tokens" else 1
            if limit.remaining < needed:
                wait = min(limit.reset_s, self._patience.longest_pause)
                self._pause_until = max(self._pause_until, time.monotonic() + wait)

    async def _admitted(self) -> None:
        """Wait for a place in the window, outside all pauses, and take it."""
        if self.halted is not None:
            raise Halted(self.halted)
        if self._waiting or not self._admit():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    async def _until_halted(self, wait: Coroutine[Any, Any, None]) -> None:
        """Wait for something, but not beyond the end.

        Raises:
            Halted: as for `enter`.
        """
        limit = asyncio.timeout(None if self.halted is None else 0.0)
        try:
            async with limit:
                self._waits.add(limit)
                await wait
        except TimeoutError:
            raise Halted(self.halted or "") from None
        finally:
            self._waits.discard(limit)

    def _admit(self) -> bool:
        if self.in_flight >= (1 if self.down else int(self.window)):
            return False  # someone comes back, and lets the next through
        now = time.monotonic()
        earliest = max(self._pause_until, self._probe_at)
        if now < earliest:
            self._wake_at(earliest)
            return False
        self.in_flight += 1
        return True

    def _pump(self) -> None:
        while self._waiting and self._admit():
            turn = self._waiting.popleft()
            if turn.done():  # cancelled while it waited
                self.in_flight -= 1
            else:
                turn.set_result(None)

    def _wake_at(self, when: float) -> None:
        if self._timer:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, when - time.monotonic()), self._pump)


def _throttler(per_minute: float) -> Throttler:
    """Return what lets so many requests through in a minute, evenly."""
    together = math.ceil(per_minute / EVEN)
    interval = 60.0 * together / per_minute
    return Throttler(together, interval, max(SHORTEST_POLL, interval / 1000))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


class Brake:
    """Ends a run before its time: what is in flight still arrives and is kept, nothing more is sent."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.error: HarnessError | None = None
        self._gates: list[Gate] = []

    def connect(self, gate: Gate) -> None:
        """Let the brake hold this endpoint, too."""
        self._gates.append(gate)
        if self.reason is not None:
            gate.halt(self.reason)

    def pull(self, reason: str, error: HarnessError | None = None) -> None:
        """Stop sending, for a reason, which may be an error that the run is to end with. The first reason counts."""
        if self.reason is None:
            self.reason, self.error = reason, error
            for gate in self._gates:
                gate.halt(reason)

    def in_flight(self) -> int:
        """How many requests are still on their way."""
        return sum(gate.in_flight for gate in self._gates)
