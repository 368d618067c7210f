"""A LoRAX server: its own `/generate`, or its OpenAI-compatible `/v1`, with one adapter for each request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import httpx

from harness.errors import BadReply, ModelRejected, Unavailable
from harness.models import openai
from harness.models.backend import FinishReason, Reply, Request
from harness.models.entry import LoraxModel
from harness.models.http import Event, address, post, public, secrets_of, stream
from harness.models.streaming import lorax_reply, timed

_FINISH: dict[str, FinishReason] = {"eos_token": "stop", "stop_sequence": "stop", "length": "length"}
# LoRAX reports an adapter that does not exist or does not fit like any passing failure, in words only.
_NO_ADAPTER = re.compile(
    r"repository not found|(401|403|404) client error|no \S* ?weights found"
    r"|adapter.{0,80}(not found|does not exist|not compatible|incompatible|not supported)",
    re.IGNORECASE | re.DOTALL,
)


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
        return {"backend": "lorax", "address": public(self._url)}

    def body(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON without the token. Decoding is greedy unless the entry gives a temperature above 0."""
        if self.model.api == "generate":
            return {"inputs": request.prompt, "parameters": self._parameters(request)}
        settings = openai.sampling(self.model, request, "max_tokens")
        if self.model.api == "completions" and "temperature" in settings:
            # LoRAX rejects a temperature of 0 here, where it decodes greedily unless `n` is given (with chat it is
            # the other way round: 0 is what makes it greedy).
            settings |= {"n": 1} if settings["temperature"] else {}
            settings = {name: value for name, value in settings.items() if name != "temperature" or value}
        source = {"adapter_source": self.model.adapter_source} if self.model.adapter_source else {}
        text = openai.content(self.model.api, request)
        return {"model": self._adapter(request), **text, **settings, **source, **self.model.extra}

    async def ask(self, request: Request) -> Reply:
        """Ask once.

        Raises:
            AskError: as `harness.models.http.post` says; BadReply also when there is no answer in the reply,
                ModelRejected when the server cannot load the adapter.
        """
        secrets = secrets_of(self._url, openai.key(self.model.api_key), openai.key(self.model.api_token))
        try:
            reply = await self._exchange(self._sent(request), secrets)
        except Unavailable as error:
            if self.model.adapter and _NO_ADAPTER.search(str(error)):
                raise ModelRejected(str(error), quota=error.quota) from error
            raise
        return replace(reply, completion=_without_stop(reply, request.stop))

    async def aclose(self) -> None:
        """Nothing to release: the transport is the caller's."""

    async def _exchange(self, body: Mapping[str, Any], secrets: tuple[str, ...]) -> Reply:
        model, transport, url, headers = self.model, self.transport, self._url, self._headers
        if model.api != "generate":
            return await openai.exchange(transport, url, body, headers, secrets, model, model.api)
        if not model.stream:
            return await post(transport, url, body, parse, headers, secrets, openai.deadlines(model))

        def read(events: list[Event]) -> Reply:
            reply, seconds = lorax_reply(events, secrets)
            return timed(parse(reply), seconds)

        place = address(model.base_url, "/generate_stream")
        return await stream(transport, place, body, read, headers, secrets, openai.deadlines(model))

    @cached_property
    def _url(self) -> httpx.URL:
        if self.model.api == "generate":
            return address(self.model.base_url, "/generate")
        base = self.model.base_url.rstrip("/").removesuffix("/v1")
        return address(base, "/v1" + openai.PATHS[self.model.api])

    @cached_property
    def _headers(self) -> dict[str, str]:
        return openai.bearer(self.model.api_key)

    def _adapter(self, request: Request) -> str:
        return (self.model.adapter or "").replace("{task}", request.task)

    def _parameters(self, request: Request) -> dict[str, Any]:
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
        return {**parameters, **settings, **self.model.extra}

    def _sent(self, request: Request) -> Mapping[str, Any]:
        body = self.body(request)
        if not (token := openai.key(self.model.api_token)):
            return body
        if self.model.api == "generate":
            return {**body, "parameters": {**body["parameters"], "api_token": token}}
        return {**body, "api_token": token}


def parse(reply: Mapping[str, Any]) -> Reply:
    """Read the reply of `/generate`.

    Raises:
        BadReply: it holds no generated text.
    """
    text = reply.get("generated_text")
    if not isinstance(text, str):
        raise BadReply("the reply holds no generated_text")
    details = reply.get("details")
    details = details if isinstance(details, dict) else {}
    return Reply(
        completion=text,
        finish_reason=_FINISH.get(str(details.get("finish_reason")), "unknown"),
        input_tokens=openai.count(details.get("prompt_tokens")),
        output_tokens=openai.count(details.get("generated_tokens")),
    )


def _without_stop(reply: Reply, stop: tuple[str, ...]) -> str:
    """Take off the stop string that LoRAX, unlike OpenAI, leaves at the end of the text."""
    if reply.finish_reason == "stop":
        for end in sorted(stop, key=len, reverse=True):
            if end and reply.completion.endswith(end):
                return reply.completion.removesuffix(end)
    return reply.completion
