"""Anthropic's Messages API, as Anthropic itself and its resellers serve it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import httpx

from harness.errors import BadReply, ModelRejected, Rejected, Throttled, Unavailable
from harness.models import openai
from harness.models.backend import FinishReason, Reply, Request
from harness.models.entry import AnthropicModel
from harness.models.http import Event, address, post, public, secrets_of, stream
from harness.models.streaming import anthropic_reply, timed

# Not the newest, 2026-10-21: that one rejects any temperature, also for the models that still take one.
VERSION = "2023-06-01"
# Models since Claude Opus 4.7 have no temperature; they say so in words only, to every request.
_NO_TEMPERATURE = re.compile(r"temperature`?( is deprecated|: extra inputs)", re.IGNORECASE)
_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _content(request: Request) -> dict[str, Any]:
    """The messages, with the system prompt beside them, where this vendor wants it."""
    system = [message["content"] for message in request.chat if message["role"] == "system"]
    messages = [message for message in request.chat if message["role"] != "system"]
    return {**({"system": "\n\n".join(system)} if system else {}), "messages": messages}


@dataclass(frozen=True)
class AnthropicBackend:
    """One model behind the Messages API.

    Anthropic rejects stop sequences of nothing but white space, such as a line break. They are not sent; the answer is
    cut where they would have ended it, so that it is the one that other vendors give, though the tokens after the cut
    are paid for.

    `transport` is shared with other models, and the caller closes it.
    """

    model: AnthropicModel
    transport: httpx.AsyncBaseTransport

    @property
    def identity(self) -> Mapping[str, Any]:
        """Backend and address; the model's name is in the body."""
        return {"backend": "anthropic", "address": public(self._url)}

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON with all stop sequences, because those that are not sent determine the answer, too."""
        name = self.model.model.replace("{task}", request.task)
        settings = openai.sampling(self.model, request, "max_tokens")
        if "stop" in settings:
            settings["stop_sequences"] = settings.pop("stop")
        return {"model": name, **_content(request), **settings, **self.model.extra}

    async def ask(self, request: Request) -> Reply:
        """Ask once.

        Raises:
            AskError: as `harness.models.http.post` says, but an overloaded server has asked to slow down;
                BadReply also when the reply is no message, ModelRejected when the model has no temperature.
        """
        secrets = secrets_of(self._url, openai.key(self.model.api_key))
        body, blank = without_blank_stops(self.body(request))
        try:
            reply = await self._exchange(body, secrets)
        except Unavailable as error:
            if error.overloaded:  # Anthropic's 529, by which it sheds load rather than fails
                raise Throttled(str(error), quota=error.quota) from error
            raise
        except Rejected as error:
            if _NO_TEMPERATURE.search(str(error)):
                raise ModelRejected(f"{error} (leave it out: omit: [temperature])", quota=error.quota) from error
            raise
        return cut(reply, blank)

    async def aclose(self) -> None:
        """Nothing to release: the transport is the caller's."""

    async def _exchange(self, body: Mapping[str, Any], secrets: tuple[str, ...]) -> Reply:
        limits = openai.deadlines(self.model)
        if not self.model.stream:
            return await post(self.transport, self._url, body, parse, self._headers, secrets, limits)
        streamed = {**body, "stream": True}

        def read(events: list[Event]) -> Reply:
            reply, seconds = anthropic_reply(events, secrets)
            return timed(parse(reply), seconds)

        return await stream(self.transport, self._url, streamed, read, self._headers, secrets, limits)

    @cached_property
    def _url(self) -> httpx.URL:
        return address(self.model.base_url.rstrip("/").removesuffix("/v1"), "/v1/messages")

    @cached_property
    def _headers(self) -> dict[str, str]:
        headers = {"anthropic-version": VERSION}
        # The key is checked as a bearer token is, but has a header of its own.
        if bearer := openai.bearer(self.model.api_key).get("Authorization"):
            headers["x-api-key"] = bearer.removeprefix("Bearer ")
        return headers


def without_blank_stops(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the body as Anthropic accepts it, and the stop sequences of white space that were taken out of it."""
    stops = body.get("stop_sequences", [])
    kept, blank = [text for text in stops if text.strip()], [text for text in stops if text and not text.strip()]
    sent = {name: value for name, value in body.items() if name != "stop_sequences"}
    return sent | ({"stop_sequences": kept} if kept else {}), blank


def parse(reply: Mapping[str, Any]) -> Reply:
    """Read a message: its blocks of text, joined, without the thinking.

    A message without text is an answer all the same: nothing was said, or all tokens went into the thinking.

    Raises:
        BadReply: it holds no list of blocks.
    """
    blocks = reply.get("content")
    if not isinstance(blocks, list):
        raise BadReply("the reply holds no content")
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = [count for name in _INPUT if (count := openai.count(usage.get(name))) is not None]
    name = reply.get("model")
    return Reply(
        completion="".join(text for text in texts if isinstance(text, str)),
        finish_reason=_FINISH.get(str(reply.get("stop_reason")), "unknown"),
        input_tokens=sum(counts) if counts else None,
        output_tokens=openai.count(usage.get("output_tokens")),
        model=name if isinstance(name, str) and name else None,
    )


def cut(reply: Reply, stops: Iterable[str]) -> Reply:
    """End a reply's text before the first of these strings, as a server would that had been sent them."""
    places = [place for stop in stops if (place := reply.completion.find(stop)) >= 0]
    return replace(reply, completion=reply.completion[: min(places)], finish_reason="stop") if places else reply
