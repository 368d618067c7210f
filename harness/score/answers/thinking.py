"""What a model thought, taken off a completion before its answer is read.

Known are `<think>`, `<thinking>`, `<thought>`, `<reasoning>`, `<scratchpad>`, `<seed:think>`, `<longcat_think>`,
`<|thinking|>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`, `<|START_THINKING|>`, `<｜begin▁of▁thinking｜>`, Gemma's
`<|channel>thought` and `<unused94>`, and gpt-oss's channels, with their special tokens or with what is left of them
where a server prints only the plain text. An entry of models.yaml may name the markers of its own model.
"""

from __future__ import annotations

import re
from functools import lru_cache

from harness.models.entry import Thinking

_PAIRS = (
    *((rf"<{name}\s{{0,2}}>", rf"</{name}\s{{0,2}}>") for name in (
        "think", "thinking", "thoughts?", "reasoning", "scratchpad", "seed:think", "longcat_think",
    )),
    (r"<\|think(?:ing)?\|>", r"<\|/think(?:ing)?\|>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    ("◁think▷", "◁/think▷"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    ("<｜begin▁of▁thinking｜>", "<｜end▁of▁thinking｜>"),
    (r"<\|channel>", r"<channel\|>"),
    ("<unused94>", "<unused95>"),
)  # fmt: skip
_CHANNEL = "<|channel|>"
_MESSAGE = "<|message|>"
_MESSAGE_END = re.compile(r"<\|(?:end|return|start|call)\|>")
_FINAL_IN_PLAIN_TEXT = "assistantfinal"
_PLAIN_CHANNEL = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)")
_PLAIN_THOUGHT = re.compile(r"\s*(?:assistant)?analysis(?=[A-Z])")


def without_thinking(completion: str, markers: Thinking | None = None) -> str:
    """Return a completion without its thinking, from an opening marker to the closing one of its kind.

    A closing marker alone ends a thought whose opening stood in the prompt; an opening alone is a thought that was cut
    off before any answer. `markers` are those of a model of one's own, known beside the others.
    """
    completion = _final_channel(completion)
    kept: list[str] = []
    opened: str | None = None
    begin = 0
    for mark in _pattern(markers).finditer(completion):
        kind, number = str(mark.lastgroup)[0], str(mark.lastgroup)[1:]
        if kind == "o":
            if opened is None:
                kept.append(completion[begin : mark.start()])
                opened = number
        elif opened is None:
            kept, begin = [], mark.end()
        elif opened == number:
            opened, begin = None, mark.end()
    if opened is None:
        kept.append(completion[begin:])
    return "".join(kept)


@lru_cache(maxsize=32)
def _pattern(markers: Thinking | None) -> re.Pattern[str]:
    """All markers, each in a group `o` or `c` with the number of its pair."""
    groups = [f"(?P<o{n}>{opening})|(?P<c{n}>{closing})" for n, (opening, closing) in enumerate(_PAIRS)]
    pattern = rf"(?=<[/|trsluc｜]|\[/?t|◁)(?:{'|'.join(groups)})"  # first what rules most of a text out
    if markers is not None:
        opening = re.escape(markers.open) if markers.open else r"(?!)"
        pattern += f"|(?P<o{len(groups)}>{opening})|(?P<c{len(groups)}>{re.escape(markers.close)})"
    return re.compile(pattern, re.IGNORECASE)


def _final_channel(completion: str) -> str:
    """What gpt-oss wrote to its last final channel, "" when it did not come to one; any other text as it is."""
    if _CHANNEL in completion:
        for part in reversed(completion.split(_CHANNEL)[1:]):
            head, found, message = part.partition(_MESSAGE)
            if found and head.lstrip().startswith("final"):
                end = _MESSAGE_END.search(message)
                return message[: end.start()] if end else message
        return ""
    if _PLAIN_CHANNEL.match(completion):
        place = completion.rfind(_FINAL_IN_PLAIN_TEXT)
        if place >= 0:
            return completion[place + len(_FINAL_IN_PLAIN_TEXT) :]
        if _PLAIN_THOUGHT.match(completion):
            return ""
    return completion
