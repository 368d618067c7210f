"""The attempts to get a row answered: what each failure means, how long to wait before the next, when to stop."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from harness.ask.limiter import EndpointLimiter, GiveUpAfter, Stopped
from harness.errors import (
    MOST_DOUBTS,
    AskError,
    BadReply,
    Doubtful,
    ModelRejected,
    NotUnderstood,
    Rejected,
    Throttled,
    Unavailable,
)
from harness.models.backend import Backend, Reply, Request
from harness.models.entry import Model
from harness.models.tokens import approximate
from harness.store.results import Lost, Response, ResponseStatus, lost_in_all

AGAIN = (Throttled, Unavailable, BadReply, Doubtful)
LOADING = 600.0


_STATUS: dict[str, ResponseStatus] = {"length": "truncated", "refusal": "refused"}


_TROUBLE: tuple[tuple[type[AskError], Trouble], ...] = (
    (Throttled, "throttled"),
    (Unavailable, "unavailable"),
    (BadReply, "malformed"),
    (Rejected, "rejected"),
)


class Attempts:
    """The attempts to get one row answered.

    Args:
        job: Whose row it is.
        key: The key under which its answer is kept.
        request: What is asked.
        limiter: The limits of the endpoint.
        give_up: When the row is given up.
        idle: Called when the row begins to wait for its next attempt.
        lost: Called with the error of an attempt that may have been charged although no answer came.
        worst: Returns the maximum tokens of an attempt, read and written.

    Attributes:
        attempts: Requests sent.
        lost: Tokens read and written, and seconds, of the attempts that may have been charged without an answer.
    """

    def __init__(
        self, job: Job, key: str, request: Request, limiter: EndpointLimiter, give_up: GiveUpAfter,
        idle: Callable[[], None], lost: Callable[[AskError], None], worst: Callable[[], tuple[int, int]],
    ) -> None:  # fmt: skip
        self.attempts = 0
        self.lost: Lost | None = None
        self._on_lost, self._worst = lost, worst
        self._doubts = 0
        self._job, self._key, self._request = job, key, request
        self._limiter, self._give_up, self._idle = limiter, give_up, idle
        self._faults = 0
        self._began = 0.0
        # A row that failed in an earlier run, when others were answered, says nothing about the model.
        self._suspect = job.answered_before and key in job.failed_before
        self._throttled_since = 0.0
        self._patience = give_up.throttled
        self._seconds = 0.0

    async def ask(self) -> Reply:
        """Ask until there is an answer.

        Raises:
            AskError: the last failure, when the row is given up.
            Stopped: the run, the endpoint or the job ended first.
        """
        try:
            return await self._attempt()
        except AGAIN as error:
            first: AskError | None = error

        async def attempt() -> Reply:
            nonlocal first
            if first is not None:
                failed, first = first, None
                raise failed
            return await self._attempt()

        # tenacity's bookkeeping takes a tenth of the time of a request, so it comes in only after a failure, which it
        # gets to see as the first attempt.
        retrying = AsyncRetrying(
            stop=self._exhausted, wait=self._wait, sleep=self._sleep, retry=retry_if_exception_type(AGAIN), reraise=True
        )
        return await retrying(attempt)

    def response(self, reply: Reply) -> Response:
        """The row's response when it was answered; its latency is that of the attempt that succeeded."""
        found = answer(self._key, self._request, reply, latency_s=round(self._seconds, 6), attempts=self.attempts)
        return replace(found, lost=self.lost)

    def failure(self, error: Exception) -> Response:
        """The row's response when it was not."""
        return replace(failure(self._key, self._request, error, attempts=self.attempts), lost=self.lost)

    @property
    def last_hope(self) -> bool:
        """Whether nothing was answered that was sent after the row."""
        return self._limiter.last_answered <= self._began

    async def _attempt(self) -> Reply:
        """Ask once, and at once again where the request was not read: each time one kept connection fewer is left."""
        while True:
            try:
                return await self._sent()
            except AskError as error:
                if not error.unread:
                    raise

    async def _sent(self) -> Reply:
        """Send a request, as soon as the limiter lets it through."""
        sent = await self._limiter.enter(fresh=not self.attempts)
        try:
            if self._job.stopped:
                raise Stopped(self._job.stopped)
            self.attempts += 1
            self._began = self._began or sent
            reply = await self._reply()
        except AskError as error:
            if error.charged:
                self._lose(error, time.monotonic() - sent)
            self._limiter.read_quota(error.quota)
            self._report(error, sent)
            raise
        else:
            self._seconds = time.monotonic() - sent
            tokens = (reply.input_tokens or 0) + (reply.output_tokens or 0)
            self._limiter.answered(tokens, sent, relented=bool(self._throttled_since))
            self._limiter.read_quota(reply.quota)
            return reply
        finally:
            self._limiter.leave()

    async def _reply(self) -> Reply:
        try:
            async with asyncio.timeout(self._job.limits.timeout):
                return await self._job.backend.ask(self._request)
        except TimeoutError:
            error = Unavailable(f"no answer within {self._job.limits.timeout:g} s")
            error.charged = True
            raise error from None

    def _lose(self, error: AskError, seconds: float) -> None:
        """Count an attempt that may have been charged."""
        read, written = error.usage or self._worst()
        self.lost = lost_in_all(self.lost, (read, written, round(seconds, 6)))
        self._on_lost(error)

    def _report(self, error: AskError, sent: float) -> None:
        """Count a failure, for the row and for its endpoint.

        Raises:
            ModelRejected: the server asks for so long a pause that it amounts to a refusal.
        """
        self._job.count_trouble(error)
        if error.unread:
            return
        loading = self._job.limits.loading if error.loading else None
        # So few rows that are left cannot show that the model is down: each has its attempts.
        few = self._job.pending - self._job.settled < self._give_up.failures
        if isinstance(error, Throttled):
            longest = loading or self._give_up.longest_pause
            if (error.retry_after or 0.0) > longest:
                # A quota of a day or a month, which other models of the endpoint need not share.
                raise ModelRejected(f"{error} (come back in {error.retry_after:.0f} s)") from error
            self._throttled_since = self._throttled_since or time.monotonic()
            own = few or self._suspect or not (self.last_hope or self._limiter.throttled_since)
            usual = max(self._give_up.unexplained, error.retry_after or 0.0) if own else self._give_up.throttled
            self._patience = loading or usual
            self._limiter.throttled(sent, error.retry_after, str(error), loading, own=own)
        elif isinstance(error, Unavailable):
            if error.overloaded:
                self._limiter.halve(sent)
            connected = error.answered or error.charged
            alone = self._suspect or (few and error.answered and not error.overloaded)
            self._limiter.failed(
                str(error),
                sent,
                answered=error.answered,
                absent=error.absent,
                patience=loading,
                row=self._key if connected and not loading else "",
                since=-math.inf if alone else self._began,
            )
            # While the whole endpoint is down, or the model not yet loaded, it is not the row's fault; but no row is
            # paid for again and again.
            own = connected and not (self._limiter.down or loading)
            self._faults += own or error.charged
        else:
            self._limiter.reachable(sent)
            self._faults += 1
            self._doubts += isinstance(error, (Doubtful, NotUnderstood))

    def _exhausted(self, state: RetryCallState) -> bool:
        """Whether to stop asking; being asked to slow down uses up no attempt, but is given up in the end."""
        since = max(self._throttled_since, self._limiter.relented_at)
        throttled = time.monotonic() - since if self._throttled_since else 0.0
        gone = self._faults >= self._job.limits.attempts or self._doubts >= MOST_DOUBTS
        return gone or throttled >= self._patience

    def _wait(self, state: RetryCallState) -> float:
        """Exponential back-off with full jitter; after Retry-After a little jitter, so that not all return at once."""
        assert state.outcome is not None
        error = state.outcome.exception()
        if isinstance(error, Throttled) and error.retry_after is not None:
            return random.uniform(0, self._give_up.first_wait)
        longest = self._give_up.first_wait * 2.0 ** min(state.attempt_number, 30)
        return random.uniform(0, min(self._give_up.longest_wait, longest))

    async def _sleep(self, seconds: float) -> None:
        self._idle()
        await self._limiter.sleep(seconds)


