"""The limits of an endpoint and of each model there: whether the next request may be sent now, by how it has answered.

What a server answers, it answers for one model: pauses and failures of one model of a router, or of one adapter, do not
hold back the others. What all share is the number of requests in flight and a minute, and the network.
"""

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


class Stopped(Exception):
    """Nothing more is sent to this endpoint; the row that was to be sent stays as it is."""


@dataclass(frozen=True, slots=True)
class GiveUpAfter:
    """When a row, a model or an endpoint is given up. Times are in seconds.

    Attributes:
        first_wait: Longest wait before a row's second attempt; doubled for each further one.
        longest_wait: Where the doubling ends, for rows and for the probes of an endpoint that is down.
        longest_pause: A model whose server asks for a longer pause than this is given up.
        failures: An endpoint counts as down after so many failures in a row.
        down: How long an endpoint may be down before it is given up.
        never_reached: The same for one that has never answered: the URL is more likely wrong than the network lost.
        absent: The same where nothing listens at its address.
        throttled: How long it may answer every request with "slow down".
        unexplained: The same of a row while others are answered, where no longer time is named, and of a model that
            never answered, where none is: whatever limit there is to the requests of a minute, it is not that.
        first_rows: A model is given up when so many of its rows have failed and none was answered, at its beginning, or
            of those asked since its last answer.
    """

    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_pause: float = 600.0
    failures: int = 5
    down: float = 120.0
    never_reached: float = 60.0
    absent: float = 3.0
    throttled: float = 900.0
    unexplained: float = 120.0
    first_rows: int = 20


class Breaker:
    """Whether something fails everything, since when, and when to try it again.

    A row that fails while others are answered that were sent after it says nothing about it: the fault is its own.

    Args:
        name: Its name in messages.
        give_up: When it is given up.
        notice: Called with a line of text when it goes down or answers again.

    Attributes:
        probe_at: When the next request may be sent while it is down.
        reached: When the last request was sent that it has answered, even if with an error of the request; 0 for none.
    """

    def __init__(self, name: str, give_up: GiveUpAfter, notice: Notice) -> None:
        self.probe_at = 0.0
        self.reached = 0.0
        self._name, self._give_up, self._notice = name, give_up, notice
        self._failed: list[str] = []
        self._since = self._probe_wait = 0.0

    @property
    def down(self) -> bool:
        """Whether the last requests have all failed, those of more than one row among them."""
        failed = self._failed
        return len(failed) >= self._give_up.failures and ("" in failed or self.failing > 1)

    @property
    def failing(self) -> int:
        """The number of rows that have failed since it last answered."""
        return len(set(self._failed))

    def reachable(self, sent: float | None = None) -> None:
        """It has answered a request sent at this time (now, where none is given), even if with an error of it."""
        if self.down:
            self._notice(f"{self._name} answers again")
        self.reached = max(self.reached, time.monotonic() if sent is None else sent)
        self._failed.clear()
        self._since = self.probe_at = self._probe_wait = 0.0

    def failed(self, reason: str, patience: float | None = None, row: str = "", since: float = math.inf) -> str | None:
        """Count a failure, unless it is a row's own; return why it is to be given up, if it is.

        Args:
            reason: What the failure was.
            patience: Replaces the usual one, in seconds.
            row: Whose request has failed, "" where it is no row's fault: no connection was made, or the model loads.
            since: When the row was first sent.
        """
        was_down = self.down
        if row and since < self.reached and not was_down:
            return None
        now = time.monotonic()
        self._failed.append(row)
        self._since = self._since or now
        if not self.down:
            return None
        if not was_down:
            self._notice(f"{self._name} fails everything ({reason}); trying it with single requests")
        failing = now - self._since
        # Two single requests are tried at least, however long those took that have failed.
        tried = len(self._failed) >= self._give_up.failures + 2
        if tried and failing >= (patience or (self._give_up.down if self.reached else self._give_up.never_reached)):
            return f"{self._name} has answered nothing for {_minutes(failing)} ({reason})"
        if now >= self.probe_at:
            self._probe_wait = min(2 * self._probe_wait or self._give_up.first_wait, self._give_up.longest_wait)
            self.probe_at = now + self._probe_wait
        return None


