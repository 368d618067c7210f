"""What models write around an answer."""

from __future__ import annotations

from hypothesis import strategies as st

BEFORE = [
    "Sure", "Sure, here it is:", "Here is what you asked for.", "As in [1],", "As said above (see [2]),", "it's easy.",
    "Note: it is short", "I'd say", "**Answer:**", "The \"result\" is", "from here on it is simple",
    "Let me think; ok.",
    "With pleasure!", "I can not say more", "{x}", "1.", "- first",
]  # fmt: skip
AFTER = [
    "I hope this helps!", "It's done.", "See [3] for more.", "(Tested.)", "Let me know", "This shows it",
    "Where needed, ask.",
    "That is all; thanks.", "And so on", "- It is short", "**Done**", "{y}", "As you see, it's easy",
]  # fmt: skip
GAPS = [" ", "\n", "\n\n"]


@st.composite
def _lines(draw: st.DrawFn, sentences: list[str]) -> str:
    found = draw(st.lists(st.tuples(st.sampled_from(sentences), st.sampled_from(GAPS)), max_size=3))
    return "".join(sentence + gap for sentence, gap in found)


MARKS = (("", ""), ("```\n", "\n```"), ("`", "`"))


@st.composite
def around(draw: st.DrawFn, marks: tuple[tuple[str, str], ...] = MARKS) -> tuple[str, str]:
    """Text in front of an answer and behind it, with or without marks around the answer itself."""
    opening, closing = draw(st.sampled_from(marks))
    before = draw(_lines(BEFORE))
    if opening.startswith("```") and not before.endswith("\n") and before:
        before += "\n"
    # Without a mark or a line break, nothing says where an answer ends.
    gap = draw(st.sampled_from(GAPS if closing and not opening.startswith("```") else GAPS[1:]))
    return before + opening, closing + gap + draw(_lines(AFTER))