CUT_FROM_CHARACTERS = 2000
_CHARACTERS_PER_TOKEN = 8


def prompt_was_cut(request: Request, reply: Reply) -> bool:
    """Whether a server has read far less than the prompt: less than half of its tokens, as they are estimated here.

    Servers cut a prompt that is longer than their context without a word; only the count of its tokens shows it.
    """
    length = len(request.prompt)
    if not reply.input_tokens or length < CUT_FROM_CHARACTERS or reply.input_tokens * _CHARACTERS_PER_TOKEN > length:
        return False  # as most are, and counting takes time
    return reply.input_tokens < approximate(request.prompt) / 2


def answer(key: str, request: Request, reply: Reply, *, latency_s: float | None, attempts: int) -> Response:
    """Return the response of a row that was answered; `latency_s` is None where it says nothing about the model."""
    return Response(
        key=key,
        row=request.row,
        status="truncated_prompt" if prompt_was_cut(request, reply) else _STATUS.get(reply.finish_reason, "ok"),
        completion=reply.completion,
        model=reply.model,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        latency_s=latency_s,
        ttft_s=reply.ttft_s,
        tpot_s=reply.tpot_s,
        attempts=attempts,
        at=now(),
    )


def failure(key: str, request: Request, error: Exception, *, attempts: int) -> Response:
    """Return the response of a row that was not answered."""
    message = str(error) if isinstance(error, AskError) else f"{type(error).__name__}: {error}"
    return Response(key=key, row=request.row, status="failed", attempts=attempts, at=now(), error=message[:500])


