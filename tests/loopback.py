"""A model server on a real socket that counts what it is asked and fails on command.

It speaks OpenAI chat (`/v1/chat/completions`), OpenAI completions (`/v1/completions`), both also streamed, and LoRAX
(`/generate`, `/generate_stream`). Streamed answers come word by word, `pause` seconds apart. In a
test, use the fixture `loopback`; as a process of its own, `python -m tests.loopback --port 8800 --latency 0.1 --faults
throttle=0.05,error=0.02`, with the counts under `GET /counts` (requests by prompt) and `GET /answered` (good answers
sent by prompt).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.serving import Served

ONE_HOUR = 3600.0


@dataclass(frozen=True)
class Fault:
    """One way to fail: an answer with a status and a body, or none.

    `act` says what else can happen: `drop` closes the connection before the answer, `reset` does so rudely (TCP RST),
    `cut` in the middle of the answer, `hang` never answers, `comments` keeps a stream open without an event, `endless`
    never ends its answer. A body that begins with `data:` is sent as a stream of events.
    """

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    act: Literal["answer", "drop", "reset", "cut", "hang", "comments", "endless"] = "answer"


def error(status: int, message: str, code: str | None = None, **headers: str) -> Fault:
    """An answer in OpenAI's error format; underscores in header names stand for hyphens."""
    body = {"error": {"message": message, "type": "test", "param": None, "code": code}}
    return Fault(status, json.dumps(body), {name.replace("_", "-"): value for name, value in headers.items()})


FAULTS = {
    "throttle": error(429, "slow down", "rate_limit_exceeded", Retry_After="0.05"),
    "busy": error(503, "overloaded", Retry_After="0.05"),
    "error": error(500, "the server had an error"),
    "unauthorized": error(401, "wrong key", "invalid_api_key"),
    "missing": error(404, "no such model", "model_not_found"),
    "quota": error(429, "quota exceeded", "insufficient_quota"),
    "invalid": error(400, "this prompt is too long", "context_length_exceeded"),
    "broken": Fault(body='{"choices": [{"mess'),
    "empty": Fault(body='{"object": "chat.completion", "choices": []}'),
    "drop": Fault(act="drop"),
    "reset": Fault(act="reset"),
    "cut": Fault(act="cut"),
    "hang": Fault(act="hang"),
}

Plan = Callable[[str, int], Fault | None]


def healthy(prompt: str, attempt: int) -> Fault | None:
    """The plan of a server that never fails."""
    return None


def at_first(*names: str) -> Plan:
    """The plan by which each prompt's first attempts fail in the ways named, one after the other, and then succeed."""
    return lambda prompt, attempt: FAULTS[names[attempt]] if attempt < len(names) else None


def always(name: str) -> Plan:
    """The plan by which nothing ever succeeds."""
    return lambda prompt, attempt: FAULTS[name]


def shares(by_name: Mapping[str, float], seed: int = 0) -> Plan:
    """The plan by which each attempt fails with the probabilities named, the same way whenever it is run again."""

    def plan(prompt: str, attempt: int) -> Fault | None:
        digest = hashlib.sha256(f"{seed} {attempt} {prompt}".encode()).digest()
        left = int.from_bytes(digest[:8]) / 2**64
        for name, share in by_name.items():
            if left < share:
                return FAULTS[name]
            left -= share
        return None

    return plan


