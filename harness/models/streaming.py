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
from harness.models.content import text_of, tokens_of, word_of
from harness.models.events import Event
from harness.models.http_errors import late_failure, says_error


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
    message: dict[str, Any] = {"content": "", "refusal": ""}
    choice: dict[str, Any] = {"message": message, "text": ""}
    reply: dict[str, Any] = {"choices": [choice]}
    seconds: list[float] = []
    done = False
    for event in events:
        done = done or event.done
        if says_error(event.data):
            raise broken_off(event.data, secrets, seconds)
        reply |= {"model": event.data["model"]} if event.data.get("model") else {}
        part = first_choice(event.data.get("choices")) or {}
        if any(tokens_of(usage := _usage(event.data, part))):
            reply["usage"] = usage
        if part:
            # Some servers send a whole message, in one event or after its parts.
            delta = part.get("delta") or part.get("message")
            delta = delta if isinstance(delta, dict) else {}
            said = text_of(delta.get("content")) or ""
            repeated = not part.get("delta") and said.startswith(message["content"])
            message["content"] = said if repeated else message["content"] + said
            message["refusal"] += _text(delta.get("refusal"))
            choice["text"] += _text(part.get("text"))
            choice["error"] = part.get("error") or choice.get("error")
            if word_of(part.get("finish_reason")):
                choice["finish_reason"] = part["finish_reason"]
            if _text(part.get("text")) or any(value for name, value in delta.items() if name != "role"):
                seconds.append(event.seconds)
    if not (done or choice.get("finish_reason") or choice.get("error")):
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


def _usage(data: Mapping[str, Any], choice: Mapping[str, Any]) -> Any:
    """The counts in a part of a stream: Groq and Moonshot have places of their own for them."""
    groq = data.get("x_groq")
    return data.get("usage") or (groq.get("usage") if isinstance(groq, dict) else None) or choice.get("usage")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
