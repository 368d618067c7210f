"""OpenAI's Batch API behind the interface of a single request: half the price, and an answer within 24 hours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from harness.errors import AskError, ModelRejected, Rejected, Unavailable
from harness.models import openai
from harness.models.backend import Reply, Request
from harness.models.batch_api import PASSING, UNFINISHED, VALIDATING, Batch, BatchApi, BatchCalls, Pace
from harness.models.entry import OpenAIModel
from harness.models.http import address, secrets_of
from harness.models.http_errors import Filtered, failure
from harness.models.openai import OpenAIBackend

# Fewer than a token of English has: a batch is to stay well under the limit that the server names.
_BYTES_PER_TOKEN = 3


_LIMIT = re.compile(r"Limit: ([\d,]+)")


@dataclass(eq=False, slots=True)
class _Row:
    """A request: its id, its size in the file in bytes, its answer to come, and the batches that did not bring it."""

    id: str
    request: Request
    size: int
    answer: asyncio.Future[Reply]
    tries: int = 0


@dataclass(eq=False, slots=True)
class _Group:
    """Requests that gather, for a new batch or for the answers of an old one, until no more join."""

    rows: list[_Row] = field(default_factory=list)
    bytes: int = 0
    touched: float = 0.0


class BatchBackend:
    """One model, one task. Requests that are asked at the same time travel in one batch.

    A request's id is the hash of its address and body. So a request that is asked again, after a restart or with other
    prompts around it, finds the batch that it is in, and one whose prompt has changed does not.

    Row by row, what failed for a passing reason, and what an expired batch has left over, goes into the next batch, up
    to the model's `attempts`. Failures of the calls themselves are waited out here. What is raised is final, therefore:
    Rejected for a row, ModelRejected when the batch or the model is at fault.

    Args:
        model: The model's entry.
        transport: Shared with other models; the caller closes it.
        state: File that remembers what has been submitted, `batches.jsonl` in the pair's results folder.
        pace: Times and sizes.
    """

    def __init__(
        self, model: OpenAIModel, transport: httpx.AsyncBaseTransport, state: Path, pace: Pace | None = None
    ) -> None:
        self.model = model
        self._transport, self._state, self._pace = transport, state, pace or Pace()
        self._plain = OpenAIBackend(model, transport)
        self._rows: dict[str, _Row] = {}
        self._groups: dict[str | None, _Group] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._door = asyncio.Lock()
        self._most_bytes = self._pace.bytes

    @property
    def identity(self) -> Mapping[str, Any]:
        """That of the same model asked directly: the way there does not change the answer."""
        return self._plain.identity

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON, as it stands in the uploaded file."""
        return self._plain.body(request)

    async def ask(self, request: Request) -> Reply:
        """Join the request to a batch and wait for its answer, for a day if need be.

        Raises:
            Rejected: no batch brought an answer to it, or the server refuses it.
            ModelRejected: a batch was refused, cancelled or left alone; what was submitted is collected by the next
                run.
        """
        body = self.body(request)
        custom_id = _hash(str(self.identity["address"]), body)
        if (row := self._rows.get(custom_id)) is None:
            answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            row = _Row(custom_id, request, len(self._line(custom_id, body)), answer)
            self._join(row)
            self._rows[custom_id] = row
        # Shielded, because another request may wait for the same answer.
        return await asyncio.shield(row.answer)

    def leave(self) -> int:
        """Stop waiting, and return for how many rows. Batches that are submitted go on; whoever waits is told so."""
        for task in self._tasks:
            task.cancel()
        return len(self._rows)

    async def aclose(self) -> None:
        """Stop waiting."""
        tasks = list(self._tasks)
        self.leave()
        await asyncio.gather(*tasks, return_exceptions=True)

    @cached_property
    def _calls(self) -> BatchCalls:
        api = BatchApi(self._transport, self.model.base_url, openai.bearer(self.model.api_key), self._secrets)
        return BatchCalls(api, self._pace, self._state)

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        return secrets_of(address(self.model.base_url, ""), openai.key(self.model.api_key))

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._state)

    @property
    def _endpoint(self) -> str:
        return "/v1" + openai.PATHS[self.model.api]

    def _line(self, custom_id: str, body: Mapping[str, Any]) -> bytes:
        """A request as a line of the file; made anew when it is needed, because 50,000 of them take much memory."""
        line = {"custom_id": custom_id, "method": "POST", "url": self._endpoint, "body": body}
        return json.dumps(line).encode() + b"\n"

    def _join(self, row: _Row) -> None:
        """Put a row to those that wait for the same batch: the old one that it is in, or the next."""
        file = self._ledger.holder(row.id)
        group = self._groups.get(file)
        if group is None or (file is None and not self._fits(group, row)):
            group = self._groups[file] = _Group()
            self._start(self._gather(file, group), group.rows)
        group.rows.append(row)
        group.bytes += row.size
        group.touched = asyncio.get_running_loop().time()

    def _fits(self, group: _Group, row: _Row) -> bool:
        return len(group.rows) < self._pace.rows and group.bytes + row.size <= self._most_bytes

    def _start(self, work: Coroutine[Any, Any, None], rows: list[_Row]) -> None:
        """Begin work whose failure is that of all rows that are in the list by then."""
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            stopped = f"stopped waiting for batches; the same command goes on with those in {self._state}"
            if error := ModelRejected(stopped) if task.cancelled() else task.exception():
                for row in rows:
                    self._resolve(row, error)

        task.add_done_callback(ended)

    async def _gather(self, file: str | None, group: _Group) -> None:
        """Wait until a group is full or nobody joins it any more; then ask or collect."""
        now = asyncio.get_running_loop().time
        while self._groups.get(file) is group and (left := group.touched + self._pace.quiet - now()) > 0:
            await asyncio.sleep(left)
        if self._groups.get(file) is group:
            del self._groups[file]
        if file is None:
            await self._submit(group.rows)
        else:
            await self._resume(file, group.rows)

    async def _submit(self, rows: list[_Row]) -> None:
        """Submit rows, in several batches where the server's queue takes no more at once."""
        began, pause = asyncio.get_running_loop().time(), self._pace.poll
        while rows:
            # One at a time knocks at the queue.
            async with self._door:
                piece = self._piece(rows)
                file = await self._calls.upload(self._line(row.id, self.body(row.request)) for row in piece)
                self._ledger.submitting(file, [row.id for row in piece])
                batch = await self._calls.create(file, self._endpoint)
                self._ledger.submitted(file, batch.id)
                batch = await self._calls.watch(batch, VALIDATING)
                if batch.queue_full:
                    self._ledger.over(file, self._ledger.asked(file))
                    if asyncio.get_running_loop().time() - began > self._pace.queue:
                        raise ModelRejected(f"the queue of batches stays full: {batch.reason}")
                    self._shrink(batch, piece)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 10 * self._pace.longest_poll)
                    continue
            pause = self._pace.poll
            del rows[: len(piece)]
            self._start(self._collect(batch, piece), piece)

    def _piece(self, rows: list[_Row]) -> list[_Row]:
        """The first rows, as many as fit into a batch, but at least one."""
        group = _Group()
        for row in rows:
            if group.rows and not self._fits(group, row):
                break
            group.rows.append(row)
            group.bytes += row.size
        return group.rows

    def _shrink(self, batch: Batch, piece: list[_Row]) -> None:
        """Make batches that leave room in the queue; when this one did, only waiting helps."""
        if said := _LIMIT.search(batch.reason):
            most = int(said[1].replace(",", "")) * _BYTES_PER_TOKEN // 2
        else:
            most = sum(row.size for row in piece) // 2
        self._most_bytes = min(self._most_bytes, most)

    async def _resume(self, file: str, rows: list[_Row]) -> None:
        """Collect rows from a batch of an earlier run, or ask them anew when it was never submitted."""
        if batch_id := self._ledger.batch(file):
            batch = await self._calls.batch(batch_id)
        elif found := await self._calls.find(file):
            batch = found
            self._ledger.submitted(file, batch.id)
        else:
            self._ledger.over(file, self._ledger.asked(file))
            for row in rows:
                self._join(row)
            return
        await self._collect(batch, rows)

    async def _collect(self, batch: Batch, rows: list[_Row]) -> None:
        """Wait for a batch and hand out what it brought; first of all what was paid for."""
        batch = await self._calls.watch(batch, UNFINISHED)
        outcomes = await self._outcomes(batch, rows)
        unanswered = []
        for row in rows:
            if isinstance(outcome := outcomes[row.id], Reply):
                self._resolve(row, outcome)
            else:
                unanswered.append((row, outcome))
        self._ledger.over(batch.input_file, [row.id for row, _ in unanswered])
        for row, error in unanswered:
            row.tries += 1
            if not isinstance(error, PASSING):
                self._resolve(row, error)
            elif row.tries < self.model.attempts:
                self._join(row)
            else:
                self._resolve(row, Rejected(f"no answer in {row.tries} batches: {error}"))

    async def _outcomes(self, batch: Batch, rows: list[_Row]) -> dict[str, Outcome]:
        """What a finished batch brought each row."""
        if batch.status == "failed":
            return failed(batch, self._ledger.asked(batch.input_file), self._secrets)
        found: dict[str, Outcome] = {}

        def take(line: Mapping[str, Any]) -> tuple[str, Outcome]:
            return str(line.get("custom_id")), read(self.model.api, line, self._secrets)

        for file in filter(None, (batch.output_file, batch.error_file)):
            found.update(await self._calls.lines(file, batch, take))
        return {row.id: missing(batch, found.get(row.id)) for row in rows}

    def _resolve(self, row: _Row, outcome: Reply | BaseException) -> None:
        if self._rows.get(row.id) is row:
            del self._rows[row.id]
        if row.answer.done():
            return
        if isinstance(outcome, Reply):
            row.answer.set_result(outcome)
        else:
            row.answer.set_exception(outcome)
            row.answer.exception()  # counts as seen, because whoever waited may have been cancelled


