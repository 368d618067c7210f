"""OpenAI's Batch API: a list of requests, their replies within 24 hours, at half the price."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from harness.errors import MOST_DOUBTS, AskError, ModelRejected, NotUnderstood, Rejected, Unavailable
from harness.models.backend import Reply, Request
from harness.models.batch_api import PASSING, VALIDATING, Batch, BatchCalls, Pace
from harness.models.entry import OpenAIModel
from harness.models.http_errors import Filtered, failure
from harness.models.openai import PATHS, OpenAIBackend, parse
from harness.models.remote import ended, filtered

# Fewer than a token of English has: a batch is to stay well under the limit that the server names.
_BYTES_PER_TOKEN = 3
_LIMIT = re.compile(r"Limit: ([\d,]+)")

Outcome = Reply | AskError


@dataclass(eq=False, slots=True)
class _Line:
    """A line of a batch's file: its id, the requests that it stands for, its size in bytes, its batches so far.

    `doubts` are those of them whose answer was not understood.
    """

    id: str
    requests: list[Request]
    size: int
    tries: int = 0
    doubts: int = 0


@dataclass(eq=False, slots=True)
class _Sent:
    """A submitted batch and the lines whose answers are expected of it; `new` if this process has submitted it."""

    batch: Batch
    lines: list[_Line]
    new: bool = True
    without_files: float | None = None


class BatchBackend(OpenAIBackend):
    """One model, one task, asked through the Batch API.

    A request's id in a batch is the hash of its URL and body. So a request that is asked again, after a restart or with
    other prompts around it, finds the batch that it is in, and one whose prompt has changed does not. `state` is the
    file that records what has been submitted, `batches.jsonl` in the pair's results folder.
    """

    def __init__(
        self, model: OpenAIModel, transport: httpx.AsyncBaseTransport, state: Path, pace: Pace | None = None
    ) -> None:
        super().__init__(model, transport)
        self.pace = pace or Pace()
        # Less than the API allows, once the server has said how much its queue takes.
        self.most_bytes = self.pace.bytes
        self._state = state

    async def ask(self, request: Request) -> Reply:
        """Ask one request, in a batch of its own.

        Raises:
            Rejected: as `ask_all` yields it.
        """
        *_, outcome = [outcome async for _, outcome in self.ask_all([request])]
        if isinstance(outcome, Reply):
            return outcome
        raise outcome

    async def ask_all(self, requests: Iterable[Request]) -> AsyncGenerator[tuple[Request, Outcome], None]:
        """Ask requests in as few batches as possible; yield each with its reply, or with the reason why there is none.

        A request that failed for a passing reason, or that an expired batch has left over, goes into the next batch, up
        to the model's `attempts`; calls that fail are repeated. An error that is yielded is final, therefore: Rejected
        for the request, ModelRejected when the batch or the model is at fault; but for one that only says that an
        attempt may have been charged (`AskError.final`).

        Whoever stops iterating stops waiting: batches that are submitted go on, and the next call for the same requests
        collects their answers.

        Raises:
            ModelRejected: the file that records the batches cannot be read.
        """
        lines: dict[str, _Line] = {}
        for request in requests:
            body = self.sent(request)
            custom_id = self._id(request, body)
            if custom_id in lines:
                lines[custom_id].requests.append(request)
            else:
                lines[custom_id] = _Line(custom_id, [request], len(self.encoded(custom_id, body)))
            await asyncio.sleep(0)  # there may be many, and other models wait for their answers
        asking = _Asking(self)
        found = await asking.begin(lines.values())
        while found or asking.left:
            for line, outcome in found:
                for request in line.requests:
                    yield request, _ended(outcome, request, self.model)
            found = await asking.step()

    def _id(self, request: Request, sent: Mapping[str, Any]) -> str:
        """The id of a request: by the names of variables, unless it was submitted before that was so."""
        address, sample = str(self.identity["address"]), f"-{request.sample}" if request.sample else ""
        earlier = _hash(address, sent) + sample
        return earlier if self.ledger.holder(earlier) else _hash(address, self.body(request)) + sample

    @cached_property
    def calls(self) -> BatchCalls:
        """The calls of the API, with the model's key."""
        model, headers, secrets = self.model, self.headers, self.secrets
        return BatchCalls(self.transport, model.base_url, headers, secrets, model.query, self.pace, self._state)

    @cached_property
    def ledger(self) -> Ledger:
        """What has been submitted."""
        return Ledger(self._state)

    @property
    def endpoint(self) -> str:
        """The method that answers each line."""
        return "/v1" + PATHS[self.model.api]

    def encoded(self, custom_id: str, body: Mapping[str, Any]) -> bytes:
        """A line of the file; encoded again when it is needed, because 50,000 of them take much memory."""
        line = {"custom_id": custom_id, "method": "POST", "url": self.endpoint, "body": body}
        return json.dumps(line).encode() + b"\n"


