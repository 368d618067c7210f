"""A model given on the command line by its provider or address, without an entry in the models file."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from harness.errors import UserError

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
FORMS = "openai:MODEL, anthropic:MODEL or http://HOST/v1#MODEL"
# Models that reason before they answer: they need room for it, and reject a temperature and stop strings.
REASONING = {
    "openai": re.compile(r"(ft:)?(o\d|gpt-([5-9]|\d\d))"),
    "anthropic": re.compile(r"claude-(opus|sonnet|haiku)-([5-9]|\d\d)\b|claude-opus-4"),
}
ROOM = {"max_tokens": 4096}


def settings_of(text: str) -> tuple[str, dict[str, Any]] | None:
    """Return name and settings of `openai:MODEL`, `anthropic:MODEL` or `http://HOST/v1#MODEL`; None for other texts.

    The name is the model's, as a folder can be called. A provider's key is read from the usual variable and is sent to
    no other address.

    Raises:
        UserError: it names no model, or the address is not a valid URL.
    """
    provider, separator, model = text.partition(":")
    if not separator:
        return None
    if provider in ("http", "https"):
        return _at_address(text)
    if provider not in KEYS:
        raise UserError(f"--model {text}: '{provider}' is not a known provider; expected {FORMS}")
    if not model:
        raise UserError(f"--model {text}: the model's name is missing; expected {provider}:MODEL")
    settings: dict[str, Any] = {"backend": provider, "model": model, "api_key": f"${{{KEYS[provider]}}}"}
    if REASONING[provider].match(model):
        settings |= ROOM
        settings |= (
            {"omit": ["temperature"]}
            if provider == "anthropic"
            else {
                "max_tokens_key": "max_completion_tokens",
                "omit": ["temperature", "stop"],
            }
        )
    return _as_name(model), settings


def _at_address(text: str) -> tuple[str, dict[str, Any]]:
    address, _, model = text.partition("#")
    host = host_of(address)
    if not host:
        raise UserError("--model: the address is not a valid URL; expected http://HOST/v1#MODEL")
    if not model:
        raise UserError(f"--model: the address at {host} names no model; expected http://HOST/v1#MODEL")
    return _as_name(model), {"backend": "openai", "base_url": address, "model": model}


def host_of(url: str) -> str | None:
    """Return the host that a URL names; None where it names none."""
    try:
        return urlsplit(url).hostname
    except ValueError:  # a bracket that is not closed
        return None


def _as_name(model: str) -> str:
    """The last part of a model's path, with what a name may not hold replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model.rstrip("/").rpartition("/")[2]).lstrip("._-") or "model"
