"""Answers that arrive token by token: put together into the reply that the server would have sent whole, and timed.

Whether an answer is streamed is no part of its key: the answer is the same, so what was answered whole is not asked
again for its times. Hence `stream` is added to a request's body only as it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.errors import AskError, BadReply
from harness.models.backend import Reply
from harness.models.content import word_of
from harness.models.events import Event
from harness.models.http_errors import late_failure, says_error
from harness.models.whole_reply import says_something, whole_reply


def timed(reply: Reply, seconds: Sequence[float]) -> Reply:
    """Return a reply with the time to its first token, and per token after it, given when parts of it came."""
    if not seconds:
        return reply
    after = (reply.output_tokens or 0) - 1
    per_token = round((seconds[-1] - seconds[0]) / after, 6) if after > 0 else None
    return replace(reply, ttft_s=round(seconds[0], 6), tpot_s=per_token)


def openai_reply(events: Iterable[Event], secrets: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[float]]:
    """Return the reply of which these are the chunks, and the seconds at which text came, thoughts included.

    A server that says that all was sent, without a finish reason, has answered.

    Raises:
        AskError: an error came in the middle.
        BadReply: the stream ends before the answer does.
    """
    seconds: list[float] = []
    chunks = []
    done = False
    for event in events:
        if says_error(event.data):
            raise broken_off(event.data, secrets, seconds)
        if says_something(event.data):
            seconds.append(event.seconds)
        chunks.append(event.data)
        done = done or event.done
    reply = whole_reply([{"choices": [{"delta": {}}]}, *chunks])  # an answer may be nothing but its end
    choice = first_choice(reply["choices"]) or {}
    if not (done or word_of(choice.get("finish_reason")) or choice.get("error")):
        raise BadReply("the stream of the answer broke off")
    return reply, seconds


def broken_off(data: Mapping[str, Any], secrets: tuple[str, ...], seconds: Sequence[float]) -> AskError:
    """Return the error that came in a stream; what was said before it may have to be paid for."""
    error = late_failure(data, secrets)
    error.charged = bool(seconds)
    return error


def anthropic_reply(events: Iterable[Event], secrets: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[float]]:
    """Return the message of which these are the events, and the seconds at which text came, thoughts included.

    Raises:
        AskError: an error came in the middle.
        BadReply: the stream ends before the message does.
    """
    reply: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    texts: list[str] = []
    seconds: list[float] = []
    for event in events:
        data = event.data
        if data.get("type") == "error":
            raise broken_off(data, secrets, seconds)
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
    seconds: list[float] = []
    for event in events:
        if event.data.get("error"):
            raise broken_off(event.data, secrets, seconds)
        seconds.append(event.seconds)
        if isinstance(event.data.get("generated_text"), str):
            return event.data, seconds
    raise BadReply("the stream of the answer broke off")


def first_choice(choices: Any) -> Mapping[str, Any] | None:
    """Return the choice of index 0 in a reply, or in a part of one, of which a request with `n` has several."""
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return next((choice for choice in found if choice.get("index") in (0, None)), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
