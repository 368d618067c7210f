"""What is to be asked: the rows that one model has still to answer for one task, and how they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from harness.backends.base import Backend, Request
from harness.store import Response

Trouble = Literal["throttled", "unavailable", "malformed", "rejected"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What an endpoint bears: requests in flight, requests a minute; and how long and often a row is tried."""

    concurrency: int
    requests_per_minute: float | None
    timeout: float
    attempts: int


@dataclass(slots=True)
class Job:
    """The rows that one model has still to answer for one task.

    Attributes:
        requests: Yields the key and the request of each row, `pending` in number; it is read only as fast as answers
            come.
        save: Keeps a response; an OSError ends the run.
        finish: Awaited once, when all rows are settled or the job is stopped.
        proven: Whether the model has answered other rows of the task before.
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
    proven: bool = False
    stopped: str | None = None
    in_flight: int = 0
    settled: int = 0
    answered: int = 0
    trouble: Counter[Trouble] = field(default_factory=Counter)
    finished: bool = False

    @property
    def left(self) -> int:
        """How many rows have no answer."""
        return self.pending - self.answered
