"""Vendors' own interfaces on a real socket: Anthropic's Messages API, and OpenAI's Files and Batch API.

What comes in is checked against the published types of the vendors' packages, and what goes out is made of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from aiohttp import web
from anthropic.types import Message, MessageCreateParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from openai.types import Batch, BatchCreateParams, Completion, CompletionCreateParams, FileObject
from openai.types.batch import Errors
from openai.types.chat import ChatCompletion
from openai.types.chat import CompletionCreateParams as ChatCompletionCreateParams
from pydantic import TypeAdapter, ValidationError

from tests.serving import Served

KEY = "sk-planted-0123456789"
_MESSAGE: TypeAdapter[Any] = TypeAdapter(MessageCreateParams)
_MESSAGE_KEYS = get_type_hints(MessageCreateParamsNonStreaming).keys()
_BATCH: TypeAdapter[Any] = TypeAdapter(BatchCreateParams)
_BODIES: dict[str, TypeAdapter[Any]] = {
    "/v1/chat/completions": TypeAdapter(ChatCompletionCreateParams),
    "/v1/completions": TypeAdapter(CompletionCreateParams),
}
_NEXT = {"validating": "in_progress", "in_progress": "finalizing", "finalizing": "completed"}
EXPIRED = {"code": "batch_expired", "message": "The completion window ended before this request's turn."}
CANCELLED = {"code": "batch_cancelled", "message": "This batch was cancelled before this request's turn."}


@dataclass
class Failure:
    """How a call or a row fails: a status and a body; `after` lets a call take effect before its answer is lost."""

    status: int = 500
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False


def openai_error(status: int, message: str, code: str | None = None, **headers: str) -> Failure:
    """A failure as OpenAI words it; underscores in header names stand for hyphens."""
    body = {"error": {"message": message, "type": "test", "param": None, "code": code}}
    return Failure(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def anthropic_error(status: int, kind: str, message: str = "no", **headers: str) -> Failure:
    """A failure as Anthropic words it."""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return Failure(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class AnthropicServer(Served):
    """`POST /v1/messages`.

    `blocks` gives the content for a prompt, `usage` and `stop_reason` the rest of the message, and `failure`, when set,
    the answer instead. `received` keeps headers and bodies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.routes = [web.post("/v1/messages", self._messages)]
        self.blocks: Callable[[str], list[dict[str, Any]]] = lambda prompt: [{"type": "text", "text": "yes"}]
        self.usage: dict[str, Any] = {"input_tokens": 7, "output_tokens": 2}
        self.stop_reason = "end_turn"
        self.failure: Failure | None = None
        self.received: list[tuple[dict[str, str], dict[str, Any]]] = []

    async def _messages(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.received.append((dict(request.headers), body))
        if failure := self.failure or self._wrong(request, body):
            return web.json_response(failure.body, status=failure.status, headers=failure.headers)
        message = Message.model_validate(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": body["model"],
                "content": self.blocks(body["messages"][-1]["content"]),
                "stop_reason": self.stop_reason,
                "stop_sequence": None,
                "usage": self.usage,
            }
        )
        return web.json_response(message.model_dump(mode="json"))

    def _wrong(self, request: web.Request, body: dict[str, Any]) -> Failure | None:
        if request.headers.get("x-api-key") != KEY:
            return anthropic_error(
                401, "authentication_error", f"invalid x-api-key: {request.headers.get('x-api-key')}"
            )
        if request.headers.get("anthropic-version") != "2023-06-01":
            return anthropic_error(400, "invalid_request_error", "anthropic-version: unknown")
        if any(not text.strip() for text in body.get("stop_sequences", [])):
            said = "stop_sequences: each stop sequence must contain non-whitespace"
            return anthropic_error(400, "invalid_request_error", said)
        if unknown := body.keys() - _MESSAGE_KEYS:
            return anthropic_error(400, "invalid_request_error", f"{min(unknown)}: Extra inputs are not permitted")
        try:
            _MESSAGE.validate_python(body, strict=True)
        except ValidationError as error:
            return anthropic_error(400, "invalid_request_error", str(error))
        return None


RowPlan = Callable[[str, int], Failure | dict[str, str] | None]
CallPlan = Callable[[str, int], Failure | None]