def _hash(address: str, body: Mapping[str, Any]) -> str:
    """Return 32 hex digits; an id may have 64."""
    text = json.dumps([address, body], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


Outcome = Reply | AskError


def read(api: openai.Api, line: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Outcome:
    """Return what a line of an output or error file says: the reply, or why there is none."""
    response = line.get("response")
    try:
        if not isinstance(response, dict):
            raise _unsent(line.get("error"), secrets)
        status, body = response.get("status_code"), response.get("body")
        if not isinstance(status, int) or not 200 <= status < 300:
            raise failure(status if isinstance(status, int) else 0, json.dumps(body), secrets=secrets)
        return openai.parse(api, body if isinstance(body, dict) else {}, secrets)
    except Filtered:
        return Reply("", finish_reason="refusal")
    except AskError as error:
        return error


def _unsent(error: Any, secrets: tuple[str, ...]) -> AskError:
    """Why a request has no response at all: the batch expired or was cancelled before its turn, or worse."""
    said = error if isinstance(error, dict) else {"message": "neither response nor error"}
    found = failure(500, json.dumps({"error": said}), secrets=secrets)
    return Unavailable(str(found).removeprefix("HTTP 500: ")) if isinstance(found, Unavailable) else found


def missing(batch: Batch, outcome: Outcome | None) -> Outcome:
    """Return a row's outcome, or, when the batch ended before it got to the row, what that means.

    What an expired batch has left over is asked again at once; what somebody cancelled is not.
    """
    if batch.status == "cancelled" and (outcome is None or isinstance(outcome, Unavailable)):
        return ModelRejected(f"batch {batch.id} was cancelled; the same command asks the rest of its rows anew")
    return outcome or Unavailable(f"batch {batch.id} is {batch.status} and holds no answer to this row")


def failed(batch: Batch, ids: tuple[str, ...], secrets: tuple[str, ...]) -> dict[str, Outcome]:
    """What each row learns of a batch that failed before it began.

    A full queue and the mistakes of other rows mean: once more. Where no row is at fault, the model or the account is.
    """
    if batch.queue_full:
        return dict.fromkeys(ids, Unavailable(batch.reason))
    errors = [failure(400, json.dumps({"error": error}), secrets=secrets) for error in batch.errors]
    blamed = {error.get("line"): found for error, found in zip(batch.errors, errors, strict=True)}
    if not any(blamed) or any(isinstance(error, ModelRejected) for error in errors):
        return dict.fromkeys(ids, ModelRejected(f"batch {batch.id} failed: {batch.reason}"))
    others = Unavailable(f"batch {batch.id} failed for another row's mistake: {batch.reason}")
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

    def submitting(self, file: str, ids: Iterable[str]) -> None:
        """Note requests that are uploaded, before they are submitted."""
        self._note({"file": file, "asked": list(ids)})

    def submitted(self, file: str, batch: str) -> None:
        """Note the batch that a file has become."""
        self._note({"file": file, "batch": batch})

    def over(self, file: str, ids: Sequence[str]) -> None:
        """Note requests that a file's batch has not answered and will not answer any more."""
        if ids:
            self._note({"file": file, "over": list(ids)})

    def _note(self, event: Mapping[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _append(self._path, json.dumps(event).encode() + b"\n")
        except OSError as error:
            raise ModelRejected(
                f"{self._path}: cannot be written ({error.strerror}), and without it a batch could be paid for twice; "
                "mend that and give the same command again"
            ) from error
        self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"file": str(file), "asked": list(ids)}:
                self._asked[file] = tuple(ids)
                self._holders.update(dict.fromkeys(ids, file))
            case {"file": str(file), "batch": str(batch)}:
                self._batches[file] = batch
            case {"file": str(file), "over": list(ids)}:
                for custom_id in ids:
                    if self._holders.get(custom_id) == file:
                        del self._holders[custom_id]


def _events(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield what the file holds. A line that a kill or a full disk has cut is passed over: what it was to announce, the
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
    """Write a line so that it outlives the process and the machine's next breath; a cut line before it is ended."""
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
