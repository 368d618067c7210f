"""Training rows as batches of tokens, with what all prompts begin with kept apart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from harness.errors import UserError
from harness.models.engines.decoding import after
from harness.rows.training import TrainingExample, completion

Tokens = list[int]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as tokens: the beginning that all prompts share, then for each row the rest of its prompt, and its answer.

    `too_long` rows did not fit the model.
    """

    frame: Tokens
    rows: tuple[tuple[Tokens, Tokens], ...]
    too_long: int

    @property
    def longest(self) -> int:
        """Tokens of the longest row, frame and answer included."""
        return len(self.frame) + max(len(rest) + len(answer) for rest, answer in self.rows)


def encode(pairs: Sequence[TrainingExample], tokenizer: Tokenizer, end: int, context: int) -> Encoded:
    """Encode rows; an answer is followed by the end token.

    Plain text (a row without a prompt) is given its first token, from which the others are to be predicted; no end
    token follows, for a chunk of a document is not the end of one. The prompt and its answer are encoded apart, as they
    are when the answer is generated. The tokenizer neither cuts nor pads from here on.

    Raises:
        UserError: no row fits the model's context.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    prompts = tokenizer.encode_batch([pair.prompt or pair.target for pair in pairs])
    rows = [
        (prompt.ids, [*after(tokenizer, pair.prompt, completion(pair)), end])
        if pair.prompt
        else (prompt.ids[:1], prompt.ids[1:])
        for pair, prompt in zip(pairs, prompts, strict=True)
    ]
    rows = [(prompt, answer) for prompt, answer in rows if answer]  # one token alone teaches nothing
    fitting = [(prompt, answer) for prompt, answer in rows if len(prompt) + len(answer) <= context]
    if not fitting:
        shortest = min(len(prompt) + len(answer) for prompt, answer in rows)
        raise UserError(
            f"no training row fits the model: the shortest has {shortest} tokens, the model reads {context}"
        )
    first, last = min(fitting)[0], max(fitting)[0]  # what these two share, all share
    shared = next(
        (place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first)
    )
    # A row must have something of its own to read before its answer.
    shared = max(0, min(shared, min(len(prompt) for prompt, _ in fitting) - 1))
    cut = tuple((prompt[shared:], answer) for prompt, answer in fitting)
    return Encoded(fitting[0][0][:shared], cut, len(rows) - len(fitting))


def shuffled(
    rows: Sequence[tuple[Tokens, Tokens]], size: int, seed: int, pool: int = 50
) -> Iterator[list[tuple[Tokens, Tokens]]]:
    """Yield batches without end, epoch after epoch; rows of a batch are of like length, the batches in random order."""
    draw = random.Random(seed)
    order = list(range(len(rows)))
    while True:
        draw.shuffle(order)
        batches = []
        for start in range(0, len(order), size * pool):
            part = sorted(
                order[start : start + size * pool], key=lambda place: len(rows[place][0]) + len(rows[place][1])
            )
            batches += [part[place : place + size] for place in range(0, len(part), size)]
        draw.shuffle(batches)
        for batch in batches:
            yield [rows[place] for place in batch]
