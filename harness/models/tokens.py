"""How many tokens a model makes of a text: by its own tokenizer where available, else by a stated approximation."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.entry import Model

if TYPE_CHECKING:
    import tiktoken

SECONDS_TO_FETCH = 5.0
"""An encoding that has not been downloaded by then is not used."""
CHAT_FRAME = 7
"""Tokens that OpenAI's chat format adds to one user message: four around it, three that begin the answer."""
APPROXIMATION = "an approximation by words, digits and signs"

_PIECES = re.compile(r"([^\W\d_]+)|(\d{1,3})|([^\w\s]+|_)|(\s{2,}|\n)")
_WORD, _LETTER, _DIGITS, _SIGNS, _SPACES, _FOREIGN = 0.95, 0.1, 1.6, 1.2, 0.2, 0.5
_SHORT_WORD = 6


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Counts the tokens of a text; `name` tells the user how."""

    name: str
    count: Callable[[str], float]


def approximate(text: str) -> float:
    """Estimate how many tokens a tokenizer with a large vocabulary makes of a text.

    Every word, group of up to three digits, run of signs and run of spaces counts with a fixed weight; long words and
    letters outside ASCII cost more. The weights were fitted to OpenAI's cl100k_base and o200k_base on 6,600 prompts of
    38 tasks, where the sum over a task is off by 2 % on average and 9 % at most (4.45 characters a token: 6 % and
    24 %). A model with a smaller vocabulary makes more tokens.
    """
    total = _FOREIGN * (len(text.encode("utf-8", "replace")) - len(text)) / 2 if not text.isascii() else 0.0
    for word, digits, signs, spaces in _PIECES.findall(text):
        if word:
            total += _WORD + _LETTER * max(0, len(word) - _SHORT_WORD)
        elif digits:
            total += _DIGITS
        elif signs:
            total += _SIGNS
        elif spaces:
            total += _SPACES
    return total


def tokenizer_for(model: Model, task: str) -> Tokenizer:
    """Return the best available way to count a model's tokens: its own tokenizer, or `approximate`.

    OpenAI's is tiktoken's, whose file is downloaded on first use (2 to 4 MB); that of another model is looked for in
    the folder that the model is named by and in the hub's cache, and not downloaded.
    """
    name = str(getattr(model, "model", "")).replace("{task}", task)
    if (encoding := _encoding_name(name)) is not None:
        if (found := _encoding(encoding)) is not None:
            return Tokenizer(f"tiktoken {encoding}", lambda text: len(found.encode_ordinary(text)))
        return Tokenizer(f"{APPROXIMATION}, as {encoding} is not available", approximate)
    if (path := _tokenizer_file(name)) is not None:
        from tokenizers import Tokenizer as Loaded

        own = Loaded.from_file(str(path))
        return Tokenizer(f"the tokenizer of {name}", lambda text: len(own.encode(text, add_special_tokens=False).ids))
    return Tokenizer(APPROXIMATION, approximate)


def frame(model: Model) -> int:
    """Return how many tokens are added to a prompt in the format in which the model is asked."""
    return CHAT_FRAME if getattr(model, "api", "chat") == "chat" else 0


def _encoding_name(model: str) -> str | None:
    """The encoding of an OpenAI model, also under the name that OpenRouter gives it."""
    from tiktoken.model import encoding_name_for_model

    try:
        return encoding_name_for_model(model.removeprefix("openai/"))
    except KeyError:
        return None


@lru_cache
def _encoding(name: str) -> tiktoken.Encoding | None:
    """Load an encoding; None when its file is not on this machine and cannot be fetched quickly.

    tiktoken waits for ever for a network that swallows packets, so it is left behind in its thread.
    """
    found: list[tiktoken.Encoding] = []

    def load() -> None:
        import requests
        import tiktoken

        try:
            found.append(tiktoken.get_encoding(name))
        except (requests.RequestException, OSError, ValueError):  # no network, no cache, or a page instead of the file
            return

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_FETCH)
    return found[0] if found else None


def _tokenizer_file(name: str) -> Path | None:
    """The `tokenizer.json` of a model that is a local folder, or that the hub's cache holds."""
    if not name or "$" in name:
        return None
    local = Path(name).expanduser() / "tokenizer.json"
    if local.is_file():
        return local
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "tokenizer.json")
    except HFValidationError:  # a name that is no hub id
        return None
    return Path(cached) if isinstance(cached, str) else None
