"""A LoRAX server: its own `/generate`, or its OpenAI-compatible `/v1`, with one adapter for each request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx

from harness.errors import ModelRejected, Unavailable
from harness.models import openai
from harness.models.backend import Reply, Request
from harness.models.content import count, reply_of
from harness.models.entry import LoraxModel
from harness.models.events import Event
from harness.models.http import Readers, post
from harness.models.http_errors import Filtered, late_failure
from harness.models.streaming import lorax_reply, timed

# LoRAX reports an adapter that does not exist or does not fit like any passing failure, in words only.
_NO_ADAPTER = re.compile(
    r"repository not found|(401|403|404) client error|no \S* ?weights found"
    r"|does not support adapter|adapter.{0,80}(not found|does not exist|not compatible|incompatible|not supported)",
    re.IGNORECASE | re.DOTALL,
)


def like_openai(model: LoraxModel) -> str:
    """Return the address of a server's OpenAI-compatible interface, whether or not the entry names its version."""
    return model.base_url.rstrip("/").removesuffix("/v1") + "/v1"


@dataclass(frozen=True)
class LoraxBackend:
    """One adapter (by task, perhaps) of a LoRAX server, or its base model when there is no adapter.

    The token with which the server fetches a private adapter is added to the body only as it is sent. `transport` is
    shared with other models, and the caller closes it.
    """

    model: LoraxModel
    transport: httpx.AsyncBaseTransport

    @property
    def identity(self) -> Mapping[str, Any]:
        """Backend and address; the adapter is in the body, because it may differ by task."""
        return {
            "backend": "lorax",
            "address": openai.named_address(self.model, self._url),
            **openai.beside(self.model),
        }

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON without the token. Decoding is greedy unless the entry gives a temperature above 0."""
        return self._body(request, self.model.written("system"), self.model.written("extra"))

    def _body(self, request: Request, system: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        if self.model.api == "generate":
            return {"inputs": request.prompt, "parameters": self._parameters(request, extra)}
        settings = openai.sampling(self.model, request, "max_tokens")
        if self.model.api == "completions" and "temperature" in settings:
            # LoRAX rejects a temperature of 0 here, where it decodes greedily unless `n` is given (with chat it is
            # the other way round: 0 is what makes it greedy).
            settings |= {"n": 1} if settings["temperature"] else {}
            settings = {name: value for name, value in settings.items() if name != "temperature" or value}
        source = {"adapter_source": self.model.adapter_source} if self.model.adapter_source else {}
        text = openai.content(self.model.api, request, system)
        return {"model": self._adapter(request), **text, **settings, **source, **extra}

    async def ask(self, request: Request) -> Reply:
        """Ask once.

        Raises:
            AskError: as `harness.models.http.post` says; BadReply also when there is no answer in the reply,
                ModelRejected when the server cannot load the adapter.
        """
        try:
            reply = await self._exchange(self._sent(request), self._secrets)
        except Filtered as error:
            return openai.filtered(error)
        except Unavailable as error:
            if self.model.adapter and _NO_ADAPTER.search(str(error)):
                raise ModelRejected(str(error), quota=error.quota) from error
            raise
        return openai.ended(reply, request, self.model)

    async def listen(self, request: Request, heard: list[float]) -> Reply:
        """Ask once; `heard` gets the seconds at which tokens came, where the answer is streamed.

        Raises:
            AskError: as `ask`.
        """
        return await self._exchange(self._sent(request), self._secrets, heard)

    async def aclose(self) -> None:
        """Nothing to release: the transport is the caller's."""

    async def _exchange(
        self, body: Mapping[str, Any], secrets: tuple[str, ...], heard: list[float] | None = None
    ) -> Reply:
        model, transport, url, headers = self.model, self.transport, self._url, self._headers
        if model.api != "generate":
            return await openai.exchange(transport, url, body, headers, secrets, model, model.api, heard)

        def parts(events: list[Event]) -> Reply:
            reply, seconds = lorax_reply(events, secrets)
            if heard is not None:
                heard.extend(seconds)
            return timed(parse(reply, secrets), seconds)

        read = Readers(lambda reply: parse(reply, secrets), parts)
        place = openai.server(model, "/generate_stream") if model.stream else url
        return await post(transport, place, body, read, headers, secrets, openai.bounds(model), streamed=model.stream)

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        return self.model.secrets

    @cached_property
    def _url(self) -> httpx.URL:
        if self.model.api == "generate":
            return openai.server(self.model, "/generate")
        return openai.server(self.model, openai.PATHS[self.model.api], like_openai(self.model))

    @cached_property
    def _headers(self) -> dict[str, str]:
        return {**openai.bearer(self.model.api_key), **openai.own_headers(self.model)}

    def _adapter(self, request: Request) -> str:
        return (self.model.adapter or "").replace("{task}", request.task)

    def _parameters(self, request: Request, extra: Mapping[str, Any]) -> dict[str, Any]:
        parameters: dict[str, Any] = {"details": True, "return_full_text": False}
        if adapter := self._adapter(request):
            parameters["adapter_id"] = adapter
            if self.model.adapter_source:
                parameters["adapter_source"] = self.model.adapter_source
        settings = openai.sampling(self.model, request, "max_new_tokens")
        # LoRAX rejects a temperature of 0; without one, and without sampling, it is greedy.
        if temperature := settings.pop("temperature", 0):
            parameters["temperature"] = temperature
        parameters["do_sample"] = bool(temperature)
        return {**parameters, **settings, **extra}

    def _sent(self, request: Request) -> Mapping[str, Any]:
        body = self._body(request, self.model.system, self.model.extra)
        if not (token := openai.key(self.model.api_token)):
            return body
        if self.model.api == "generate":
            return {**body, "parameters": {**body["parameters"], "api_token": token}}
        return {**body, "api_token": token}


def parse(reply: Mapping[str, Any], secrets: tuple[str, ...] = ()) -> Reply:
    """Read the reply of `/generate`.

    Raises:
        AskError: the reply is an error in spite of its status 200.
        NotUnderstood: it holds no generated text.
    """
    text = reply.get("generated_text")
    if not isinstance(text, str):
        raise late_failure(reply, secrets)
    details = reply.get("details")
    details = details if isinstance(details, dict) else {}
    tokens = count(details.get("prompt_tokens")), count(details.get("generated_tokens"))
    return reply_of(text, details.get("finish_reason") or ("" if text else "eos_token"), tokens, secrets=secrets)
