"""llama.cpp's answers in the forms of OpenAI and of LoRAX."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass
class Usage:
    """Tokens of an answer: those of its prompts, of which some were cached, and those written."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0

    def add(self, read: int, written: int, cached: int, *, first: bool) -> None:
        """Count a choice; the tokens read and cached of a prompt count once for all of its choices."""
        self.prompt += read * first
        self.completion += written
        self.cached += cached * first

    @property
    def object(self) -> Object:
        """In OpenAI's form."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass(frozen=True)
class Head:
    """What all parts of an answer in OpenAI's form begin with."""

    kind: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def of(self, choices: Sequence[Object], **more: Any) -> Object:
        """An answer, or a part of one, with these choices."""
        prefix = "chatcmpl" if self.kind.startswith("chat") else "cmpl"
        named = {"id": f"{prefix}-{self.id}", "object": self.kind, "created": self.created, "model": self.model}
        return {**named, "choices": list(choices), **more}


class CompletionChoice:
    """One choice of a completion, from llama.cpp's own interface; `logprobs` is how many alternatives are wanted."""

    def __init__(self, index: int, logprobs: int | None) -> None:
        self.index = index
        self._logprobs = logprobs
        self._offset = 0

    def of(self, found: Mapping[str, Any]) -> Object:
        """An answer, or a part of one, as a choice."""
        return {
            "index": self.index,
            "text": found["content"],
            "logprobs": self._probabilities(found.get("completion_probabilities") or []),
            "finish_reason": finish_reason(found),
        }

    def _probabilities(self, tokens: Sequence[Mapping[str, Any]]) -> Object | None:
        """As OpenAI's completions have them; offsets count the characters of the answer, as vLLM's do."""
        if self._logprobs is None or not tokens:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token["token"])
        return {
            "tokens": [token["token"] for token in tokens],
            "token_logprobs": [token["logprob"] for token in tokens],
            "top_logprobs": [self._likeliest(token) for token in tokens] if self._logprobs else None,
            "text_offset": offsets,
        }

    def _likeliest(self, token: Mapping[str, Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        for one in token["top_logprobs"][: self._logprobs]:
            found.setdefault(one["token"], one["logprob"])  # parts of characters may read alike: the likelier one
        # As OpenAI does: with the token that was written, which need not be among the likeliest.
        found.setdefault(token["token"], token["logprob"])
        return found


def finish_reason(found: Mapping[str, Any]) -> str | None:
    """Why llama.cpp's answer ended, in OpenAI's words; None where it goes on."""
    kind = found.get("stop_type", "none")
    return None if kind == "none" else "length" if kind == "limit" else "stop"


def chat_choice(choice: Mapping[str, Any], index: int, top: int | None) -> Object:
    """A choice of a chat as OpenAI has it: with the index of ours, and without alternatives that were not asked for."""
    probabilities = choice.get("logprobs")
    if probabilities:
        kept = ("token", "logprob", "bytes")
        content = [
            {
                **{name: token[name] for name in kept},
                "top_logprobs": [{name: one[name] for name in kept} for one in token["top_logprobs"][: top or 0]],
            }
            for token in probabilities["content"]
        ]
        probabilities = {"content": content, "refusal": None}
    return {**choice, "index": index, "logprobs": probabilities}


def lorax_tokens(found: Mapping[str, Any], alternatives: bool) -> list[Object]:
    """The tokens of an answer in LoRAX's form."""
    tokens = []
    for token in found.get("completion_probabilities") or []:
        made = {"id": token["id"], "text": token["token"], "logprob": token["logprob"], "special": False}
        if alternatives:
            made["alternative_tokens"] = [
                {"id": one["id"], "text": one["token"], "logprob": one["logprob"]} for one in token["top_logprobs"]
            ]
        tokens.append(made)
    return tokens


def lorax_details(found: Mapping[str, Any], seed: int | None) -> Object:
    """Why and after how many tokens an answer ended, in LoRAX's form."""
    reasons = {"limit": "length", "word": "stop_sequence"}
    return {
        "finish_reason": reasons.get(found["stop_type"], "eos_token"),
        "prompt_tokens": found["tokens_evaluated"],
        "generated_tokens": found["tokens_predicted"],
        "seed": seed,
    }
