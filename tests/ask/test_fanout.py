"""Asking against a real socket: every row ends with a status, nothing is asked twice, no endpoint delays another."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from harness.ask.attempts import Job, Limits
from harness.ask.budget import Budget
from harness.ask.fanout import run
from harness.ask.limiter import Brake, GiveUpAfter
from harness.errors import AskError, BadReply, BusyError, Doubtful, HarnessError, ModelRejected, Rejected
from harness.models.backend import Reply, Request
from harness.models.entry import OpenAIModel, Price
from harness.store.results import Response, ResponseLog
from tests.asking import Open, Pair, ask, lorax, openai, prompts
from tests.loopback import FAULTS, Fault, Loopback, always, at_first, error, shares

KINDS = {
    "chat": openai,
    "completions": lambda server: openai(server, api="completions"),
    "generate": lorax,
}


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, loopback: Loopback) -> Open:
    """A model of the loopback server, by each of the three ways to ask it."""
    return KINDS[request.param](loopback)


def test_every_row_is_answered_once(loopback: Loopback, opened: Open, tmp_path: Path) -> None:
    asked = ask(tmp_path, [Pair(opened, prompts(50))])
    assert asked.statuses() == {"ok": 50}
    assert loopback.asked == Counter(prompts(50))
    assert {response.row for response in asked.responses["m"]} == {f"r{number}" for number in range(50)}
    assert all(response.attempts == 1 and response.latency_s for response in asked.responses["m"])
    assert asked.watched == {"ok": 50}
    assert asked.finished == ["jigsaw/m"]


def test_every_passing_failure_is_asked_again_once(loopback: Loopback, opened: Open, tmp_path: Path) -> None:
    passing = ["throttle", "busy", "error", "drop", "reset", "cut", "hang", "broken", "empty"]
    fault_of = dict(zip(prompts(9), (FAULTS[name] for name in passing), strict=True))
    loopback.plan = lambda prompt, attempt: fault_of.get(prompt) if attempt == 0 else None
    asked = ask(tmp_path, [Pair(opened, prompts(12), timeout=1.5)])
    assert asked.statuses() == {"ok": 12}
    assert loopback.asked == {prompt: 2 if prompt in fault_of else 1 for prompt in prompts(12)}
    attempts = {response.row: response.attempts for response in asked.responses["m"]}
    assert attempts == {f"r{number}": 2 if number < 9 else 1 for number in range(12)}
    assert asked.jobs[0].trouble == {"throttled": 2, "unavailable": 5, "malformed": 2}


def test_a_row_that_never_succeeds_fails_after_its_attempts(loopback: Loopback, opened: Open, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["error"] if prompt == "row 3" else None
    asked = ask(tmp_path, [Pair(opened, prompts(40), attempts=3)])
    assert asked.statuses() == {"ok": 39, "failed": 1}
    assert loopback.asked["row 3"] == 3
    failed = next(response for response in asked.responses["m"] if response.status == "failed")
    assert (failed.row, failed.attempts) == ("r3", 3)
    assert "HTTP 500: the server had an error" in str(failed.error)


def test_a_mixture_of_failures_leaves_no_row_without_an_answer(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = shares({"throttle": 0.05, "error": 0.05, "reset": 0.03, "broken": 0.03, "drop": 0.03, "hang": 0.01})
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(300), concurrency=32, timeout=3)])
    assert asked.statuses() == {"ok": 300}
    assert set(loopback.answered) == set(prompts(300))
    sent = sum(response.attempts for response in asked.responses["m"])
    assert sent == sum(loopback.asked.values()) == 300 + sum(asked.jobs[0].trouble.values())


def test_a_request_that_is_refused_for_good_is_asked_once(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["invalid"] if prompt == "row 1" else None
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(30))])
    assert asked.statuses() == {"ok": 29, "failed": 1}
    assert loopback.asked["row 1"] == 1
    assert asked.jobs[0].trouble == {"rejected": 1}


@pytest.mark.parametrize("fault", ["unauthorized", "missing", "quota"])
def test_a_refused_model_stops_at_once_and_the_others_go_on(loopback: Loopback, tmp_path: Path, fault: str) -> None:
    with Loopback(plan=always(fault)) as refusing:
        pairs = [
            Pair(openai(refusing), prompts(500), model="refused", endpoint="refusing"),
            Pair(openai(loopback), prompts(30), model="m"),
        ]
        asked = ask(tmp_path, pairs)
        assert sum(refusing.asked.values()) <= pairs[0].concurrency
    assert asked.statuses("m") == {"ok": 30}
    assert asked.responses["refused"] == []
    assert asked.jobs[0].stopped is not None
    assert str(FAULTS[fault].status) in asked.jobs[0].stopped
    assert asked.jobs[1].stopped is None
    assert sorted(asked.finished) == ["jigsaw/m", "jigsaw/refused"]


def test_a_refused_key_stops_a_model_on_all_tasks_after_two(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = always("unauthorized")
    tasks = [f"task{number}" for number in range(10)]
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(50), task=task, concurrency=4) for task in tasks])
    assert all(job.stopped and "401" in job.stopped for job in asked.jobs)
    assert sum(loopback.asked.values()) <= 2 * 4
    assert len(asked.finished) == 10


def test_an_adapter_that_is_missing_for_one_task_leaves_the_other_tasks_alone(
    loopback: Loopback, tmp_path: Path
) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["missing"] if "lacking" in prompt else None
    pairs = [
        Pair(lorax(loopback), [f"lacking {number}" for number in range(40)], task="first"),
        Pair(lorax(loopback), prompts(40), task="second"),
    ]
    asked = ask(tmp_path, pairs)
    assert asked.jobs[0].stopped
    assert asked.jobs[1].answered == 40


def test_a_model_whose_first_rows_all_fail_is_given_up(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = always("invalid")
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(500), concurrency=4)])
    assert asked.jobs[0].stopped is not None
    assert "rows all failed" in asked.jobs[0].stopped
    assert 20 <= asked.statuses()["failed"] <= 24


def test_rows_that_keep_failing_do_not_stop_a_model_that_has_answered_before(
    loopback: Loopback, tmp_path: Path
) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["invalid"] if int(prompt.split()[1]) >= 10 else None
    pair = Pair(openai(loopback), prompts(40), concurrency=4)
    ask(tmp_path, [pair])
    again = ask(tmp_path, [pair])
    assert again.jobs[0].stopped is None
    assert again.jobs[0].settled == 30


def test_a_hanging_endpoint_does_not_delay_another(loopback: Loopback, tmp_path: Path) -> None:
    order: list[str] = []
    with Loopback(plan=always("hang")) as hanging:
        pairs = [
            Pair(openai(hanging), prompts(4), model="hanging", endpoint="hanging", timeout=2.0, attempts=1),
            Pair(openai(loopback), prompts(20), model="m"),
        ]
        asked = ask(tmp_path, pairs, watch=lambda job, response: order.append(job.model))
    assert asked.statuses("m") == {"ok": 20}
    assert asked.statuses("hanging") == {"failed": 4}
    assert order == ["m"] * 20 + ["hanging"] * 4
    assert asked.finished == ["jigsaw/m", "jigsaw/hanging"]


def test_a_dead_endpoint_does_not_delay_another(loopback: Loopback, tmp_path: Path) -> None:
    with Loopback() as gone:
        dead = openai(gone)
    pairs = [
        Pair(dead, prompts(100), model="dead", endpoint="dead"),
        Pair(openai(loopback), prompts(200), model="m"),
    ]
    asked = ask(tmp_path, pairs, give_up=GiveUpAfter(first_wait=0.02, longest_wait=0.1, never_reached=0.5))
    assert asked.statuses("m") == {"ok": 200}
    assert asked.responses["dead"] == []
    assert asked.jobs[0].stopped is not None
    assert "dead has answered nothing for" in asked.jobs[0].stopped
    assert "100 rows stay unanswered" in asked.jobs[0].stopped
    assert asked.notices[0].startswith("dead fails everything")


def test_a_slow_model_in_this_process_gives_the_others_their_turn(loopback: Loopback, tmp_path: Path) -> None:
    class Thinking:
        identity: ClassVar = {"backend": "thinking"}

        def body(self, request: Request) -> dict[str, str]:
            return {"prompt": request.prompt}

        async def ask(self, request: Request) -> Reply:
            time.sleep(0.01)  # it computes, as a baseline does
            return Reply("yes")

        async def aclose(self) -> None: ...

    order: list[str] = []
    pairs = [
        Pair(lambda connection, task: Thinking(), prompts(60), model="thinking", endpoint="here", concurrency=1),
        Pair(openai(loopback), prompts(5), model="m"),
    ]
    ask(tmp_path, pairs, watch=lambda job, response: order.append(job.model))
    assert "m" in order[:40]


def test_no_more_than_the_concurrency_is_in_flight(tmp_path: Path) -> None:
    with Loopback(latency=0.02) as server:
        ask(tmp_path, [Pair(openai(server), prompts(100), concurrency=7)])
        assert server.peak == 7


def test_models_of_one_endpoint_share_its_concurrency(tmp_path: Path) -> None:
    with Loopback(latency=0.02) as server:
        pairs = [Pair(openai(server, model=name), prompts(40), model=name, concurrency=6) for name in ("a", "b", "c")]
        asked = ask(tmp_path, pairs)
        assert server.peak == 6
    assert [asked.statuses(name) for name in ("a", "b", "c")] == [{"ok": 40}] * 3


def test_retries_stay_within_the_concurrency(tmp_path: Path) -> None:
    with Loopback(latency=0.01, plan=shares({"error": 0.3})) as server:
        asked = ask(tmp_path, [Pair(openai(server), prompts(100), concurrency=5, attempts=20)])
        assert server.peak <= 5
    assert asked.statuses() == {"ok": 100}


def test_the_rate_limit_is_kept_in_every_window(loopback: Loopback, tmp_path: Path) -> None:
    arrived: list[float] = []

    def note(prompt: str, attempt: int) -> Fault | None:
        arrived.append(time.monotonic())
        return None

    loopback.plan = note
    ask(tmp_path, [Pair(openai(loopback), prompts(40), requests_per_minute=1200)])
    allowed_in_half_a_second = 10 + 20  # the pace, and a second's worth that may follow late
    for first in range(len(arrived)):
        window = [moment for moment in arrived[first:] if moment - arrived[first] < 0.5]
        assert len(window) <= allowed_in_half_a_second
    assert len(arrived) == 40


def test_what_is_answered_is_not_asked_again_and_failures_are(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["invalid"] if prompt in ("row 1", "row 2") else None
    pair = Pair(openai(loopback), prompts(30))
    ask(tmp_path, [pair])
    loopback.plan = lambda prompt, attempt: None
    asked = ask(tmp_path, [pair])
    assert loopback.asked == Counter(prompts(30)) + Counter(["row 1", "row 2"])
    assert asked.jobs[0].pending == 2
    assert asked.statuses() == {"ok": 30, "failed": 2}
    third = ask(tmp_path, [pair])
    assert third.jobs[0].pending == 0
    assert third.finished == ["jigsaw/m"]


def test_another_temperature_prompt_or_adapter_is_asked_again(loopback: Loopback, tmp_path: Path) -> None:
    for opened, wording in (
        (openai(loopback), "a"),
        (openai(loopback, temperature=0.5), "a"),
        (openai(loopback), "b"),
        (lorax(loopback, adapter="one"), "a"),
        (lorax(loopback, adapter="two"), "a"),
    ):
        pair = Pair(opened, [f"{wording} {number}" for number in range(5)])
        assert ask(tmp_path, [pair]).jobs[0].answered == 5
        assert ask(tmp_path, [pair]).jobs[0].answered == 0
    assert sum(loopback.asked.values()) == 25


def test_the_same_prompt_twice_is_asked_once(loopback: Loopback, tmp_path: Path) -> None:
    asked = ask(tmp_path, [Pair(openai(loopback), ["same"] * 5 + ["other"])])
    assert loopback.asked == {"same": 1, "other": 1}
    assert asked.jobs[0].pending == 2


def test_a_second_process_is_kept_out(loopback: Loopback, tmp_path: Path) -> None:
    with ResponseLog(tmp_path / "jigsaw" / "m"), pytest.raises(BusyError, match="another process"):
        ask(tmp_path, [Pair(openai(loopback), prompts(2))])
    assert not loopback.asked


def test_latency_is_that_of_the_attempt_that_succeeded(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = at_first("hang")
    asked = ask(tmp_path, [Pair(openai(loopback), prompts(3), timeout=0.5)])
    assert [response.attempts for response in asked.responses["m"]] == [2, 2, 2]
    # Three attempts that hung for half a second lie before these answers.
    assert all((response.latency_s or 1) < 0.5 for response in asked.responses["m"])


def test_waiting_for_a_turn_is_not_part_of_the_latency(tmp_path: Path) -> None:
    with Loopback(latency=0.05) as server:
        asked = ask(tmp_path, [Pair(openai(server), prompts(20), concurrency=1)])
    assert max(response.latency_s or 1 for response in asked.responses["m"]) < 20 * 0.05


def test_the_brake_keeps_what_is_in_flight(tmp_path: Path) -> None:
    brake = Brake()
    with Loopback(latency=0.05) as server:
        pair = Pair(openai(server), prompts(100), concurrency=10)

        def watch(job: Job, response: Response) -> None:
            if job.settled == 15:
                brake.pull("enough")

        asked = ask(tmp_path, [pair], brake=brake, watch=watch)
        assert asked.ended == "enough"
        assert asked.jobs[0].stopped == "enough"
        assert asked.jobs[0].answered == sum(server.asked.values()) == len(asked.responses["m"]) < 100
        assert server.answered == server.asked
        rest = ask(tmp_path, [pair])
        assert rest.ended is None
        assert server.asked == Counter(prompts(100))


def test_the_brake_does_not_wait_for_rows_that_wait(loopback: Loopback, tmp_path: Path) -> None:
    loopback.plan = lambda prompt, attempt: error(429, "slow down", Retry_After="500")
    brake = Brake()

    def stop() -> None:
        asyncio.get_running_loop().call_later(0.3, brake.pull, "enough")

    class Stopping:
        def __init__(self, connection: object, task: str) -> None:
            stop()
            self._backend = openai(loopback)(connection, task)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(self._backend, name)

    asked = ask(tmp_path, [Pair(Stopping, prompts(20))], brake=brake, give_up=GiveUpAfter())  # type: ignore[arg-type]
    assert asked.ended == "enough"
    assert asked.responses["m"] == []
    assert asked.finished == []


def test_a_full_disk_ends_the_run_with_what_could_be_kept(
    loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = ResponseLog.append

    def fill_up(log: ResponseLog, response: Response) -> None:
        if response.row == "r5":
            raise OSError(28, "No space left on device")
        append(log, response)

    monkeypatch.setattr(ResponseLog, "append", fill_up)
    with pytest.raises(HarnessError, match=r"cannot be written \(No space left on device\).* 1 answers .* lost"):
        ask(tmp_path, [Pair(openai(loopback), prompts(400), concurrency=4)])
    kept = (tmp_path / "jigsaw" / "m" / "responses.jsonl").read_text().count("\n")
    assert kept + 1 == sum(loopback.asked.values()) < 400


YES = Reply("yes", input_tokens=3, output_tokens=1)


class Listing:
    """A backend that takes lists: the outcomes of rows by their names, a good answer for all others."""

    identity: ClassVar = {"backend": "listing"}

    def __init__(
        self, outcomes: dict[str, Sequence[Reply | AskError]] | None = None, fails: Exception | None = None
    ) -> None:
        self.outcomes = outcomes or {}
        self.fails = fails
        self.lists: list[list[str]] = []
        self.in_flight: list[int] = []
        self.job: Job | None = None

    def body(self, request: Request) -> dict[str, str]:
        return {"prompt": request.prompt}

    async def ask(self, request: Request) -> Reply:
        raise AssertionError("asked one by one")

    async def ask_all(self, requests: Iterable[Request]) -> AsyncGenerator[tuple[Request, Reply | AskError], None]:
        requests = list(requests)
        self.lists.append([request.row for request in requests])
        for request in requests:
            for outcome in self.outcomes.get(request.row, [YES]):
                assert self.job is not None
                self.in_flight.append(self.job.in_flight)
                yield request, outcome
        if self.fails:
            raise self.fails

    async def aclose(self) -> None: ...


class Listed:
    """What came of asking rows r0, r1, … as lists."""

    def __init__(self, backend: Listing, rows: int, cap: float | None = None, brake: Brake | None = None) -> None:
        self.saved: list[Response] = []
        self.finished = 0
        self.brake = brake or Brake()
        model = OpenAIModel(backend="openai", model="m", price=Price(input=1_000_000, output=10_000_000))
        self.budget = Budget(cap, {"m": model})  # 1 USD and 10 USD a token
        requests = ((f"k{n}", Request("t", f"r{n}", f"row {n}", 4)) for n in range(rows))
        limits = Limits(4, None, 5, 6)
        self.job = Job("t", "m", backend, "s", limits, requests, rows, self.saved.append, self.finish)
        backend.job = self.job
        work = run([self.job], lambda job, response: None, brake=self.brake, budget=self.budget)
        self.ended = asyncio.run(work)

    async def finish(self) -> None:
        self.finished += 1

    @property
    def statuses(self) -> dict[str, str]:
        return {response.row: response.status for response in self.saved}


def not_final(error: AskError) -> AskError:
    error.final, error.charged, error.usage = False, True, (3, 1)
    return error


class TestLists:
    def test_without_a_cap_all_rows_are_one(self) -> None:
        backend = Listing()
        found = Listed(backend, 5)
        assert backend.lists == [["r0", "r1", "r2", "r3", "r4"]]
        assert backend.in_flight == [5, 4, 3, 2, 1]
        assert found.statuses == {f"r{n}": "ok" for n in range(5)}
        assert [response.key for response in found.saved] == [f"k{n}" for n in range(5)]
        assert {(response.latency_s, response.attempts, response.lost) for response in found.saved} == {(None, 1, None)}
        assert (found.job.settled, found.job.answered, found.job.in_flight, found.finished) == (5, 5, 0, 1)
        assert found.budget.spent == 5 * 13
        assert found.ended is None

    def test_under_a_cap_each_is_as_long_as_fits(self) -> None:
        """A row costs 13 USD, and 42 at most."""
        backend = Listing()
        found = Listed(backend, 9, cap=100.0)
        assert backend.lists == [["r0", "r1"], ["r2"], ["r3"], ["r4"]]
        assert found.budget.spent == 5 * 13
        assert found.ended is not None
        assert "could pass the limit of 100 USD" in found.ended
        assert (found.job.settled, found.job.in_flight, found.finished) == (5, 0, 1)
        assert found.job.stopped == found.ended

    def test_what_is_asked_again_by_the_backend_is_recorded_with_what_it_cost(self) -> None:
        backend = Listing({"r0": [not_final(BadReply("half")), not_final(BadReply("half")), YES]})
        found = Listed(backend, 2)
        assert [(one.row, one.status, one.lost) for one in found.saved] == [
            ("r0", "ok", (6, 2, 0.0)),
            ("r1", "ok", None),
        ]
        assert found.budget.spent == 4 * 13
        assert found.job.trouble == {}

    def test_a_row_that_is_refused_fails_and_the_others_go_on(self) -> None:
        found = Listed(Listing({"r0": [Rejected("too long")]}), 3)
        assert found.statuses == {"r0": "failed", "r1": "ok", "r2": "ok"}
        assert found.saved[0].error == "too long"
        assert found.job.trouble == {"rejected": 1}
        assert found.budget.spent == 2 * 13

    def test_a_model_that_is_refused_is_stopped_and_its_rows_stay_unanswered_but_for_what_was_paid(self) -> None:
        for outcomes, statuses in (
            ([ModelRejected("no key")], {"r1": "ok"}),
            ([not_final(BadReply("half")), ModelRejected("no key")], {"r0": "failed", "r1": "ok"}),
        ):
            found = Listed(Listing({"r0": outcomes}), 2)
            assert found.job.stopped == "no key"
            assert found.statuses == statuses
            assert found.finished == 1
        assert found.saved[0].lost == (3, 1, 0.0)

    def test_a_bare_refusal_is_the_models_with_the_second(self) -> None:
        found = Listed(Listing({"r0": [Doubtful("HTTP 403")], "r1": [Doubtful("HTTP 403")]}), 3)
        assert (found.job.stopped, found.statuses) == ("HTTP 403", {"r0": "failed", "r2": "ok"})

    @pytest.mark.parametrize(
        ("error", "stopped"), [(ModelRejected("no key"), "no key"), (ValueError("odd"), "ValueError: odd")]
    )
    def test_a_list_that_fails_ends_the_model_and_frees_what_was_reserved(self, error: Exception, stopped: str) -> None:
        class Failing(Listing):
            async def ask_all(
                self, requests: Iterable[Request]
            ) -> AsyncGenerator[tuple[Request, Reply | AskError], None]:
                first, *_ = requests
                yield first, YES
                raise error

        found = Listed(Failing(), 4, cap=200.0)
        assert found.job.stopped == stopped
        assert (found.statuses, found.job.in_flight, found.finished) == ({"r0": "ok"}, 0, 1)
        assert found.budget.fits("m", 200.0 - 13)
        assert not found.budget.fits("m", 200.0 - 12)

    def test_an_answer_that_cannot_be_written_ends_the_run(self) -> None:
        def full(response: Response) -> None:
            raise OSError(28, "No space left on device")

        backend, brake = Listing(), Brake()
        job = Job(
            "t", "m", backend, "s", Limits(4, None, 5, 6), iter([("k", Request("t", "r", "p", 4))]), 1, full, None
        )  # type: ignore[arg-type]
        backend.job = job
        with pytest.raises(HarnessError, match=r"the answers of m on t cannot be written \(No space left on device\)"):
            asyncio.run(run([job], lambda job, response: None, brake=brake))
        assert brake.reason == "the answers of m on t cannot be written (No space left on device)"

    def test_is_finished_with_its_last_row_while_others_are_still_asked(self) -> None:
        order: list[str] = []

        class Waiting(Listing):
            async def ask_all(
                self, requests: Iterable[Request]
            ) -> AsyncGenerator[tuple[Request, Reply | AskError], None]:
                for _ in range(100):  # turns of the others
                    await asyncio.sleep(0)
                async for outcome in super().ask_all(requests):
                    yield outcome

        def job(name: str, backend: Listing) -> Job:
            async def finish() -> None:
                order.append(name)

            requests = iter([(name, Request("t", name, name, 4))])
            backend.job = made = Job(
                "t",
                name,
                backend,
                "s",
                Limits(4, None, 5, 6),
                requests,
                1,
                lambda response: order.append(response.row),
                finish,
            )
            return made

        jobs = [job("late", Waiting()), job("early", Listing()), job("done", Listing())]
        jobs[2].pending = 0
        asyncio.run(run(jobs, lambda job, response: None))
        assert order == ["done", "early", "early", "late", "late"]

    def test_after_the_brake_nothing_is_asked(self) -> None:
        brake = Brake()
        brake.pull("enough")
        backend = Listing()
        found = Listed(backend, 3, brake=brake)
        assert (backend.lists, found.saved, found.ended, found.finished) == ([], [], "enough", 0)


def test_a_job_without_rows_to_ask_is_finished_at_once() -> None:
    found = Listed(Listing(), 0)
    assert (found.finished, found.ended, found.job.stopped) == (1, None, None)


def test_garbage_is_collected_afterwards_as_it_was_before() -> None:
    usual = gc.get_threshold(), gc.get_freeze_count()
    Listed(Listing(), 3)
    assert (gc.get_threshold(), gc.get_freeze_count()) == usual
