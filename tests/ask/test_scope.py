"""Whose failure it is: the row's, the model's, the endpoint's; and what an attempt that brought nothing has cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.ask.attempts import Job, Limits
from harness.ask.budget import Budget
from harness.ask.limiter import GiveUpAfter
from harness.ask.scope import refuses_all, reject, settle
from harness.errors import BadReply, Doubtful, ModelRejected
from harness.models.entry import OpenAIModel, Price
from harness.store.results import Response
from tests.asking import QUICK, Pair, ask, openai, prompts
from tests.loopback import FAULTS, Fault, Loopback, error

PRICE = Price(input=1_000_000, output=10_000_000)  # 1 USD and 10 USD a token, to reckon by hand
BLOCKED = Fault(403, "<html>Attention Required! | Cloudflare</html>")


def test_a_403_for_one_row_is_the_rows_own(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: BLOCKED if prompt == "row 17" else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(60), concurrency=4)])
    assert asked.statuses() == {"ok": 59, "failed": 1}
    assert asked.jobs[0].stopped is None
    assert loopback.asked["row 17"] == 2


def test_even_when_it_is_the_first_of_all(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: BLOCKED if prompt == "row 0" else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(20), concurrency=1)])
    assert asked.statuses() == {"ok": 19, "failed": 1}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_bare_refusal_is_passing_once(loopback: Loopback, tmp_path: Path, status: int) -> None:
    loopback.plan = lambda prompt, attempt: Fault(status, "no") if attempt == 0 and prompt != "row 5" else None
    assert ask(tmp_path, [Pair(openai(loopback), prompts(10))]).statuses() == {"ok": 10}


def test_several_rows_that_are_refused_are_the_models_failure(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: BLOCKED if int(prompt.split()[1]) >= 10 else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(500), concurrency=2)])
    assert asked.jobs[0].stopped is not None
    assert asked.statuses()["failed"] <= 5
    assert sum(loopback.asked.values()) <= 10 + 2 * 7


def test_a_key_that_never_worked_costs_a_few_requests(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: Fault(401, '{"error": "Unauthorized"}')
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(500), concurrency=4)])
    assert "401" in str(asked.jobs[0].stopped)
    assert sum(loopback.asked.values()) <= 2 * 2 * 4, "each of the workers, and of those hired while they wait, twice"


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "Your credit balance is too low to access the Anthropic API.", None),
        (200, "insufficient balance", None),
        (429, "Quota exceeded for metric: x, limit: 0", None),
        (402, "pay", None),
    ],
)
def test_a_spent_credit_stops_the_model_on_the_first_answer(
    loopback: Loopback, tmp_path: Path, status: int, message: str, code: str | None
) -> None:
    loopback.plan = lambda prompt, attempt: error(status, message, code) if len(loopback.answered) >= 20 else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(200), concurrency=1)])
    assert message in str(asked.jobs[0].stopped)
    assert sum(loopback.asked.values()) == 21


def test_a_429_that_no_waiting_helps_is_the_rows_own(loopback: Loopback, tmp_path: Path) -> None:
    large = error(429, "Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 14022.")
    loopback.plan = lambda prompt, attempt: large if prompt == "row 3" else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(10))])
    assert asked.statuses() == {"ok": 9, "failed": 1}
    assert loopback.asked["row 3"] == 1


def test_a_prompt_against_the_usage_policy_is_refused(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: (
        error(400, "Invalid prompt", "invalid_prompt") if prompt == "row 3" else None
    )
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(10))])
    assert asked.statuses() == {"ok": 9, "refused": 1}
    assert loopback.asked["row 3"] == 1


def two_models(server: Loopback, sick: Fault) -> list[Pair]:
    """A sick and a healthy model of one router; which one was asked is in the prompt."""
    server.plan = lambda prompt, attempt: sick if "sick" in prompt else None
    shared: dict[str, Any] = {"endpoint": "router", "concurrency": 4}
    return [
        Pair(openai(server, model=name), [f"{name} {number}" for number in range(60)], name, served=name, **shared)
        for name in ("sick", "well")
    ]


@pytest.mark.parametrize("fault", ["error", "throttle"])
def test_one_model_of_a_router_does_not_take_another_with_it(loopback: Loopback, tmp_path: Path, fault: str) -> None:
    give_up = GiveUpAfter(0.05, 0.2, never_reached=1.0, throttled=1.0)
    asked = ask(tmp_path, two_models(loopback, FAULTS[fault]), give_up=give_up)
    assert asked.statuses("well") == {"ok": 60}
    assert asked.jobs[1].stopped is None
    assert asked.jobs[0].stopped is not None
    assert "sick at router" in asked.jobs[0].stopped
    sick = sum(count for prompt, count in loopback.asked.items() if "sick" in prompt)
    assert sick < 60, "a few tries, not the same again and again"


def test_a_lost_network_is_everybodys(tmp_path: Path) -> None:
    with Loopback() as gone:
        pairs = two_models(gone, FAULTS["error"])
    asked = ask(tmp_path, pairs, give_up=GiveUpAfter(0.02, 0.1, never_reached=0.3))
    assert all("router has answered nothing" in str(job.stopped) for job in asked.jobs)
    assert sum("fails everything" in line for line in asked.notices) == 1


def test_a_model_that_loads_has_a_patience_of_its_own(loopback: Loopback, tmp_path: Path) -> None:
    loading = error(503, "Loading model")
    loopback.plan = lambda prompt, attempt: loading if sum(loopback.asked.values()) < 25 else None
    impatient = GiveUpAfter(0.02, 0.05, never_reached=0.1)
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(5), attempts=1)], give_up=impatient)
    assert asked.statuses() == {"ok": 5}


@pytest.mark.parametrize("fault", ["cut", "drop", "reset", "broken", "empty"])
def test_an_attempt_that_may_have_been_charged_is_booked_and_recorded(
    loopback: Loopback, tmp_path: Path, fault: str
) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS[fault] if attempt == 0 else None
    budget = Budget(None, {"m": OpenAIModel(backend="openai", model="m", price=PRICE)})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(1))], budget=budget)
    (response,) = asked.responses["m"]
    assert response.lost is not None
    assert response.lost[:2] == (2, 4), "the whole prompt, of five bytes, and the longest answer"
    assert budget.spent == pytest.approx((2 + 10) + (2 + 40))


def test_what_a_failed_answer_says_of_its_tokens_is_booked(loopback: Loopback, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1}
    failed = {"choices": [{"message": {"content": "y"}, "finish_reason": "error"}], "usage": usage}
    loopback.plan = lambda prompt, attempt: Fault(body=json.dumps(failed)) if attempt == 0 else None
    budget = Budget(None, {"m": OpenAIModel(backend="openai", model="m", price=PRICE)})
    ask(tmp_path, [Pair(openai(loopback), prompts(1))], budget=budget)
    assert budget.spent == pytest.approx((2 + 10) + (5 + 10))


def test_a_refusal_and_an_error_of_the_server_cost_nothing(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["error"] if attempt == 0 else error(400, "no", "content_filter")
    budget = Budget(None, {"m": OpenAIModel(backend="openai", model="m", price=PRICE)})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(3))], budget=budget)
    assert asked.statuses() == {"refused": 3}
    assert budget.spent == 0


def test_a_model_that_writes_more_than_its_limit_is_found_out_by_one_row(loopback: Loopback, tmp_path: Path) -> None:
    """At a cap of 3 USD, 40 rows at once would cost 40 USD: each answer takes 25 times its worst case."""
    loopback.answer = lambda prompt: " ".join(["word"] * 100)
    worst = 2 + 4 * 10
    budget = Budget(60.0 * worst, {"m": OpenAIModel(backend="openai", model="m", price=PRICE)})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(40), concurrency=40)], budget=budget, give_up=QUICK)
    assert budget.spent <= 60.0 * worst
    assert asked.jobs[0].answered == 2
    assert "could pass the limit" in str(asked.ended)


@pytest.mark.parametrize(
    ("rows", "bad", "concurrency"), [(12, {5, 6, 7}, 4), (4, {3}, 1), (60, set(range(0, 60, 7)), 4)]
)
@pytest.mark.parametrize("name", ["error", "drop"])
def test_rows_that_fail_every_time_have_failed_themselves(
    loopback: Loopback, tmp_path: Path, rows: int, bad: set[int], concurrency: int, name: str
) -> None:
    """The others are answered meanwhile, so neither the model nor its server is down."""
    loopback.plan = lambda prompt, attempt: FAULTS[name] if int(prompt.split()[1]) in bad else None
    patient = GiveUpAfter(first_wait=0.01, longest_wait=0.05, down=600.0)
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(rows), concurrency=concurrency)], give_up=patient)
    assert asked.statuses() == {"ok": rows - len(bad), "failed": len(bad)}
    assert asked.jobs[0].stopped is None
    assert all(found.error for found in asked.responses["m"] if found.status == "failed")
    if name == "error" and len(bad) < 5:
        again = ask(tmp_path, [Pair(openai(loopback), prompts(rows), concurrency=concurrency)], give_up=patient)
        assert again.jobs[0].stopped is None
        assert sum(loopback.asked[f"row {number}"] for number in bad) == 2 * 6 * len(bad)


def test_a_kept_connection_that_the_server_has_closed_costs_nothing(loopback: Loopback, tmp_path: Path) -> None:
    """It shows when the next request is sent on it, which is sent again at once and was not paid for."""
    loopback.plan = lambda prompt, attempt: FAULTS["reset"] if prompt != "row 0" and attempt == 0 else None
    model = OpenAIModel(backend="openai", model="m", price=PRICE)
    budget = Budget(None, {"m": model})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(8), concurrency=1, attempts=1)], budget=budget)
    assert asked.statuses() == {"ok": 8}
    assert [found.lost for found in asked.responses["m"]] == [None] * 8
    assert budget.spent == 8 * (2 + 10)  # each prompt has two words, each answer one


def test_the_cap_and_the_table_count_the_same_for_an_attempt_without_counts(loopback: Loopback, tmp_path: Path) -> None:
    """Also where the model was found to count more tokens in a row than reckoned."""
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
    choice = {"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
    good = Fault(body=json.dumps({"choices": [choice], "usage": usage}))
    loopback.plan = lambda prompt, attempt: FAULTS["broken"] if prompt == "row 1" and attempt == 0 else good
    budget = Budget(1e6, {"m": OpenAIModel(backend="openai", model="m", price=PRICE)})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(2), concurrency=1)], budget=budget)
    [lost] = [found.lost for found in asked.responses["m"] if found.lost]
    assert budget.spent == pytest.approx(2 * PRICE.usd(100, 1) + PRICE.usd(*lost[:2]))
    assert PRICE.usd(*lost[:2]) >= PRICE.usd(100, 1)


@pytest.mark.parametrize("page", ["<html>Please log in</html>", '"yes"', "[1, 2]", '{"a": NaN}'])
def test_what_is_whole_and_no_answer_is_paid_for_twice_at_most(loopback: Loopback, tmp_path: Path, page: str) -> None:
    loopback.plan = lambda prompt, attempt: Fault(body=page)
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(3))])
    assert asked.statuses() == {"failed": 3}
    assert set(loopback.asked.values()) == {2}


def refusals(pending: int, *, answered: int = 0, answered_before: bool = False) -> int:
    """How many bare refusals in a row a model is given up after."""
    job = Job("t", "m", None, "s", Limits(1, None, 5, 6), iter(()), pending, print, None)  # type: ignore[arg-type]
    job.answered, job.answered_before = answered, answered_before
    return next(count for count in range(1, 100) if refuses_all(job, Doubtful("HTTP 403")))


def test_a_model_is_given_up_after_two_bare_refusals_or_five_where_it_has_answered() -> None:
    assert refusals(100) == 2
    assert refusals(1) == 1, "it has no other row"
    assert refusals(100, answered=1) == refusals(100, answered_before=True) == 5


def test_an_answer_clears_a_model_of_earlier_refusals() -> None:
    job = Job("t", "m", None, "s", Limits(1, None, 5, 6), iter(()), 100, print, None)  # type: ignore[arg-type]
    for _ in range(3):
        settle(job, Response("k", "r", "ok", "yes"), 20)
        assert [refuses_all(job, Doubtful("HTTP 403")) for _ in range(4)] == [False] * 4


def made(model: str = "m", *, served: str = "", pending: int = 100, **state: Any) -> Job:
    """A job that has come so far."""
    job = Job("t", model, None, "s", Limits(1, None, 5, 6), iter(()), pending, print, None, served=served)  # type: ignore[arg-type]
    for name, value in state.items():
        setattr(job, name, value)
    return job


class TestRejected:
    def test_a_model_is_stopped_on_all_tasks_once_two_have_refused_it_and_none_has_answered(self) -> None:
        jobs = [made(), made(), made(), made("other"), made(served="adapter")]
        reject(jobs, jobs[0], "HTTP 401")
        assert [job.stopped for job in jobs] == ["HTTP 401", None, None, None, None]
        reject(jobs, jobs[0], "HTTP 403")
        assert [job.stopped for job in jobs] == ["HTTP 401", None, None, None, None]
        reject(jobs, jobs[1], "HTTP 404")
        assert [job.stopped for job in jobs] == ["HTTP 401", "HTTP 404", "HTTP 404", None, None]

    @pytest.mark.parametrize("answered", [{"answered": 1}, {"answered_before": True}])
    def test_one_that_has_answered_a_task_is_not(self, answered: dict[str, Any]) -> None:
        jobs = [made(), made(), made(**answered)]
        for job in jobs[:2]:
            reject(jobs, job, "HTTP 401")
        assert jobs[2].stopped is None

    def test_a_refusal_of_the_model_is_one_at_once_and_another_failure_never(self) -> None:
        assert refuses_all(made(answered=9), ModelRejected("HTTP 401"))
        assert not any(refuses_all(made(pending=1), BadReply("half")) for _ in range(9))


def failed(job: Job, *, status: Any = "failed") -> None:
    settle(job, Response("k", "r", status, error="no"), 20)


class TestSettled:
    def test_rows_are_counted(self) -> None:
        job = made(refused=3, unserved=4)
        failed(job)
        assert (job.settled, job.answered, job.refused, job.unserved) == (1, 0, 3, 4)
        failed(job, status="refused")
        assert (job.settled, job.answered, job.refused, job.unserved) == (2, 1, 0, 0)

    @pytest.mark.parametrize(
        ("state", "stopped"),
        [
            ({"settled": 18}, None),
            ({"settled": 19}, "the first 20 rows all failed: no"),
            ({"settled": 19, "answered": 1}, None),
            ({"settled": 19, "answered_before": True}, None),
            ({"settled": 50, "answered": 1, "unserved": 19}, None),
            ({"settled": 50, "answered": 1, "unserved": 20}, "the last 20 rows all failed: no"),
            ({"settled": 19, "stopped": "enough"}, "enough"),
        ],
    )
    def test_a_model_is_given_up_where_all_of_its_first_or_last_rows_have_failed(
        self, state: dict[str, Any], stopped: str | None
    ) -> None:
        job = made(**state)
        failed(job)
        assert job.stopped == stopped
        assert job.settled == state["settled"] + 1
