"""The cap on spending: worst cases are put aside before a request is sent, and put back when it proves cheaper."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.ask.budget import Budget, CapReached
from harness.models.backend import Reply, Request
from harness.models.entry import OpenAIModel, Price
from tests.asking import Pair, ask, openai, prompts
from tests.loopback import FAULTS, Loopback
from tests.scored import scored

PRICE = Price(input=1_000_000, output=10_000_000)  # 1 USD and 10 USD a token, to reckon by hand


def entry(**settings: Any) -> OpenAIModel:
    return OpenAIModel(**{"backend": "openai", "model": "m", "base_url": "http://localhost/v1", **settings})


def request(characters: int = 30, max_tokens: int = 4) -> Request:
    return Request("jigsaw", "r1", "x" * characters, max_tokens)


def test_the_worst_case_is_the_whole_prompt_and_the_longest_answer() -> None:
    budget = Budget(None, {"m": entry(price=PRICE), "thinker": entry(price=PRICE, max_tokens=100), "free": entry()})
    assert budget.worst_case("m", request(30, 4)) == 11 + 40
    assert budget.worst_case("thinker", request(30, 4)) == 11 + 1000
    assert budget.worst_case("free", request()) == 0


def test_a_script_without_spaces_has_as_many_tokens_as_characters() -> None:
    budget = Budget(None, {"m": entry(price=PRICE)})
    assert budget.worst_case("m", Request("jigsaw", "r1", "漢" * 30, 4)) == 31 + 40


def test_a_reply_without_token_counts_costs_the_worst_case() -> None:
    budget = Budget(None, {"m": entry(price=PRICE), "free": entry()})
    assert budget.cost("m", request(), Reply("yes", input_tokens=7, output_tokens=1)) == 17
    assert budget.cost("m", request(), Reply("yes")) == budget.worst_case("m", request()) == 51
    assert budget.cost("free", request(), Reply("yes", input_tokens=7, output_tokens=1)) == 0


def test_a_batch_costs_half_and_a_vendors_price_is_known_without_being_named() -> None:
    whole = {"m": entry(price=PRICE), "listed": OpenAIModel(backend="openai", model="gpt-4-0613")}
    half = {name: model.model_copy(update={"batch": True}) for name, model in whole.items()}
    for name in whole:
        assert Budget(None, half).worst_case(name, request()) == Budget(None, whole).worst_case(name, request()) / 2 > 0


def test_a_server_paid_by_the_hour_costs_the_time_in_which_it_is_asked() -> None:
    time = 1000.0
    model = entry(gpu_per_hour=3600, timeout=60)  # 1 USD a second

    async def asking() -> None:
        nonlocal time
        budget = Budget(100.0, {"own": model, "free": entry()}, clock=lambda: time)
        assert await budget.reserve("own", 0)
        time += 10
        assert await budget.reserve("own", 0)
        time += 10
        budget.book("own", 0, 0)
        time += 10
        budget.book("own", 0, 0)
        time += 1000  # nothing is asked
        assert await budget.reserve("free", 0)
        assert budget.spent == 30
        assert await budget.reserve("own", 0)
        time += 20
        second = asyncio.create_task(budget.reserve("own", 0))
        await asyncio.sleep(0)
        assert not second.done()  # 50 are spent, and 60 may be before the deadline
        budget.book("own", 0, 0)
        budget.book("free", 0, 0)
        assert not await second

    asyncio.run(asking())


def test_a_request_waits_until_another_has_proved_cheaper() -> None:
    async def asking() -> None:
        budget = Budget(100.0)
        assert await budget.reserve("m", 60)
        second = asyncio.create_task(budget.reserve("m", 60))
        await asyncio.sleep(0)
        assert not second.done()
        budget.book("m", 60, 20)
        assert await second
        budget.book("m", 60, 60)
        assert budget.spent == 80
        assert not await budget.reserve("m", 60)
        assert await budget.reserve("m", 20)

    asyncio.run(asking())


@given(st.floats(0, 50), st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1)), max_size=40))
def test_the_cap_is_never_passed(cap: float, requests: list[tuple[float, float]]) -> None:
    async def asking() -> Budget:
        budget = Budget(cap)

        async def one(worst: float, share: float) -> None:
            if await budget.reserve("m", worst):
                await asyncio.sleep(0)
                budget.book("m", worst, worst * share)

        await asyncio.gather(*(one(worst, share) for worst, share in requests))
        return budget

    assert asyncio.run(asking()).spent <= cap * (1 + 1e-9)


def test_an_attempt_that_was_cut_off_may_have_been_charged(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["hang" if prompt == "row 0" else "error"] if attempt == 0 else None
    budget = Budget(None, {"m": entry(price=PRICE)})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(2), timeout=1.5)], budget=budget)
    assert asked.statuses() == {"ok": 2}
    answers = 2 * (2 * 1 + 1 * 10)  # each prompt has two words, each answer one
    assert budget.spent == pytest.approx(answers + (2 + 4 * 10))


def test_attempts_without_an_answer_never_pass_the_cap(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["broken"]
    worst = 2 + 4 * 10
    budget = Budget(5.5 * worst, {"m": entry(price=PRICE)})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(4))], budget=budget)
    # The model has to show first what a row costs: one is asked, as often as the cap allows.
    assert loopback.asked == {"row 0": 5}
    assert budget.spent == 5 * worst
    assert "could pass the limit" in str(asked.ended)


def test_an_attempt_that_the_server_has_not_counted_does_not_show_what_a_row_costs() -> None:
    async def asking(*, counted: bool) -> bool:
        """Whether a second row may be asked after the first one's attempt was lost."""
        budget = Budget(1000.0, {"m": entry(price=PRICE)})
        worst = budget.worst_case("m", request())
        assert await budget.reserve("m", worst, alone=True)
        assert budget.charge_lost("m", "jigsaw", worst, (1, 1), counted=counted)
        second = asyncio.create_task(budget.reserve("m", worst, alone=True))
        await asyncio.sleep(0)
        done = second.done()
        second.cancel()
        return done

    assert not asyncio.run(asking(counted=False))
    assert asyncio.run(asking(counted=True))


