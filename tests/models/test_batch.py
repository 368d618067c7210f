"""OpenAI's Batch API: each row gets its own answer, and nothing is submitted or paid for twice, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types import Batch as PublishedBatch

from harness.ask.attempts import Job
from harness.ask.budget import Budget
from harness.ask.limiter import Brake
from harness.errors import (
    AskError,
    BadReply,
    Doubtful,
    HarnessError,
    ModelRejected,
    NotUnderstood,
    Rejected,
    Throttled,
    Unavailable,
)
from harness.models.backend import Reply
from harness.models.batch import BatchBackend, read
from harness.models.batch_api import Pace, batch_of
from harness.models.entry import OpenAIModel, Price
from harness.models.http import Transport
from harness.models.openai import OpenAIBackend
from harness.store.results import Response, read_responses
from tests.asking import Pair, asking
from tests.asking import ask as ask_all
from tests.asking import prompts as numbered
from tests.loopback_vendors import EXPIRED, KEY, BatchServer, Failure, openai_error
from tests.models.asking import NO_NETWORK, request

QUICK = Pace(poll=0.01, longest_poll=0.02, give_up=5.0)
ROOT = Path(__file__).parents[2]
Outcome = Reply | BaseException


@pytest.fixture
def server() -> Iterator[BatchServer]:
    """OpenAI's Files and Batch API on 127.0.0.1."""
    with BatchServer() as served:
        yield served


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where batches are recorded; its folder does not exist yet."""
    return tmp_path / "jigsaw" / "gpt" / "batches.jsonl"


def model(server: BatchServer, **changes: Any) -> OpenAIModel:
    """An entry for a model that is asked in batches."""
    entry = {"backend": "openai", "model": "m", "base_url": server.openai_url, "api_key": KEY, "batch": True}
    return OpenAIModel(**{**entry, **changes})


def ask(
    server: BatchServer, state: Path, prompts: Iterable[str], pace: Pace = QUICK, **changes: Any
) -> dict[str, Outcome]:
    """Ask all prompts of a new backend as one list, and return the outcome of each."""

    async def all_of_them() -> dict[str, Outcome]:
        async with Transport() as connection:
            backend = BatchBackend(model(server, **changes), connection, state, pace)
            asked = [request(name) for name in prompts]
            return {request.prompt: outcome async for request, outcome in backend.ask_all(asked)}

    return asyncio.run(all_of_them())


def completions(outcomes: dict[str, Outcome]) -> dict[str, str]:
    """The answers, of which there must be one for each prompt."""
    assert all(isinstance(outcome, Reply) for outcome in outcomes.values()), outcomes
    return {prompt: reply.completion for prompt, reply in outcomes.items() if isinstance(reply, Reply)}


def upper(names: Iterable[str]) -> dict[str, str]:
    """What the server answers."""
    return {name: name.upper() for name in names}


def events(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in state.read_text().splitlines()]


def test_all_requests_travel_in_one_batch_and_each_gets_its_own_answer(server: BatchServer, state: Path) -> None:
    outcomes = ask(server, state, numbered(50))
    assert completions(outcomes) == upper(numbered(50))
    assert outcomes["row 7"] == Reply("ROW 7", "stop", input_tokens=2, output_tokens=2, model="m")
    assert server.sizes() == [50]
    assert server.called["upload"] == server.called["create"] == 1


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_the_body_of_a_line_is_that_of_the_direct_request(server: BatchServer, state: Path, api: str) -> None:
    """The server has checked each line against the published types."""
    asked = "naïve “quotes” 😀\u2028 {braces}"
    server.answer = lambda prompt: f"{prompt}\u2028!"
    assert completions(ask(server, state, [asked], api=api, extra={"seed": 1})) == {asked: f"{asked}\u2028!"}
    entry = model(server, api=api, extra={"seed": 1})
    line = json.loads(server.files["file-0"])
    assert line["body"] == OpenAIBackend(entry, NO_NETWORK).body(request(asked))
    assert line["url"] == f"/v1/{'chat/completions' if api == 'chat' else 'completions'}"


def test_the_answers_are_kept_as_those_of_the_model_asked_directly(server: BatchServer, state: Path) -> None:
    """So a run that was begun without batches goes on with them, and asks nothing twice."""
    batched = BatchBackend(model(server), NO_NETWORK, state)
    direct = OpenAIBackend(model(server), NO_NETWORK)
    assert batched.identity == direct.identity
    assert batched.body(request()) == direct.body(request())


def test_the_same_request_is_paid_for_once(server: BatchServer, state: Path) -> None:
    async def twice() -> dict[str, Outcome]:
        async with Transport() as connection:
            backend = BatchBackend(model(server), connection, state, QUICK)
            asked = [request("same", row=name) for name in ("r1", "r2")]
            found: dict[str, Outcome] = {row.row: outcome async for row, outcome in backend.ask_all(asked)}
            return {**found, "r3": await backend.ask(request("same", row="r3"))}

    assert completions(asyncio.run(twice())) == dict.fromkeys(("r1", "r2", "r3"), "SAME")
    assert server.paid == {"same": 1}


@pytest.mark.parametrize("pace", [replace(QUICK, rows=4), replace(QUICK, bytes=900)])
def test_what_is_too_much_for_one_batch_is_split(server: BatchServer, state: Path, pace: Pace) -> None:
    assert completions(ask(server, state, numbered(10), pace)) == upper(numbered(10))
    assert server.sizes() == [4, 4, 2]
    assert all(len(server.files[batch.input_file_id]) <= pace.bytes for batch in server.batches.values())


def test_the_vendors_limits_are_the_default() -> None:
    assert (Pace().rows, Pace().bytes) == (50_000, 200_000_000)


def test_one_request_is_a_batch_of_its_own(server: BatchServer, state: Path) -> None:
    async def one(prompt: str) -> Reply:
        async with Transport() as connection:
            return await BatchBackend(model(server), connection, state, QUICK).ask(request(prompt))

    assert asyncio.run(one("alone")).completion == "ALONE"
    server.rows = lambda prompt, attempt: openai_error(400, "no")
    with pytest.raises(Rejected, match="no"):
        asyncio.run(one("refused"))
    assert server.sizes() == [1, 1]


# --- Rows that fail ---


def test_partial_failures_leave_the_other_rows_untouched(server: BatchServer, state: Path) -> None:
    failures = {
        "row 1": openai_error(400, "too long", "context_length_exceeded"),
        "row 2": openai_error(400, "filtered", "content_filter"),
    }
    server.rows = lambda prompt, attempt: failures.get(prompt)
    outcomes = ask(server, state, numbered(4))
    refused = outcomes.pop("row 1")
    assert isinstance(refused, Rejected)
    assert not isinstance(refused, ModelRejected)
    assert "too long" in str(refused)
    assert outcomes.pop("row 2") == Reply("", "refusal", 0, 0)
    assert completions(outcomes) == upper(["row 0", "row 3"])
    assert server.sizes() == [4]


@pytest.mark.parametrize(
    "failure", [openai_error(500, "oops"), openai_error(429, "slow down"), Failure(200, {}), EXPIRED]
)
def test_a_row_that_fails_for_a_passing_reason_goes_into_the_next_batch(
    server: BatchServer, state: Path, failure: Failure | dict[str, str]
) -> None:
    server.rows = lambda prompt, attempt: failure if prompt == "row 1" and attempt == 0 else None
    assert completions(ask(server, state, numbered(4))) == upper(numbered(4))
    assert server.sizes() == [4, 1]
    assert set(server.paid.values()) == {1}


def test_a_row_is_in_no_more_batches_than_its_attempts(server: BatchServer, state: Path) -> None:
    server.rows = lambda prompt, attempt: openai_error(500, f"oops for {KEY}") if prompt == "row 1" else None
    outcomes = ask(server, state, numbered(3), attempts=3)
    failed = outcomes.pop("row 1")
    assert type(failed) is Rejected
    assert str(failed) == "no answer in 3 batches: HTTP 500: oops for ***"
    assert completions(outcomes) == upper(["row 0", "row 2"])
    assert server.sizes() == [3, 1, 1]


def test_a_row_whose_answer_is_missing_is_asked_again(server: BatchServer, state: Path) -> None:
    def lose(kind: str) -> None:
        if "file-output-batch_0" in server.files:
            server.files["file-output-batch_0"] = b'{"custom_id": "another row"}\n\n'

    server.heard = lose
    assert completions(ask(server, state, ["lost"])) == {"lost": "LOST"}
    assert server.sizes() == [1, 1]


def test_an_answer_counts_whatever_else_the_files_say_of_its_row(server: BatchServer, state: Path) -> None:
    def twice(kind: str) -> None:
        answers = server.files.get("file-output-batch_0", b"")
        if answers and b"oops" not in answers:
            line = {**json.loads(answers.splitlines()[0]), "response": {"status_code": 500, "body": {"error": "oops"}}}
            server.files["file-output-batch_0"] = answers + json.dumps(line).encode() + b"\n"

    server.heard = twice
    assert completions(ask(server, state, ["row 0"])) == {"row 0": "ROW 0"}
    assert server.sizes() == [1]


@pytest.mark.parametrize("status", ["queued", "RUNNING", "paused", "In_Progress"])
def test_a_status_of_another_vendor_is_no_end(status: str) -> None:
    reply = {"id": "b", "status": status, "input_file_id": "f"}
    assert not batch_of(reply).finished
    assert batch_of({**reply, "status": "COMPLETED"}).finished
    assert batch_of({**reply, "status": "success", "output_file_id": "o"}).finished


def test_an_answer_that_is_paid_for_and_not_understood_is_in_two_batches(server: BatchServer, tmp_path: Path) -> None:
    """Both are booked, with what the server says that they took."""
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    odd = {"choices": [{"message": {"content": 7}, "finish_reason": "stop"}], "usage": usage}
    server.rows = lambda prompt, attempt: Failure(200, odd)
    budget = Budget(None, {"m": OpenAIModel(backend="openai", model="m", price=Price(input=1e6, output=1e6))})
    asked = ask_all(tmp_path, [pair(server, tmp_path, 1)], budget=budget)
    assert server.sizes() == [1, 1]
    assert [found.lost for found in asked.responses["m"]] == [(4, 6, 0.0)]
    assert budget.spent == 10


def test_an_expired_batch_gives_what_is_done_and_the_rest_is_asked_again(server: BatchServer, state: Path) -> None:
    server.ends = lambda number: ("expired", 3) if number == 0 else None
    assert completions(ask(server, state, numbered(10))) == upper(numbered(10))
    assert server.sizes() == [10, 7]
    assert set(server.paid.values()) == {1}


def test_what_somebody_cancelled_is_not_asked_again_before_the_next_run(server: BatchServer, state: Path) -> None:
    server.ends = lambda number: ("cancelled", 3) if number == 0 else None
    outcomes = ask(server, state, numbered(5))
    assert Counter(map(type, outcomes.values())) == {Reply: 3, ModelRejected: 2}
    assert "cancelled" in str(outcomes["row 4"])
    assert server.sizes() == [5]
    assert completions(ask(server, state, ["row 3", "row 4"])) == upper(["row 3", "row 4"])
    assert set(server.paid.values()) == {1}


@pytest.mark.parametrize("code", ["insufficient_quota", "model_not_found"])
def test_a_row_that_shows_the_account_or_model_at_fault_stops_the_model(
    server: BatchServer, state: Path, code: str
) -> None:
    server.rows = lambda prompt, attempt: openai_error(429, "no", code) if prompt == "row 2" else None
    outcomes = ask(server, state, numbered(3))
    assert type(outcomes.pop("row 2")) is ModelRejected
    assert completions(outcomes) == upper(["row 0", "row 1"])


json_line = {
    "good": ({"response": {"status_code": 200, "body": {"choices": [{"text": "a"}]}}}, Reply),
    "no status": ({"response": {"body": {}}}, NotUnderstood),
    "odd status": ({"response": {"status_code": "200", "body": {}}}, NotUnderstood),
    "no body": ({"response": {"status_code": 200, "body": None}}, NotUnderstood),
    "server error": ({"response": {"status_code": 503, "body": None}}, Unavailable),
    "throttled": ({"response": {"status_code": 429, "body": "slow"}}, Throttled),
    "wrong key": ({"response": {"status_code": 401, "body": {"error": {"message": "no"}}}}, Doubtful),
    "expired": ({"response": None, "error": EXPIRED}, Unavailable),
    "no quota": ({"response": None, "error": {"code": "insufficient_quota", "message": "no"}}, ModelRejected),
    "nothing": ({}, Unavailable),
    "odd error": ({"error": ["no"]}, Unavailable),
}


@pytest.mark.parametrize(("line", "expected"), json_line.values(), ids=json_line)
def test_each_kind_of_line_has_its_outcome(line: dict[str, Any], expected: type[Reply | AskError]) -> None:
    assert type(read(line)) is expected


# --- Batches that fail ---


def test_the_row_that_spoils_a_file_fails_and_the_others_are_asked_again(server: BatchServer, state: Path) -> None:
    outcomes = ask(server, state, ["good", "an invalid line", "fine"])
    spoiled = outcomes.pop("an invalid line")
    assert type(spoiled) is Rejected
    assert "This line is not valid" in str(spoiled)
    assert completions(outcomes) == upper(["good", "fine"])
    assert server.sizes() == [3, 2]


def test_a_model_that_does_not_exist_is_stopped(server: BatchServer, state: Path) -> None:
    outcomes = ask(server, state, numbered(3), model="no-such-model")
    assert {type(outcome) for outcome in outcomes.values()} == {ModelRejected}
    assert "The model does not exist" in str(outcomes["row 0"])
    assert server.called["create"] == 1


def test_a_failed_batch_does_not_block_the_next_run(server: BatchServer, state: Path) -> None:
    ask(server, state, ["a"], model="no-such-model")
    assert completions(ask(server, state, ["a"])) == {"a": "A"}


def test_a_full_queue_is_waited_for_with_batches_that_fit(server: BatchServer, state: Path) -> None:
    prompts = [f"{number} " + "word " * 59 for number in range(20)]
    server.token_limit = 600  # of which each prompt has 60
    assert completions(ask(server, state, prompts)) == upper(prompts)
    assert set(server.paid.values()) == {1}
    done = [size for size, batch in zip(server.sizes(), server.batches.values(), strict=True) if not batch.errors]
    assert max(done) * 60 <= 600
    assert sum(done) == 20


def test_a_queue_that_others_fill_is_waited_for_without_smaller_batches(server: BatchServer, state: Path) -> None:
    server.token_limit = server.others = 1000

    def drain(kind: str) -> None:
        if len(server.batches) == 3:
            server.others = 0

    server.heard = drain
    assert completions(ask(server, state, numbered(2))) == upper(numbered(2))
    assert server.sizes() == [2, 2, 2]
    assert set(server.paid.values()) == {1}


def test_a_queue_that_stays_full_ends_the_run(server: BatchServer, state: Path) -> None:
    server.token_limit = server.others = 1000
    outcomes = ask(server, state, numbered(2), replace(QUICK, queue=0.0))
    assert {type(outcome) for outcome in outcomes.values()} == {ModelRejected}
    assert "the queue of batches stays full: Enqueued token limit reached" in str(outcomes["row 0"])
    server.others = 0
    assert completions(ask(server, state, numbered(2))) == upper(numbered(2))


def test_the_servers_reason_holds_no_secret() -> None:
    batch = {"id": "b", "status": "failed", "input_file_id": "f", "errors": {"data": [{"message": f"key {KEY}"}, 1]}}
    assert batch_of(batch, (KEY,)).reason == "key ***"


def test_a_batch_of_the_published_type_is_read() -> None:
    published = PublishedBatch(
        id="b", object="batch", endpoint="/v1/completions", completion_window="24h", input_file_id="f",
        status="in_progress", created_at=1,
    )  # fmt: skip
    read_back = batch_of(published.model_dump(mode="json"))
    assert (read_back.id, read_back.input_file, read_back.status) == ("b", "f", "in_progress")
    assert (read_back.output_file, read_back.error_file, read_back.errors) == (None, None, ())


@pytest.mark.parametrize("broken", [{}, {"id": "b"}, {"id": "b", "status": "x"}, {"id": 1, "status": "x"}])
def test_a_reply_that_is_not_a_batch_is_a_bad_reply(broken: dict[str, Any]) -> None:
    with pytest.raises(BadReply):
        batch_of(broken)


# --- Calls that fail ---


@pytest.mark.parametrize("kind", ["upload", "create", "poll", "content"])
@pytest.mark.parametrize(
    "failure",
    [openai_error(500, "oops"), openai_error(429, "slow", Retry_After="0.01"), Failure(200, []), Failure(after=True)],
    ids=["error", "throttled", "malformed", "lost answer"],
)
def test_a_call_that_fails_for_a_while_is_made_again(
    server: BatchServer, state: Path, kind: str, failure: Failure
) -> None:
    server.calls = lambda called, number: failure if called == kind and number < 2 else None
    assert completions(ask(server, state, numbered(3))) == upper(numbered(3))
    assert server.sizes() == [3], "a submission whose answer is lost must not be made twice"
    assert set(server.paid.values()) == {1}


def test_a_lost_submission_is_found_among_many_batches(server: BatchServer, state: Path, tmp_path: Path) -> None:
    for number in range(5):
        ask(server, tmp_path / f"{number}.jsonl", [f"other {number}"])

    # The lost one is not on the first page: others were submitted after it by the time it is looked for.
    server.calls = lambda kind, number: Failure(after=True) if (kind, number) == ("create", 5) else None

    def heard(kind: str) -> None:
        if kind == "list" or len(server.batches) != 6:
            return
        for name in ("x", "y", "z"):
            server.batches[f"batch_9{name}"] = server.batches["batch_0"].model_copy(update={"id": f"batch_9{name}"})

    server.heard = heard
    assert completions(ask(server, state, ["mine"])) == {"mine": "MINE"}
    assert server.called["create"] == 6
    assert server.called["list"] > 1


def test_a_list_of_batches_that_begins_again_shows_no_batch_to_be_missing(
    server: BatchServer, state: Path, tmp_path: Path
) -> None:
    for number in range(3):
        ask(server, tmp_path / f"{number}.jsonl", [f"other {number}"])
    again = {"object": "list", "has_more": True, "data": [server.batches["batch_0"].model_dump(mode="json")]}
    lost = {("create", 3): Failure(after=True)}
    server.calls = lambda kind, number: Failure(200, again) if kind == "list" else lost.get((kind, number))
    outcome = ask(server, state, ["mine"], replace(QUICK, give_up=0.3))["mine"]
    assert "the list of batches begins again after batch_0" in str(outcome)
    assert server.called["create"] == 4


@pytest.mark.parametrize("kind", ["upload", "create", "poll", "content"])
def test_a_server_that_stays_down_ends_the_run_and_the_next_one_goes_on(
    server: BatchServer, state: Path, kind: str
) -> None:
    server.calls = lambda called, number: openai_error(500, "down") if called == kind else None
    outcomes = ask(server, state, ["a"], replace(QUICK, give_up=0.1))
    assert type(outcomes["a"]) is ModelRejected
    assert f"run the same command to resume the batches in {state}" in str(outcomes["a"])
    server.calls = lambda called, number: None
    assert completions(ask(server, state, ["a"])) == {"a": "A"}
    assert server.paid == {"a": 1}
    assert server.sizes() == [1]


def test_a_wrong_key_stops_the_model_and_is_in_no_message_or_file(server: BatchServer, state: Path) -> None:
    outcomes = ask(server, state, ["a"], api_key=f"{KEY}-wrong")
    assert type(outcomes["a"]) is ModelRejected
    assert "Incorrect API key provided: Bearer ***" in str(outcomes["a"])
    assert not server.batches
    assert not state.exists()


def test_the_key_is_in_no_file(server: BatchServer, state: Path) -> None:
    server.rows = lambda prompt, attempt: openai_error(400, f"key {KEY}") if prompt == "row 1" else None
    outcomes = ask(server, state, numbered(2))
    assert "key ***" in str(outcomes["row 1"])
    assert KEY not in state.read_text()
    assert all(KEY.encode() not in content for name, content in server.files.items() if "error" not in name)


# --- Going on after the end of the process ---


def leave(server: BatchServer, state: Path, prompts: Iterable[str], until: Callable[[], bool]) -> None:
    """Ask, and stop waiting as soon as `until` holds."""

    async def asked() -> None:
        async with Transport() as connection:
            backend = BatchBackend(model(server), connection, state, QUICK)

            async def wait() -> None:
                async with contextlib.aclosing(backend.ask_all(map(request, prompts))) as outcomes:
                    async for found in outcomes:
                        raise AssertionError(found)

            waiting = asyncio.create_task(wait())
            while not until():
                await asyncio.sleep(0.005)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(asked())


def test_a_submitted_batch_is_collected_without_a_second_submission(server: BatchServer, state: Path) -> None:
    server.hold = True
    leave(server, state, numbered(5), lambda: server.called["poll"] > 2)
    server.hold = False
    assert completions(ask(server, state, numbered(5))) == upper(numbered(5))
    assert (server.called["upload"], server.called["create"]) == (1, 1)
    assert set(server.paid.values()) == {1}


def test_answers_that_were_collected_but_not_kept_are_collected_again(server: BatchServer, state: Path) -> None:
    """Between an answer's arrival and its line in responses.jsonl the process may be killed."""
    ask(server, state, numbered(5))
    assert completions(ask(server, state, ["row 3"])) == {"row 3": "ROW 3"}
    assert server.called["create"] == 1


