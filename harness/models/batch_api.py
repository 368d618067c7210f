"""The calls of OpenAI's Batch API: upload requests, submit them, fetch the status and the answers."""

from __future__ import annotations

import asyncio
import io
import json
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, stop_any
from tenacity.stop import stop_base

from harness.errors import BadReply, Doubtful, ModelRejected, Rejected, Throttled, Unavailable
from harness.models.http import Bounds, address, json_object, send
from harness.models.http_errors import failure

# Maximum silence during a call: a batch has no other deadline.
# A file of 50,000 answers may be large.
_CALLS = Bounds(silence=60.0, size=2_000_000_000)
_PAGE = 100
MOST_LOOKS = 5
T = TypeVar("T")
QUEUE_FULL = "token_limit_exceeded"
MOST_ROWS = 50_000
MOST_BYTES = 200_000_000
VALIDATING = frozenset({"validating"})
WORKING = frozenset({"in_progress", "finalizing", "cancelling"})
FINISHED = frozenset({"completed", "failed", "expired", "cancelled"})
PASSING = (Throttled, Unavailable, BadReply)


@dataclass(frozen=True, slots=True)
class Batch:
    """The status of a batch. `errors` say why it failed as a whole."""

    id: str
    status: str
    input_file: str
    output_file: str | None = None
    error_file: str | None = None
    errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come of it. A status that is not OpenAI's is that of a batch at work, unless it has
        brought something: to take it for an end would be to ask, and pay, for all its rows again."""
        known = self.status in VALIDATING or self.status in WORKING
        return self.status in FINISHED or (not known and bool(self.output_file or self.error_file or self.errors))

    @property
    def queue_full(self) -> bool:
        """Whether it failed only because too many tokens of the organisation wait in batches already."""
        return self.status == "failed" and any(error.get("code") == QUEUE_FULL for error in self.errors)

    @property
    def reason(self) -> str:
        """Why it failed, in the server's words."""
        return "; ".join(dict.fromkeys(error["message"] for error in self.errors)) or "no reason given"


