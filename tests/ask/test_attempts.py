"""The attempts of one row: how long they wait, which are its own failures, and what is kept of a row that is left."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tenacity import AsyncRetrying, Future, RetryCallState

from harness.ask.attempts import (
    Attempts,
    Job,
    Limits,
    answer,
    endpoint_limits,
    failure,
    limits_of,
    now,
    prompt_was_cut,
)
from harness.ask.budget import Budget
from harness.ask.limiter import Brake, EndpointLimiter, Gate, GiveUpAfter, Stopped
from harness.errors import (
    AskError,
    BadReply,
    Doubtful,
    ModelRejected,
    NotUnderstood,
    Quota,
    Rejected,
    Throttled,
    Unavailable,
)
from harness.models.backend import Reply, Request
from harness.models.entry import LoraxModel, OpenAIModel, Price
from tests.ask.test_breaker import seconds_of
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


class Scripted:
    """A backend whose answers to one row are given one after the other, an error in place of one that failed."""

    identity: ClassVar = {"backend": "scripted"}

    def __init__(self, *outcomes: Reply | AskError) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[float] = []

    def body(self, request: Request) -> dict[str, str]:
        return {"prompt": request.prompt}

    async def ask(self, request: Request) -> Reply:
        self.asked.append(time.monotonic() - 1000)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, AskError):
            raise outcome
        return outcome

    async def aclose(self) -> None: ...


@dataclass
class Tried:
    """What came of one row on a clock that jumps."""

    row: Attempts
    job: Job
    limiter: EndpointLimiter
    asked: list[float]
    reply: Reply | None
    error: Exception | None
    idle: int
    lost: list[AskError]


def tried(
    *outcomes: Reply | AskError, pending: int = 100, before: Callable[[EndpointLimiter, Job], None] | None = None,
    give_up: GiveUpAfter | None = None, **job: Any,
) -> Tried:  # fmt: skip
    """Ask a row that is answered in this way, by a model with many other rows."""
    give_up = give_up or GiveUpAfter()
    backend = Scripted(*outcomes)
    limiter = EndpointLimiter("server", Gate("server", 4, None, give_up, lambda line: None))
    made = Job("t", "m", backend, "server", Limits(4, None, 20.0, 3), iter(()), pending, print, None, **job)  # type: ignore[arg-type]
    idle, lost = [], []  # type: ignore[var-annotated]
    row = Attempts(made, "k", request(), limiter, give_up, lambda: idle.append(1), lost.append, lambda: (7, 4))
    found: list[Any] = [None, None]

    async def work() -> None:
        if before:
            before(limiter, made)
        try:
            found[0] = await row.ask()
        except Exception as error:  # noqa: BLE001
            found[1] = error

    seconds_of(work)
    return Tried(row, made, limiter, backend.asked, found[0], found[1], len(idle), lost)


YES = Reply("yes", input_tokens=3, output_tokens=2)


def charged(error: AskError, usage: tuple[int, int] | None = None) -> AskError:
    error.charged, error.usage = True, usage
    return error


def later_answered(limiter: EndpointLimiter, job: Job) -> None:
    """A row that was sent after this one, and has been answered already."""
    limiter.answered(1, time.monotonic() + 1e6)


def earlier_answered(limiter: EndpointLimiter, job: Job) -> None:
    """Only rows that were sent before this one have been answered."""
    limiter.last_answered = 1.0


class TestOneRow:
    def test_is_asked_once_where_it_is_answered(self) -> None:
        found = tried(YES)
        assert (found.reply, found.row.attempts, found.row.lost, found.idle) == (YES, 1, None, 0)
        assert found.limiter.in_flight == 0
        assert found.limiter._tokens == 5
        assert found.job.trouble == {}

    @pytest.mark.parametrize(("read", "written", "tokens"), [(None, None, 0), (3, None, 3), (None, 2, 2)])
    def test_has_the_tokens_that_are_counted(self, read: int | None, written: int | None, tokens: int) -> None:
        assert tried(Reply("yes", "stop", read, written)).limiter._tokens == tokens

    @pytest.mark.parametrize("error", [Unavailable("HTTP 500"), BadReply("half"), Throttled("HTTP 429", 0.0)])
    def test_is_asked_again_after_what_passes(self, error: AskError) -> None:
        found = tried(error, error, YES)
        assert (found.reply, found.row.attempts, found.idle) == (YES, 3, 2)
        assert found.limiter.in_flight == 0
        assert sum(found.job.trouble.values()) == 2

    @pytest.mark.parametrize(
        ("error", "attempts"),
        [
            (BadReply("half"), 3),
            (NotUnderstood("a page"), 2),
            (Doubtful("HTTP 403"), 2),
            (Rejected("HTTP 400"), 1),
            (ModelRejected("HTTP 401"), 1),
        ],
    )
    def test_fails_after_its_attempts(self, error: AskError, attempts: int) -> None:
        found = tried(error)
        assert (found.error, found.row.attempts, len(found.asked)) == (error, attempts, attempts)

    def test_fails_after_its_attempts_by_the_servers_fault_where_others_are_answered(self) -> None:
        error = Unavailable("HTTP 500")
        assert len(tried(error, before=later_answered).asked) == 3

    def test_that_waits_for_a_server_that_is_down_uses_up_no_attempt_unless_it_is_paid_for(self) -> None:
        def down(limiter: EndpointLimiter, job: Job) -> None:
            for row in "abcdef":
                limiter.failed("HTTP 500", row=row)

        assert len(tried(*[Unavailable("HTTP 500")] * 6, YES, before=down).asked) == 7
        paid = charged(Unavailable("dropped"))
        paid.answered = False
        assert len(tried(*[paid] * 6, YES, before=down).asked) == 3

    def test_of_a_model_that_loads_uses_up_no_attempt(self) -> None:
        error = Unavailable("loading", overloaded=True)
        error.loading = True
        found = tried(*[error] * 9, YES)
        assert (found.reply, found.row.attempts) == (YES, 10)
        assert found.limiter.window < 4

    def test_that_was_not_read_is_sent_again_at_once_and_uses_up_nothing(self) -> None:
        error = Unavailable("closed")
        error.unread = True
        found = tried(*[error] * 9, YES)
        assert (found.reply, found.row.attempts, found.idle, set(found.asked)) == (YES, 10, 0, {0.0})
        assert not found.limiter._gate.breaker.failing
        assert found.job.trouble == {"unavailable": 9}

    def test_that_was_paid_for_is_counted_with_its_tokens_or_the_most_that_there_can_be(self) -> None:
        found = tried(charged(BadReply("half")), charged(BadReply("half"), (5, 1)), YES)
        assert found.row.lost == (7 + 5, 4 + 1, 0.0)
        assert len(found.lost) == 2
        assert found.row.response(YES).lost == found.row.lost
        assert found.row.failure(BadReply("half")).lost == found.row.lost

    def test_has_its_time_to_the_microsecond(self) -> None:
        """Of the attempt that succeeded, and of those that were lost."""

        class Slow(Scripted):
            async def ask(self, request: Request) -> Reply:
                await asyncio.sleep(0.1234567)
                return await super().ask(request)

        backend = Slow(charged(BadReply("half")), YES)
        found = tried(YES, before=lambda limiter, job: setattr(job, "backend", backend))
        assert found.row.lost == (7, 4, 0.123457)
        assert found.row.response(YES).latency_s == 0.123457

    def test_that_hangs_is_ended_by_its_deadline_and_may_have_been_paid_for(self) -> None:
        class Hanging(Scripted):
            async def ask(self, request: Request) -> Reply:
                await super().ask(request)
                await asyncio.sleep(1e6)
                raise AssertionError

        backend = Hanging(YES)
        found = tried(YES, before=lambda limiter, job: setattr(job, "backend", backend))
        assert str(found.error) == "no answer within 20 s"
        assert len(backend.asked) == 3
        assert found.row.lost == (21, 12, 60.0)

    def test_of_a_job_that_was_stopped_is_not_sent(self) -> None:
        found = tried(YES, before=lambda limiter, job: setattr(job, "stopped", "enough"))
        assert (str(found.error), found.asked, found.row.attempts) == ("enough", [], 0)
        assert found.limiter.in_flight == 0

    @pytest.mark.parametrize(("named", "refused"), [(600.0, False), (601.0, True)])
    def test_whose_server_names_more_than_ten_minutes_is_refused(self, named: float, refused: bool) -> None:
        found = tried(Throttled("HTTP 429: quota", named), YES)
        if refused:
            assert isinstance(found.error, ModelRejected)
            assert str(found.error) == "HTTP 429: quota (come back in 601 s)"
            assert found.limiter.throttled_since == 0
        else:
            assert found.reply == YES
            assert 600 <= found.asked[1] <= 601

    @pytest.mark.parametrize(
        ("named", "pending", "others", "patience"),
        [
            (None, 100, False, 900),  # it may be the model that is asked to slow down
            (3.0, 100, False, 900),
            (None, 100, True, 120),
            (3.0, 100, True, 120),
            (300.0, 100, True, 300),
            (None, 5, False, 900),
            (None, 4, False, 120),  # so few cannot show that it is the model
            (3.0, 4, False, 120),
        ],
    )
    def test_is_patient_with_a_server_that_asks_to_slow_down(
        self, named: float | None, pending: int, others: bool, patience: float
    ) -> None:
        endless = GiveUpAfter(throttled=900.0)
        before = later_answered if others else earlier_answered
        found = tried(Throttled("HTTP 429", named), before=before, pending=pending, give_up=endless)
        assert patience - 40 <= found.asked[-1] <= patience + max(40, named or 0)

    def test_that_cannot_be_sent_alone_shows_that_nothing_is_there(self) -> None:
        """A request that reached the server may be at fault itself, so that others have to fail as well."""
        error = Unavailable("no connection")
        error.answered = False
        found = tried(error)
        assert isinstance(found.error, Stopped)
        assert str(found.error).startswith("server has answered nothing for")
        loading = Unavailable("loading", overloaded=True)
        loading.loading = True
        found = tried(loading)
        assert isinstance(found.error, Stopped)
        assert 600 <= found.asked[-1] <= 640
        assert not isinstance(tried(charged(Unavailable("dropped"))).error, Stopped)

    def test_is_fresh_until_it_was_sent(self) -> None:
        fresh: list[bool] = []

        def listen(limiter: EndpointLimiter, job: Job) -> None:
            enter = limiter.enter

            async def entered(*, fresh: bool, seen: list[bool] = fresh) -> float:
                seen.append(fresh)
                return await enter(fresh=fresh)

            limiter.enter = entered  # type: ignore[method-assign,assignment]

        tried(BadReply("half"), BadReply("half"), YES, before=listen)
        assert fresh == [True, False, False]

    @pytest.mark.parametrize("fails", [False, True])
    def test_pauses_where_its_headers_say_that_the_quota_is_used_up(self, fails: bool) -> None:
        used_up = (Quota("requests", 0, 50.0),)
        first = BadReply("half", quota=used_up) if fails else replace(YES, quota=used_up)
        found = tried(first, YES)
        assert (found.asked[-1] == 50) is fails
        assert found.limiter._earliest() == 1050

    def test_has_the_patience_that_is_set_where_no_time_is_named(self) -> None:
        impatient = GiveUpAfter(unexplained=0.5, longest_pause=0.5)
        found = tried(Throttled("HTTP 429"), YES, before=later_answered, give_up=impatient)
        assert (found.reply, found.row._patience) == (YES, 0.5)

    def test_that_has_failed_before_while_others_were_answered_is_suspected(self) -> None:
        for failed, before, seconds in (({"k"}, True, 120), ({"other"}, True, 900), ({"k"}, False, 900)):
            found = tried(Throttled("HTTP 429"), failed_before=failed, answered_before=before,
                          before=earlier_answered)  # fmt: skip
            assert seconds - 40 <= found.asked[-1] <= seconds + 40
        # So it is with a server that fails: its fault, after its attempts, and not the model's.
        found = tried(Unavailable("HTTP 500"), failed_before={"k"}, answered_before=True, before=later_answered)
        assert (len(found.asked), found.limiter.failing) == (3, 0)

    def test_that_was_relented_says_so(self) -> None:
        assert tried(YES).limiter.relented_at == 0
        assert tried(Throttled("HTTP 429", 0.0), YES).limiter.relented_at > 0

    @pytest.mark.parametrize(("answered", "hope"), [(-1.0, True), (0.0, True), (1.0, False)])
    def test_is_the_last_hope_where_nothing_was_answered_that_was_sent_after_it(
        self, answered: float, hope: bool
    ) -> None:
        found = tried(BadReply("half"))
        found.limiter.last_answered = found.row._began + answered
        assert found.row.last_hope is hope


class TestResponse:
    def test_of_an_answer_holds_what_it_says(self) -> None:
        reply = Reply("yes", "length", 3, 2, "m-1", 0.1, 0.02)
        found = answer("k", request(), reply, latency_s=0.5, attempts=4)
        assert (found.key, found.row, found.status, found.completion, found.model) == (
            "k",
            "r1",
            "truncated",
            "yes",
            "m-1",
        )
        assert (found.input_tokens, found.output_tokens, found.attempts) == (3, 2, 4)
        assert (found.latency_s, found.ttft_s, found.tpot_s, found.error) == (0.5, 0.1, 0.02, None)

    @pytest.mark.parametrize(("reason", "status"), [("stop", "ok"), ("refusal", "refused"), ("length", "truncated")])
    def test_has_the_status_of_its_end(self, reason: Any, status: str) -> None:
        assert answer("k", request(), Reply("", finish_reason=reason), latency_s=None, attempts=1).status == status

    def test_of_a_prompt_that_was_cut_is_no_whole_answer(self) -> None:
        asked = Request("t", "r", "word " * 1000, 4)
        assert (
            answer("k", asked, Reply("yes", input_tokens=400), latency_s=None, attempts=1).status == "truncated_prompt"
        )
        # Half of 950 tokens, as they are estimated.
        assert prompt_was_cut(asked, Reply("", input_tokens=474))
        assert not prompt_was_cut(asked, Reply("", input_tokens=476))
        assert not prompt_was_cut(asked, Reply("", input_tokens=0))

    def test_of_a_failure_says_why(self) -> None:
        found = failure("k", request(), BadReply("half"), attempts=2)
        assert (found.key, found.row, found.status, found.error, found.attempts) == ("k", "r1", "failed", "half", 2)
        assert failure("k", request(), KeyError("x"), attempts=1).error == "KeyError: 'x'"
        assert len(str(failure("k", request(), BadReply("x" * 900), attempts=1).error)) == 500

    def test_times_are_utc_to_the_millisecond(self) -> None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", now())


def test_an_endpoint_has_the_smallest_limits_of_its_models() -> None:
    limits = [Limits(8, None, 1, 1), Limits(4, 60.0, 1, 1), Limits(6, 30.0, 1, 1)]
    assert endpoint_limits(iter(limits)) == (4, 30.0)
    assert endpoint_limits(limits[:1]) == (8, None)
    model = OpenAIModel(backend="openai", model="m", concurrency=3, requests_per_minute=7, timeout=9, attempts=2)
    assert limits_of(model) == Limits(3, 7, 9, 2, 600)


def test_a_job_begins_with_nothing_done_and_counts_its_trouble() -> None:
    job = Job("t", "m", None, "s", Limits(1, None, 5, 6), iter(()), 9, print, None)  # type: ignore[arg-type]
    assert (job.refused, job.unserved, job.in_flight, job.settled, job.answered) == (0, 0, 0, 0, 0)
    assert (job.stopped, job.finished, job.answered_before, job.served, job.left) == (None, False, False, "", 9)
    job.answered = 4
    assert job.left == 5
    for error in (Throttled(""), Unavailable(""), BadReply(""), NotUnderstood(""), Rejected(""), ModelRejected("")):
        job.count_trouble(error)
    assert job.trouble == {"throttled": 1, "unavailable": 1, "malformed": 2, "rejected": 2}