def now() -> str:
    """The time in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


Trouble = Literal["throttled", "unavailable", "malformed", "rejected"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an endpoint (requests in flight, a minute), a row (seconds and attempts) and of loading (seconds)."""

    concurrency: int
    requests_per_minute: float | None
    timeout: float
    attempts: int
    loading: float = LOADING


def limits_of(model: Model) -> Limits:
    """The limits that a model's entry states."""
    loading = getattr(model, "loading_timeout", LOADING)
    return Limits(model.concurrency, model.requests_per_minute, model.timeout, model.attempts, loading)


def endpoint_limits(limits: Iterable[Limits]) -> tuple[int, float | None]:
    """Requests in flight and a minute at an endpoint: the smallest of those of its models, of which there are some."""
    limits = tuple(limits)
    rates = [one.requests_per_minute for one in limits if one.requests_per_minute]
    return min(one.concurrency for one in limits), min(rates, default=None)


@dataclass(slots=True)
class Job:
    """The rows that one model has still to answer for one task.

    Attributes:
        requests: Yields the key and the request of each row, `pending` in number; it is read only as fast as answers
            come.
        save: Keeps a response; an OSError ends the run.
        finish: Awaited once, when all rows are settled or the job is stopped.
        answered_before: Whether the model has answered other rows of the task before.
        failed_before: The keys of the rows that have failed before.
        served: The name by which the server knows the model, or its adapter.
        refused: Rows that were refused without a reason since the last answer.
        unserved: Rows that have failed by the server's fault, of those first asked since the last answer.
        stopped: Why rows of it were given up.
        in_flight: Rows taken from `requests` and not yet settled.
        settled: Rows that have got a status.
        answered: Those of them that have an answer.
        trouble: Attempts that brought no answer, by kind.
    """

    task: str
    model: str
    backend: Backend
    endpoint: str
    limits: Limits
    requests: Iterator[tuple[str, Request]]
    pending: int
    save: Callable[[Response], None]
    finish: Callable[[], Awaitable[None]]
    answered_before: bool = False
    failed_before: Container[str] = frozenset()
    served: str = ""
    refused: int = 0
    unserved: int = 0
    stopped: str | None = None
    in_flight: int = 0
    settled: int = 0
    answered: int = 0
    trouble: Counter[Trouble] = field(default_factory=Counter)
    finished: bool = False

    def count_trouble(self, error: AskError) -> None:
        """Count an attempt that brought no answer."""
        self.trouble[next(name for kind, name in _TROUBLE if isinstance(error, kind))] += 1

    @property
    def left(self) -> int:
        """How many rows have no answer."""
        return self.pending - self.answered