def batch_of(reply: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Batch:
    """Read a batch; the messages of its errors are shortened, and hold none of `secrets`.

    Raises:
        BadReply: it has no id, status or input file.
    """
    errors = reply.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    return Batch(
        id=_text(reply, "id"),
        status=_text(reply, "status").lower().replace("canceled", "cancelled"),
        input_file=_text(reply, "input_file_id"),
        output_file=reply.get("output_file_id"),
        error_file=reply.get("error_file_id"),
        errors=tuple({**error, "message": _said(error, secrets)} for error in data or [] if isinstance(error, dict)),
    )


def _said(error: Mapping[str, Any], secrets: tuple[str, ...]) -> str:
    message = failure(400, json.dumps({"error": {"message": error.get("message") or error.get("code")}}), None, secrets)
    return str(message).removeprefix("HTTP 400: ")


def _line(text: bytes, file: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise BadReply(f"the file {file} holds a line that is not JSON") from error
    if not isinstance(line, dict):
        raise BadReply(f"the file {file} holds a line that is not a JSON object")
    return line


def _text(reply: Mapping[str, Any], name: str) -> str:
    value = reply.get(name)
    if not isinstance(value, str) or not value:
        raise BadReply(f"the reply holds no {name}")
    return value


class _Gone(stop_base):
    """Stops when something has been refused without a reason so often that it is not there."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        return isinstance(error, Doubtful) and retry_state.attempt_number >= MOST_LOOKS


@dataclass(frozen=True, slots=True)
class Pace:
    """Times, in seconds, and sizes by which batches are made and watched.

    A batch's status is fetched after `poll`, each further wait is half as long again up to `longest_poll`. A call that
    fails for `give_up` gives the model up for this run; `queue` is how long a full queue is waited for, longer than any
    batch in it may take. A batch has at most `rows` requests and `bytes`.
    """

    poll: float = 5.0
    longest_poll: float = 60.0
    give_up: float = 3600.0
    queue: float = 25 * 3600.0
    rows: int = MOST_ROWS
    bytes: int = MOST_BYTES


@dataclass(frozen=True)
class BatchCalls:
    """The Batch API at an address, whose calls are repeated while they fail.

    `secrets` are kept out of all messages; `state` is the file that messages name. All methods raise ModelRejected when
    the server refuses the call, or has failed for too long.
    """

    transport: httpx.AsyncBaseTransport
    base_url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    query: Mapping[str, str]
    pace: Pace
    state: Path

    async def upload(self, lines: Iterable[bytes]) -> str:
        """Upload requests, which wait in a temporary file and are read as they are sent; return the file's id."""
        with tempfile.TemporaryFile() as requests:
            requests.writelines(lines)
            requests.flush()
            files = {"file": ("requests.jsonl", requests, "application/jsonl")}
            reply = await self._persist(partial(self._call, "POST", "/files", data={"purpose": "batch"}, files=files))
            return _text(reply, "id")

    async def batch(self, batch_id: str) -> Batch:
        """Return the status of a batch."""
        return await self._persist(partial(self._batch, "GET", f"/batches/{batch_id}"), f"batch {batch_id}")

    async def lines(self, file: str, batch: Batch, take: Callable[[dict[str, Any]], T]) -> list[T]:
        """Return what `take` makes of each line of a batch's file of answers or errors; one at a time is held as JSON.

        A line that is no JSON object fails the call: to leave it out would be to ask, and pay, for its row again.
        """

        async def lines() -> list[T]:
            content = await self._send("GET", f"/files/{file}/content", accept="*/*")
            return [take(_line(text, file)) for text in io.BytesIO(content) if text.strip()]

        return await self._persist(lines, f"batch {batch.id}")

    async def create(self, file: str, endpoint: str) -> Batch:
        """Submit an uploaded file once, which costs money, although the answer to the submission may be lost."""
        body = {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"}
        tried = False

        async def once() -> Batch:
            nonlocal tried
            if tried and (found := await self._find(file)):
                return found
            tried = True
            return await self._batch("POST", "/batches", json=body)

        return await self._persist(once)

    async def find(self, file: str) -> Batch | None:
        """Look for a file's batch, twice: the process may have been killed a moment before it came to be."""
        if found := await self._persist(partial(self._find, file)):
            return found
        await asyncio.sleep(self.pace.poll)
        return await self._persist(partial(self._find, file))

    async def _find(self, file: str) -> Batch | None:
        """The batch that was made of a file, None when there is none.

        Raises:
            BadReply: the list does not go on after the batch that was named: to take the batch for missing would be to
                submit it, and pay for it, twice.
        """
        query: dict[str, Any] = {"limit": _PAGE}
        seen: set[str] = set()
        while True:
            page = await self._call("GET", "/batches", query)
            batches = [value for value in page.get("data") or [] if isinstance(value, dict)]
            for value in batches:
                if value.get("input_file_id") == file:
                    return batch_of(value, self.secrets)
            if not page.get("has_more") or not batches:
                return None
            last = _text(batches[-1], "id")
            if last in seen:
                raise BadReply(f"the list of batches begins again after {last}")
            seen.add(last)
            query["after"] = last

    async def _batch(self, method: str, path: str, **body: Any) -> Batch:
        return batch_of(await self._call(method, path, **body), self.secrets)

    async def _call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, **body: Any
    ) -> dict[str, Any]:
        return json_object(await self._send(method, path, query, **body), self.secrets)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        **body: Any,
    ) -> bytes:
        url = address(self.base_url, path).copy_merge_params({**self.query, **(query or {})})
        headers = {**self.headers, "Accept": accept}
        return await send(self.transport, method, url, headers, self.secrets, _CALLS, **body)

    async def _persist(self, call: Callable[[], Awaitable[T]], batch: str = "") -> T:
        """Make a call until it succeeds.

        Raises:
            ModelRejected: the server refuses it, or has failed for too long.
        """
        # What was paid for is looked for several times before it is said not to be there.
        passing = (*PASSING, Doubtful) if batch else PASSING
        retrying = AsyncRetrying(
            stop=stop_any(stop_after_delay(self.pace.give_up), _Gone()),
            wait=self._pause,
            retry=retry_if_exception_type(passing),
            reraise=True,
        )
        try:
            return await retrying(call)
        except PASSING as error:
            again = f"; stopped for now, run the same command to resume the batches in {self.state}"
            raise ModelRejected(f"{error}{again}") from error
        except Rejected as error:
            paid = f"; to ask the rows of {batch} again, and pay for them again, delete {self.state}" if batch else ""
            raise ModelRejected(f"{error}{paid}") from error

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Throttled) and error.retry_after is not None:
            return min(error.retry_after, self.pace.give_up)
        longest = min(self.pace.longest_poll, self.pace.poll * 2.0 ** min(state.attempt_number, 30))
        return random.uniform(longest / 2, longest)