class Gate:
    """What all models of an endpoint share.

    Args:
        name: The endpoint's name in messages.
        most: Maximum number of requests in flight.
        per_minute: Maximum number of requests a minute; None for no limit.
        give_up: When the endpoint is given up.
        notice: Called with a line of text when the endpoint goes down or answers again.
    """

    def __init__(self, name: str, most: int, per_minute: float | None, give_up: GiveUpAfter, notice: Notice) -> None:
        self.most, self.give_up, self.notice = most, give_up, notice
        self.breaker = Breaker(name, give_up, notice)
        self.throttler = _throttler(per_minute) if per_minute else None
        self.first_in_line = asyncio.Lock()
        self.lanes: list[EndpointLimiter] = []

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        return sum(lane.in_flight for lane in self.lanes)

    @property
    def room(self) -> bool:
        """Whether one more request may be in flight."""
        return self.in_flight < (1 if self.breaker.down else self.most)

    def pump(self) -> None:
        """Let through what may go."""
        for lane in self.lanes:
            lane.pump()

    def stop(self, reason: str) -> None:
        """Let no further request through."""
        for lane in self.lanes:
            lane.stop(reason)


class EndpointLimiter:
    """Lets requests through to one model of an endpoint, or to all of them where none has a limiter of its own.

    Never more than the endpoint's are in flight; fewer for a while after the server has asked to slow down. Requests
    are spread evenly over the minute when there is a limit to their number. A model that fails everything is down:
    single requests, further and further apart, find out whether it answers again.

    Args:
        name: The model's name in messages, or the endpoint's.
        gate: What it shares with other models of the endpoint.

    Attributes:
        in_flight: Requests in flight.
        window: How many may be.
        stopped: Why no more are let through.
        last_answered: When the last request was sent that has brought an answer; 0 for none.
        relented_at: When a row was last answered that had been asked to slow down.
        throttled_since: Since when it has answered nothing, but asked to slow down; 0 where it does not.
    """

    def __init__(self, name: str, gate: Gate) -> None:
        self.in_flight = 0
        self.window = float(gate.most)
        self.stopped: str | None = None
        self.last_answered = self.relented_at = self.throttled_since = 0.0
        self._name, self._gate = name, gate
        gate.lanes.append(self)
        self._breaker = Breaker(name, gate.give_up, gate.notice)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._waits: set[asyncio.Timeout] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._pause_until = self._halved_at = 0.0
        self._tokens = 0

    @property
    def down(self) -> bool:
        """Whether the last requests, of this model or of all, have all failed."""
        return self._breaker.down or self._gate.breaker.down

    @property
    def failing(self) -> int:
        """The number of rows that have failed since the last answer to any."""
        return min(self._gate.give_up.failures, max(self._breaker.failing, self._gate.breaker.failing))

    @property
    def resting(self) -> bool:
        """Whether other rows, of other models if there are any, had better be asked meanwhile."""
        return self.down or bool(self.throttled_since) or time.monotonic() < self._pause_until

    async def enter(self, *, fresh: bool = False) -> float:
        """Wait until a request may be sent; return the time on the monotonic clock. `leave` must be called afterwards.

        While all have failed, a `fresh` row that has not been sent yet comes first: those that have may be at fault.

        Raises:
            Stopped: the endpoint was given up, or the run stopped.
        """
        gate = self._gate
        if gate.throttler is None:
            await self._admitted(fresh)
            return time.monotonic()
        while True:
            # Whoever waits for a pause to end does not hold up other models.
            while len(gate.lanes) > 1 and (pause := self._earliest() - time.monotonic()) > 0:
                await self.sleep(pause)
            # Waiting at the throttler means polling, so only one request at a time does. It comes before the window:
            # after a pause one request at most is sent ahead of its time, however many have waited.
            async with gate.first_in_line:
                await self._until_stopped(gate.throttler.acquire())  # type: ignore[no-untyped-call]
                if len(gate.lanes) == 1 or self._earliest() <= time.monotonic():
                    await self._admitted(fresh)
                    return time.monotonic()

    def leave(self) -> None:
        """A request has come back, with or without an answer."""
        self.in_flight -= 1
        self._gate.pump()

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds.

        Raises:
            Stopped: as for `enter`, as soon as it happens.
        """
        await self._until_stopped(asyncio.sleep(seconds))

    def stop(self, reason: str) -> None:
        """Let no further request through; those in flight may still be answered."""
        if self.stopped is not None:
            return
        self.stopped = reason
        for wait in self._waits:
            wait.reschedule(0.0)
        if self._timer:
            self._timer.cancel()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(Stopped(reason))
        self._waiting.clear()

    def answered(self, tokens: int, sent: float | None = None, *, relented: bool = False) -> None:
        """The endpoint answered a request sent at this time (now, where none is given), with this number of tokens.

        It has `relented` when it had asked this row to slow down before.
        """
        self._tokens = tokens or self._tokens
        self.throttled_since = 0.0
        now = time.monotonic()
        self.last_answered = max(self.last_answered, now if sent is None else sent)
        self.relented_at = now if relented else self.relented_at
        self.reachable(sent)
        self.window = min(self._gate.most, self.window + max(1.0, GROWTH * self._gate.most) / self.window)

    def reachable(self, sent: float | None = None) -> None:
        """The endpoint answered a request sent at this time, even if with an error of the request."""
        self._gate.breaker.reachable(sent)
        self._breaker.reachable(sent)

    def throttled(
        self, sent: float, retry_after: float | None, reason: str, patience: float | None = None, *, own: bool = False
    ) -> None:
        """The endpoint answered a request sent at this time with "slow down"; `patience` as for `failed`.

        Requests that were already in flight when the window was halved do not halve it again. A time that the server
        names is waited for. Where it names none and answers nothing, the pause is as long as it has asked already; not
        so where it may be a row's `own` fault, which says nothing of the model either. One that fails everything is
        still down.
        """
        self._gate.breaker.reachable(sent)
        self.halve(sent)
        if retry_after is not None:
            self._pause(retry_after)
        if own:
            return
        now = time.monotonic()
        self.throttled_since = self.throttled_since or now
        throttled, give_up = now - self.throttled_since, self._gate.give_up
        if retry_after is None:
            self._pause(min(throttled, give_up.longest_wait))
        usual = give_up.throttled if retry_after is not None or self.last_answered else give_up.unexplained
        if throttled >= (patience or min(give_up.throttled, usual)):
            self.stop(f"{self._name} has asked to slow down for {_minutes(throttled)} ({reason})")

    def halve(self, sent: float) -> None:
        """Halve the number of requests that may be in flight, at most once in a round trip."""
        if sent > self._halved_at:
            self.window = max(1.0, self.window / 2)
            self._halved_at = time.monotonic()

    def failed(
        self,
        reason: str,
        sent: float | None = None,
        *,
        answered: bool = True,
        absent: bool = False,
        patience: float | None = None,
        row: str = "",
        since: float = math.inf,
    ) -> None:
        """A request sent at this time has failed: the server answered with an error, for this model, or not at all.

        `absent` says that nothing listens at its address, which soon decides where it has never answered. `patience` is
        how long it may go on, in seconds, where it is not the usual time; `row` and `since` as for `Breaker.failed`.
        """
        if answered:
            self._gate.breaker.reachable(sent)
            if (given_up := self._breaker.failed(reason, patience, row, since)) is not None:
                self.stop(given_up)
            return
        breaker, give_up = self._gate.breaker, self._gate.give_up
        soon = min(give_up.absent, give_up.never_reached) if absent and not breaker.reached else None
        if (given_up := breaker.failed(reason, soon, row, since)) is not None:
            self._gate.stop(given_up)

    def read_quota(self, quota: Iterable[Quota]) -> None:
        """Pause until the reset when an answer's headers say that the quota of requests or tokens is used up."""
        for limit in quota:
            needed = max(1, self._tokens) if limit.unit == "tokens" else 1
            if limit.remaining < needed:
                self._pause(min(limit.reset_s, self._gate.give_up.longest_pause))

    def _pause(self, seconds: float) -> None:
        self._pause_until = max(self._pause_until, time.monotonic() + seconds)

    async def _admitted(self, fresh: bool) -> None:
        """Wait until there is room in the window and no pause, and take a place."""
        if self.stopped is not None:
            raise Stopped(self.stopped)
        if self._waiting or not self._admit():
            turn = asyncio.get_running_loop().create_future()
            if fresh and self.down:
                self._waiting.appendleft(turn)
            else:
                self._waiting.append(turn)
            await turn

    async def _until_stopped(self, wait: Coroutine[Any, Any, None]) -> None:
        """Wait for something until the endpoint is stopped.

        Raises:
            Stopped: as for `enter`, as soon as it happens.
        """
        limit = asyncio.timeout(None if self.stopped is None else 0.0)
        try:
            async with limit:
                self._waits.add(limit)
                await wait
        except TimeoutError:
            raise Stopped(self.stopped or "") from None
        finally:
            self._waits.discard(limit)

    def _earliest(self) -> float:
        """When the next request may be sent, by the pauses."""
        return max(self._pause_until, self._breaker.probe_at, self._gate.breaker.probe_at)

    def _admit(self) -> bool:
        if self.in_flight >= (1 if self._breaker.down else int(self.window)) or not self._gate.room:
            return False  # the next that leaves lets one in
        earliest = self._earliest()
        if time.monotonic() < earliest:
            self._wake_at(earliest)
            return False
        self.in_flight += 1
        return True

    def pump(self) -> None:
        """Let through what has waited and may go."""
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
        self._timer = loop.call_later(max(0.0, when - time.monotonic()), self.pump)


