"""The chunks of a stream, put together into the object that the same request gives without `stream`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_ONCE = frozenset(("id", "type", "role", "object", "index"))
"""Texts that a server may repeat in each chunk; all others are the next part of what came before."""


def whole_reply(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the chat completion, or text completion, of which these are the chunks.

    Choices, and the tool calls of each, are put together by their index; the usage is the last one given.
    """
    reply: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for name, value in chunk.items():
            if name == "usage":
                reply[name] = value or reply.get(name)
            elif name != "choices" and (name not in reply or reply[name] in (None, "", [])):
                reply[name] = value
        for part in _objects(chunk.get("choices")):
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


def _add_choice(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if name in ("delta", "message"):  # some servers send a whole message, in one event
            if isinstance(value, dict):
                _merge(choice.setdefault("message", {"role": "assistant", "content": None}), value)
        elif name in ("text", "logprobs"):
            choice[name] = _merged(choice.get(name), value)
        elif value is not None or name not in choice:
            choice[name] = value


def _merge(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        whole[name] = whole.get(name) or value if name in _ONCE else _merged(whole.get(name), value)


def _merged(before: Any, part: Any) -> Any:
    """What came before with its next part: texts and lists are joined, items with an index by it, objects by key."""
    if part is None:
        return before
    if isinstance(part, list) and (before is None or isinstance(before, list)):
        return _by_index(before or [], part)
    if isinstance(before, str) and isinstance(part, str):
        return before + part
    if isinstance(before, dict) and isinstance(part, dict):
        _merge(before, part)
        return before
    return part


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
