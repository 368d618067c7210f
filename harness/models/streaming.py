"""Answers that arrive token by token: put together into the reply that the server would have sent whole, and timed.

Whether an answer is streamed is no part of its key: the answer is the same, so what was answered whole is not asked
again for its times. Hence `stream` is added to a request's body only as it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import BadReply
from harness.models.backend import Reply
from harness.models.http import Event
from harness.models.http_errors import late_failure


def timed(reply: Reply, seconds: Sequence[float]) -> Reply:
    """Return a reply with the time to its first token, and per token after it, given when parts of it came."""
    if not seconds:
        return reply
    after = (reply.output_tokens or 0) - 1
    per_token = round((seconds[-1] - seconds[0]) / after, 6) if after > 0 else None
    return replace(reply, ttft_s=round(seconds[0], 6), tpot_s=per_token)


def openai_reply(events: Iterable[Event], secrets: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[float]]:
    """Return the reply of which these are the chunks, and the seconds at which text came, thoughts included.

    Raises:
        AskError: an error came in the middle.
        BadReply: the stream ends before the answer does.
    """
    choice: dict[str, Any] = {"message": {"content": "", "refusal": ""}, "text": ""}
    reply: dict[str, Any] = {"choices": [choice]}
    seconds = []
    for event in events:
        if event.data.get("error"):
            raise late_failure(event.data, secrets)
        reply |= {name: event.data[name] for name in ("model", "usage") if event.data.get(name)}
        for part in _first(event.data.get("choices")):
            delta = part.get("delta")
            delta = delta if isinstance(delta, dict) else {}
            for name in ("content", "refusal"):
                choice["message"][name] += _text(delta.get(name))
            choice["text"] += _text(part.get("text"))
            choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")
            if _text(part.get("text")) or any(_text(value) for name, value in delta.items() if name != "role"):
                seconds.append(event.seconds)
    if not choice.get("finish_reason"):
        raise BadReply("the stream of the answer broke off")
    return reply, seconds


def anthropic_reply(events: Iterable[Event], secrets: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[float]]:
    """Return the message of which these are the events, and the seconds at which text came, thoughts included.

    Raises:
        AskError: an error came in the middle.
        BadReply: the stream ends before the message does.
    """
    reply: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    texts, seconds = [], []
    for event in events:
        data = event.data
        if data.get("type") == "error":
            raise late_failure(data, secrets)
        if isinstance(start := data.get("message"), dict):
            reply = dict(start)
        delta = data.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        # The counts at the start are those so far, and may be null at the end, where they are final.
        found = (start if isinstance(start, dict) else data).get("usage")
        usage |= {name: value for name, value in found.items() if value is not None} if isinstance(found, dict) else {}
        if data.get("type") == "content_block_delta":
            texts.append(_text(delta.get("text")))
            seconds.append(event.seconds)
        elif delta.get("stop_reason"):
            reply["stop_reason"] = delta["stop_reason"]
    if not reply.get("stop_reason"):
        raise BadReply("the stream of the answer broke off")
    return {**reply, "content": [{"type": "text", "text": "".join(texts)}], "usage": usage}, seconds


def lorax_reply(events: Iterable[Event], secrets: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[float]]:
    """Return the last of LoRAX's events, which holds the whole text, and the seconds at which its tokens came.

    Raises:
        AskError: an error came in the middle.
        BadReply: the stream ends before the text does.
    """
    seconds = []
    for event in events:
        if event.data.get("error"):
            raise late_failure(event.data, secrets)
        seconds.append(event.seconds)
        if isinstance(event.data.get("generated_text"), str):
            return event.data, seconds
    raise BadReply("the stream of the answer broke off")


def _first(choices: Any) -> list[Mapping[str, Any]]:
    """The chunk's part of the first choice; the chunk with the counts has none."""
    found = choices if isinstance(choices, list) else []
    return [choice for choice in found[:1] if isinstance(choice, dict)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
