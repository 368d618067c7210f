"""Whose failure a refusal is: the row's own, the model's on this task, or the model's on all tasks."""

from __future__ import annotations

from collections.abc import Sequence

from harness.ask.attempts import Job
from harness.errors import Doubtful, ModelRejected
from harness.store.results import Response

ROWS_IN_DOUBT = 5
"""Rows in a row that a model which has answered must be refused, without a reason, before it is given up."""
ROWS_IN_DOUBT_AT_FIRST = 2
"""The same of a model that has never answered."""


def refuses_all(job: Job, error: Exception) -> bool:
    """Count a final failure of a row; return whether it is the model's, by which no row can be answered.

    A refusal without a reason (401, 403, 404) may be the row's own: of a firewall that sees a line of SQL, say. When
    other rows, which differ in nothing else, are refused as well, it is the model's.
    """
    if isinstance(error, ModelRejected):
        return True
    if not isinstance(error, Doubtful):
        return False
    job.refused += 1
    if job.answered or job.answered_before:
        return job.refused >= ROWS_IN_DOUBT
    return job.refused >= min(ROWS_IN_DOUBT_AT_FIRST, job.pending)


def reject(jobs: Sequence[Job], job: Job, reason: str) -> None:
    """Stop a model on this task; on all tasks when two have been refused and none has ever been answered.

    One refusal may be the task's own: its adapter is not there. Adapters with names of their own are on their own.
    """
    job.stopped = job.stopped or reason
    same = [other for other in jobs if other.model == job.model and other.served == job.served]
    refused = sum(other.stopped is not None for other in same)
    if refused > 1 and not any(other.answered or other.answered_before for other in same):
        for other in same:
            other.stopped = other.stopped or reason


def settle(job: Job, response: Response, first_rows: int) -> None:
    """Count a recorded row; a model of which the first rows have all failed is given up.

    So is one that has answered, when its server serves no row any more, in whatever way.
    """
    job.settled += 1
    if response.status != "failed":
        job.answered += 1
        job.refused = job.unserved = 0
    if job.stopped:
        return
    if not (job.answered or job.answered_before) and job.settled >= first_rows:
        job.stopped = f"the first {job.settled} rows all failed: {response.error}"
    elif job.unserved >= first_rows:
        job.stopped = f"the last {job.unserved} rows all failed: {response.error}"
