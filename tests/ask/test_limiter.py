"""How an endpoint's own words set the pace: slow down, come back later, quota used up, nobody there."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.ask.limiter import Brake, Breaker, EndpointLimiter, Gate, GiveUpAfter, Stopped, _throttler
from harness.errors import HarnessError, Quota
from tests.asking import QUICK, Pair, ask, asking, openai, prompts
from tests.loopback import FAULTS, Fault, Loopback, always, error


def limited(most: int = 8, per_minute: float | None = None, give_up: GiveUpAfter = QUICK) -> EndpointLimiter:
    return EndpointLimiter("server", Gate("server", most, per_minute, give_up, lambda line: None))


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_the_window_halves_once_in_a_round_trip_and_grows_back_to_the_limit() -> None:
    async def asking() -> None:
        opened = limited(16)
        sent = [await opened.enter() for _ in range(16)]
        for moment in sent:
            opened.throttled(moment, None, "HTTP 429")
            opened.leave()
        assert opened.window == 8, "sixteen refusals of one round trip count once"
        again = [await opened.enter() for _ in range(8)]
        opened.throttled(again[0], None, "HTTP 429")
        assert opened.window == 4
        widths = []
        for _ in range(200):
            opened.answered(5)
            widths.append(opened.window)
        assert widths == sorted(widths)
        assert widths[-1] == 16, "it never grows beyond the limit"
        assert widths[3] == pytest.approx(5, abs=0.2), "one more in each round trip"

    run(asking())


def test_the_window_never_closes() -> None:
    async def asking() -> None:
        opened = limited(4)
        for _ in range(10):
            sent = await opened.enter()
            await asyncio.sleep(0.001)
            opened.throttled(sent, None, "HTTP 429")
            opened.leave()
        assert opened.window == 1

    run(asking())


def test_a_server_that_refuses_what_exceeds_its_capacity_gets_no_more(tmp_path: Path) -> None:
    with Loopback(latency=0.02) as server:
        server.plan = lambda prompt, attempt: FAULTS["throttle"] if server._in_flight > 6 else None
        asked = ask(tmp_path, [Pair(openai(server), prompts(150), concurrency=48)])
        refused = sum(server.asked.values()) - 150
    assert asked.statuses() == {"ok": 150}
    assert asked.jobs[0].trouble == {"throttled": refused}
    # At a fixed concurrency of 48, seven of eight requests would be refused, round after round.
    assert refused < 150


def test_being_asked_to_slow_down_uses_up_no_attempt(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: error(429, "slow", Retry_After="0.01") if attempt < 7 else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(3), attempts=1)])
    assert asked.statuses() == {"ok": 3}
    assert [response.attempts for response in asked.responses["m"]] == [8, 8, 8]
    assert asked.jobs[0].trouble == {"throttled": 21}


def test_an_endpoint_that_only_asks_to_slow_down_is_given_up(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = always("throttle")
    give_up = GiveUpAfter(first_wait=0.02, longest_wait=0.05, throttled=0.5)
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(300))], give_up=give_up)
    assert asked.jobs[0].stopped is not None
    assert "server has asked to slow down for" in asked.jobs[0].stopped
    assert "429: slow down" in asked.jobs[0].stopped
    assert asked.jobs[0].answered == 0


def test_a_pause_of_a_day_stops_the_model_and_not_the_endpoint(loopback: Loopback, tmp_path: Path) -> None:
    spent = error(429, "daily quota", Retry_After="80000")
    loopback.plan = lambda prompt, attempt: spent if "quota" in prompt else None
    pairs = [
        Pair(openai(loopback), [f"quota {number}" for number in range(100)], model="spent"),
        Pair(openai(loopback), prompts(10), model="m"),
    ]
    asked = ask(tmp_path, pairs)
    assert asked.jobs[0].stopped is not None
    assert "daily quota (come back in 80000 s)" in asked.jobs[0].stopped
    assert asked.statuses("m") == {"ok": 10}


def test_retry_after_holds_back_the_whole_endpoint(loopback: Loopback, tmp_path: Path) -> None:
    arrived: list[float] = []

    def plan(prompt: str, attempt: int) -> Fault | None:
        arrived.append(time.monotonic())
        return error(429, "slow", Retry_After="0.6") if len(arrived) == 5 else None

    loopback.plan = plan
    ask(tmp_path, [Pair(openai(loopback), prompts(30), concurrency=1)])
    assert arrived[5] - arrived[4] >= 0.6
    assert len(arrived) == 31


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "600ms"}, 0.6),
        ({"x-ratelimit-remaining-tokens": "2", "x-ratelimit-reset-tokens": "0.6s"}, 0.6),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "600s"}, 0.0),
        ({"x-ratelimit-remaining-tokens": "100000", "x-ratelimit-reset-tokens": "6m0s"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0"}, 0.0),
        ({"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "soon"}, 0.0),
    ],
)
def test_a_used_up_quota_holds_back_the_whole_endpoint(
    loopback: Loopback, tmp_path: Path, headers: dict[str, str], pause: float
) -> None:
    arrived: list[float] = []
    good = (
        '{"object": "chat.completion", "model": "m", "choices": [{"index": 0, "finish_reason": "stop",'
        ' "message": {"role": "assistant", "content": "yes"}}], "usage": {"prompt_tokens": 4, "completion_tokens": 1}}'
    )

    def plan(prompt: str, attempt: int) -> Fault | None:
        arrived.append(time.monotonic())
        return Fault(200, good, headers if len(arrived) == 5 else {})

    loopback.plan = plan
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(10), concurrency=1)])
    assert asked.statuses() == {"ok": 10}
    assert arrived[5] - arrived[4] >= pause
    assert len(arrived) == 10


def test_an_endpoint_that_is_down_is_given_up(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = always("error")
    give_up = GiveUpAfter(first_wait=0.1, longest_wait=10, never_reached=1.0)
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(500), concurrency=8, attempts=1000)], give_up=give_up)
    assert asked.jobs[0].stopped is not None
    assert "server has answered nothing for" in asked.jobs[0].stopped
    assert "HTTP 500" in asked.jobs[0].stopped
    assert "500 rows stay unanswered" in asked.jobs[0].stopped
    assert asked.responses["m"] == []
    # Each of 8 workers asks once, or twice before the others have failed; then come a few single requests.
    assert sum(loopback.asked.values()) <= 2 * 8 + 5


def test_an_address_where_nothing_listens_is_given_up_soon(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connecting is refused
        server = Loopback()
        server.port = taken.getsockname()[1]
        give_up = GiveUpAfter(first_wait=0.05, never_reached=600, absent=0.2)
        asked = ask(tmp_path, [Pair(openai(server), prompts(50), attempts=1000)], give_up=give_up)
    assert "nothing listens there" in str(asked.jobs[0].stopped)


def test_an_endpoint_that_is_down_gets_single_requests_at_growing_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    opened = limited(8, give_up=GiveUpAfter(first_wait=1.0, longest_wait=4.0, down=20.0))
    monkeypatch.setattr(opened, "_wake_at", lambda when: None)
    opened.answered(5)
    sent = []
    while opened.stopped is None:
        while opened._admit():
            sent.append(now - 1000)
        while opened.in_flight:
            opened.failed("HTTP 502")
            opened.in_flight -= 1
        now += 0.5
    assert sent[:8] == [0] * 8
    assert sent[8:] == [1, 3, 7, 11, 15, 19, 23]
    assert opened.stopped == "server has answered nothing for 23 seconds (HTTP 502)"


def test_the_models_of_an_endpoint_that_is_down_have_one_request_in_flight_between_them() -> None:
    async def asking() -> None:
        gate = Gate("server", 8, None, QUICK, lambda line: None)
        one, other = EndpointLimiter("one", gate), EndpointLimiter("other", gate)
        await one.enter()
        while not gate.breaker.down:
            gate.breaker.failed("HTTP 502")
        waiting = asyncio.create_task(other.enter())
        await asyncio.sleep(2 * QUICK.first_wait)
        assert (one.in_flight, other.in_flight) == (1, 0)
        one.leave()
        await waiting

    run(asking())


def test_an_address_where_nothing_listens_is_down_also_after_an_answer_that_was_still_on_its_way() -> None:
    breaker = Breaker("server", QUICK, lambda line: None)
    breaker.failed("nothing listens")
    breaker.reachable()
    for _ in range(QUICK.failures):
        breaker.failed("nothing listens")
    assert breaker.down


def test_a_network_that_is_lost_for_a_while_costs_no_row(tmp_path: Path) -> None:
    """The server goes away for longer than all attempts of a row take, and comes back on the same address."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]

    async def going_and_coming() -> None:
        first, second = Loopback(latency=0.005), Loopback()
        serving = asyncio.create_task(first.serve(port, lambda: None))
        await asyncio.sleep(0.1)
        first.port = port
        pair = Pair(openai(first), prompts(200), attempts=2)
        run = asyncio.create_task(asking(tmp_path, [pair], give_up=GiveUpAfter(0.02, 0.1, down=60)))
        while len(first.answered) < 50:
            await asyncio.sleep(0.005)
        first._stop.set()
        await serving
        await asyncio.sleep(1.0)
        serving = asyncio.create_task(second.serve(port, lambda: None))
        asked = await run
        second._stop.set()
        await serving
        assert asked.statuses() == {"ok": 200}
        assert asked.notices[0].startswith("server fails everything (no answer")
        assert asked.notices[-1] == "server answers again"
        assert first.answered.keys() | second.answered.keys() == set(prompts(200))

    run(going_and_coming())