def test_a_server_paid_by_the_hour_that_nothing_is_asked_of_any_more_costs_nothing_ahead() -> None:
    model = entry(gpu_per_hour=3600, timeout=60)  # 1 USD a second

    async def asking() -> None:
        budget = Budget(100.0, {"one": model, "other": model}, clock=lambda: 1000.0)
        assert await budget.reserve("one", 0)
        assert not budget.fits("other", 0)
        budget.book("one", 0, 0)
        assert budget.fits("other", 0)

    asyncio.run(asking())


def test_a_run_that_its_cap_ends_is_exit_code_3() -> None:
    assert CapReached("the limit", []).exit_code == 3


class TestLearnt:
    """What a row has cost shows how far the worst cases are off."""

    def budget(self, cap: float | None = 1000.0) -> Budget:
        return Budget(cap, {"m": entry(price=PRICE), "free": entry()})

    @pytest.mark.parametrize(("tokens", "factor"), [((11, 4), 1), ((22, 8), 2), ((5, 1), 1)])
    def test_a_row_that_cost_more_makes_all_worst_cases_larger(self, tokens: tuple[int, int], factor: int) -> None:
        budget = self.budget()
        assert budget.cost("m", request(), Reply("yes", "stop", *tokens)) == PRICE.usd(*tokens)
        assert budget.lost_tokens("m", request()) == (11 * factor, 4 * factor)
        assert budget.cost("m", request(), Reply("yes")) == 51 * factor
        assert budget.fits("m", 1000 / factor)
        assert not budget.fits("m", 1000 / factor + 0.1)

    def test_the_largest_factor_stays(self) -> None:
        budget = self.budget()
        for written in (16, 8):
            budget.charge_lost("m", "jigsaw", 51.0, (44, written))
        assert budget.lost_tokens("m", request()) == (44, 16)
        budget.charge_lost("m", "jigsaw", 51.0, (4400, 1600), counted=False)
        assert budget.lost_tokens("m", request()) == (44, 16)
        assert budget.spent == PRICE.usd(4488, 1624)

    def test_what_has_no_worst_case_teaches_nothing(self) -> None:
        budget = self.budget()
        assert budget.charge_lost("m", "jigsaw", 0.0, (11, 4))
        assert budget.lost_tokens("m", request()) == (11, 4)

    def test_tokens_are_rounded_up(self) -> None:
        budget = self.budget()
        budget.cost("m", request(), Reply("yes", "stop", 12, 5))
        assert budget.lost_tokens("m", request()) == (14, 5)  # 62 / 51 of 11 and of 4

    def test_what_is_in_flight_grows_too(self) -> None:
        async def asking() -> None:
            budget = self.budget()
            assert await budget.reserve("m", 400.0)
            assert budget.fits("m", 600.0)
            assert not budget.fits("m", 600.1)
            assert budget.charge_lost("m", "jigsaw", 51.0, (11, 4))
            assert not budget.charge_lost("m", "jigsaw", 51.0, (22, 9))  # 51 + 112 spent, 400 are 878
            assert budget.spent == 51 + 112

        asyncio.run(asking())

    def test_a_model_without_a_price_costs_nothing_whatever_it_counts(self) -> None:
        budget = self.budget(cap=0.0)
        assert budget.charge_lost("free", "jigsaw", 0.0, (1000, 1000))
        assert budget.charge_lost("unknown", "jigsaw", 0.0, (1000, 1000))
        assert budget.fits("free", 0.0)
        assert budget.spent == 0

    def test_without_a_cap_everything_fits(self) -> None:
        budget = self.budget(cap=None)
        assert budget.fits("m", 1e9)
        assert budget.charge_lost("m", "jigsaw", 51.0, (10**9, 10**9))

    def test_nothing_but_the_first_row_is_asked_until_it_is_answered(self) -> None:
        async def asking(cap: float | None, worst: float, *, alone: bool) -> bool:
            budget = self.budget(cap)
            assert await budget.reserve("m", worst, alone=alone)
            second = asyncio.create_task(budget.reserve("m", worst, alone=alone))
            await asyncio.sleep(0)
            waited = not second.done()
            budget.cost("m", request(), Reply("yes", "stop", 1, 1))
            budget.book("m", worst, 1.0)
            assert await second
            third = asyncio.create_task(budget.reserve("m", worst, alone=alone))
            await asyncio.sleep(0)
            assert third.done(), "it has shown what a row costs"
            return waited

        assert asyncio.run(asking(1000.0, 51.0, alone=True))
        assert asyncio.run(asking(1000.0, 0.5, alone=True))
        assert not asyncio.run(asking(1000.0, 51.0, alone=False))
        assert not asyncio.run(asking(None, 51.0, alone=True))
        assert not asyncio.run(asking(1000.0, 0.0, alone=True))

    def test_a_model_that_counts_no_tokens_has_nothing_to_show(self) -> None:
        async def asking() -> bool:
            budget = self.budget()
            budget.cost("m", request(), Reply("yes"))
            return await budget.reserve("m", 51.0, alone=True) and await budget.reserve("m", 51.0, alone=True)

        assert asyncio.run(asking())

    def test_a_reservation_stays_until_it_is_booked_and_leaves_no_remainder(self) -> None:
        async def asking() -> None:
            budget = self.budget(cap=1.0)
            for worst in (0.1, 0.2, 0.3):
                assert await budget.reserve("m", worst)
            assert budget.fits("m", 0.375)
            assert not budget.fits("m", 0.425)
            budget.book("m", 0.3, 0.0)
            assert budget.fits("m", 0.675)
            assert not budget.fits("m", 0.725)
            budget.book("m", 0.2, 0.0)
            budget.book("m", 0.1, 0.0)
            assert budget._reserved["m"] == 0  # 0.1 + 0.2 + 0.3 less each is not

        asyncio.run(asking())


