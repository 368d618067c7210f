"""What an answer says, however it came: its text, why it ended, how many tokens it took, and by which model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from harness.errors import AskError, NotUnderstood, Unavailable
from harness.models.backend import FinishReason, Reply
from harness.models.http_errors import clean, late_failure

# The words of OpenAI, Azure, Anthropic, Mistral, Gemini, Cohere, Bedrock, Zhipu, DeepSeek, vLLM, TGI and LoRAX.
_ENDS: dict[str, FinishReason | Literal["failed"]] = {
    **dict.fromkeys(("stop", "stop_sequence", "end_turn", "eos", "eos_token", "end", "complete", "completed"), "stop"),
    **dict.fromkeys(("finish", "finished", "done", "endoftext", "end_of_text"), "stop"),
    # These ask for a next turn, of which there is none here.
    **dict.fromkeys(("tool_calls", "tool_use", "function_call", "pause_turn"), "unknown"),
    **dict.fromkeys(("length", "model_length", "max_tokens", "max_output_tokens", "max_length"), "length"),
    **dict.fromkeys(("max_new_tokens", "error_limit"), "length"),
    **dict.fromkeys(("model_context_window_exceeded", "context_length", "token_limit", "incomplete"), "length"),
    **dict.fromkeys(("content_filter", "content_filtered", "refusal", "safety", "image_safety"), "refusal"),
    **dict.fromkeys(("prohibited_content", "blocklist", "spii", "recitation", "sensitive"), "refusal"),
    **dict.fromkeys(("guardrail_intervened", "error_toxic", "blocked", "moderation"), "refusal"),
    **dict.fromkeys(("policy_violation", "content_policy_violation", "language"), "refusal"),
    **dict.fromkeys(("error", "failed", "insufficient_system_resource", "network_error", "server_error"), "failed"),
    **dict.fromkeys(("abort", "aborted", "cancelled", "canceled", "timeout", "malformed_function_call"), "failed"),
    **dict.fromkeys(("user_cancel", "time_limit", "not_finished", "malformed_response"), "failed"),
}
_THOUGHTS = ("think", "thought", "reason", "analysis")
_MOST_TOKENS = 10**9
_LONGEST_COUNT = 20
_SUFFIX = re.compile(r"[-:@.]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_END_OF_THINKING = "</think>"


def word_of(reason: Any) -> str:
    """Return a finish reason in the form of `_ENDS`; "" where there is none. SGLang and AI21 send an object."""
    if isinstance(reason, dict):
        reason = reason.get("type") or reason.get("reason")
    if not isinstance(reason, str):
        return ""
    snake = _CAMEL.sub("_", reason.partition(":")[0].strip()).lower().replace("-", "_")
    word = snake.rpartition(".")[2].removeprefix("finish_reason_")
    return "" if word in ("null", "none") else word


def text_of(content: Any) -> str | None:
    """Return the text of a content: a text, or parts under any type name, without thoughts; None where it is neither.

    No content at all is an empty text: some servers write null when nothing was said, or all of it was thought.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return None
    parts = [_part(part) for part in content]
    return None if None in parts else "".join(part for part in parts if part)


def _part(part: Any) -> str | None:
    """The text of a part, "" where it is no text's part, such as a thought's; None: it is, and is not understood."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return None
    kind = str(part.get("type", "text")).lower()
    if kind == "refusal" or any(name in kind for name in _THOUGHTS) or part.get("thought") is True:
        return ""
    text = next((part[name] for name in ("text", "content") if part.get(name) is not None), None)
    if isinstance(text, dict):  # OpenAI's assistants: {"value": …}
        text = text.get("value")
    return text if isinstance(text, str) else None if kind.endswith("text") else ""


def tokens_of(usage: Any) -> tuple[int | None, int | None]:
    """Return the tokens of the prompt and of the answer, as they are billed; None where they are not known.

    Thoughts are billed as output though some servers leave them out of the answer's count: what is left of the total
    counts.
    """
    usage = usage if isinstance(usage, Mapping) else {}
    read = count(usage.get("prompt_tokens", usage.get("input_tokens")))
    written = count(usage.get("completion_tokens", usage.get("output_tokens")))
    details = usage.get("completion_tokens_details")
    thought = count((details if isinstance(details, Mapping) else usage).get("reasoning_tokens"))
    if written is not None and thought and thought > written:
        written += thought
    total = count(usage.get("total_tokens"))
    if total is not None and read is not None and total >= read:
        written = max(written or 0, total - read)
    return read, written


def count(value: Any) -> int | None:
    """Return a token count, None when it is not one. Some servers write it as 5.0, or as a text."""
    if (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and value.isdecimal()):
        value = int(value) if len(str(value)) < _LONGEST_COUNT else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None


def name_of(reply: Mapping[str, Any]) -> str | None:
    """Return the model that a reply names."""
    name = reply.get("model")
    return name if isinstance(name, str) and name else None


def reply_of(
    text: str | None,
    reason: Any,
    tokens: tuple[int | None, int | None],
    *,
    model: str | None = None,
    refused: bool = False,
    error: Any = None,
    secrets: tuple[str, ...] = (),
) -> Reply:
    """Return the reply that was read: its text (None: there is none to be found), finish reason and tokens.

    Zero tokens stand for not counted.

    Raises:
        AskError: `error`, the one beside the text, or one that the finish reason stands for.
        NotUnderstood: there is no text, or none and no reason why; or it holds half a surrogate pair.
    """
    finish = _ENDS.get(word_of(reason), "unknown")  # "failed" where generation broke off
    read, written = tokens
    try:
        if error:
            raise late_failure({"error": error}, secrets)
        if finish == "failed":
            raise Unavailable(f"the server gave the answer up (finish reason: {clean(reason, secrets)})")
        if text is None or (not text and not refused and word_of(reason) not in _ENDS):
            raise NotUnderstood("the reply's choice holds no text")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotUnderstood("the answer's text holds half a character (a lone surrogate)") from None
    except AskError as failed:
        failed.charged = True
        failed.usage = (read, written) if read is not None and written is not None else None
        raise
    known = written if written or (read and not text) else None
    return Reply(text, "refusal" if refused else finish, read or None, known, model)


def cut(reply: Reply, stops: Iterable[str]) -> Reply:
    """End a reply's text before the first of these strings, after any thinking, where the server has not done so."""
    start = reply.completion.rfind(_END_OF_THINKING) + 1
    places = [place for stop in stops if stop and (place := reply.completion.find(stop, start)) >= 0]
    if not places:
        return reply
    finish = reply.finish_reason if reply.finish_reason == "refusal" else "stop"
    return replace(reply, completion=reply.completion[: min(places)], finish_reason=finish)


def same_model(asked: str, named: str) -> bool:
    """Whether a server's name for a model may be that of the model that was asked for.

    A vendor adds a date or a tag to a name, a router adds the vendor or leaves it out. A name from a variable is not
    known.
    """
    if "${" in asked:
        return True
    a, b = (name.lower().rstrip("/").rpartition("/")[2] for name in (asked, named))
    longer, shorter = max(a, b, key=len), min(a, b, key=len)
    return longer == shorter or (longer.startswith(shorter) and bool(_SUFFIX.match(longer[len(shorter) :])))
