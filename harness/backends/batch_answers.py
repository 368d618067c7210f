"""What a finished batch says of each of its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.backends import openai
from harness.backends.base import Reply
from harness.backends.batch_api import Batch
from harness.backends.failures import Filtered, failure
from harness.errors import AskError, ModelRejected, Unavailable

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