def _throttler(per_minute: float) -> Throttler:
    """Return a throttler that lets this number of requests through in a minute, evenly spaced."""
    together = math.ceil(per_minute / EVEN)
    interval = 60.0 * together / per_minute
    return Throttler(together, interval, max(SHORTEST_POLL, interval / 1000))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


class Brake:
    """Ends a run early: requests in flight are still answered and kept, nothing more is sent."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.error: HarnessError | None = None
        self._limiters: list[EndpointLimiter] = []
        self._lists: dict[asyncio.Task[None], Callable[[], int]] = {}

    def connect(self, limiter: EndpointLimiter) -> None:
        """Let the brake stop this endpoint, too."""
        self._limiters.append(limiter)
        if self.reason is not None:
            limiter.stop(self.reason)

    def pull(self, reason: str, error: HarnessError | None = None) -> None:
        """Stop sending, for a reason, which may be an error that the run is to end with. The first reason counts."""
        if self.reason is None:
            self.reason, self.error = reason, error
            for limiter in self._limiters:
                limiter.stop(reason)

    def connect_list(self, task: asyncio.Task[None], rows: Callable[[], int]) -> None:
        """Let the brake cancel a task that waits for the answers to a list; `rows` counts those still to come."""
        self._lists[task] = rows

    def leave_lists(self) -> int:
        """Stop waiting for the answers to lists, which the next run collects; return how many are still to come."""
        left = sum(rows() for rows in self._lists.values())
        for task in self._lists:
            task.cancel()
        return left

    def in_flight(self) -> int:
        """How many requests are in flight, beside those in lists."""
        return sum(limiter.in_flight for limiter in self._limiters)
