"""The calls of OpenAI's Batch API: upload requests, submit them, look how they stand, fetch the answers."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from aiohttp import ClientSession, FormData

from harness.backends.failures import failure
from harness.backends.transport import Answer, Deadlines, address, json_object, send
from harness.errors import BadReply

# Each call's longest silence: nobody keeps the time of a request that may take a day.
_SILENCE = Deadlines(silence=60.0)
_PAGE = 100
T = TypeVar("T")
QUEUE_FULL = "token_limit_exceeded"


@dataclass(frozen=True, slots=True)
class Batch:
    """How a batch stands. `errors` say why it failed as a whole."""

    id: str
    status: str
    input_file: str
    output_file: str | None = None
    error_file: str | None = None
    errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def queue_full(self) -> bool:
        """Whether it failed only because too many tokens of the organisation wait in batches already."""
        return self.status == "failed" and any(error.get("code") == QUEUE_FULL for error in self.errors)

    @property
    def reason(self) -> str:
        """Why it failed, in the server's words."""
        return "; ".join(dict.fromkeys(error["message"] for error in self.errors)) or "no reason given"


@dataclass(frozen=True)
class BatchApi:
    """The Batch API at an address; `secrets` are kept out of all messages.

    All calls raise AskError as `harness.backends.transport.post` does.
    """

    client: ClientSession
    base_url: str
    headers: Mapping[str, str]
    secrets: tuple[str, ...]

    async def upload(self, requests: BinaryIO) -> str:
        """Upload a JSONL file of requests, from its beginning, and return its id; it is read as it is sent."""
        requests.seek(0)
        form = FormData({"purpose": "batch"})
        # aiohttp closes what it has sent, and an upload may have to be made again.
        again = os.fdopen(os.dup(requests.fileno()), "rb")
        form.add_field("file", again, filename="requests.jsonl", content_type="application/jsonl")
        reply = await self._call("POST", "/files", data=form)
        return _text(json_object(reply, self.secrets), "id")

    async def create(self, file: str, endpoint: str) -> Batch:
        """Submit an uploaded file. This is the call that costs money."""
        body = {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"}
        headers = {"Content-Type": "application/json"}
        reply = await self._call("POST", "/batches", headers=headers, data=json.dumps(body).encode())
        return batch_of(json_object(reply, self.secrets), self.secrets)

    async def batch(self, batch: str) -> Batch:
        """Return how a batch stands."""
        return batch_of(json_object(await self._call("GET", f"/batches/{batch}"), self.secrets), self.secrets)

    async def find(self, file: str) -> Batch | None:
        """Return the batch that was made of a file, None when there is none."""
        query: dict[str, Any] = {"limit": _PAGE}
        while True:
            page = json_object(await self._call("GET", "/batches", query), self.secrets)
            batches = [value for value in page.get("data") or [] if isinstance(value, dict)]
            for value in batches:
                if value.get("input_file_id") == file:
                    return batch_of(value, self.secrets)
            if not page.get("has_more") or not batches:
                return None
            query["after"] = _text(batches[-1], "id")

    async def lines(self, file: str, take: Callable[[dict[str, Any]], T]) -> list[T]:
        """Return what `take` makes of each line of a file of answers or errors; no more than one is held as JSON.

        Raises:
            BadReply: a line is no JSON object. To leave it out would be to ask, and pay, for its row again.
        """
        reply = await self._call("GET", f"/files/{file}/content", headers={"Accept": "*/*"})
        taken = []
        for text in io.BytesIO(reply.content):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError as error:
                raise BadReply(f"the file {file} holds a line that is not JSON") from error
            if not isinstance(line, dict):
                raise BadReply(f"the file {file} holds a line that is not a JSON object")
            taken.append(take(line))
        return taken

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | FormData | None = None,
    ) -> Answer:
        url = address(self.base_url, path).update_query(query or {})
        sent = {**self.headers, **(headers or {})}
        return await send(self.client, method, url, sent, self.secrets, _SILENCE, data)


def batch_of(reply: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Batch:
    """Read a batch; the messages of its errors are shortened, and hold none of `secrets`.

    Raises:
        BadReply: it has no id, status or input file.
    """
    errors = reply.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    return Batch(
        id=_text(reply, "id"),
        status=_text(reply, "status"),
        input_file=_text(reply, "input_file_id"),
        output_file=reply.get("output_file_id"),
        error_file=reply.get("error_file_id"),
        errors=tuple({**error, "message": _said(error, secrets)} for error in data or [] if isinstance(error, dict)),
    )


def _said(error: Mapping[str, Any], secrets: tuple[str, ...]) -> str:
    message = failure(400, json.dumps({"error": {"message": error.get("message") or error.get("code")}}), None, secrets)
    return str(message).removeprefix("HTTP 400: ")


def _text(reply: Mapping[str, Any], name: str) -> str:
    value = reply.get(name)
    if not isinstance(value, str) or not value:
        raise BadReply(f"the reply holds no {name}")
    return value
