"""Which contestants are related to a judge, and whether it prefers them, which only another judge can show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from harness.models.entry import AnthropicModel, ModelEntry, OpenAIModel

_WORD = re.compile(r"[a-z]+")
_OPENAI = "api.openai.com"
_NOT_A_FAMILY = frozenset(("", "my", "the", "tuned", "base", "model", "adapter", "lora", "judge", "ft"))


def related(judge: str, models: Iterable[str], entries: Mapping[str, ModelEntry]) -> dict[str, str]:
    """Return those of the models that share a vendor or a base with the judge, each with what they share.

    A model is known by its entry and those that it was fine-tuned from, without an entry by its name alone.
    """
    mine = _marks(judge, entries)
    shared = {name: sorted(mine & _marks(name, entries)) for name in models}
    return {name: ", ".join(marks) for name, marks in shared.items() if marks}


def _marks(name: str, entries: Mapping[str, ModelEntry]) -> set[str]:
    """The names of a model's ancestors, of their families, and of their vendor where the address tells it."""
    found: set[str] = set()
    line: dict[str, None] = {}
    current: str | None = name
    while current is not None and current not in line:
        line[current] = None
        entry = entries.get(current)
        model = entry.model if entry else None
        identifier = str(getattr(model, "model", None) or current)
        found |= {f"model {current}", f"family {_family(identifier)}"}
        if isinstance(model, AnthropicModel):
            found.add("vendor Anthropic")
        if isinstance(model, OpenAIModel) and _OPENAI in model.base_url:
            found.add("vendor OpenAI")
        current = model.base if model else None
    return found - {f"family {word}" for word in _NOT_A_FAMILY}


def _family(identifier: str) -> str:
    """The first word of a model's name: `gpt` of gpt-4o, `llama` of meta-llama/Llama-3.1-8B."""
    match = _WORD.match(identifier.rsplit("/", 1)[-1].lower())
    return match[0] if match else ""