class BatchServer(Served):
    """OpenAI's Files and Batch API, in which a batch takes a step forward each time it is looked at.

    Attributes:
        answer: What to say to a prompt.
        rows: How a prompt fails at its n-th time (from 0): a Failure of that request, an error without a response such
            as EXPIRED, or None for an answer.
        calls: How the n-th call (from 0) of its kind fails; kinds are `upload`, `create`, `poll`, `list`, `content`.
        ends: Status that the n-th batch (from 0) ends with, and how many of its requests are done by then.
        late_files: How many times a completed batch is shown before it names its files.
        hold: While set, batches stay in progress.
        token_limit: Most tokens (a word is one) that may be in batches at once.
        others: Tokens in batches of somebody else.
        heard: Gets the kind of each call when it has taken effect, before it is answered.
        paid: Answers made by prompt: what the vendor would charge for.
        called: Calls by kind.
        batches: All batches by id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.routes = [
            web.post("/v1/files", self._upload),
            web.get("/v1/files/{id}/content", self._content),
            web.post("/v1/batches", self._create),
            web.get("/v1/batches", self._list),
            web.get("/v1/batches/{id}", self._poll),
        ]
        self.answer: Callable[[str], str] = lambda prompt: prompt.upper()
        self.rows: RowPlan = lambda prompt, attempt: None
        self.calls: CallPlan = lambda kind, number: None
        self.ends: Callable[[int], tuple[str, int] | None] = lambda number: None
        self.hold = False
        self.late_files = 0
        self.token_limit: int | None = None
        self.others = 0
        self.heard: Callable[[str], None] = lambda kind: None
        self.paid: Counter[str] = Counter()
        self.called: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Batch] = {}

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    def sizes(self) -> list[int]:
        """The number of requests of each batch, in the order in which they were submitted."""
        return [len(self.files[batch.input_file_id].splitlines()) for batch in self.batches.values()]

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        upload = form["file"]
        if form.get("purpose") != "batch" or not isinstance(upload, web.FileField):
            return _refused("a file with purpose 'batch' is expected")

        def keep() -> dict[str, Any]:
            name = f"file-{len(self.files)}"
            content = self.files[name] = upload.file.read()
            made = FileObject(
                id=name, bytes=len(content), created_at=1, filename=upload.filename, object="file",
                purpose="batch", status="processed",
            )  # fmt: skip
            return made.model_dump(mode="json")

        return await self._answered(request, "upload", keep)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        content = self.files.get(request.match_info["id"])
        if content is None:
            return _refused("No such File object", 404)
        return await self._answered(request, "content", lambda: content)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        try:
            _BATCH.validate_python(body, strict=True)
        except ValidationError as error:
            return _refused(str(error))
        if body["input_file_id"] not in self.files:
            return _refused("Cannot find the input file")

        def create() -> dict[str, Any]:
            name = f"batch_{len(self.batches)}"
            # Optional keys are named, as the real server names them.
            self.batches[name] = Batch(
                id=name, object="batch", endpoint=body["endpoint"], completion_window=body["completion_window"],
                input_file_id=body["input_file_id"], status="validating", created_at=len(self.batches),
                output_file_id=None, error_file_id=None, errors=None,
            )  # fmt: skip
            return self.batches[name].model_dump(mode="json")

        return await self._answered(request, "create", create)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        newest = list(reversed(self.batches))
        after = request.query.get("after")
        start = newest.index(after) + 1 if after else 0
        # Pages are shorter than asked for, so that a few batches are enough to have several.
        page = newest[start : start + min(2, int(request.query.get("limit", "20")))]
        data = [self.batches[name].model_dump(mode="json") for name in page]
        more = start + len(page) < len(newest)
        return await self._answered(request, "list", lambda: {"object": "list", "data": data, "has_more": more})

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _refused("No batch found with this id", 404)

        def step() -> dict[str, Any]:
            self._advance(batch)
            shown = batch.model_dump(mode="json")
            if batch.status == "completed" and self.late_files > 0:
                self.late_files -= 1
                shown |= {"output_file_id": None, "error_file_id": None}
            return shown

        return await self._answered(request, "poll", step)

    async def _answered(self, request: web.Request, kind: str, effect: Callable[[], Any]) -> web.StreamResponse:
        """Let a call take effect and answer it, or fail as planned."""
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _refused(f"Incorrect API key provided: {request.headers.get('Authorization')}", 401)
        failure = self.calls(kind, self.called[kind])
        self.called[kind] += 1
        result = effect() if failure is None or failure.after else None
        self.heard(kind)
        if failure is not None and failure.after:
            assert request.transport is not None
            request.transport.close()
        if failure is not None:
            return web.json_response(failure.body, status=failure.status, headers=failure.headers)
        return web.Response(body=result) if isinstance(result, bytes) else web.json_response(result)

    def _advance(self, batch: Batch) -> None:
        if batch.status not in _NEXT or (batch.status == "in_progress" and self.hold):
            return
        if batch.status == "validating" and (errors := self._errors(batch)):
            batch.status, batch.errors = "failed", Errors.model_validate({"object": "list", "data": errors})
            return
        batch.status = _NEXT[batch.status]  # type: ignore[assignment]
        if batch.status == "completed":
            self._process(batch)

    def _errors(self, batch: Batch) -> list[dict[str, Any]]:
        """What validation finds wrong with a batch's file."""
        lines = self.files[batch.input_file_id].splitlines()
        errors: list[dict[str, Any]] = []
        seen, models = set(), set()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                assert set(row) == {"custom_id", "method", "url", "body"}
                assert row["method"] == "POST"
                assert row["url"] == batch.endpoint
                assert 1 <= len(row["custom_id"]) <= 64
                assert row["custom_id"] not in seen, "duplicate custom_id"
                seen.add(row["custom_id"])
                models.add(row["body"]["model"])
                _BODIES[batch.endpoint].validate_python(row["body"], strict=True)
                assert "invalid" not in _prompt(row["body"]), "This line is not valid."
            except (ValueError, AssertionError, KeyError) as error:
                errors.append({"code": "invalid_json_line", "line": number, "message": str(error), "param": None})
        if len(models) > 1:
            errors.append({"code": "mismatched_model", "message": "All requests must be for one model."})
        if "no-such-model" in models:
            errors.append({"code": "model_not_found", "line": 1, "message": "The model does not exist."})
        waiting = [other for other in self.batches.values() if other.status in ("in_progress", "finalizing")]
        tokens = self.others + sum(map(self._tokens, [batch, *waiting]))
        if self.token_limit is not None and tokens > self.token_limit:
            said = f"Enqueued token limit reached. Limit: {self.token_limit:,} enqueued tokens."
            errors.append({"code": "token_limit_exceeded", "message": said, "line": None, "param": None})
        return errors

    def _tokens(self, batch: Batch) -> int:
        lines = self.files[batch.input_file_id].splitlines()
        return sum(len(_prompt(json.loads(line)["body"]).split()) for line in lines)

    def _process(self, batch: Batch) -> None:
        """Answer a batch's requests, and write its two files in an order of their own."""
        status, done = self.ends(int(batch.id.split("_")[1])) or ("completed", 10**9)
        batch.status = status  # type: ignore[assignment]
        outputs: list[bytes] = []
        errors: list[bytes] = []
        for number, text in enumerate(self.files[batch.input_file_id].splitlines()):
            row = json.loads(text)
            line = self._line(row) if number < done else {"response": None, "error": _left_over(status)}
            full = {"id": f"batch_req_{number}", "custom_id": row["custom_id"], **line}
            good = line["response"] is not None and line["response"]["status_code"] == 200
            (outputs if good else errors).append(json.dumps(full, ensure_ascii=False).encode() + b"\n")
        for name, lines in (("output", outputs), ("error", errors)):
            if lines:
                file = f"file-{name}-{batch.id}"
                self.files[file] = b"".join(reversed(lines))
                setattr(batch, f"{name}_file_id", file)

    def _line(self, row: dict[str, Any]) -> dict[str, Any]:
        prompt = _prompt(row["body"])
        attempt = self.tried[prompt]
        self.tried[prompt] += 1
        match self.rows(prompt, attempt):
            case None:
                self.paid[prompt] += 1
                body = _completion(row["url"], row["body"]["model"], prompt, self.answer(prompt))
                return {"response": {"status_code": 200, "request_id": "req_1", "body": body}, "error": None}
            case Failure(status, body):
                return {"response": {"status_code": status, "request_id": "req_1", "body": body}, "error": None}
            case error:
                return {"response": None, "error": error}


def _left_over(status: str) -> dict[str, str]:
    return CANCELLED if status == "cancelled" else EXPIRED


def _prompt(body: Mapping[str, Any]) -> str:
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


def _completion(url: str, model: str, prompt: str, text: str) -> dict[str, Any]:
    asked, said = len(prompt.split()), len(text.split())
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    head = {"id": "c1", "created": 1, "model": model, "usage": usage}
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
    if url.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": text}
        made = ChatCompletion.model_validate({**head, "object": "chat.completion", "choices": [choice]})
        return made.model_dump(mode="json")
    choice["text"] = text
    return Completion.model_validate({**head, "object": "text_completion", "choices": [choice]}).model_dump(mode="json")


def _refused(message: str, status: int = 400) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)