def events(text: str, reply: dict[str, Any]) -> list[bytes]:
    """A reply as the server-sent events of a stream, one for each word and what comes before and after them."""
    words = [f" {word}" if place else word for place, word in enumerate(text.split(" "))]
    if "choices" not in reply:
        parts = [{"token": {"id": 1, "text": word, "logprob": 0.0, "special": False}} for word in words]
        parts[-1] |= {"generated_text": text, "details": reply["details"]}
        return [b"data:" + json.dumps(part).encode() + b"\n\n" for part in parts]
    chat = "message" in reply["choices"][0]
    head = {name: reply[name] for name in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk" if chat else "text_completion"
    said = [{"delta": {"content": word}} if chat else {"text": word} for word in words]
    first = [{"delta": {"role": "assistant", "content": ""}}] if chat else []
    last = [{**({"delta": {}} if chat else {"text": ""}), "finish_reason": "stop"}]
    choices = [[{"index": 0, "finish_reason": None, **part}] for part in [*first, *said, *last]]
    chunks = [*({**head, "choices": choice} for choice in choices), {**head, "choices": [], "usage": reply["usage"]}]
    return [*(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"]


@dataclass(frozen=True)
class Received:
    """One request as it came in; `peer` is the client's address and port."""

    peer: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Loopback(Served):
    """The server. Its `url`, without a path, is LoRAX's base_url.

    `plan` and `answer` (what to say to a prompt) and `latency` (seconds) may be set at any time. `asked` counts
    the requests by prompt, `answered` those that were answered well, `received` keeps the last 1,000 requests whole,
    `peak` is the largest number of requests that were in flight at once, `listed` what `/v1/models` says.
    """

    def __init__(self, latency: float = 0.0, plan: Plan = healthy) -> None:
        super().__init__()
        self.routes = [
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/completions", self._completions),
            web.post("/generate", self._generate),
            web.post("/generate_stream", self._generate),
            web.get("/v1/models", self._models),
            web.get("/counts", self._counts),
            web.get("/answered", self._counts),
        ]
        self.latency = latency
        self.plan = plan
        self.answer: Callable[[str], str] = lambda prompt: "yes"
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.received: deque[Received] = deque(maxlen=1000)
        self.listed: list[dict[str, Any]] = []
        self.peak = 0
        self.pause = 0.0
        self._in_flight = 0

    @property
    def openai_url(self) -> str:
        """OpenAI's base_url."""
        return f"{self.url}/v1"

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        def say(body: Any, text: str) -> dict[str, Any]:
            message = {"role": "assistant", "content": text, "refusal": None}
            choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
            return {"object": "chat.completion", "choices": [choice]}

        return await self._handle(request, lambda body: str(body["messages"][-1]["content"]), say)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        def say(body: Any, text: str) -> dict[str, Any]:
            choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "text": text}
            return {"object": "text_completion", "choices": [choice]}

        return await self._handle(request, lambda body: str(body["prompt"]), say)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        def say(body: Any, text: str) -> dict[str, Any]:
            counts = {"prompt_tokens": len(body["inputs"].split()), "generated_tokens": len(text.split())}
            details: dict[str, Any] = {
                "finish_reason": "eos_token",
                **counts,
                "prefill": [],
                "tokens": [],
                "seed": None,
            }
            return {"generated_text": text, "details": details}

        return await self._handle(request, lambda body: str(body["inputs"]), say)

    async def _handle(
        self, request: web.Request, find: Callable[[Any], str], say: Callable[[Any, str], dict[str, Any]]
    ) -> web.StreamResponse:
        body = await request.json()
        prompt = find(body)
        attempt = self.asked[prompt]
        self.asked[prompt] += 1
        self.received.append(Received(_peer(request), request.path, dict(request.headers), body))
        self._in_flight += 1
        self.peak = max(self.peak, self._in_flight)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            if (fault := self.plan(prompt, attempt)) is not None:
                return await self._fail(request, fault)
            text = self.answer(prompt)
            reply = say(body, text)
            if "choices" in reply:
                tokens, new = len(prompt.split()), len(text.split())
                usage = {"prompt_tokens": tokens, "completion_tokens": new, "total_tokens": tokens + new}
                reply |= {"id": "loopback-1", "created": 1, "model": body["model"], "usage": usage}
            self.answered[prompt] += 1
            if body.get("stream") or request.path == "/generate_stream":
                return await self._stream(request, text, reply)
            return web.json_response(reply)
        finally:
            self._in_flight -= 1

    async def _stream(self, request: web.Request, text: str, reply: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events(text, reply):
            await response.write(event)
            await asyncio.sleep(self.pause)
        return response

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        assert request.transport is not None
        if fault.act == "hang":
            await asyncio.sleep(ONE_HOUR)
        if fault.act in ("comments", "endless"):
            part = b": keep-alive\n\n" if fault.act == "comments" else b'{"choices": "' + b"x" * 100_000
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for _ in range(10_000):
                await response.write(part)
                await asyncio.sleep(0.02 if fault.act == "comments" else 0)
            return response
        if fault.act == "cut":
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"choices": [')
            request.transport.close()
            return response
        if fault.act == "reset":
            # Closing with a linger time of 0 throws away what is unsent and answers with RST.
            linger = struct.pack("ii", 1, 0)
            request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if fault.act in ("drop", "reset"):
            request.transport.close()
        kind = "text/event-stream" if fault.body.startswith("data:") else "application/json"
        return web.Response(status=fault.status, text=fault.body, headers=dict(fault.headers), content_type=kind)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.listed})

    async def _counts(self, request: web.Request) -> web.Response:
        return web.json_response(self.asked if request.path == "/counts" else self.answered)


def _peer(request: web.Request) -> str:
    return str(request.transport.get_extra_info("peername")) if request.transport else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="A model server for tests, on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--faults", default="", metavar="NAME=SHARE,…", help=f"names: {', '.join(FAULTS)}")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    pairs = (item.split("=") for item in given.faults.split(",") if item)
    server = Loopback(given.latency, shares({name: float(share) for name, share in pairs}, given.seed))

    asyncio.run(server.serve(given.port, lambda: print(server.url, flush=True)))


if __name__ == "__main__":
    main()
