"""A LoRAX server: its own `/generate`, or its OpenAI-compatible `/v1`, with one adapter for each request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import httpx

from harness.errors import AskError, ModelRejected, Unavailable
from harness.models.backend import Reply, Request
from harness.models.content import count, reply_of
from harness.models.entry import LoraxModel
from harness.models.http_errors import late_failure
from harness.models.openai import FORM as OPENAI
from harness.models.openai import PATHS, content
from harness.models.remote import Form, RemoteBackend, key, sampling, server
from harness.models.streaming import lorax_reply

# LoRAX reports an adapter that does not exist or does not fit like any passing failure, in words only.
_NO_ADAPTER = re.compile(
    r"repository not found|(401|403|404) client error|no \S* ?weights found"
    r"|does not support adapter|adapter.{0,80}(not found|does not exist|not compatible|incompatible|not supported)",
    re.IGNORECASE | re.DOTALL,
)


def like_openai(model: LoraxModel) -> str:
    """Return the address of a server's OpenAI-compatible interface, whether or not the entry names its version."""
    return model.base_url.rstrip("/").removesuffix("/v1") + "/v1"


class LoraxBackend(RemoteBackend[LoraxModel]):
    """One adapter (by task, perhaps) of a LoRAX server, or its base model when there is no adapter.

    The token with which the server fetches a private adapter is added to the body only as it is sent.
    """

    @property
    def form(self) -> Form:
        """That of the entry's interface."""
        return FORM if self.model.api == "generate" else OPENAI

    def written(self, request: Request, system: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        """The request's JSON with this system prompt and these further keys; greedy without a temperature above 0."""
        model, adapter = self.model, (self.model.adapter or "").replace("{task}", request.task)
        source = {"adapter_source": model.adapter_source} if model.adapter_source else {}
        if model.api == "generate":
            settings = sampling(model, request, "max_new_tokens")
            # LoRAX rejects a temperature of 0; without one, and without sampling, it is greedy.
            temperature = settings.pop("temperature", 0)
            drawn = {**({"temperature": temperature} if temperature else {}), "do_sample": bool(temperature)}
            named = {"adapter_id": adapter, **source} if adapter else {}
            parameters = {"details": True, "return_full_text": False, **named, **drawn, **settings, **extra}
            return {"inputs": request.prompt, "parameters": parameters}
        settings = sampling(model, request, "max_tokens")
        if model.api == "completions" and "temperature" in settings:
            # LoRAX rejects a temperature of 0 here, where it decodes greedily unless `n` is given (with chat it is
            # the other way round: 0 is what makes it greedy).
            settings |= {"n": 1} if settings["temperature"] else {}
            settings = {name: value for name, value in settings.items() if name != "temperature" or value}
        return {"model": adapter, **content(model.api, request, system), **settings, **source, **extra}

    def sent(self, request: Request) -> Mapping[str, Any]:
        """The request's JSON as it is sent, with the token."""
        body = super().sent(request)
        if not (token := key(self.model.api_token)):
            return body
        if self.model.api == "generate":
            return {**body, "parameters": {**body["parameters"], "api_token": token}}
        return {**body, "api_token": token}

    def meaning(self, error: AskError) -> AskError:
        """A server that cannot load the adapter can answer no request."""
        if isinstance(error, Unavailable) and self.model.adapter and _NO_ADAPTER.search(str(error)):
            return ModelRejected(str(error), quota=error.quota)
        return error

    @cached_property
    def url(self) -> httpx.URL:
        """That of the entry's interface."""
        if self.model.api == "generate":
            return server(self.model, "/generate")
        return server(self.model, PATHS[self.model.api], like_openai(self.model))

    @property
    def stream_url(self) -> httpx.URL:
        """LoRAX's own interface has another for streams."""
        return server(self.model, "/generate_stream") if self.model.api == "generate" else self.url


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


FORM = Form(parse, lorax_reply, {})
