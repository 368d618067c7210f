"""A small engine whose answers a test decides: each prompt is answered with a text of its own, token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from harness.models.engines.decoding import Allowed, DecodingBatch, Query

END = 0


def tokenizer() -> Tokenizer:
    """One token for each byte, and one for the end of a text."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {"</s>": END, **{letter: place for place, letter in enumerate(sorted(letters), start=1)}}
    found = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found.decoder = decoders.ByteLevel()
    return found


class Scripted:
    """Answers each prompt with its text in `answers`, then with the end token; it likes the allowed tokens in order.

    `calls` gets the adapter and the prompts of each batch. Like a real engine it fails beyond its context.
    """

    def __init__(self, answers: Mapping[str, str] | None = None, context: int = 64) -> None:
        self.batch = 32
        self.tokenizer = tokenizer()
        self.context = context
        self.end = frozenset({END})
        self.answers = answers or {}
        self.calls: list[tuple[str | None, list[str]]] = []

    def use(self, adapter: str | None) -> None:
        """All read and write alike."""

    def encode(self, query: Query) -> list[int]:
        return list(self.tokenizer.encode(query.prompt).ids)

    def read(self, adapter: str | None, prompts: Sequence[Sequence[int]]) -> DecodingBatch:
        texts = [self.tokenizer.decode(list(prompt)) for prompt in prompts]
        self.calls.append((adapter, texts))
        coming = [[*self.tokenizer.encode(self.answers.get(text, "")).ids, END] for text in texts]
        return _Said(coming, self.context - max(map(len, prompts)))


class _Said:
    def __init__(self, coming: list[list[int]], room: int) -> None:
        self._coming, self._room, self._at = coming, room, 0

    def next(self, allowed: Allowed) -> list[int]:
        assert self._at < self._room, "more tokens than the context holds"
        wanted = [tokens[min(self._at, len(tokens) - 1)] for tokens in self._coming]
        self._at += 1
        if allowed is None:
            return wanted
        return [token if token in some else min(some) for token, some in zip(wanted, allowed, strict=True)]