def test_a_stopped_endpoint_lets_no_request_through() -> None:
    async def asking() -> None:
        opened = limited(1)
        await opened.enter()
        waiting = [asyncio.create_task(opened.enter()) for _ in range(3)]
        sleeping = asyncio.create_task(opened.sleep(1000))
        await asyncio.sleep(0)
        opened.stop("enough")
        for task in (*waiting, sleeping, asyncio.create_task(opened.enter())):
            with pytest.raises(Stopped, match="enough"):
                await task
        opened.leave()
        assert opened.in_flight == 0

    run(asking())


def test_a_cancelled_wait_takes_no_place() -> None:
    async def asking() -> None:
        opened = limited(1)
        await opened.enter()
        waiting = asyncio.create_task(opened.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        opened.leave()
        assert opened.in_flight == 0
        await opened.enter()

    run(asking())


def test_first_come_first_served() -> None:
    async def asking() -> None:
        opened, order = limited(1), []

        async def one(number: int) -> None:
            await opened.enter()
            order.append(number)
            await asyncio.sleep(0)
            opened.leave()

        await asyncio.gather(*(one(number) for number in range(20)))
        assert order == list(range(20))

    run(asking())


@pytest.mark.parametrize(("per_minute", "together"), [(0.5, 1), (60.0, 1), (600.0, 1), (3500.0, 4), (6000.0, 6)])
def test_requests_are_spread_evenly_over_the_minute(
    per_minute: float, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that moves only while somebody sleeps, with many who wait at once."""
    now, begun, passed = 1000.0, 1000.0, 0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def asking() -> None:
        opened = limited(20_000, per_minute)

        async def worker() -> None:
            nonlocal passed
            while now < begun + 120:
                await opened.enter()
                passed += 1
                assert passed <= together + per_minute / 60 * (now - begun)

        await asyncio.gather(*(worker() for _ in range(20)))

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    run(asking())
    # How late the end of an interval is noticed is lost.
    assert passed >= 0.98 * 2 * per_minute


def test_after_a_pause_only_one_request_is_sent_ahead_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, entered = 1000.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    async def asking() -> None:
        opened = limited(100, 60.0)
        monkeypatch.setattr(opened, "_wake_at", lambda when: asyncio.get_running_loop().call_soon(wake, opened, when))
        opened.throttled(await opened.enter(), 30.0, "HTTP 429")

        async def one() -> None:
            entered.append(await opened.enter() - 1000)

        await asyncio.gather(*(one() for _ in range(5)))

    def wake(opened: EndpointLimiter, when: float) -> None:
        nonlocal now
        now = max(now, when)
        opened.pump()

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    run(asking())
    assert entered == pytest.approx([30, 30, 31, 32, 33], abs=0.01)


def test_a_stop_reaches_requests_that_wait_for_the_throttler() -> None:
    async def asking() -> None:
        opened = limited(8, 0.5)
        await opened.enter()
        waiting = [asyncio.create_task(opened.enter()) for _ in range(3)]
        await asyncio.sleep(0.01)
        opened.stop("enough")
        for task in waiting:
            with pytest.raises(Stopped, match="enough"):
                await task
        assert opened.in_flight == 1

    run(asking())


def test_a_cancelled_wait_lets_the_next_request_to_the_throttler() -> None:
    async def asking() -> None:
        opened = limited(8, 600.0)
        await opened.enter()
        waiting = [asyncio.create_task(opened.enter()) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await waiting[1]
        assert waiting[0].cancelled()

    run(asking())


def test_by_default_an_endpoint_that_is_down_is_probed_for_two_minutes_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    breaker = Breaker("server", GiveUpAfter(), lambda line: None)
    breaker.reachable()
    probes = []
    while (ended := breaker.failed("HTTP 502")) is None:
        if breaker.down:
            probes.append(breaker.probe_at - 1000)
        now = max(now, breaker.probe_at)
    assert probes == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5, 121.5]
    assert ended == "server has answered nothing for 2 minutes (HTTP 502)"


def test_an_error_that_the_server_answers_shows_that_the_network_is_there() -> None:
    gate = Gate("server", 8, None, QUICK, lambda line: None)
    opened = EndpointLimiter("m", gate)
    for _ in range(QUICK.failures - 1):
        opened.failed("no answer", answered=False)
    opened.failed("HTTP 500")
    opened.failed("no answer", answered=False)
    assert not gate.breaker.down


def test_a_model_in_a_pause_takes_no_turn_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that moves only while somebody sleeps: one request a second, and one model is paused for a minute."""
    now, entered = 1000.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += min(seconds, 0.01)  # whoever sleeps longer looks again: others are awake meanwhile
        await real(0)

    async def asking() -> None:
        gate = Gate("server", 100, 60.0, QUICK, lambda line: None)
        paused, other = EndpointLimiter("paused", gate), EndpointLimiter("other", gate)
        paused.throttled(now, 60.0, "HTTP 429")
        waiting = asyncio.create_task(paused.enter())
        await real(0)
        for _ in range(10):
            await other.enter()
            entered.append(now - 1000)
        assert not waiting.done()
        waiting.cancel()

    real = asyncio.sleep
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    run(asking())
    assert entered == pytest.approx(range(10), abs=0.2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still until a test moves it."""
    moved = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: moved.now)
    return moved


@dataclass
class Clock:
    now: float = 1000.0


FAST = GiveUpAfter(first_wait=1.0, longest_wait=4.0, failures=3, down=10.0, never_reached=5.0)


class TestBreaker:
    @pytest.mark.parametrize(
        ("rows", "down", "failing"),
        [
            (["a", "b"], False, 2),
            (["a", "a", "a", "a"], False, 1),  # one row may be at fault itself
            (["a", "a", "b"], True, 2),
            (["a", "a", ""], True, 2),
            (["", "", ""], True, 1),
        ],
    )
    def test_is_down_after_failures_of_more_than_one_row_or_of_none(
        self, rows: list[str], down: bool, failing: int
    ) -> None:
        breaker = Breaker("m", FAST, lambda line: None)
        for row in rows:
            breaker.failed("HTTP 500", row=row)
        assert (breaker.down, breaker.failing) == (down, failing)

    def test_a_row_fails_itself_where_others_were_answered_that_were_sent_after_it(self, clock: Clock) -> None:
        for since, down in ((1004.9, False), (1005.0, True), (1006.0, True)):
            breaker = Breaker("m", FAST, lambda line: None)
            breaker.reachable(1005.0)
            breaker.reachable(1001.0)  # an answer to an earlier one
            for row in "abc":
                breaker.failed("HTTP 500", row=row, since=since)
            assert breaker.down is down
        # While it is down every failure counts, and what is no row's fault does always.
        breaker.reachable(1007.0)
        for _ in range(3):
            breaker.failed("no answer", since=1000.0)
        assert breaker.down
        breaker.failed("HTTP 500", row="d", since=1000.0)
        assert breaker.failing == 2

    def test_says_when_it_goes_down_and_when_it_answers_again(self) -> None:
        said: list[str] = []
        breaker = Breaker("m", FAST, said.append)
        breaker.reachable()
        for number in range(5):
            breaker.failed(f"HTTP 50{number}", row=str(number))
        breaker.reachable()
        breaker.reachable()
        assert said == [
            "m fails everything (HTTP 502); trying it with single requests",
            "m answers again",
        ]

    def test_reached_is_when_what_it_answered_was_sent(self, clock: Clock) -> None:
        breaker = Breaker("m", FAST, lambda line: None)
        assert breaker.reached == 0
        breaker.reachable()
        assert breaker.reached == 1000
        breaker.reachable(1003.0)
        breaker.reachable(1002.0)
        assert breaker.reached == 1003

    @pytest.mark.parametrize(
        ("reached", "patience", "ends"),
        [(False, None, 5.0), (True, None, 10.0), (True, 2.0, 2.0), (False, 7.0, 7.0)],
    )
    def test_is_given_up_when_it_was_down_as_long_as_its_patience(
        self, clock: Clock, reached: bool, patience: float | None, ends: float
    ) -> None:
        breaker = Breaker("m", FAST, lambda line: None)
        if reached:
            breaker.reachable()
        for _ in range(5):
            assert breaker.failed("HTTP 500", patience) is None
        clock.now += ends - 0.5
        assert breaker.failed("HTTP 500", patience) is None
        clock.now += 0.5
        assert breaker.failed("HTTP 500", patience) == f"m has answered nothing for {ends:.0f} seconds (HTTP 500)"

    def test_is_given_up_after_two_single_requests_at_least(self, clock: Clock) -> None:
        breaker = Breaker("m", FAST, lambda line: None)
        breaker.failed("HTTP 500")
        clock.now += 100
        assert [breaker.failed("HTTP 500") for _ in range(3)] == [None] * 3
        assert breaker.failed("HTTP 500") == "m has answered nothing for 2 minutes (HTTP 500)"

    def test_is_tried_less_and_less_often_and_from_the_beginning_after_an_answer(self, clock: Clock) -> None:
        breaker = Breaker("m", FAST, lambda line: None)
        for _ in range(2):
            waits = []
            for _ in range(2):
                breaker.failed("HTTP 500")
                assert breaker.probe_at == 0
            for _ in range(4):
                breaker.failed("HTTP 500", 1e9)
                waits.append(breaker.probe_at - clock.now)
                breaker.failed("HTTP 500", 1e9)  # one that was in flight changes nothing
                assert breaker.probe_at - clock.now == waits[-1]
                clock.now = breaker.probe_at
            assert waits == [1, 2, 4, 4]
            breaker.reachable()
            assert not breaker.down


class TestAskedToSlowDown:
    @pytest.mark.parametrize(
        ("after", "named", "pause"),
        [(0.0, None, 0.0), (3.0, None, 3.0), (50.0, None, 4.0), (0.0, 7.0, 7.0), (50.0, 7.0, 7.0), (50.0, 0.0, 0.0)],
    )
    def test_pauses_for_the_time_named_or_as_long_as_it_was_asked(
        self, clock: Clock, after: float, named: float | None, pause: float
    ) -> None:
        opened = limited(8, give_up=FAST)
        opened.throttled(clock.now, None, "HTTP 429")
        assert opened.throttled_since == 1000
        clock.now += after
        opened.throttled(clock.now, named, "HTTP 429")
        assert opened._earliest() == clock.now + pause
        assert opened.throttled_since == 1000
        opened.answered(1)
        assert opened.throttled_since == 0

    @pytest.mark.parametrize(("named", "pause"), [(None, 0), (7.0, 7)])
    def test_of_a_rows_own_fault_waits_for_a_time_that_is_named_and_says_nothing_of_the_model(
        self, clock: Clock, named: float | None, pause: float
    ) -> None:
        opened = limited(8, give_up=GiveUpAfter(throttled=0.0, unexplained=0.0))
        opened.throttled(clock.now, named, "HTTP 429", own=True)
        assert (opened.throttled_since, opened.stopped, opened.window) == (0, None, 4)
        assert opened._earliest() == (1000 + pause if pause else 0)

    def test_never_shortens_a_pause(self, clock: Clock) -> None:
        opened = limited(8)
        opened.throttled(clock.now, 9.0, "HTTP 429")
        opened.throttled(clock.now, 2.0, "HTTP 429")
        assert opened._earliest() == 1009

    @pytest.mark.parametrize(
        ("named", "answered", "patience", "ends"),
        [
            (1.0, False, None, 900),
            (1.0, True, None, 900),
            (None, True, None, 900),
            (None, False, None, 120),
            (None, False, 50.0, 50),
            (1.0, False, 1000.0, 1000),
        ],
    )
    def test_is_given_up_in_the_end(
        self, clock: Clock, named: float | None, answered: bool, patience: float | None, ends: float
    ) -> None:
        opened = limited(8, give_up=GiveUpAfter())
        if answered:
            opened.answered(1)
        opened.throttled(clock.now, named, "HTTP 429", patience)
        clock.now += ends - 1
        opened.throttled(clock.now, named, "HTTP 429", patience)
        assert opened.stopped is None
        clock.now += 1
        opened.throttled(clock.now, named, "HTTP 429", patience)
        said = "50 seconds" if ends == 50 else f"{ends / 60:.0f} minutes"
        assert opened.stopped == f"server has asked to slow down for {said} (HTTP 429)"

    def test_shows_that_the_endpoint_is_there_and_not_that_the_model_works(self) -> None:
        opened = limited(8)
        for answered in (True, False):
            for row in "abcde":
                opened.failed("HTTP 500", answered=answered, row=row)
        assert opened._breaker.down
        assert opened._gate.breaker.down
        opened.throttled(0.0, None, "HTTP 429")
        assert opened._breaker.down
        assert not opened._gate.breaker.down

    @pytest.mark.parametrize(("most", "window", "grown"), [(8, 4.0, 4.25), (100, 50.0, 50.1), (8, 7.99, 8.0)])
    def test_the_window_grows_by_a_twentieth_or_one_request_in_a_round_trip(
        self, most: int, window: float, grown: float
    ) -> None:
        opened = limited(most)
        opened.window = window
        opened.answered(1)
        assert opened.window == pytest.approx(grown)

    def test_the_window_halves_once_for_what_was_sent_before(self, clock: Clock) -> None:
        opened = limited(3)
        opened.halve(999.0)
        opened.halve(1000.0)  # in flight when it was halved
        assert opened.window == 1.5
        opened.halve(1000.1)
        assert opened.window == 1


def test_an_answer_is_remembered_by_when_it_was_sent(clock: Clock) -> None:
    opened = limited(8)
    assert (opened.last_answered, opened.relented_at) == (0, 0)
    opened.answered(1, 950.0, relented=True)
    opened.answered(1, 940.0)
    assert (opened.last_answered, opened.relented_at) == (950, 1000)
    clock.now += 5
    opened.answered(1)
    assert (opened.last_answered, opened.relented_at) == (1005, 1000)
    assert opened._breaker.reached == opened._gate.breaker.reached == 1005


@pytest.mark.parametrize(
    ("limit", "pause"),
    [
        (Quota("requests", 0, 5.0), 5),
        (Quota("requests", 1, 5.0), None),
        (Quota("tokens", 29, 5.0), 5),
        (Quota("tokens", 30, 5.0), None),
        (Quota("requests", 0, 601.0), 600),
    ],
)
def test_a_quota_that_the_next_request_would_pass_is_waited_for(
    clock: Clock, limit: Quota, pause: float | None
) -> None:
    """A request takes as many tokens as the last that was answered with a count."""
    opened = limited(8, give_up=GiveUpAfter())
    opened.read_quota([Quota("tokens", 1, 9.0)])  # before the first answer it takes one
    assert opened._earliest() == 0
    opened.answered(30)
    opened.answered(0)
    opened.read_quota([limit])
    assert opened._earliest() == (0 if pause is None else 1000 + pause)


def test_other_models_are_asked_while_one_is_down_or_has_a_pause(clock: Clock) -> None:
    opened = limited(8, give_up=FAST)
    assert (opened.resting, opened.failing) == (False, 0)
    opened.throttled(clock.now, 5.0, "HTTP 429", own=True)
    assert opened.resting
    clock.now += 5
    assert not opened.resting
    opened.throttled(clock.now, 0.0, "HTTP 429")
    assert opened.resting
    opened.answered(1)
    for row in "abcd":
        opened.failed("HTTP 500", row=row)
    assert opened.resting
    assert opened.down
    assert opened.failing == 3, "as many as show that it is down"


def test_the_failures_of_a_model_are_its_own_and_of_connections_the_endpoints(clock: Clock) -> None:
    gate = Gate("server", 8, None, FAST, lambda line: None)
    one, other = EndpointLimiter("one", gate), EndpointLimiter("other", gate)
    for _ in range(5):
        one.failed("HTTP 500")
    clock.now += 5
    one.failed("HTTP 500", patience=6.0)
    assert one.stopped is None
    assert (one.down, other.down) == (True, False)
    clock.now += 5
    one.failed("HTTP 500")
    assert one.stopped == "one has answered nothing for 10 seconds (HTTP 500)"
    assert other.stopped is None
    for _ in range(5):
        other.failed("no answer", answered=False, absent=True)
    assert other.down
    clock.now += 10
    other.failed("no answer", answered=False, absent=True)
    assert other.stopped == "server has answered nothing for 10 seconds (no answer)"


def test_nothing_that_listens_is_given_up_soon_where_it_never_answered(clock: Clock) -> None:
    for absent, ends in ((True, 3.0), (False, 60.0)):
        opened = limited(8, give_up=GiveUpAfter())
        for _ in range(6):
            opened.failed("refused", answered=False, absent=absent)
        clock.now += ends - 0.1
        opened.failed("refused", answered=False, absent=absent)
        assert opened.stopped is None
        clock.now += 0.1
        opened.failed("refused", answered=False, absent=absent)
        assert opened.stopped == f"server has answered nothing for {ends:.0f} seconds (refused)"


def test_while_all_have_failed_a_row_that_was_not_sent_yet_comes_first(clock: Clock) -> None:
    async def asking() -> None:
        for down, order in ((True, ["fresh", "tried"]), (False, ["tried", "fresh"])):
            opened, came = limited(1, give_up=FAST), []
            await opened.enter()
            for _ in range(3 * down):
                opened.failed("HTTP 500")
            clock.now += 5

            async def one(name: str, opened: EndpointLimiter = opened, came: list[str] = came) -> None:
                await (opened.enter(fresh=True) if name == "fresh" else opened.enter())
                came.append(name)
                opened.leave()

            waiting = [asyncio.create_task(one(name)) for name in ("tried", "fresh")]
            await asyncio.sleep(0)
            opened.leave()
            await asyncio.gather(*waiting)
            assert came == order

    run(asking())


def test_a_model_that_is_down_has_one_request_in_flight(clock: Clock) -> None:
    opened = limited(8, give_up=FAST)
    for _ in range(3):
        opened.failed("HTTP 500")
    clock.now += 100
    assert [opened._admit() for _ in range(2)] == [True, False]
    opened.window = 3.9
    opened.reachable()
    assert [opened._admit() for _ in range(3)] == [True, True, False]
    assert opened.in_flight == 3


class TestBrake:
    def test_stops_all_endpoints_for_the_first_reason(self) -> None:
        brake, opened = Brake(), [limited(), limited(), limited()]
        for one in opened[:2]:
            brake.connect(one)
        opened[0].stop("down")
        error = HarnessError("full")
        assert (brake.reason, brake.error) == (None, None)
        brake.pull("the disk is full", error)
        brake.pull("enough")
        brake.connect(opened[2])
        assert (brake.reason, brake.error) == ("the disk is full", error)
        assert [one.stopped for one in opened] == ["down", "the disk is full", "the disk is full"]

    def test_counts_what_is_in_flight_and_leaves_lists(self) -> None:
        async def asking() -> None:
            brake, opened = Brake(), [limited(), limited()]
            for one in opened:
                brake.connect(one)
                await one.enter()
            await opened[1].enter()
            assert brake.in_flight() == 3
            lists = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(2)]
            for task, rows in zip(lists, (4, 5), strict=True):
                brake.connect_list(task, lambda rows=rows: rows)  # type: ignore[misc]
            assert brake.leave_lists() == 9
            await asyncio.gather(*lists, return_exceptions=True)
            assert all(task.cancelled() for task in lists)

        run(asking())


def test_by_default_it_is_as_patient_as_the_documentation_says() -> None:
    """docs/models.md: two minutes, 20 rows; the rest is what GiveUpAfter says of itself."""
    assert GiveUpAfter() == GiveUpAfter(
        first_wait=0.5, longest_wait=30, longest_pause=600, failures=5, down=120, never_reached=60, absent=3,
        throttled=900, unexplained=120, first_rows=20,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("per_minute", "together", "interval", "poll"),
    [(6.0, 1, 10.0, 0.01), (1000.0, 1, 0.06, 0.001), (1001.0, 2, 120 / 1001, 0.001), (120_000.0, 120, 0.06, 0.001)],
)
def test_requests_share_an_interval_where_a_thousand_a_minute_are_passed(
    per_minute: float, together: int, interval: float, poll: float
) -> None:
    made = _throttler(per_minute)
    assert (made.rate_limit, made.period, made.retry_interval) == (
        together,
        pytest.approx(interval),
        pytest.approx(poll),
    )