_Found = tuple[_Line, Outcome]


class _Asking:
    """One call of `ask_all`: lines that wait for a batch, and batches whose answers are awaited."""

    def __init__(self, backend: BatchBackend) -> None:
        self._backend, self._calls, self._ledger = backend, backend.calls, backend.ledger
        self._pace = backend.pace
        self._waiting: list[_Line] = []
        self._sent: list[_Sent] = []
        self._poll = self._pace.poll
        # The server's queue of batches may be full: since when, and how long until the next try.
        self._full_since: float | None = None
        self._full_pause = self._pace.poll
        self._not_before = 0.0

    @property
    def left(self) -> bool:
        """Whether there is still something to wait for."""
        return bool(self._waiting or self._sent)

    async def begin(self, lines: Iterable[_Line]) -> list[_Found]:
        """Find the batches of earlier runs that hold some of these lines; return the lines that have failed by that."""
        old: dict[str, list[_Line]] = {}
        for line in lines:
            file = self._ledger.holder(line.id)
            (self._waiting if file is None else old.setdefault(file, [])).append(line)
        found: list[_Found] = []
        for file, held in old.items():
            try:
                await self._resume(file, held)
            except ModelRejected as error:
                found += [(line, error) for line in held]
        return found

    async def step(self) -> list[_Found]:
        """Do what can be done now, or else wait for a while; return the lines that are done, each with its outcome."""
        found: list[_Found] = []
        for sent in [sent for sent in self._sent if self._over(sent)]:
            self._sent.remove(sent)
            found += await self._finished(sent)
        if self._may_submit():
            try:
                await self._submit()
            except ModelRejected as error:
                found += [(line, error) for line in self._waiting]
                self._waiting.clear()
        elif not found and self.left:
            found += await self._watch()
        return found

    def _over(self, sent: _Sent) -> bool:
        """Whether a batch is finished. One that names no file yet has answers all the same, which are waited for."""
        if sent.batch.status == "completed" and not (sent.batch.output_file or sent.batch.error_file):
            sent.without_files = sent.without_files or time.monotonic()
            return time.monotonic() - sent.without_files >= self._pace.give_up
        return sent.batch.finished

    async def _resume(self, file: str, lines: list[_Line]) -> None:
        """Wait for a batch of an earlier run; ask its lines again if it was never submitted."""
        if batch_id := self._ledger.batch(file):
            self._sent.append(_Sent(await self._calls.batch(batch_id), lines, new=False))
        elif batch := await self._calls.find(file):
            self._ledger.note(file, batch=batch.id)
            self._sent.append(_Sent(batch, lines, new=False))
        else:
            self._ledger.note(file, over=self._ledger.asked(file))
            self._waiting += lines

    def _may_submit(self) -> bool:
        """Whether there is something to submit, and no batch whose validation may show that the queue is full."""
        validating = any(sent.batch.status in VALIDATING for sent in self._sent)
        return bool(self._waiting) and not validating and time.monotonic() >= self._not_before

    async def _submit(self) -> None:
        """Submit as many of the waiting lines as one batch takes."""
        lines = self._first_that_fit()
        file = await self._calls.upload(
            self._backend.encoded(line.id, self._backend.sent(line.requests[0])) for line in lines
        )
        self._ledger.note(file, asked=[line.id for line in lines])
        batch = await self._calls.create(file, self._backend.endpoint)
        self._ledger.note(file, batch=batch.id)
        del self._waiting[: len(lines)]
        self._sent.append(_Sent(batch, lines))
        self._poll = self._pace.poll

    def _first_that_fit(self) -> list[_Line]:
        """The first waiting lines, as many as fit into a batch, but at least one."""
        count, size = 0, 0
        for line in self._waiting[: self._pace.rows]:
            size += line.size
            if count and size > self._backend.most_bytes:
                break
            count += 1
        return self._waiting[:count]

    async def _watch(self) -> list[_Found]:
        """Wait, longer each time, and look at each batch; return the lines of those that cannot be looked at."""
        await asyncio.sleep(self._poll)
        self._poll = min(1.5 * self._poll, self._pace.longest_poll)
        found: list[_Found] = []
        for sent in list(self._sent):
            try:
                sent.batch = await self._calls.batch(sent.batch.id)
            except ModelRejected as error:
                self._sent.remove(sent)
                found += [(line, error) for line in sent.lines]
            if sent.new and sent.batch.status not in VALIDATING and not sent.batch.queue_full:
                self._full_since, self._full_pause = None, self._pace.poll
        return found

    async def _finished(self, sent: _Sent) -> list[_Found]:
        """Return what a batch has brought; its other lines wait for another batch, or have failed."""
        batch = sent.batch
        if sent.new and batch.queue_full:
            return self._wait_for_queue(sent)
        if sent.without_files is not None and not (batch.output_file or batch.error_file):
            missing_files = (
                f"batch {batch.id} is completed but names no file of answers; run the same command to look again"
            )
            return [(line, ModelRejected(missing_files)) for line in sent.lines]
        try:
            outcomes = await self._outcomes(batch, sent.lines)
        except ModelRejected as refused:
            return [(line, refused) for line in sent.lines]
        found: list[_Found] = [(line, reply) for line in sent.lines if isinstance(reply := outcomes[line.id], Reply)]
        unanswered = [(line, error) for line in sent.lines if isinstance(error := outcomes[line.id], AskError)]
        try:
            if unanswered:
                self._ledger.note(batch.input_file, over=[line.id for line, _ in unanswered])
        except ModelRejected as unwritten:
            return [*found, *((line, unwritten) for line, _ in unanswered)]
        for line, error in unanswered:
            line.tries += 1
            line.doubts += isinstance(error, NotUnderstood)
            if not isinstance(error, PASSING) or line.doubts >= MOST_DOUBTS:
                found.append((line, error))
            elif line.tries < self._backend.model.attempts:
                self._waiting.append(line)
                if error.charged:
                    error.final = False
                    found.append((line, error))
            else:
                last = Rejected(f"no answer in {line.tries} batches: {error}")
                last.charged, last.usage = error.charged, error.usage
                found.append((line, last))
        return found

    def _wait_for_queue(self, sent: _Sent) -> list[_Found]:
        """Let lines that the server's queue has no room for wait, for a smaller batch or for room.

        Return all that wait, as failed, when the queue has been full for too long.
        """
        batch, now = sent.batch, time.monotonic()
        self._waiting[:0] = sent.lines
        self._full_since = self._full_since or now
        try:
            self._ledger.note(batch.input_file, over=self._ledger.asked(batch.input_file))
            if now - self._full_since >= self._pace.queue:
                raise ModelRejected(f"the queue of batches stays full: {batch.reason}")
        except ModelRejected as error:
            lines, self._waiting = self._waiting, []
            return [(line, error) for line in lines]
        if said := _LIMIT.search(batch.reason):
            most = int(said[1].replace(",", "")) * _BYTES_PER_TOKEN // 2
        else:
            most = sum(line.size for line in sent.lines) // 2
        self._backend.most_bytes = min(self._backend.most_bytes, most)
        self._not_before = now + self._full_pause
        self._full_pause = min(2 * self._full_pause, 10 * self._pace.longest_poll)
        return []

    async def _outcomes(self, batch: Batch, lines: Sequence[_Line]) -> dict[str, Outcome]:
        """Return what a finished batch brought for each line."""
        secrets = self._backend.secrets
        if batch.status == "failed":
            return failed(batch, self._ledger.asked(batch.input_file), secrets)
        found: dict[str, Outcome] = {}

        def take(line: Mapping[str, Any]) -> tuple[str, Outcome]:
            return str(line.get("custom_id")), read(line, secrets)

        for file in filter(None, (batch.output_file, batch.error_file)):
            for custom_id, outcome in await self._calls.lines(file, batch, take):
                if not isinstance(found.get(custom_id), Reply):  # an answer counts, whatever else is said of the row
                    found[custom_id] = outcome
        return {line.id: missing(batch, found.get(line.id)) for line in lines}


