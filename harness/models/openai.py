"""Any OpenAI-compatible server: `/chat/completions` for chat models, `/completions` for base models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import httpx

from harness.models.backend import Reply, Request
from harness.models.content import name_of, reply_of, text_of, tokens_of
from harness.models.entry import OpenAIModel
from harness.models.http_errors import late_failure
from harness.models.remote import Form, RemoteBackend, sampling, server, with_system
from harness.models.streaming import first_choice, openai_reply

Api = Literal["chat", "completions"]
PATHS: dict[Api, str] = {"chat": "/chat/completions", "completions": "/completions"}


class OpenAIBackend(RemoteBackend[OpenAIModel]):
    """One model of an OpenAI-compatible server.

    A task's stop strings are sent as they are: OpenAI itself takes at most four, and rejects the request when there are
    more.
    """

    @property
    def form(self) -> Form:
        """Choices."""
        return FORM

    def written(self, request: Request, system: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        """The request's JSON with this system prompt and these further keys."""
        name = self.model.model.replace("{task}", request.task)
        settings = sampling(self.model, request, self.model.max_tokens_key)
        return {"model": name, **content(self.model.api, request, system), **settings, **extra}

    @cached_property
    def url(self) -> httpx.URL:
        """That of the entry's interface."""
        return server(self.model, PATHS[self.model.api])


def content(api: Api, request: Request, system: str | None = None) -> dict[str, Any]:
    """Return the prompt's part of the body: messages for a chat model, plain text for a base model."""
    return {"messages": with_system(request.chat, system)} if api == "chat" else {"prompt": request.prompt}


def parse(reply: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Reply:
    """Read the first choice of a reply.

    Reasoning text beside the answer (`reasoning_content`) is not part of it. A model that spent all its tokens on
    reasoning has answered, with nothing.

    Raises:
        AskError: the reply is an error in spite of its status 200 (OpenRouter sends such), or an answer that failed.
        NotUnderstood: it holds no choice, or a choice without an answer.
    """
    choice = first_choice(reply.get("choices"))
    if choice is None:
        raise late_failure(reply, secrets)
    text, refused = _said(choice)
    return reply_of(
        text,
        choice.get("finish_reason"),
        tokens_of(reply.get("usage")),
        model=name_of(reply),
        refused=refused,
        error=choice.get("error") or reply.get("error"),
        secrets=secrets,
    )


def _said(choice: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return the text of a choice, None where there is none to be found, and whether it is a refusal."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return (text_of(choice["text"]) if choice.get("text") is not None else None), False
    text = text_of(message.get("content"))
    refusal = message.get("refusal")
    if not text and isinstance(refusal, str) and refusal:
        return refusal, True
    return text or text_of(choice.get("text")) if text is not None else None, False


FORM = Form(parse, openai_reply, {"stream": True, "stream_options": {"include_usage": True}})
"""Of chats and of completions."""