def test_after_the_prompts_have_changed_only_new_ones_are_submitted(server: BatchServer, state: Path) -> None:
    server.hold = True
    leave(server, state, ["kept", "dropped"], lambda: server.called["poll"] > 2)
    server.hold = False
    assert completions(ask(server, state, ["new", "kept"])) == upper(["new", "kept"])
    assert server.sizes() == [2, 1]


def test_another_model_or_setting_is_another_request(server: BatchServer, state: Path) -> None:
    ask(server, state, ["a"])
    ask(server, state, ["a"], model="n")
    ask(server, state, ["a"], temperature=1)
    assert server.called["create"] == 3


def test_rows_that_failed_are_free_to_be_asked_again(server: BatchServer, state: Path) -> None:
    server.rows = lambda prompt, attempt: openai_error(400, "no") if prompt == "row 1" and attempt == 0 else None
    assert isinstance(ask(server, state, numbered(3))["row 1"], Rejected)
    assert completions(ask(server, state, ["row 1"])) == {"row 1": "ROW 1"}
    assert server.sizes() == [3, 1]


def test_a_batch_that_the_key_does_not_know_is_not_paid_for_again_unasked(server: BatchServer, state: Path) -> None:
    ask(server, state, ["a"])
    kept, server.batches = server.batches, {}
    outcome = ask(server, state, ["a"])["a"]
    assert type(outcome) is ModelRejected
    assert "batch batch_0" in str(outcome)
    assert f"delete {state}" in str(outcome)
    assert not server.batches
    server.batches = kept
    assert completions(ask(server, state, ["a"])) == {"a": "A"}


