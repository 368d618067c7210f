"""Rows as tokens: what they share is kept once, what does not fit is left out."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.rows.training import TrainingExample, completion
from harness.train.batches import encode, shuffled
from tests.models.engines.engine import END, tokenizer

WORDS = tokenizer()
PAIRS = st.lists(
    st.builds(TrainingExample, st.text(min_size=1, max_size=10).map("frame ".__add__), st.text(max_size=5)), min_size=1
)


@given(PAIRS)
def test_frame_rest_and_answer_are_the_whole_row(pairs: list[TrainingExample]) -> None:
    found = encode(pairs, WORDS, END, 10_000)
    for pair, (rest, answer) in zip(pairs, found.rows, strict=True):
        assert WORDS.decode([*found.frame, *rest]) == pair.prompt
        assert WORDS.decode(answer[:-1]) == completion(pair)
        assert answer[-1] == END
        assert rest, "a row must have something of its own to read before its answer"


@given(PAIRS)
def test_the_frame_is_all_that_prompts_share(pairs: list[TrainingExample]) -> None:
    found = encode(pairs, WORDS, END, 10_000)
    assert len(found.frame) >= len("frame ")
    following = {rest[0] for rest, _ in found.rows}
    assert len(following) > 1 or any(len(rest) == 1 for rest, _ in found.rows)


def test_rows_that_do_not_fit_are_left_out_and_counted() -> None:
    found = encode([TrainingExample("short", "a"), TrainingExample("much longer", "a")], WORDS, END, len("short a") + 1)
    assert (len(found.rows), found.too_long, found.longest) == (1, 1, len("short a") + 1)


def test_when_none_fits_it_says_how_long_they_are() -> None:
    with pytest.raises(UserError, match="no training row fits the model: the shortest has 8 tokens, the model reads 7"):
        encode([TrainingExample("short", "a"), TrainingExample("much longer", "a")], WORDS, END, 7)


def test_a_tokenizer_that_would_cut_prompts_does_not() -> None:
    words = tokenizer()
    words.enable_truncation(3)
    words.enable_padding(length=30)
    [(rest, _)] = encode([TrainingExample("a long prompt", "a")], words, END, 100).rows
    assert WORDS.decode(rest) in "a long prompt"
    assert encode([TrainingExample("a long prompt", "a")], words, END, 100).longest == len("a long prompt a") + 1


ROWS = [([place] * (place % 7 + 1), [place]) for place in range(50)]


def test_every_epoch_has_every_row_once() -> None:
    batches = shuffled(ROWS, 8, seed=0)
    for _ in range(3):
        rows = [row for batch in islice(batches, 7) for row in batch]
        assert sorted(answer[0] for _, answer in rows) == list(range(50))


def test_the_seed_decides_the_order() -> None:
    first, again, other = (list(islice(shuffled(ROWS, 4, seed), 20)) for seed in (1, 1, 2))
    assert first == again != other


def test_rows_of_a_batch_are_of_like_length() -> None:
    for batch in islice(shuffled(ROWS, 4, 0), 12):
        lengths = [len(rest) for rest, _ in batch]
        assert max(lengths) - min(lengths) <= 1


def test_plain_text_is_learned_but_for_its_first_token_and_has_no_end() -> None:
    found = encode([TrainingExample("", "the term"), TrainingExample("", "is two years")], WORDS, END, 100)
    assert found.frame == []
    for (rest, answer), text in zip(found.rows, ("the term", "is two years"), strict=True):
        assert len(rest) == 1
        assert END not in answer
        assert WORDS.decode([*rest, *answer]) == text


def test_a_text_of_one_token_teaches_nothing() -> None:
    assert len(encode([TrainingExample("", "a"), TrainingExample("", "a longer text")], WORDS, END, 100).rows) == 1