def _ended(outcome: Outcome, request: Request, model: OpenAIModel) -> Outcome:
    try:
        return ended(outcome, request, model) if isinstance(outcome, Reply) else outcome
    except ModelRejected as error:
        return error


def _hash(address: str, body: Mapping[str, Any]) -> str:
    """Return the id of a request, 32 hex digits; the API allows 64."""
    text = json.dumps([address, body], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read(line: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Outcome:
    """Return the reply in a line of an output or error file, or the reason why there is none."""
    response = line.get("response")
    try:
        if not isinstance(response, dict):
            raise _unsent(line.get("error"), secrets)
        status, body = response.get("status_code"), response.get("body")
        if not isinstance(status, int) or not 200 <= status < 300:
            raise failure(status if isinstance(status, int) else 0, json.dumps(body), secrets=secrets)
        return parse(body if isinstance(body, dict) else {}, secrets)
    except Filtered as error:
        return filtered(error)
    except AskError as error:
        return error


def _unsent(error: Any, secrets: tuple[str, ...]) -> AskError:
    """Why a request has no response at all: the batch expired or was cancelled before its turn, or worse."""
    said = error if isinstance(error, dict) else {"message": "neither response nor error"}
    found = failure(500, json.dumps({"error": said}), secrets=secrets)
    return Unavailable(str(found).removeprefix("HTTP 500: ")) if isinstance(found, Unavailable) else found


def missing(batch: Batch, outcome: Outcome | None) -> Outcome:
    """Return a row's outcome, or what it means that the batch ended without one.

    Rows that an expired batch has left over are asked again at once, rows of a batch that somebody cancelled are not.
    """
    if batch.status == "cancelled" and (outcome is None or isinstance(outcome, Unavailable)):
        return ModelRejected(f"batch {batch.id} was cancelled; run the same command to ask the rest of its rows again")
    return outcome or Unavailable(f"batch {batch.id} is {batch.status} and holds no answer to this row")


def failed(batch: Batch, ids: tuple[str, ...], secrets: tuple[str, ...]) -> dict[str, Outcome]:
    """Return the outcome of each row of a batch that failed before it began.

    After a full queue or a mistake in another row, a row may be asked again. Where no row is at fault, the model or the
    account is.
    """
    if batch.queue_full:
        return dict.fromkeys(ids, Unavailable(batch.reason))
    errors = [failure(400, json.dumps({"error": error}), secrets=secrets) for error in batch.errors]
    blamed = {error.get("line"): found for error, found in zip(batch.errors, errors, strict=True)}
    if not any(blamed) or any(isinstance(error, ModelRejected) for error in errors):
        return dict.fromkeys(ids, ModelRejected(f"batch {batch.id} failed: {batch.reason}"))
    others = Unavailable(f"batch {batch.id} failed because of another row: {batch.reason}")
    return {custom_id: blamed.get(number, others) for number, custom_id in enumerate(ids, 1)}


class Ledger:
    """The batches of one model for one task.

    Raises:
        ModelRejected: the file cannot be read, or, later, not be written; without it no batch may be submitted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked: dict[str, tuple[str, ...]] = {}
        self._batches: dict[str, str] = {}
        self._holders: dict[str, str] = {}
        try:
            for event in _events(path):
                self._apply(event)
        except OSError as error:
            raise ModelRejected(f"{path}: cannot be read ({error.strerror})") from error

    def holder(self, custom_id: str) -> str | None:
        """The file in which this request is submitted, and may have an answer waiting; None when there is none."""
        return self._holders.get(custom_id)

    def asked(self, file: str) -> tuple[str, ...]:
        """The ids of a file's requests, in the order of its lines."""
        return self._asked[file]

    def batch(self, file: str) -> str | None:
        """The batch that a file was submitted as; None when the process ended before it could know."""
        return self._batches.get(file)

    def note(self, file: str, **more: str | Sequence[str]) -> None:
        """Note of a file the requests that were `asked` in it, before it is submitted, the `batch` that it has become,
        and the requests that are `over`: its batch has not answered them and will not answer them any more."""
        event = {"file": file, **more}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _append(self._path, json.dumps(event).encode() + b"\n")
        except OSError as error:
            raise ModelRejected(
                f"{self._path}: cannot be written ({error.strerror}), and without it a batch could be paid for twice; "
                "fix that and run the same command again"
            ) from error
        self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"file": str(file), "asked": [*ids]}:
                self._asked[file] = tuple(ids)
                self._holders.update(dict.fromkeys(ids, file))
            case {"file": str(file), "batch": str(batch)}:
                self._batches[file] = batch
            case {"file": str(file), "over": [*ids]}:
                for custom_id in ids:
                    if self._holders.get(custom_id) == file:
                        del self._holders[custom_id]


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the events in the file. A line that a kill or a full disk has cut is skipped: what it was to record, the
    submission or its id, had not happened or is found by the file."""
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _append(path: Path, line: bytes) -> None:
    """Append a line and flush it to the disk; a line before it that was cut is ended first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
        data = line if whole else b"\n" + line
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
