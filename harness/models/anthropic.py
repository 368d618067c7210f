"""Anthropic's Messages API, as Anthropic itself and its resellers serve it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx

from harness.errors import AskError, ModelRejected, Rejected, Throttled, Unavailable
from harness.models.backend import Reply, Request
from harness.models.content import count, name_of, reply_of, text_of
from harness.models.entry import AnthropicModel
from harness.models.http_errors import late_failure
from harness.models.remote import Form, RemoteBackend, sampling, server, with_system
from harness.models.streaming import anthropic_reply

# Models since Claude Opus 4.7 have no temperature; they say so in words only, to every request.
_NO_TEMPERATURE = re.compile(r"temperature`?( is deprecated|: extra inputs)", re.IGNORECASE)
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class AnthropicBackend(RemoteBackend[AnthropicModel]):
    """One model behind the Messages API.

    Anthropic rejects stop sequences of nothing but white space, such as a line break. They are not sent; the answer is
    cut where they would have ended it, so that it is the one that other vendors give, though the tokens after the cut
    are paid for. `body` has them, because they determine the answer, too.
    """

    @property
    def form(self) -> Form:
        """Messages."""
        return FORM

    def written(self, request: Request, system: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        """The request's JSON with this system prompt, beside the messages, and these further keys."""
        messages = with_system(request.chat, system)
        texts = [message["content"] for message in messages if message["role"] == "system"]
        settings = sampling(self.model, request, "max_tokens")
        if "stop" in settings:
            settings["stop_sequences"] = settings.pop("stop")
        return {
            "model": self.model.model.replace("{task}", request.task),
            **({"system": "\n\n".join(texts)} if texts else {}),
            "messages": [message for message in messages if message["role"] != "system"],
            **settings,
            **extra,
        }

    def sent(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON as it is sent: without stop sequences of white space."""
        body = dict(super().sent(request))
        if kept := [text for text in body.pop("stop_sequences", []) if text.strip()]:
            body["stop_sequences"] = kept
        return body

    def meaning(self, error: AskError) -> AskError:
        """Anthropic's 529, by which it sheds load rather than fails, asks to slow down."""
        if isinstance(error, Unavailable) and error.overloaded:
            return Throttled(str(error), quota=error.quota)
        if isinstance(error, Rejected) and _NO_TEMPERATURE.search(str(error)):
            return ModelRejected(f"{error} (leave it out: omit: [temperature])", quota=error.quota)
        return error

    @cached_property
    def url(self) -> httpx.URL:
        """That of the messages, whether or not the entry names the version."""
        return server(self.model, "/v1/messages", self.model.base_url.rstrip("/").removesuffix("/v1"))


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


FORM = Form(parse, anthropic_reply, {"stream": True})
