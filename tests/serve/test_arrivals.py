"""Load in virtual time: the loop's clock jumps to the next timer, so every figure is exact."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import cycle, islice, repeat
from random import Random
from typing import Any

import pytest

from harness.errors import Throttled, Unavailable
from harness.models.backend import Reply
from harness.models.entry import Price
from harness.serve.arrivals import Ask, Heard, Load, assigned, poisson
from harness.serve.load_figures import costs, figures


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never waits: its clock is set to when the next timer is due."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self.now = 0.0
        select = self._selector.select

        def jump(timeout: float | None = None) -> Any:
            self.now += timeout or 0.0
            return select(0)

        self._selector.select = jump

    def time(self) -> float:
        return self.now


def in_virtual_time(made: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(made())


def server(latency: float = 0.1, gap: float = 0.0, tokens: int = 1, stall: tuple[float, float] | None = None) -> Ask:
    """Answers any number of requests at once; those that come within a stall wait for its end."""

    async def ask(name: str) -> Heard:
        loop = asyncio.get_running_loop()
        began = loop.time()
        if stall and stall[0] <= began < stall[1]:
            await asyncio.sleep(stall[1] - began)
        await asyncio.sleep(latency)
        parts = [loop.time() - began]
        for _ in range(tokens - 1):
            await asyncio.sleep(gap)
            parts.append(loop.time() - began)
        return Reply("x", input_tokens=10, output_tokens=tokens), parts

    return ask


def run(ask: Ask, *, clients: int = 0, rate: float = 0, seconds: float = 10, names: tuple[str, ...] = ("a",)) -> Load:
    load = Load(ask, cycle(names), timeout=30)
    drive = (lambda: load.closed(clients, seconds=seconds)) if clients else lambda: load.open(repeat(1 / rate), seconds)
    in_virtual_time(drive)
    return load


def test_the_figures_of_clients_are_those_of_the_server() -> None:
    found = figures((load := run(server(0.2, 0.05, 3), clients=4)).timed, load.lags, cpu_s=0.5)
    assert found["completed"] == 4 * 34
    assert found["request_throughput"] == pytest.approx(4 / 0.3)
    assert found["output_throughput"] == pytest.approx(12 / 0.3)
    assert found["max_concurrent_requests"] == 4
    for name, milliseconds in {"ttft": 200, "tpot": 50, "itl": 50, "e2el": 300}.items():
        for kind in ("mean", "median", "p99"):
            assert found[f"{kind}_{name}_ms"] == pytest.approx(milliseconds), (kind, name)
    assert found["generator_cpu_s_per_1000_requests"] == pytest.approx(500 / 136)
    assert found["p99_late_ms"] == pytest.approx(0, abs=1e-6)


def test_a_stall_of_two_seconds_shows_in_the_99th_percentile_of_arrivals_and_hides_from_a_client() -> None:
    stalling = server(0.01, stall=(4.0, 6.0))
    arrivals, client = run(stalling, rate=20), run(stalling, clients=1)
    of_arrivals, of_client = (figures(load.timed, load.lags, 0) for load in (arrivals, client))
    waited = [one for one in arrivals.timed if one.e2el > 0.02]
    assert len(waited) == pytest.approx(40, abs=1)
    assert of_arrivals["p99_e2el_ms"] > 1800
    assert of_client["p99_e2el_ms"] < 20


def test_arrivals_do_not_wait_for_answers_and_slow_ones_are_counted_as_failed() -> None:
    load = run(server(latency=100), rate=5, seconds=4)
    found = figures(load.timed, load.lags, 0)
    assert (found["completed"], found["failed"], found["errors"]) == (0, 19, {"timeout": 19})
    assert found["max_concurrent_requests"] == 19
    assert found["p99_e2el_ms"] is None
    assert found["request_throughput"] == 0


def test_a_request_sent_late_is_timed_from_when_it_was_due() -> None:
    async def blocking(name: str) -> Heard:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.now += 0.5  # the generator's own processor is busy for so long
        return Reply("x", output_tokens=1), [0.5]

    load = run(blocking, rate=10, seconds=1)
    assert load.lags[-1] == pytest.approx(0.4 * 8, abs=0.6)
    last = load.timed[-1]
    assert last.ttft == pytest.approx(last.sent - last.due + 0.5)
    assert last.ttft == pytest.approx(last.e2el)
    assert figures(load.timed, load.lags, 0)["p99_late_ms"] > 1000


def test_failures_are_counted_by_kind_and_stay_out_of_times() -> None:
    fails = cycle([Throttled("later"), Unavailable("gone", absent=True), None])

    async def ask(name: str) -> Heard:
        await asyncio.sleep(0.1)
        if (error := next(fails)) is not None:
            raise error
        return Reply("x", output_tokens=1), [0.1]

    found = figures((load := run(ask, clients=3, seconds=0.95)).timed, load.lags, 0)
    assert found["errors"] == {"throttled": 10, "not reached": 10}
    assert (found["completed"], found["failed"]) == (10, 20)
    assert found["p99_ttft_ms"] == pytest.approx(100)


def test_answers_in_one_piece_and_without_counts_are_told() -> None:
    async def ask(name: str) -> Heard:
        await asyncio.sleep(0.1)
        return Reply("x"), []

    found = figures((load := run(ask, clients=1, seconds=0.95)).timed, load.lags, 0)
    assert found["median_ttft_ms"] is None
    assert found["median_e2el_ms"] == pytest.approx(100)
    assert found["not_streamed"] == found["without_usage"] == found["completed"]
    assert found["total_output_tokens"] == 0


def test_switching_is_what_a_request_after_one_for_another_model_takes_more() -> None:
    last = ""

    async def ask(name: str) -> Heard:
        nonlocal last
        seconds, last = 0.1 + 0.2 * (name != last), name
        await asyncio.sleep(seconds)
        return Reply("x", output_tokens=1), [seconds]

    found = figures((load := run(ask, clients=1, names=("a", "a", "b", "b"))).timed, load.lags, 0)
    assert found["switching_ms"] == pytest.approx(200)
    alone = run(ask, clients=1, names=("a",))
    assert figures(alone.timed, alone.lags, 0)["switching_ms"] is None


@pytest.mark.parametrize(("assign", "first", "last"), [("round-robin", 1000, 1000), ("random", 1000, 1000)])
def test_models_are_asked_equally_often(assign: Any, first: int, last: int) -> None:
    found = Counter(islice(assigned(list("abcd"), assign, Random(1)), 4000))
    assert found["a"] == pytest.approx(first, rel=0.1)
    assert found["d"] == pytest.approx(last, rel=0.1)


def test_skewed_asks_the_nth_model_one_nth_as_often() -> None:
    found = Counter(islice(assigned(list("abcd"), "skewed", Random(1)), 25_000))
    assert [found[name] for name in "abcd"] == pytest.approx([12_000, 6_000, 4_000, 3_000], rel=0.05)


def test_arrivals_are_poisson() -> None:
    gaps = list(islice(poisson(4, Random(1)), 20_000))
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.25, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.03)  # of an exponential distribution they are equal


def test_costs_are_those_of_the_tokens_of_an_hour_and_the_break_even_of_a_day() -> None:
    found = {
        "total_token_throughput": 1000.0, "completed": 100, "request_throughput": 10.0,
        "total_input_tokens": 9_000, "total_output_tokens": 1_000,
    }  # fmt: skip
    made = costs(found, 3.6, Price(input=1, output=10))
    assert made["usd_per_million_tokens"] == pytest.approx(1.0)
    assert made["api_usd_per_1000_requests"] == pytest.approx(0.19)
    assert made["break_even_requests_per_day"] == pytest.approx(24 * 3.6 / 0.00019)
    assert costs({**found, "request_throughput": 5.0}, 3.6, Price(input=1, output=10))[
        "break_even_requests_per_day"
    ] is None  # fmt: skip
