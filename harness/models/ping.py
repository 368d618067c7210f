"""Whether a model's server is there, knows the key and has the model, asked by what costs nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from harness.errors import AskError, nearest
from harness.models.entry import LoraxModel, Model, OpenAIModel
from harness.models.http import Bounds, json_object, send
from harness.models.remote import Remote, headers_of, server

REACHED = "answers"
"""What is said of a model that can be asked begins with it."""
_QUICK = Bounds(connect=5.0, first_byte=5.0, silence=5.0, size=10_000_000)


async def ping(transport: httpx.AsyncBaseTransport, model: Model) -> str | None:
    """Return what came of asking a server for its list of models, or its health; None for a model without a server.

    It begins with `REACHED` where the model can be asked, as far as that shows.
    """
    if not isinstance(model, Remote):
        return None
    path = {"lorax": "/health", "openai": "/models", "anthropic": "/v1/models"}[model.backend]
    began = time.monotonic()
    try:
        body = await _get(transport, model, path)
    except AskError as error:
        return str(error)
    took = f"{REACHED} in {time.monotonic() - began:.2f} s"
    if isinstance(model, LoraxModel) or "{task}" in model.model:
        return took
    try:
        there = names(json_object(body))
    except AskError:
        return f"{took}, but not with a list of models: does base_url end with /v1?"
    if there and model.model not in there:
        return f"has no model '{model.model}'{nearest(model.model, there)}"
    return took


async def listed(transport: httpx.AsyncBaseTransport, model: OpenAIModel) -> dict[str, Mapping[str, Any]]:
    """Return what an OpenAI-compatible server lists, by the models' ids.

    Raises:
        AskError: it has no list of models, or cannot be reached.
    """
    return {str(entry["id"]): entry for entry in _entries(json_object(await _get(transport, model, "/models")))}


async def _get(transport: httpx.AsyncBaseTransport, model: Remote, path: str) -> bytes:
    return await send(transport, "GET", server(model, path), headers_of(model), model.secrets, _QUICK)


def names(reply: Mapping[str, object]) -> list[str]:
    """The ids in a list of models, as OpenAI's and Anthropic's interfaces give it."""
    return [str(entry["id"]) for entry in _entries(reply)]


def _entries(reply: Mapping[str, object]) -> list[Mapping[str, Any]]:
    found = reply.get("data")
    entries = found if isinstance(found, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("id")]
