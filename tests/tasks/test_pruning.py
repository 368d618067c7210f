"""Fixed text taken out of prompts: the same text from all, and never from a prompt that lacks it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.pruning import Prune, frame, prune_from

WORDS = st.text(st.characters(codec="utf-8"), max_size=30)


@given(WORDS, WORDS, st.lists(WORDS, min_size=2, max_size=6))
def test_the_frame_is_taken_out_of_every_prompt_and_can_be_put_back(start: str, end: str, texts: list[str]) -> None:
    prompts = [f"{start}\n{text}\n{end}" for text in texts]
    found = frame(prompts)
    for prompt in prompts:
        assert found.start + found(prompt) + found.end == prompt
    assert prune_from(found.as_json()) == found


def test_a_frame_ends_between_words() -> None:
    found = frame(["Text: alpha one.\nLabel:", "Text: album two.\nLabel:"])
    assert (found.start, found.end) == ("Text: ", "\nLabel:")


def test_one_prompt_alone_has_no_frame() -> None:
    assert frame(["Text: a\nLabel:"] * 2) == Prune()


@pytest.mark.parametrize(
    ("prune", "prompt", "message"),
    [
        (Prune("Text: ", "\nLabel:"), "Text: a\nTopic:", "does not begin and end with"),
        (Prune("abc", "bcd"), "abcd", "does not begin and end with"),
        (Prune(texts=("be kind",)), "be nice", "does not hold the text that is taken out: 'be kind'"),
    ],
)
def test_a_prompt_without_the_text_is_refused(prune: Prune, prompt: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prune(prompt)


def test_texts_inside_are_taken_out_once() -> None:
    assert Prune(texts=("be kind. ", "now"))("Please be kind. be kind. Answer now!") == "Please be kind. Answer !"
