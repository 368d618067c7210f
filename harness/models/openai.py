"""Any OpenAI-compatible server: `/chat/completions` for chat models, `/completions` for base models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import httpx

from harness.errors import BadReply, UserError
from harness.models.backend import FinishReason, Reply, Request
from harness.models.entry import OpenAIModel, Sampled
from harness.models.http import Deadlines, Event, address, post, public, secrets_of, stream
from harness.models.http_errors import Filtered, late_failure
from harness.models.streaming import openai_reply, timed

Api = Literal["chat", "completions"]

PATHS: dict[Api, str] = {"chat": "/chat/completions", "completions": "/completions"}
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "refusal"}


@dataclass(frozen=True)
class OpenAIBackend:
    """One model of an OpenAI-compatible server.

    `transport` is shared with other models, and the caller closes it. A task's stop strings are sent as they are:
    OpenAI itself takes at most four, and rejects the request when there are more.
    """

    model: OpenAIModel
    transport: httpx.AsyncBaseTransport

    @property
    def identity(self) -> Mapping[str, Any]:
        """Backend and address; the model's name is in the body, because it may differ by task."""
        return {"backend": "openai", "address": public(self._url)}

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON, whole."""
        name = self.model.model.replace("{task}", request.task)
        settings = sampling(self.model, request, self.model.max_tokens_key)
        return {"model": name, **content(self.model.api, request), **settings, **self.model.extra}

    async def ask(self, request: Request) -> Reply:
        """Ask once. A prompt that the server's content filter rejects is answered by a refusal.

        Raises:
            AskError: as `harness.models.http.post` says; BadReply also when there is no answer in the reply.
        """
        secrets = secrets_of(self._url, key(self.model.api_key))
        try:
            return await exchange(
                self.transport, self._url, self.body(request), self._headers, secrets, self.model, self.model.api
            )
        except Filtered as error:
            return Reply("", finish_reason="refusal", quota=error.quota)

    async def aclose(self) -> None:
        """Nothing to release: the transport is the caller's."""

    @cached_property
    def _url(self) -> httpx.URL:
        return address(self.model.base_url, PATHS[self.model.api])

    @cached_property
    def _headers(self) -> dict[str, str]:
        return bearer(self.model.api_key)


async def exchange(
    transport: httpx.AsyncBaseTransport,
    url: httpx.URL,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    secrets: tuple[str, ...],
    model: Sampled,
    api: Api,
) -> Reply:
    """Send a body, streamed if the model is to be, and read the reply to it.

    Raises:
        AskError: as `OpenAIBackend.ask`.
    """
    if not model.stream:
        return await post(
            transport, url, body, lambda reply: parse(api, reply, secrets), headers, secrets, deadlines(model)
        )
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}

    def read(events: list[Event]) -> Reply:
        reply, seconds = openai_reply(events, secrets)
        return timed(parse(api, reply, secrets), seconds)

    return await stream(transport, url, streamed, read, headers, secrets, deadlines(model))


def deadlines(model: Sampled) -> Deadlines:
    """Return the deadlines of an entry; the one of the whole answer is kept by the caller."""
    return Deadlines(model.connect_timeout, model.first_byte_timeout)


def content(api: Api, request: Request) -> dict[str, Any]:
    """Return the prompt's part of the body: messages for a chat model, plain text for a base model."""
    return {"messages": request.chat} if api == "chat" else {"prompt": request.prompt}


def sampling(model: Sampled, request: Request, max_tokens_key: str) -> dict[str, Any]:
    """Return the length, temperature and stop strings of the body, without those that the model rejects."""
    settings: dict[str, Any] = {}
    if "max_tokens" not in model.omit:
        settings[max_tokens_key] = model.max_tokens or request.max_tokens
    if "temperature" not in model.omit:
        settings["temperature"] = model.temperature
    if request.stop and "stop" not in model.omit:
        settings["stop"] = list(request.stop)
    return settings


def parse(api: Api, reply: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Reply:
    """Read the first choice of a reply.

    Reasoning text beside the answer (`reasoning_content`) is not part of it. A model that spent all its tokens on
    reasoning has answered, with nothing, and was cut off.

    Raises:
        AskError: the reply is an error in spite of its status 200 (OpenRouter sends such).
        BadReply: it holds no choice, or a choice without an answer.
    """
    choices = reply.get("choices")
    if not choices and reply.get("error"):
        raise late_failure(reply, secrets)
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadReply("the reply holds no choice")
    choice: dict[str, Any] = choices[0]
    finish = _FINISH.get(str(choice.get("finish_reason")), "unknown")
    text, refused = _chat_text(choice) if api == "chat" else (choice.get("text"), False)
    if not isinstance(text, str):
        if finish not in ("length", "refusal"):
            raise BadReply("the reply's choice holds no text")
        text = ""
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    name = reply.get("model")
    return Reply(
        completion=text,
        finish_reason="refusal" if refused else finish,
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        model=name if isinstance(name, str) and name else None,
    )


def count(value: Any) -> int | None:
    """Return a token count, None when it is not one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def key(value: str | None) -> str:
    """Return a key or token without the line break that a file or a shell has left on it; "" for none."""
    return (value or "").strip()


def bearer(api_key: str | None) -> dict[str, str]:
    """Return the header that carries a key, none without a key.

    Raises:
        UserError: the key holds characters that a header cannot carry; the message does not repeat it.
    """
    if not (token := key(api_key)):
        return {}
    if not (token.isascii() and token.isprintable()):
        raise UserError("the api_key holds a line break or a character outside ASCII; was more than the key pasted?")
    return {"Authorization": f"Bearer {token}"}


def _chat_text(choice: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return the message's text, and whether it is a refusal. Some servers send text in parts (Mistral's thinkers)."""
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadReply("the reply's choice holds no message")
    text = message.get("content")
    if isinstance(text, list):
        parts = [part for part in text if isinstance(part, dict) and part.get("type") == "text"]
        text = "".join(str(part.get("text", "")) for part in parts)
    if not text and isinstance(refusal := message.get("refusal"), str) and refusal:
        return refusal, True
    return text, False
