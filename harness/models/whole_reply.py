"""The chunks of a stream, put together into the object that the same request gives without `stream`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.models.content import text_of, tokens_of, word_of

_ONCE = frozenset(("id", "type", "role", "object", "index"))
"""Texts that a server may repeat in each chunk; all others are the next part of what came before."""


def whole_reply(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the chat completion, or text completion, of which these are the chunks.

    Choices, and the tool calls of each, are put together by their index; the usage is the last one with counts.
    """
    reply: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            if name != "choices" and (name not in reply or reply[name] in (None, "", [])):
                reply[name] = value
        parts = _objects(chunk.get("choices"))
        if any(tokens_of(usage := _usage(chunk, parts))):
            reply["usage"] = usage
        for part in parts:
            place = part.get("index")
            _add_choice(choices.setdefault(place if isinstance(place, int) else 0, {}), part)
    if isinstance(kind := reply.get("object"), str):
        reply["object"] = kind.removesuffix(".chunk")
    reply["choices"] = [_without_index(choices[place]) | {"index": place} for place in sorted(choices)]
    return reply


def says_something(chunk: Mapping[str, Any]) -> bool:
    """Whether a chunk holds a token: text, a thought or a part of a tool call."""
    for part in _objects(chunk.get("choices")):
        delta = part.get("delta") or part.get("message")
        said = delta.items() if isinstance(delta, dict) else ()
        if part.get("text") or any(value for name, value in said if name != "role"):
            return True
    return False


def _usage(chunk: Mapping[str, Any], parts: list[dict[str, Any]]) -> Any:
    """The counts in a part of a stream: Groq and Moonshot have places of their own for them."""
    groq = chunk.get("x_groq")
    places = [chunk, *([groq] if isinstance(groq, dict) else []), *parts]
    return next((found for place in places if (found := place.get("usage"))), None)


def _add_choice(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if name in ("delta", "message"):  # some servers send a whole message, in one event or after its parts
            if isinstance(value, dict):
                message = choice.setdefault("message", {"role": "assistant", "content": None})
                said = text_of(value.get("content")) or ""
                if name == "message" and not part.get("delta") and said.startswith(text_of(message["content"]) or ""):
                    message["content"] = None
                _merge(message, value)
        elif name in ("text", "logprobs"):
            choice[name] = _merged(choice.get(name), value)
        elif name not in choice or (word_of(value) if name == "finish_reason" else value is not None):
            choice[name] = value


def _merge(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        whole[name] = whole.get(name) or value if name in _ONCE else _merged(whole.get(name), value)


def _merged(before: Any, part: Any) -> Any:
    """What came before with its next part: texts and lists are joined, items with an index by it, objects by key."""
    if part is None:
        return before
    if isinstance(part, list) and isinstance(before, list | str | None):
        return _by_index(_parts(before), part)
    if isinstance(before, list) and isinstance(part, str):
        return _by_index(before, _parts(part))
    if isinstance(before, str) and isinstance(part, str):
        return before + part
    if isinstance(before, dict) and isinstance(part, dict):
        _merge(before, part)
        return before
    return part


def _parts(content: list[Any] | str | None) -> list[Any]:
    """A content as parts, which some servers send for thoughts and as a text afterwards."""
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content or ())


def _by_index(before: list[Any], parts: list[Any]) -> list[Any]:
    for part in parts:
        place = part.get("index") if isinstance(part, dict) else None
        known = next((item for item in before if isinstance(item, dict) and item.get("index") == place), None)
        if place is None or known is None:
            before.append(part)
        else:
            _merge(known, part)
    return before


def _without_index(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice whose tool calls are in the order of their indexes, which only a stream has."""
    message = choice.get("message")
    if isinstance(message, dict) and (calls := _objects(message.get("tool_calls"))):
        places = [call.pop("index", None) for call in calls]
        order = sorted(range(len(calls)), key=lambda at: place if isinstance(place := places[at], int) else at)
        message["tool_calls"] = [calls[at] for at in order]
    return choice


def _objects(value: Any) -> list[Any]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
