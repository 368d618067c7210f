"""The attempts of one row: how long they wait, which are its own failures, and what is kept of a row that is left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tenacity import AsyncRetrying, Future, RetryCallState

from harness.ask.attempts import Attempts, Job, Limits, limits_of, prompt_was_cut
from harness.ask.budget import Budget
from harness.ask.limiter import Brake, EndpointLimiter, Gate, GiveUpAfter
from harness.errors import AskError, Throttled, Unavailable
from harness.models.backend import Reply, Request
from harness.models.entry import LoraxModel, OpenAIModel, Price
from tests.asking import Asked, Pair, ask, asking, openai, prompts
from tests.loopback import FAULTS, Loopback


def request(characters: int = 30) -> Request:
    return Request("jigsaw", "r1", "x" * characters, 4)


def waits(error: AskError, attempt: int, give_up: GiveUpAfter) -> list[float]:
    """Many waits of a row after this failed attempt."""
    limiter = EndpointLimiter("server", Gate("server", 1, None, give_up, lambda line: None))
    job = Job("t", "m", None, "server", Limits(1, None, 5, 6), iter(()), 1, print, None)  # type: ignore[arg-type]
    row = Attempts(job, "k", request(), limiter, give_up, lambda: None, lambda error: None, lambda: (1, 1))
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = Future(attempt)
    state.outcome.set_exception(error)
    return [row._wait(state) for _ in range(1000)]


@pytest.mark.parametrize(("attempt", "most"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (6, 30.0), (2000, 30.0)])
def test_the_wait_before_the_next_attempt_is_anything_up_to_a_bound_that_doubles(attempt: int, most: float) -> None:
    found = waits(Unavailable("HTTP 500"), attempt, GiveUpAfter())
    assert 0 <= min(found) < 0.05 * most
    assert 0.95 * most < max(found) <= most


def test_after_the_pause_that_a_server_asks_for_not_all_rows_return_at_once() -> None:
    found = waits(Throttled("HTTP 429", 7.0), 5, GiveUpAfter(first_wait=0.5))
    assert 0 <= min(found) < 0.05
    assert 0.45 < max(found) <= 0.5


@pytest.mark.parametrize(("characters", "read", "cut"), [(1999, 1, False), (2000, 1, True), (2000, 251, False)])
def test_only_of_a_long_prompt_a_low_count_says_that_it_was_cut(characters: int, read: int, cut: bool) -> None:
    asked = Request("jigsaw", "r1", "word " * (characters // 5) + "x" * (characters % 5), 4)
    assert prompt_was_cut(asked, Reply("yes", input_tokens=read)) is cut


def test_a_server_may_load_for_ten_minutes_unless_its_entry_says_otherwise() -> None:
    assert limits_of(LoraxModel(backend="lorax", adapter="a", base_url="http://localhost")).loading == 600
    model = OpenAIModel(backend="openai", model="m", loading_timeout=5)
    assert limits_of(model).loading == 5


@pytest.mark.parametrize("last", [1, 4])
def test_the_last_rows_of_a_model_fail_for_themselves(loopback: Loopback, tmp_path: Path, last: int) -> None:
    """So few that nothing else is asked meanwhile do not make their server look down."""
    bad = prompts(20)[-last:]
    loopback.plan = lambda prompt, attempt: FAULTS["error"] if prompt in bad else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(20), concurrency=4)], give_up=GiveUpAfter(0.01, 0.05))
    assert asked.statuses() == {"ok": 20 - last, "failed": last}
    assert [loopback.asked[prompt] for prompt in bad] == [6] * last
    assert asked.notices == []


def test_what_was_paid_for_a_row_that_a_stop_leaves_unanswered_is_recorded(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["broken"]
    budget = Budget(None, {"m": OpenAIModel(backend="openai", model="m", price=Price(input=1, output=1))})
    brake = Brake()

    async def stopped() -> Asked:
        pair = Pair(openai(loopback), prompts(1))
        running = asyncio.create_task(
            asking(tmp_path, [pair], give_up=GiveUpAfter(first_wait=1e6, longest_wait=1e6), brake=brake, budget=budget)
        )
        while not budget.spent:
            await asyncio.sleep(0.01)
        brake.pull("enough")
        return await running

    asked = asyncio.run(stopped())
    assert asked.ended == "enough"
    [found] = asked.responses["m"]
    assert (found.status, found.error) == ("failed", "enough")
    assert found.lost is not None
    assert found.lost[:2] == budget.lost_tokens("m", Request("jigsaw", "r0", "row 0", 4))


def test_what_was_paid_for_a_row_whose_model_is_then_refused_is_recorded(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["quota" if attempt else "broken"]
    budget = Budget(None, {"m": OpenAIModel(backend="openai", model="m", price=Price(input=1, output=1))})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(1))], budget=budget)
    assert "429" in str(asked.jobs[0].stopped)
    [found] = asked.responses["m"]
    assert found.lost is not None
    assert found.lost[:2] == budget.lost_tokens("m", Request("jigsaw", "r0", "row 0", 4))