def test_only_an_answer_without_a_limit_has_no_limit_to_its_cost() -> None:
    budget = Budget(None, {"m": entry(price=PRICE), "open": entry(price=PRICE, omit=["max_tokens"])})
    assert budget.limited("m")
    assert not budget.limited("open")
    assert budget.worst_tokens("open", request(30, 4)) == budget.worst_tokens("unknown", request(30, 4)) == (11, 4)


def test_a_system_prompt_is_read_too() -> None:
    assert Budget(None, {"m": entry(system="s" * 30)}).worst_tokens("m", request(30, 4)) == (21, 4)


def test_a_price_is_looked_up_once_and_unknown_models_have_none() -> None:
    budget = Budget(None, {"m": entry(price=PRICE)})
    assert budget.price("m", "jigsaw") is budget.price("m", "jigsaw")
    assert budget.price("unknown", "jigsaw") is None


def test_why_nothing_more_is_asked() -> None:
    assert Budget(2.5, spent=2.4567).explanation() == (
        "the next request could pass the limit of 2.5 USD (2.4567 USD spent)"
    )


def test_a_server_paid_by_the_hour_may_take_its_time_for_what_is_in_flight_and_the_next() -> None:
    time = 1000.0
    own = entry(gpu_per_hour=3600, timeout=60)  # 1 USD a second

    async def asking() -> None:
        nonlocal time
        budget = Budget(100.0, {"own": own, "second": own}, clock=lambda: time)
        assert await budget.reserve("own", 0)
        assert budget.fits("own", 0)
        time += 40
        assert budget.fits("own", 0)
        time += 0.5
        assert not budget.fits("own", 0)
        assert not budget.fits("second", 0)
        budget.book("own", 0, 0)
        assert budget.spent == 40.5
        assert budget.charge_lost("own", "jigsaw", 0.0, (1, 1))

    asyncio.run(asking())


def test_the_time_between_two_requests_costs_nothing() -> None:
    time = 1000.0

    async def asking() -> None:
        nonlocal time
        budget = Budget(None, {"own": entry(gpu_per_hour=3600)}, clock=lambda: time)
        for spent in (10, 20):
            assert await budget.reserve("own", 0)
            time += 10
            budget.book("own", 0, 0)
            assert budget.spent == spent
            time += 1000

    asyncio.run(asking())


def test_a_run_that_its_cap_ends_says_so_and_holds_the_pairs_that_had_begun() -> None:
    manifests = [scored("t", "m", [1.0]).manifest]
    ended = CapReached("the limit", manifests)
    assert (str(ended), ended.manifests) == ("stopped: the limit; to resume, raise --max-usd", manifests)
