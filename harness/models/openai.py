"""Any OpenAI-compatible server: `/chat/completions` for chat models, `/completions` for base models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import httpx

from harness.errors import ModelRejected, UserError
from harness.models.backend import Reply, Request
from harness.models.content import cut, name_of, reply_of, same_model, text_of, tokens_of
from harness.models.entry import OpenAIModel, Sampled
from harness.models.events import Event
from harness.models.http import Bounds, Readers, address, post, public
from harness.models.http_errors import Filtered, late_failure
from harness.models.streaming import first_choice, openai_reply, timed

Api = Literal["chat", "completions"]

STREAMED: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
PATHS: dict[Api, str] = {"chat": "/chat/completions", "completions": "/completions"}


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
        return {"backend": "openai", "address": named_address(self.model, self._url), **beside(self.model)}

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON, whole, with the names of variables in place of their values."""
        return self._body(request, self.model.written("system"), self.model.written("extra"))

    def sent(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON as it is sent."""
        return self._body(request, self.model.system, self.model.extra)

    async def ask(self, request: Request) -> Reply:
        """Ask once. A prompt that the server's content filter rejects is answered by a refusal, which costs nothing.

        Raises:
            AskError: as `harness.models.http.post` says; BadReply also when there is no answer in the reply.
        """
        try:
            reply = await exchange(
                self.transport, self._url, self.sent(request), self._headers, self.secrets, self.model, self.model.api
            )
        except Filtered as error:
            return filtered(error)
        return ended(reply, request, self.model)

    async def listen(self, request: Request, heard: list[float]) -> Reply:
        """Ask once; `heard` gets the seconds at which parts of the text came, where the answer is streamed.

        Raises:
            AskError: as `ask`.
        """
        sent, model = self.sent(request), self.model
        return await exchange(self.transport, self._url, sent, self._headers, self.secrets, model, model.api, heard)

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """What no message may hold."""
        return self.model.secrets

    async def aclose(self) -> None:
        """Nothing to release: the transport is the caller's."""

    def _body(self, request: Request, system: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        name = self.model.model.replace("{task}", request.task)
        settings = sampling(self.model, request, self.model.max_tokens_key)
        return {"model": name, **content(self.model.api, request, system), **settings, **extra}

    @cached_property
    def _url(self) -> httpx.URL:
        return server(self.model, PATHS[self.model.api])

    @cached_property
    def _headers(self) -> dict[str, str]:
        return {**bearer(self.model.api_key), **own_headers(self.model)}


async def exchange(
    transport: httpx.AsyncBaseTransport,
    url: httpx.URL,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    secrets: tuple[str, ...],
    model: Sampled,
    api: Api,
    heard: list[float] | None = None,
) -> Reply:
    """Send a body, streamed if the model is to be, and read the reply to it; `heard` as in `reader`.

    Raises:
        AskError: as `OpenAIBackend.ask`.
    """

    sent = {**body, **STREAMED} if model.stream else body
    return await post(
        transport, url, sent, reader(api, secrets, heard), headers, secrets, bounds(model), streamed=model.stream
    )


def reader(api: Api, secrets: tuple[str, ...] = (), heard: list[float] | None = None) -> Readers:
    """Return what reads a reply, whole or in parts; `heard` gets the seconds at which parts of the text came."""

    def parts(events: list[Event]) -> Reply:
        reply, seconds = openai_reply(events, secrets)
        if heard is not None:
            heard.extend(seconds)
        return timed(parse(api, reply, secrets), seconds)

    return Readers(lambda reply: parse(api, reply, secrets), parts)


def bounds(model: Sampled) -> Bounds:
    """Return the deadlines of an entry, and how long an answer may be; the deadline of all of it is kept elsewhere."""
    return Bounds(model.connect_timeout, model.first_byte_timeout, size=round(model.body_limit * 1e6))


def server(model: Sampled, path: str, base_url: str | None = None) -> httpx.URL:
    """Return the URL of a server's method, with the entry's own parameters."""
    url = address(base_url or str(getattr(model, "base_url", "")), path)
    return url.copy_merge_params(model.query) if model.query else url


def own_headers(model: Sampled) -> dict[str, str]:
    """Return the entry's own headers."""
    return {name: key(value) for name, value in model.headers.items()}


def named_address(model: Sampled, url: httpx.URL) -> str:
    """Return the address by which answers are kept: without what may be secret, by its variable where it has one."""
    written = str(model.written("base_url"))
    path = written.partition("://")[2].partition("/")[2]
    if "${" not in path:
        return public(url)
    return f"{url.scheme}://{url.netloc.decode().rpartition('@')[2]}/{path.partition('?')[0]}"


def beside(model: Sampled) -> dict[str, Any]:
    """Return what identifies a model beside its body and address: its own headers and parameters, by variable."""
    return {name: model.written(name) for name in ("headers", "query") if getattr(model, name)}


def filtered(error: Filtered) -> Reply:
    """Return the reply to a prompt that a filter has rejected; nobody is charged for it."""
    return Reply("", finish_reason="refusal", input_tokens=0, output_tokens=0, quota=error.quota)


def ended(reply: Reply, request: Request, model: Sampled) -> Reply:
    """Return a reply that ends where the request's stop strings say, unless the model is not to be sent any.

    Raises:
        ModelRejected: another model has answered, where the entry forbids it.
    """
    asked = str(getattr(model, "model", "")).replace("{task}", request.task)
    if model.strict_model and asked and reply.model and not same_model(asked, reply.model):
        other = ModelRejected(f"asked for the model {asked}, the server answers with {reply.model} (strict_model)")
        other.charged = True
        other.usage = (reply.input_tokens or 0, reply.output_tokens or 0)
        raise other
    return reply if "stop" in model.omit else cut(reply, request.stop)


def content(api: Api, request: Request, system: str | None = None) -> dict[str, Any]:
    """Return the prompt's part of the body: messages for a chat model, plain text for a base model."""
    return {"messages": with_system(request.chat, system)} if api == "chat" else {"prompt": request.prompt}


def with_system(messages: list[dict[str, str]], system: str | None) -> list[dict[str, str]]:
    """Return the messages with a system prompt, before the task's own where it has one."""
    if system is None:
        return messages
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": f"{system}\n\n{messages[0]['content']}"}, *messages[1:]]
    return [{"role": "system", "content": system}, *messages]


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
