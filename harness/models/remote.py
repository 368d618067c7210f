"""A model of a server: its address, headers and limits, and the way of a request and its answer, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

import httpx

from harness.errors import AskError, ModelRejected, UserError
from harness.models.backend import Reply, Request
from harness.models.content import cut, same_model
from harness.models.entry import AnthropicModel, LoraxModel, OpenAIModel, Sampled
from harness.models.events import Event
from harness.models.http import Bounds, Readers, address, post, public
from harness.models.http_errors import Filtered
from harness.models.streaming import timed

Secrets = tuple[str, ...]
Remote = OpenAIModel | AnthropicModel | LoraxModel
"""Entries of models that a server has."""
M = TypeVar("M", OpenAIModel, AnthropicModel, LoraxModel)


class Form(NamedTuple):
    """The form of an interface's answers.

    `parse` reads a whole one, `join` makes such of the events of a stream, with the seconds at which parts of the text
    came; `streamed` is what a request's body has for a stream.
    """

    parse: Callable[[Mapping[str, Any], Secrets], Reply]
    join: Callable[[Iterable[Event], Secrets], tuple[dict[str, Any], list[float]]]
    streamed: Mapping[str, Any]

    def readers(self, secrets: Secrets = (), heard: list[float] | None = None) -> Readers:
        """Return what reads an answer, whole or in parts; `heard` gets the seconds at which parts of the text came."""

        def parts(events: list[Event]) -> Reply:
            reply, seconds = self.join(events, secrets)
            if heard is not None:
                heard.extend(seconds)
            return timed(self.parse(reply, secrets), seconds)

        return Readers(lambda reply: self.parse(reply, secrets), parts)


@dataclass(eq=False)
class RemoteBackend(Generic[M]):
    """One model of a server; `transport` is shared with other models, and the caller closes it."""

    model: M
    transport: httpx.AsyncBaseTransport

    @property
    def form(self) -> Form:
        """The form of the answers."""
        raise NotImplementedError

    @cached_property
    def url(self) -> httpx.URL:
        """Where a request is sent that is not streamed."""
        raise NotImplementedError

    @property
    def stream_url(self) -> httpx.URL:
        """Where one is sent whose answer is."""
        return self.url

    def written(self, request: Request, system: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        """The request's JSON with this system prompt and these further keys."""
        raise NotImplementedError

    def meaning(self, error: AskError) -> AskError:
        """What an error means of this kind of server."""
        return error

    @property
    def identity(self) -> Mapping[str, Any]:
        """Backend, address, and the entry's own headers and parameters, by variable; names that differ by task are in
        the body."""
        own = {name: self.model.written(name) for name in ("headers", "query") if getattr(self.model, name)}
        return {"backend": self.model.backend, "address": _named_address(self.model, self.url), **own}

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON, whole but for tokens, with the names of variables in place of their values."""
        return self.written(request, self.model.written("system"), self.model.written("extra"))

    def sent(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON as it is sent."""
        return self.written(request, self.model.system, self.model.extra)

    async def ask(self, request: Request) -> Reply:
        """Ask once. A prompt that the server's content filter rejects is answered by a refusal, which costs nothing.

        Raises:
            AskError: as `harness.models.http.post` says; BadReply also when there is no answer in the reply,
                ModelRejected when another model has answered, or `meaning` says so.
        """
        try:
            reply = await self.listen(request, [])
        except Filtered as error:
            return filtered(error)
        except AskError as error:
            if (meant := self.meaning(error)) is error:
                raise
            raise meant from error
        return ended(reply, request, self.model)

    async def listen(self, request: Request, heard: list[float]) -> Reply:
        """Ask once; `heard` gets the seconds at which parts of the text came, where the answer is streamed.

        Raises:
            AskError: as `harness.models.http.post`.
        """
        streamed, form, secrets = self.model.stream, self.form, self.secrets
        sent = {**self.sent(request), **(form.streamed if streamed else {})}
        return await post(
            self.transport, self.stream_url if streamed else self.url, sent, form.readers(secrets, heard),
            self.headers, secrets, bounds(self.model), streamed=streamed,
        )  # fmt: skip

    async def aclose(self) -> None:
        """Nothing to release: the transport is the caller's."""

    @cached_property
    def secrets(self) -> Secrets:
        """What no message may hold."""
        return self.model.secrets

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers of each request."""
        return headers_of(self.model)


def bounds(model: Sampled) -> Bounds:
    """Return the deadlines of an entry, and how long an answer may be; the deadline of all of it is kept elsewhere."""
    return Bounds(model.connect_timeout, model.first_byte_timeout, size=round(model.body_limit * 1e6))


def server(model: Sampled, path: str, base_url: str | None = None) -> httpx.URL:
    """Return the URL of a server's method, with the entry's own parameters."""
    url = address(base_url or str(getattr(model, "base_url", "")), path)
    return url.copy_merge_params(model.query) if model.query else url


def _named_address(model: Sampled, url: httpx.URL) -> str:
    """The address by which answers are kept: without what may be secret, by its variable where it has one."""
    path = str(model.written("base_url")).partition("://")[2].partition("/")[2]
    if "${" not in path:
        return public(url)
    return f"{url.scheme}://{url.netloc.decode().rpartition('@')[2]}/{path.partition('?')[0]}"


def headers_of(model: Remote) -> dict[str, str]:
    """Return the headers of a request: the key as the vendor wants it, and the entry's own.

    Raises:
        UserError: the key holds characters that a header cannot carry; the message does not repeat it.
    """
    token, found = key(model.api_key), {}
    if not (token.isascii() and token.isprintable()):
        raise UserError("the api_key holds a line break or a character outside ASCII; was more than the key pasted?")
    if isinstance(model, AnthropicModel):
        found = {"anthropic-version": ANTHROPIC_VERSION, **({"x-api-key": token} if token else {})}
    elif token:
        found = {"Authorization": f"Bearer {token}"}
    return found | {name: key(value) for name, value in model.headers.items()}


# Not the newest, 2026-10-21: that one rejects any temperature, also for the models that still take one.
ANTHROPIC_VERSION = "2023-06-01"


def key(value: str | None) -> str:
    """Return a key or token without the line break that a file or a shell has left on it; "" for none."""
    return (value or "").strip()


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
