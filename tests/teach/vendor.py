"""A vendor's chat API on a real socket, in the vendor's own types: streams, tools, several choices, errors, resets."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from typing import Any

from aiohttp import web
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.serving import Served

WORDS = {0: ["Berlin", " is", " the", " capital — ", "ß."], 1: ["It", " is", " Berlin."]}
CALLS = [("call_1", "weather", ['{"city": ', '"Berlin"}']), ("call_2", "time", ["{", "}"])]
ERRORS = {"bad": 400, "unauthorized": 401, "slow": 429, "broken": 500}
HEAD = {"id": "chatcmpl-1", "created": 1, "model": "gpt-test", "system_fingerprint": "fp_1", "service_tier": None}


class Vendor(Served):
    """The last message says what happens; `seen` holds the heads and bodies of requests, `cancelled` the hang-ups."""

    def __init__(self) -> None:
        super().__init__()
        self.routes = [
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/embeddings", self._embeddings),
            web.get("/v1/models", self._models),
            web.get("/v1/%2Fodd%20name", self._models),
        ]
        self.seen: list[tuple[dict[str, str], Any]] = []
        self.cancelled = 0
        self.latency = 0.0

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [], "path": request.raw_path})

    async def _embeddings(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [], "model": "m", "usage": None})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((dict(request.headers), body))
        await asyncio.sleep(self.latency)
        said = str(body["messages"][-1]["content"])
        if said in ERRORS:
            key = request.headers.get("Authorization", "")
            error = {"message": f"you said {said}, with {key}", "type": "test", "param": None, "code": said}
            head = {"Retry-After": "0", "x-request-id": "req-1", "x-ratelimit-remaining-requests": "7"}
            return web.json_response({"error": error}, status=ERRORS[said], headers=head)
        chunks = chunked(body)
        if not body.get("stream"):
            packed = "gzip" in request.headers.get("Accept-Encoding", "")
            data = json.dumps(completion(body)).encode()
            head = {"Content-Type": "application/json", **({"Content-Encoding": "gzip"} if packed else {})}
            return web.Response(body=gzip.compress(data) if packed else data, headers=head)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for place, chunk in enumerate(chunks):
            await response.write(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n")
            if place == 2 and said == "reset":
                _reset(request)
                return response
            await asyncio.sleep(60 if said == "hang" and place == 2 else 0.001)
        await response.write(b"data: [DONE]\n\n")
        return response


def _reset(request: web.Request) -> None:
    assert request.transport is not None
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.close()


def completion(body: Any) -> dict[str, Any]:
    """The whole answer."""
    choices = []
    for place in range(body.get("n") or 1):
        message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS[place]), "refusal": None}
        if body.get("tools"):
            calls = [
                {"id": name, "type": "function", "function": {"name": function, "arguments": "".join(parts)}}
                for name, function, parts in CALLS
            ]
            message |= {"content": None, "tool_calls": calls}
        finish = "tool_calls" if body.get("tools") else "stop"
        choices.append({"index": place, "message": message, "logprobs": None, "finish_reason": finish})
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    whole = {**HEAD, "object": "chat.completion", "choices": choices, "usage": usage}
    ChatCompletion.model_validate(whole)
    return whole


def chunked(body: Any) -> list[dict[str, Any]]:
    """The same answer as a stream: the choices' parts in turn, and the usage in a chunk without choices."""
    whole = completion(body)
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    parts: list[tuple[int, dict[str, Any], str | None]] = []
    for place, choice in enumerate(whole["choices"]):
        parts.append(
            (place, {"role": "assistant", "content": None if body.get("tools") else "", "refusal": None}, None)
        )
        if not body.get("tools"):
            parts += [(place, {"content": word}, None) for word in WORDS[place]]
        else:
            for number, (name, function, words) in enumerate(CALLS):
                first = {"id": name, "type": "function", "function": {"name": function, "arguments": ""}}
                parts.append((place, {"tool_calls": [{"index": number, **first}]}, None))
                parts += [
                    (place, {"tool_calls": [{"index": number, "function": {"arguments": word}}]}, None)
                    for word in words
                ]
        parts.append((place, {}, choice["finish_reason"]))
    if len(whole["choices"]) > 1:
        parts.sort(key=lambda part: 0)  # stable: choice after choice
        half = len(parts) // 2
        parts = [part for pair in zip(parts[:half], parts[half:], strict=False) for part in pair] + parts[2 * half :]
    head = {**HEAD, "object": "chat.completion.chunk", **({"usage": None} if usage else {})}
    chunks = [
        {**head, "choices": [{"index": place, "delta": delta, "logprobs": None, "finish_reason": finish}]}
        for place, delta, finish in parts
    ]
    if usage:
        chunks.append({**head, "choices": [], "usage": whole["usage"]})
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    return chunks
