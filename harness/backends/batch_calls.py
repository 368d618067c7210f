"""Calls of the Batch API that wait out what passes: a day is long enough for a network to fail now and then."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay

from harness.backends.batch_api import Batch, BatchApi
from harness.errors import BadReply, ModelRejected, Rejected, Throttled, Unavailable

T = TypeVar("T")

MOST_ROWS = 50_000
MOST_BYTES = 200_000_000
VALIDATING = frozenset({"validating"})
UNFINISHED = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
PASSING = (Throttled, Unavailable, BadReply)


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds, and sizes, by which batches are made and watched.

    Attributes:
        quiet: A batch is closed when no request has joined it for so long.
        poll: First wait between two looks at a batch; each further wait is half as long again.
        longest_poll: Longest such wait.
        patience: How long a call may fail before the model is given up for this run.
        queue: How long a full queue is waited for: longer than any batch that is in it may take.
        rows: Most requests in a batch.
        bytes: Largest file of a batch.
    """

    quiet: float = 2.0
    poll: float = 5.0
    longest_poll: float = 60.0
    patience: float = 3600.0
    queue: float = 25 * 3600.0
    rows: int = MOST_ROWS
    bytes: int = MOST_BYTES


@dataclass(frozen=True)
class BatchCalls:
    """What a backend does with the Batch API. `state` is the file that it is told of in messages.

    All methods raise ModelRejected when the server refuses the call, or has failed for too long.
    """

    api: BatchApi
    pace: Pace
    state: Path

    async def upload(self, lines: Iterable[bytes]) -> str:
        """Upload requests, which wait in a temporary file, and return the file's id."""
        with tempfile.TemporaryFile() as requests:
            requests.writelines(lines)
            requests.flush()
            return await self._persist(partial(self.api.upload, requests))

    async def batch(self, batch_id: str) -> Batch:
        """Return how a batch stands."""
        return await self._persist(partial(self.api.batch, batch_id), f"batch {batch_id}")

    async def lines(self, file: str, batch: Batch, take: Callable[[dict[str, Any]], T]) -> list[T]:
        """Return what `take` makes of each line of a batch's file of answers or errors."""
        return await self._persist(partial(self.api.lines, file, take), f"batch {batch.id}")

    async def create(self, file: str, endpoint: str) -> Batch:
        """Submit an uploaded file once, although the answer to the submission may be lost."""
        tried = False

        async def once() -> Batch:
            nonlocal tried
            if tried and (found := await self.api.find(file)):
                return found
            tried = True
            return await self.api.create(file, endpoint)

        return await self._persist(once)

    async def find(self, file: str) -> Batch | None:
        """Look for a file's batch, twice: the process may have been killed a moment before it came to be."""
        if found := await self._persist(partial(self.api.find, file)):
            return found
        await asyncio.sleep(self.pace.poll)
        return await self._persist(partial(self.api.find, file))

    async def watch(self, batch: Batch, statuses: frozenset[str]) -> Batch:
        """Look at a batch, less and less often, until it has left these statuses."""
        wait = self.pace.poll
        while batch.status in statuses:
            await asyncio.sleep(wait)
            wait = min(1.5 * wait, self.pace.longest_poll)
            batch = await self.batch(batch.id)
        return batch

    async def _persist(self, call: Callable[[], Awaitable[T]], batch: str = "") -> T:
        """Make a call until it succeeds.

        Raises:
            ModelRejected: the server refuses it, or has failed for too long.
        """
        retrying = AsyncRetrying(
            stop=stop_after_delay(self.pace.patience),
            wait=self._pause,
            retry=retry_if_exception_type(PASSING),
            reraise=True,
        )
        try:
            return await retrying(call)
        except PASSING as error:
            again = f"; given up for now, the same command goes on with what is in {self.state}"
            raise ModelRejected(f"{error}{again}") from error
        except Rejected as error:
            paid = f"; to ask the rows of {batch} anew, and pay for them again, delete {self.state}" if batch else ""
            raise ModelRejected(f"{error}{paid}") from error

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Throttled) and error.retry_after is not None:
            return min(error.retry_after, self.pace.patience)
        longest = min(self.pace.longest_poll, self.pace.poll * 2.0 ** min(state.attempt_number, 30))
        return random.uniform(longest / 2, longest)
