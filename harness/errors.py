"""Every error a user can cause or meet, and the exit code that belongs to it.

HarnessError
├── UserError            exit 2: a file, name, option or key is wrong; the message says where and what would be right
│   ├── SpecError        a YAML file breaks its schema (file, line, key, nearest valid choice)
│   ├── DataError        rows, a split or a column cannot be had from where the user pointed
│   └── BusyError        another process holds the same results folder
└── AskError             one request failed; never ends a run, becomes a row's status
    ├── Throttled        429 or 503 with Retry-After: slow down, then ask again
    ├── Unavailable      5xx, a dropped connection, a deadline: ask again
    ├── BadReply         an answer came, but not in the server's own format: ask again
    │   └── NotUnderstood    it is whole, but holds no answer: ask again once
    └── Rejected         another 4xx: this request can never succeed as it is
        ├── Doubtful         401, 403 or 404 without a reason: the row's, or the model's when other rows meet it, too
        └── ModelRejected    a wrong key, no credit or an unknown model: no request of this model can succeed
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError


class HarnessError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class UserError(HarnessError):
    """The user's mistake: shown as one message without a traceback."""

    exit_code = 2


class HarnessWarning(UserWarning):
    """Something was left out or is not as it should be, and the work goes on without it."""


class SpecError(UserError):
    """A task or model file is wrong; the message lists every problem found."""


class DataError(UserError):
    """Rows cannot be loaded as asked."""


class BusyError(UserError):
    """Another process works on the same task and model."""


class Quota(NamedTuple):
    """What is left of a rate limit, as the headers of an answer say.

    Attributes:
        unit: What is limited.
        remaining: How many of them may still be used.
        reset_s: Seconds until the limit is full again.
    """

    unit: Literal["requests", "tokens"]
    remaining: int
    reset_s: float


class AskError(HarnessError):
    """One request brought no usable answer.

    Attributes:
        quota: What its headers said of the server's rate limits.
        charged: Whether the attempt may have to be paid for.
        usage: Tokens read and written, where the failed answer says so.
        answered: Whether a server answered at all.
        loading: Whether the server says that it still loads the model.
        unread: Whether the server has closed a kept connection, so that the request that was sent on it was not read.
        final: Whether the row is not asked again by the backend itself.
    """

    def __init__(self, message: str, *, quota: tuple[Quota, ...] = ()) -> None:
        super().__init__(message)
        self.quota = quota
        self.charged = False
        self.usage: tuple[int, int] | None = None
        self.answered = True
        self.loading = False
        self.unread = False
        self.final = True


class Throttled(AskError):
    """The server asks for patience; `retry_after` is in seconds, None when it named no time."""

    def __init__(self, message: str, retry_after: float | None = None, *, quota: tuple[Quota, ...] = ()) -> None:
        super().__init__(message, quota=quota)
        self.retry_after = retry_after


class Unavailable(AskError):
    """The server failed or could not be reached in time.

    `overloaded` when it has too much to do, or still loads; `absent` when nothing listens at its address.
    """

    def __init__(
        self, message: str, *, overloaded: bool = False, absent: bool = False, quota: tuple[Quota, ...] = ()
    ) -> None:
        super().__init__(message, quota=quota)
        self.overloaded, self.absent = overloaded, absent


class BadReply(AskError):
    """The server answered with something that is not a completion."""


MOST_DOUBTS = 2
"""Attempts after which a refusal without a reason, or an answer that was paid for and not understood, is final."""


class NotUnderstood(BadReply):
    """The server's answer is whole and was probably paid for, but nothing in it is a completion."""


class Rejected(AskError):
    """The server refuses this request for good."""


class Doubtful(Rejected):
    """The server refuses, without saying whether this request is at fault or all of the model's."""


class ModelRejected(Rejected):
    """The server refuses this model or its key for good."""


def invalid(error: ValidationError) -> str:
    """Return the first thing that pydantic finds wrong, behind where it is: `key.key: what is wrong`."""
    detail = error.errors(include_url=False)[0]
    place = ".".join(map(str, detail["loc"]))
    return ": ".join(filter(None, (place, detail["msg"].removeprefix("Value error, "))))


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)`, or the list of choices when nothing is near, or '' when there is none."""
    known = sorted(set(choices))
    folded = {choice.casefold(): choice for choice in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{folded[close[0]]}'?)"
    return f" (choose from: {', '.join(known)})" if known else ""


def warn(message: str) -> None:
    """Tell the user once, on stderr, what was left out; from Python it is a `HarnessWarning`."""
    warnings.warn(message, HarnessWarning, stacklevel=2)