def test_a_completed_batch_that_names_its_files_late_is_paid_for_once(server: BatchServer, state: Path) -> None:
    server.late_files = 3
    assert completions(ask(server, state, numbered(3))) == upper(numbered(3))
    assert server.sizes() == [3]
    server.late_files = 10**6
    pace = replace(QUICK, give_up=0.2)
    outcome = ask(server, state, ["late"], pace)["late"]
    assert type(outcome) is ModelRejected
    assert "run the same command to look again" in str(outcome)
    server.late_files = 0
    assert completions(ask(server, state, ["late"])) == {"late": "LATE"}
    assert server.sizes() == [3, 1], "what waited for its files was not submitted again"


@pytest.mark.parametrize("kind", ["content", "poll"])
def test_a_file_or_batch_that_is_not_found_once_is_looked_for_again(
    server: BatchServer, state: Path, kind: str
) -> None:
    missing = openai_error(404, "No such object")
    server.calls = lambda called, number: missing if called == kind and number == 0 else None
    assert completions(ask(server, state, numbered(3))) == upper(numbered(3))
    assert server.sizes() == [3]


def test_a_line_cut_by_a_full_disk_does_not_spoil_the_next(server: BatchServer, state: Path) -> None:
    ask(server, state, ["a"])
    with state.open("a") as file:
        file.write('{"file": "file-9", "ask')
    assert completions(ask(server, state, ["a", "b"])) == upper("ab")
    assert completions(ask(server, state, ["a", "b"])) == upper("ab")
    assert server.sizes() == [1, 1]


