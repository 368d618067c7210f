"""Anthropic's Messages API, as Anthropic itself and its resellers serve it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx

from harness.errors import ModelRejected, Rejected, Throttled, Unavailable
from harness.models import openai
from harness.models.backend import Reply, Request
from harness.models.content import count, name_of, reply_of, text_of
from harness.models.entry import AnthropicModel
from harness.models.events import Event
from harness.models.http import Readers, post
from harness.models.http_errors import Filtered, late_failure
from harness.models.streaming import anthropic_reply, timed

# Not the newest, 2026-10-21: that one rejects any temperature, also for the models that still take one.
VERSION = "2023-06-01"
# Models since Claude Opus 4.7 have no temperature; they say so in words only, to every request.
_NO_TEMPERATURE = re.compile(r"temperature`?( is deprecated|: extra inputs)", re.IGNORECASE)
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _content(request: Request, own: str | None) -> dict[str, Any]:
    """The messages, with the system prompt beside them, where this vendor wants it."""
    messages = openai.with_system(request.chat, own)
    system = [message["content"] for message in messages if message["role"] == "system"]
    rest = [message for message in messages if message["role"] != "system"]
    return {**({"system": "\n\n".join(system)} if system else {}), "messages": rest}


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
        return {
            "backend": "anthropic",
            "address": openai.named_address(self.model, self._url),
            **openai.beside(self.model),
        }

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON with all stop sequences, because those that are not sent determine the answer, too."""
        return self._body(request, self.model.written("system"), self.model.written("extra"))

    async def ask(self, request: Request) -> Reply:
        """Ask once.

        Raises:
            AskError: as `harness.models.http.post` says, but an overloaded server has asked to slow down;
                BadReply also when the reply is no message, ModelRejected when the model has no temperature.
        """
        body = without_blank_stops(self._body(request, self.model.system, self.model.extra))
        try:
            reply = await self._exchange(body, self._secrets)
        except Filtered as error:
            return openai.filtered(error)
        except Unavailable as error:
            if error.overloaded:  # Anthropic's 529, by which it sheds load rather than fails
                raise Throttled(str(error), quota=error.quota) from error
            raise
        except Rejected as error:
            if _NO_TEMPERATURE.search(str(error)):
                raise ModelRejected(f"{error} (leave it out: omit: [temperature])", quota=error.quota) from error
            raise
        return openai.ended(reply, request, self.model)

    async def aclose(self) -> None:
        """Nothing to release: the transport is the caller's."""

    async def _exchange(self, body: Mapping[str, Any], secrets: tuple[str, ...]) -> Reply:
        def parts(events: list[Event]) -> Reply:
            reply, seconds = anthropic_reply(events, secrets)
            return timed(parse(reply, secrets), seconds)

        streamed = self.model.stream
        sent = {**body, "stream": True} if streamed else body
        read = Readers(lambda reply: parse(reply, secrets), parts)
        limits = openai.bounds(self.model)
        return await post(self.transport, self._url, sent, read, self._headers, secrets, limits, streamed=streamed)

    def _body(self, request: Request, system: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        name = self.model.model.replace("{task}", request.task)
        settings = openai.sampling(self.model, request, "max_tokens")
        if "stop" in settings:
            settings["stop_sequences"] = settings.pop("stop")
        return {"model": name, **_content(request, system), **settings, **extra}

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        return self.model.secrets

    @cached_property
    def _url(self) -> httpx.URL:
        base = self.model.base_url.rstrip("/").removesuffix("/v1")
        return openai.server(self.model, "/v1/messages", base)

    @cached_property
    def _headers(self) -> dict[str, str]:
        return headers_of(self.model)


def headers_of(model: AnthropicModel) -> dict[str, str]:
    """Return the headers of a request: the version that is spoken, the key, the entry's own.

    Raises:
        UserError: the key holds characters that a header cannot carry.
    """
    headers = {"anthropic-version": VERSION}
    # The key is checked as a bearer token is, but has a header of its own.
    if bearer := openai.bearer(model.api_key).get("Authorization"):
        headers["x-api-key"] = bearer.removeprefix("Bearer ")
    return {**headers, **openai.own_headers(model)}


def without_blank_stops(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body as Anthropic accepts it: without stop sequences of white space."""
    kept = [text for text in body.get("stop_sequences", []) if text.strip()]
    sent = {name: value for name, value in body.items() if name != "stop_sequences"}
    return sent | ({"stop_sequences": kept} if kept else {})


def parse(reply: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Reply:
    """Read a message: its blocks of text, joined, without the thinking.

    A message without text is an answer all the same: nothing was said, or all tokens went into the thinking.

    Raises:
        AskError: the reply is an error in spite of its status 200.
        NotUnderstood: it holds no list of blocks.
    """
    blocks = reply.get("content")
    if not isinstance(blocks, (list, str)):
        raise late_failure(reply, secrets)
    text = text_of(blocks)
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    counts = [found for name in _INPUT if (found := count(usage.get(name))) is not None]
    tokens = sum(counts) if counts else None, count(usage.get("output_tokens"))
    # A message need not say why it ended, where it says anything: it came as a whole.
    reason = reply.get("stop_reason") or ("end_turn" if blocks else "")
    return reply_of(text, reason, tokens, model=name_of(reply), secrets=secrets)
