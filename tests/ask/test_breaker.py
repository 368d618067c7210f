"""What the pace and the breakers promise, whatever a server does: generated servers on a clock of their own."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ask.attempts import Job, Limits
from harness.ask.fanout import run
from harness.ask.limiter import GiveUpAfter
from harness.errors import AskError, BadReply, NotUnderstood, Unavailable
from harness.models.backend import Reply, Request
from harness.models.http_errors import failure
from harness.store.results import Response

USUAL = GiveUpAfter()
ATTEMPTS = 6
TIMEOUT = 20.0


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: what would be waited for is added to the clock."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits, and nothing will ever happen"
            assert self.now < 10_000, "it takes hours"
            self.now += timeout
        return ready


def seconds_of(work: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """Run something in no time, on a clock that jumps to the next thing to do; return the seconds it took there."""
    clock = _Jumping()
    loop = asyncio.SelectorEventLoop(clock)
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=lambda: loop) as runner:
        patch.setattr(time, "monotonic", lambda: clock.now)
        patch.setattr(loop, "time", lambda: clock.now)
        began = clock.now
        runner.run(work())
        return clock.now - began


def lost(*, sent: bool, absent: bool = False) -> Unavailable:
    """A connection that was lost after the request was sent, or not made."""
    error = Unavailable("no answer", absent=absent)
    error.answered, error.charged = False, sent
    return error


def paid(error: BadReply) -> BadReply:
    error.charged = True
    return error


FAULTS: Mapping[str, Callable[[], AskError]] = {
    "500": lambda: failure(500, "no"),
    "503": lambda: failure(503, "busy"),
    "429": lambda: failure(429, "slow down"),
    "429, wait": lambda: failure(429, "slow down", {"Retry-After": "3"}),
    "403": lambda: failure(403, "<html>blocked</html>"),
    "400": lambda: failure(400, "too long"),
    "drop": lambda: lost(sent=True),
    "unreachable": lambda: lost(sent=False),
    "refused": lambda: lost(sent=False, absent=True),
    "broken": lambda: paid(BadReply("half an answer")),
    "garbage": lambda: paid(NotUnderstood("a page")),
}
HANG = "hang"
OWN = ("500", "503", "429", "429, wait", "403", "400", "drop", "broken", "garbage", HANG)
"""Ways in which a server may fail one row, whenever it is asked."""
PASSING = ("500", "503", "429", "429, wait", "drop", "unreachable", "refused")
"""Ways in which it may fail all for a while, without a word on any row."""


@dataclass(frozen=True)
class Outage:
    """From a time on, for some seconds, every request fails, in one of these ways after the other."""

    start: float
    seconds: float
    ways: tuple[str, ...]


@dataclass
class Server:
    """A server that fails some rows always, and all during its outages.

    Attributes:
        sent: Times at which each row was sent.
        paid: How often each row failed in a way that may have to be paid for.
        answered: Times of the answers.
        most: The largest number of requests in flight, by second.
    """

    latency: float
    own: Mapping[str, str] = field(default_factory=dict)
    outages: Sequence[Outage] = ()
    capacity: int = 1_000_000
    sent: dict[str, list[float]] = field(default_factory=dict)
    paid: Counter[str] = field(default_factory=Counter)
    answered: list[float] = field(default_factory=list)
    in_flight: int = 0
    widths: list[tuple[float, int]] = field(default_factory=list)
    identity: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 0

    def body(self, request: Request) -> Mapping[str, Any]:
        return {"prompt": request.prompt}

    async def aclose(self) -> None: ...

    async def ask(self, request: Request) -> Reply:
        now = time.monotonic() - 1000
        self.sent.setdefault(request.row, []).append(now)
        self.requests += 1
        self.in_flight += 1
        self.widths.append((now, self.in_flight))
        try:
            way = self._way(request.row, now)
            if way is None:
                await asyncio.sleep(self.latency)
                self.answered.append(time.monotonic() - 1000)
                return Reply("yes", input_tokens=3, output_tokens=1)
            if way == HANG:
                self.paid[request.row] += 1
                await asyncio.sleep(10 * TIMEOUT)
            await asyncio.sleep(min(self.latency, 0.05))
            error = FAULTS[way]()
            self.paid[request.row] += error.charged
            raise error
        finally:
            self.in_flight -= 1

    def _way(self, row: str, now: float) -> str | None:
        for outage in self.outages:
            if outage.start <= now < outage.start + outage.seconds:
                return outage.ways[self.requests % len(outage.ways)]
        if row in self.own:
            return self.own[row]
        return "429" if self.in_flight > self.capacity else None


@dataclass
class Asked:
    job: Job
    responses: dict[str, Response]
    seconds: float
    notices: list[tuple[float, str]]
    held: list[int]
    """Rows taken and not yet settled, whenever one is taken."""


def ask(server: Server, rows: int, concurrency: int, give_up: GiveUpAfter = USUAL) -> Asked:
    """Ask rows r0, r1, … of a server on the jumping clock."""
    found: dict[str, Response] = {}
    notices: list[tuple[float, str]] = []

    def save(response: Response) -> None:
        assert response.row not in found
        found[response.row] = response

    held: list[int] = []

    def requests() -> Iterator[tuple[str, Request]]:
        for number in range(rows):
            held.append(number + 1 - len(found))
            yield f"r{number}", Request("task", f"r{number}", f"row {number}", 4)

    async def finish() -> None: ...

    limits = Limits(concurrency, None, TIMEOUT, ATTEMPTS)
    job = Job("task", "m", server, "server", limits, requests(), rows, save, finish)

    async def work() -> None:
        await run(
            [job],
            lambda job, response: None,
            give_up=give_up,
            notice=lambda line: notices.append((time.monotonic() - 1000, line)),
        )

    return Asked(job, found, seconds_of(work), notices, held)


@st.composite
def bad_rows(draw: st.DrawFn, rows: int, ways: Sequence[str] = OWN) -> dict[str, str]:
    """Rows that always fail, never three in a row.

    At most two are never answered at all: with few requests in flight, others would keep all from being answered for as
    long as a server may be down. A refusal without a reason comes at most once, or it is the model's.
    """
    found: dict[str, str] = {}
    for number in sorted(draw(st.sets(st.integers(0, rows - 1), max_size=max(1, rows // 2)))):
        if not {f"r{number - 1}", f"r{number - 2}"} <= found.keys():
            before = Counter(found.values())
            left = [
                way for way in ways if not (way == "403" and before[way]) and not (way == HANG and before[way] == 2)
            ]
            found[f"r{number}"] = draw(st.sampled_from(left))
    return found


def patience(server: Server, rows: int) -> float:
    """How long a run may take: what it waits for an outage, for each row of each kind, and for each answer."""
    bad = Counter(server.own.values())
    waits = 2 * USUAL.down + sum(2 * outage.seconds for outage in server.outages)
    waits += rows * (server.latency + USUAL.first_wait) + 4 * USUAL.longest_wait
    waits += bad[HANG] * ATTEMPTS * (TIMEOUT + USUAL.longest_wait)
    waits += USUAL.throttled * ("429" in bad) + (USUAL.unexplained + 3) * bad["429, wait"]
    return waits


numbers_of_rows, concurrencies, latencies = st.integers(2, 60), st.integers(1, 8), st.sampled_from([0.02, 0.3, 3.0])


@given(st.data(), numbers_of_rows, concurrencies, latencies)
def test_a_row_that_is_served_is_answered_whatever_becomes_of_the_others(
    data: st.DataObject, rows: int, concurrency: int, latency: float
) -> None:
    server = Server(latency, data.draw(bad_rows(rows)))
    asked = ask(server, rows, concurrency)
    served = {f"r{number}" for number in range(rows)} - server.own.keys()
    assert {row for row, found in asked.responses.items() if found.status == "ok"} == served
    assert asked.job.stopped or asked.responses.keys() == served | server.own.keys()
    assert max(server.paid.values(), default=0) <= ATTEMPTS
    assert asked.seconds <= patience(server, rows)


@given(st.data(), numbers_of_rows, concurrencies, latencies)
def test_an_outage_costs_no_row_but_the_last_few(
    data: st.DataObject, rows: int, concurrency: int, latency: float
) -> None:
    """Without rows that are never answered at all: those can take the few requests that look for its end."""
    server = Server(latency, data.draw(bad_rows(rows, [way for way in OWN if way != HANG])))
    ways = data.draw(st.lists(st.sampled_from(PASSING), min_size=1, max_size=3))
    server.outages = [Outage(data.draw(st.integers(4, 30)) * latency, data.draw(st.integers(1, 45)), tuple(ways))]
    asked = ask(server, rows, concurrency)
    served = {f"r{number}" for number in range(rows)} - server.own.keys()
    answered = {row for row, found in asked.responses.items() if found.status == "ok"}
    assert answered <= served
    assert len(served - answered) < USUAL.failures
    assert max(server.paid.values(), default=0) <= ATTEMPTS
    assert asked.seconds <= patience(server, rows)


@given(
    st.data(),
    concurrencies,
    latencies,
    st.lists(st.sampled_from([*FAULTS, HANG]).filter(lambda way: way != "400"), min_size=1, max_size=3),
)
def test_a_server_that_is_down_for_good_ends_the_model_after_few_requests(
    data: st.DataObject, concurrency: int, latency: float, ways: list[str]
) -> None:
    start = data.draw(st.integers(0, 30)) * latency
    server = Server(latency, outages=[Outage(start, 1e9, tuple(ways))])
    asked = ask(server, 3000, concurrency)
    assert asked.job.stopped
    last = max((asked_at for times in server.sent.values() for asked_at in times), default=0.0)
    after = sum(asked_at >= start for times in server.sent.values() for asked_at in times)
    if "has answered nothing" in asked.job.stopped:
        assert last - max(server.answered, default=0.0) >= USUAL.absent
    named = USUAL.throttled / 3 * len(ways) if "429, wait" in ways else 0  # as the server itself has asked to be
    rows = USUAL.first_rows + concurrency + max(concurrency, USUAL.failures)
    assert after <= rows * ATTEMPTS * len(ways) + named
    assert max(server.paid.values(), default=0) <= ATTEMPTS
    assert asked.seconds <= start + 2 * USUAL.throttled * len(ways)


@given(concurrencies.filter(lambda most: most > 1), st.integers(1, 20), st.sampled_from(["429", "503"]))
def test_the_pace_recovers(concurrency: int, seconds: int, way: str) -> None:
    """Within as many answers as the window takes to grow back by one request in each round trip."""
    server = Server(0.3, outages=[Outage(3.0, seconds, (way,))])
    ask(server, 40 * concurrency + 200, concurrency)
    after = [moment for moment in server.answered if moment > 3.0 + seconds]
    grown = after[concurrency**2]
    assert max(width for moment, width in server.widths if moment <= grown) == concurrency
    assert max(width for moment, width in server.widths if after[0] < moment <= grown) == concurrency


def test_the_last_rows_end_although_the_network_was_lost_before() -> None:
    """What their server answers, even with an error, is the end of that."""
    server = Server(0.02, {"r2": "500", "r3": "500"}, [Outage(0.02, 25, ("refused",))])
    asked = ask(server, 4, 1)
    assert {row: found.status for row, found in asked.responses.items()} == {
        "r0": "ok",
        "r1": "ok",
        "r2": "failed",
        "r3": "failed",
    }
    assert len(server.sent["r2"]) <= ATTEMPTS + 10


def test_no_row_is_paid_for_again_and_again_while_the_server_is_down() -> None:
    server = Server(0.3, outages=[Outage(0.5, 1e9, ("drop",))])
    asked = ask(server, 8, 2, GiveUpAfter(longest_wait=1.0, down=1000.0))
    assert max(server.paid.values()) <= ATTEMPTS
    assert asked.seconds < 1000


@pytest.mark.parametrize("rows", [("r3",), ("r39",), ("r3", "r8", "r14", "r22", "r30")])
@pytest.mark.parametrize("named", [None, 3, 50, 300])
def test_a_row_that_alone_is_asked_to_slow_down_fails_once_it_was_asked_for_two_minutes_or_the_time_named(
    rows: tuple[str, ...], named: int | None
) -> None:
    """With a time it was asked again, and all others waited, for 15 minutes."""
    headers = {} if named is None else {"Retry-After": str(named)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAULTS, "429", lambda: failure(429, "slow down", headers))
        server = Server(0.3, dict.fromkeys(rows, "429"))
        asked = ask(server, 40, 4)
    assert {row for row, found in asked.responses.items() if found.status == "failed"} == set(rows)
    assert asked.job.stopped is None
    waited = [server.sent[row][-1] - server.sent[row][0] for row in rows]
    assert min(waited) >= max(USUAL.unexplained, named or 0)
    assert max(waited) <= USUAL.unexplained + (len(rows) + 1) * max(USUAL.longest_wait, named or 0)


def test_no_more_rows_are_taken_than_may_be_in_flight_and_as_many_again_for_those_that_wait() -> None:
    for own, least, most in (({}, 4, 4), ({f"r{number}": "broken" for number in range(0, 60, 3)}, 5, 8)):
        server = Server(0.3, own)
        asked = ask(server, 60, 4)
        assert max(width for _, width in server.widths) == 4
        assert least <= max(asked.held) <= most


def test_while_a_model_rests_only_a_few_more_of_its_rows_are_taken() -> None:
    server = Server(0.3, outages=[Outage(0.5, 60, ("429",))])
    asked = ask(server, 400, 30)
    assert 2 * 30 < max(asked.held) <= 2 * 30 + USUAL.first_rows
    assert asked.job.answered == 400


def test_a_model_that_has_its_endpoint_to_itself_has_the_name_of_it() -> None:
    down = [Outage(0.5, 30, ("500",))]
    assert [line for _, line in ask(Server(0.3, outages=down), 40, 4).notices] == [
        "server fails everything (HTTP 500: no); trying it with single requests",
        "server answers again",
    ]
