"""The cap on spending: worst cases are put aside before a request is sent, and put back when it proves cheaper."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.base import Reply, Request
from harness.spec.model import Price
from harness.spending import Budget
from tests.asking import Pair, ask, openai, prompts
from tests.loopback import FAULTS, Loopback

PRICE = Price(input=1_000_000, output=10_000_000)  # 1 USD and 10 USD a token, to reckon by hand


def request(characters: int = 30, max_tokens: int = 4) -> Request:
    return Request("jigsaw", "r1", "x" * characters, max_tokens)


def test_the_worst_case_is_the_whole_prompt_and_the_longest_answer() -> None:
    budget = Budget(None, {"m": PRICE, "thinker": PRICE}, {"thinker": 100})
    assert budget.worst("m", request(30, 4)) == 11 + 40
    assert budget.worst("thinker", request(30, 4)) == 11 + 1000
    assert budget.worst("free", request()) == 0


def test_a_reply_without_token_counts_costs_the_worst_case() -> None:
    budget = Budget(None, {"m": PRICE})
    assert budget.cost("m", request(), Reply("yes", input_tokens=7, output_tokens=1)) == 17
    assert budget.cost("m", request(), Reply("yes")) == budget.worst("m", request()) == 51
    assert budget.cost("free", request(), Reply("yes", input_tokens=7, output_tokens=1)) == 0


def test_a_request_waits_until_another_has_proved_cheaper() -> None:
    async def asking() -> None:
        budget = Budget(100.0)
        assert await budget.reserve(60)
        second = asyncio.create_task(budget.reserve(60))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(60, 20)
        assert await second
        budget.settle(60, 60)
        assert budget.spent == 80
        assert not await budget.reserve(60)
        assert await budget.reserve(20)

    asyncio.run(asking())


@given(st.floats(0, 50), st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), max_size=40))
def test_the_cap_is_never_passed(cap: float, requests: list[tuple[float, float]]) -> None:
    async def asking() -> Budget:
        budget = Budget(cap)

        async def one(worst: float, share: float) -> None:
            if await budget.reserve(worst):
                await asyncio.sleep(0)
                budget.settle(worst, worst * share)

        await asyncio.gather(*(one(worst, share) for worst, share in requests))
        return budget

    assert asyncio.run(asking()).spent <= cap * (1 + 1e-9)


def test_an_attempt_that_was_cut_off_may_have_been_charged(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["hang" if prompt == "row 0" else "error"] if attempt == 0 else None
    budget = Budget(None, {"m": PRICE})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(2), timeout=1.5)], budget=budget)
    assert asked.statuses() == {"ok": 2}
    answers = 2 * (2 * 1 + 1 * 10)  # each prompt has two words, each answer one
    assert budget.spent == pytest.approx(answers + (2 + 4 * 10))