def test_what_cannot_be_recorded_is_not_submitted(server: BatchServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = ask(server, tmp_path / "file" / "batches.jsonl", ["a"])["a"]
    assert type(outcome) is ModelRejected
    assert "fix that and run the same command again" in str(outcome)
    assert not server.batches


def test_a_batch_is_recorded_before_it_is_submitted(server: BatchServer, state: Path) -> None:
    noted: list[list[dict[str, Any]]] = []
    server.heard = lambda kind: noted.append(events(state)) if kind == "create" else None
    ask(server, state, numbered(3))
    assert [len(event["asked"]) for event in noted[0]] == [3]
    assert events(state)[1] == {"file": "file-0", "batch": "batch_0"}


CHILD = """
import asyncio, sys
from pathlib import Path
from harness.models.batch import BatchBackend
from harness.models.http import Transport
from tests.models.asking import request
from tests.models.test_batch import KEY, QUICK, numbered
from harness.models.entry import OpenAIModel

async def main():
    model = OpenAIModel(backend="openai", model="m", base_url=sys.argv[1], api_key=KEY, batch=True)
    async with Transport() as connection:
        backend = BatchBackend(model, connection, Path(sys.argv[2]), QUICK)
        async for found in backend.ask_all([request(prompt) for prompt in numbered(int(sys.argv[3]))]):
            pass

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["upload", "create", "poll", "content"])
def test_a_process_killed_at_any_moment_has_submitted_at_most_once(
    server: BatchServer, state: Path, moment: str
) -> None:
    """The process is killed when the call has taken effect but is not answered yet: the worst time."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, server.openai_url, str(state), "20"], cwd=ROOT)

    def kill(kind: str) -> None:
        if kind == moment and child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()

    server.heard = kill
    assert child.wait(60) == -signal.SIGKILL
    server.heard = lambda kind: None
    assert completions(ask(server, state, numbered(20))) == upper(numbered(20))
    assert server.sizes() == [20]
    assert set(server.paid.values()) == {1}


# --- With the fan-out ---


def pair(server: BatchServer, folder: Path, count: int, **changes: Any) -> Pair:
    """A pair that is asked in batches; its limits for single requests say nothing about them."""

    def opened(connection: httpx.AsyncBaseTransport, task: str) -> BatchBackend:
        entry = model(server, **changes)
        return BatchBackend(entry, connection, folder / task / "m" / "batches.jsonl", QUICK)

    return Pair(opened, numbered(count), concurrency=1, timeout=0.001)


def test_the_fanout_asks_a_task_in_one_batch(server: BatchServer, tmp_path: Path) -> None:
    asked = ask_all(tmp_path, [pair(server, tmp_path, 3000)])
    assert asked.statuses() == {"ok": 3000}
    assert server.sizes() == [3000]


def test_many_failures_of_rows_do_not_make_the_endpoint_look_down(server: BatchServer, tmp_path: Path) -> None:
    server.ends = lambda number: ("expired", 10) if number == 0 else None
    server.rows = lambda prompt, attempt: openai_error(429, "slow") if prompt.endswith("7") else None
    asked = ask_all(tmp_path, [pair(server, tmp_path, 100, attempts=2)])
    assert asked.statuses() == {"ok": 90, "failed": 10}
    assert server.sizes() == [100, 91]
    assert asked.notices == []
    assert asked.ended is None


def test_a_run_that_is_stopped_keeps_the_rows_for_the_next(server: BatchServer, tmp_path: Path) -> None:
    server.hold = True

    async def stopped() -> None:
        running = asyncio.create_task(asking(tmp_path, [pair(server, tmp_path, 30)]))
        while server.called["poll"] < 3:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(stopped())
    assert not list(read_responses(tmp_path / "jigsaw" / "m"))
    server.hold = False
    assert ask_all(tmp_path, [pair(server, tmp_path, 30)]).statuses() == {"ok": 30}
    assert server.sizes() == [30]
    assert ask_all(tmp_path, [pair(server, tmp_path, 30)]).jobs[0].pending == 0


def test_a_batch_holds_as_many_rows_as_the_cap_on_spending_allows(server: BatchServer, tmp_path: Path) -> None:
    priced = pair(server, tmp_path, 30, price={"input": 1_000_000, "output": 10_000_000})
    # Half of 1 USD for a token of the prompt and 10 for one of the answer: at most (2 + 4 * 10) / 2 for a row, and
    # (2 + 2 * 10) / 2 for what it was.
    budget = Budget(5.5 * 21, {"m": model(server, price={"input": 1_000_000, "output": 10_000_000})})
    asked = ask_all(tmp_path, [priced], budget=budget)
    assert server.sizes() == [5, 2, 1, 1]
    assert (budget.spent, asked.jobs[0].answered) == (9 * 11, 9)
    assert "could pass the limit" in str(asked.ended)
    assert [found.row for found in asked.responses["m"]] == [f"r{number}" for number in range(9)], "in their order"


def test_after_a_row_that_does_not_fit_under_the_cap_nothing_is_submitted(server: BatchServer, tmp_path: Path) -> None:
    priced = replace(pair(server, tmp_path, 0, price={"input": 1_000_000, "output": 0}), prompts=["long " * 100, "row"])
    budget = Budget(50, {"m": model(server, price={"input": 1_000_000, "output": 0})})
    asked = ask_all(tmp_path, [priced], budget=budget)
    assert (server.sizes(), budget.spent) == ([], 0)
    assert "could pass the limit" in str(asked.ended)


def test_a_row_of_a_batch_has_one_attempt_and_no_latency(server: BatchServer, tmp_path: Path) -> None:
    server.rows = lambda prompt, attempt: openai_error(400, "too long") if prompt == "row 1" else None
    found = ask_all(tmp_path, [pair(server, tmp_path, 2)]).responses["m"]
    assert {(one.status, one.attempts, one.latency_s) for one in found} == {("ok", 1, None), ("failed", 1, None)}


def test_who_leaves_batches_to_the_next_run_is_told_how_many_rows_are_still_to_come(
    server: BatchServer, tmp_path: Path
) -> None:
    brake, left = Brake(), []
    asked = ask_all(
        tmp_path, [pair(server, tmp_path, 5)], brake=brake, watch=lambda job, response: left.append(brake.leave_lists())
    )
    assert (left, asked.jobs[0].answered) == ([4, 3, 2, 1, 0], 5)


def test_answers_that_cannot_be_written_are_collected_by_the_next_run(server: BatchServer, tmp_path: Path) -> None:
    saved: list[str] = []

    def watch(job: Job, response: Response) -> None:
        saved.append(response.row)
        if len(saved) == 3:
            job.save = full

    def full(response: Response) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(HarnessError, match="No space left on device"):
        ask_all(tmp_path, [pair(server, tmp_path, 10)], watch=watch)
    assert len(list(read_responses(tmp_path / "jigsaw" / "m"))) == 3
    assert ask_all(tmp_path, [pair(server, tmp_path, 10)]).jobs[0].answered == 7
    assert server.sizes() == [10]
    assert set(server.paid.values()) == {1}


def test_a_model_that_is_refused_on_two_tasks_is_stopped_on_both(server: BatchServer, tmp_path: Path) -> None:
    pairs = [replace(pair(server, tmp_path, 3, model="no-such-model"), task=task) for task in ("jigsaw", "boolq")]
    asked = ask_all(tmp_path, pairs)
    assert ["The model does not exist" in str(job.stopped) for job in asked.jobs] == [True, True]
    assert asked.finished == ["jigsaw/m", "boolq/m"]
    assert [job.trouble for job in asked.jobs] == [{"rejected": 3}, {"rejected": 3}]
