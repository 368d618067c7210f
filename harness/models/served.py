"""Which weights a server has under a model's name: what its list of models says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from harness.errors import AskError
from harness.hashing import digest
from harness.models.content import count
from harness.models.entry import Model, OpenAIModel
from harness.models.http_errors import clock
from harness.models.ping import listed

# vLLM and llama.cpp give the time of the question as the time at which a model was made.
_JUST_NOW_S = 5.0


def may_be_trained_again(model: Model) -> bool:
    """Whether the weights under a model's name may change: an adapter's do, a vendor's models get new names."""
    return isinstance(model, OpenAIModel) and not model.batch and ("{task}" in model.model or model.base is not None)


async def stamp(transport: httpx.AsyncBaseTransport, model: Model, task: str) -> str | None:
    """Return a hash of when a model was made and of what it consists, as its server says; None where it does not."""
    if not isinstance(model, OpenAIModel) or not may_be_trained_again(model):
        return None
    name = model.model.replace("{task}", task)
    found = await _entry(transport, model, name)
    made = count(found.get("created"))
    if made and abs(made - clock({}).timestamp()) <= _JUST_NOW_S:
        await asyncio.sleep(1.1)
        if count((await _entry(transport, model, name)).get("created")) != made:
            made = None
    parts = {key: found.get(key) for key in ("root", "parent", "fingerprint", "digest") if found.get(key)}
    return digest(repr(made), repr(sorted(parts.items()))) if made or parts else None


async def _entry(transport: httpx.AsyncBaseTransport, model: OpenAIModel, name: str) -> Mapping[str, Any]:
    """What the server's list of models says of a model."""
    try:
        return (await listed(transport, model)).get(name, {})
    except AskError:
        return {}
