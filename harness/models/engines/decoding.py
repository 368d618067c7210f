"""Greedy decoding of a batch, whatever computes the tokens: where an answer ends, and which answers there may be."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tokenizers import Tokenizer

from harness.tasks.messages import Message, as_continuation

Tokens = tuple[int, ...]
Allowed = Sequence[Collection[int]] | None
"""For each row of the batch the tokens that may come next; None for any."""


@dataclass(frozen=True, slots=True)
class Query:
    """A prompt and where its answer ends. With `labels`, each token is the likeliest that leads to one of them.

    `chat` puts `messages`, or without them the prompt as the message of a user, into the model's chat template.
    """

    prompt: str
    max_tokens: int
    stop: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    chat: bool = False
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class DecodedAnswer:
    """A completion without its stop string, why it ended, and the tokens read and written."""

    text: str
    finish: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int


class PromptTooLong(Exception):
    """A prompt leaves no room for an answer in the model's context."""


class DecodingBatch(Protocol):
    """Prompts of which a model has read everything so far."""

    def next(self, allowed: Allowed) -> list[int]:
        """Append the most likely token, of those allowed, to each row, and return them."""
        ...


class Engine(Protocol):
    """A loaded base model and its adapters. It is used from one thread at a time; `batch` rows at once suit it best."""

    batch: int
    tokenizer: Tokenizer
    context: int
    end: frozenset[int]

    def use(self, adapter: str | None) -> None:
        """Encode and decode as this adapter, or the base, does from here on; most have no way of their own."""

    def encode(self, query: Query) -> list[int]:
        """Return the tokens of a query's prompt, with those that the model expects around it."""
        ...

    def read(self, adapter: str | None, prompts: Sequence[Sequence[int]]) -> DecodingBatch:
        """Read prompts, given as tokens."""
        ...


@dataclass(slots=True)
class _Row:
    """One row's answer while it is being written."""

    place: int
    query: Query
    prompt: Sequence[int]
    most: int
    choices: Mapping[Tokens, frozenset[int]] | None
    written: list[int] = field(default_factory=list)
    text: str | None = None
    finish: Literal["stop", "length"] = "stop"

    @property
    def allowed(self) -> frozenset[int]:
        """The tokens by which the answer so far can become a label."""
        return (self.choices or {})[tuple(self.written)]

    @property
    def answer(self) -> DecodedAnswer:
        """The whole answer."""
        return DecodedAnswer(self.text or "", self.finish, len(self.prompt), len(self.written))


def answer(engine: Engine, adapter: str | None, queries: Sequence[Query]) -> list[DecodedAnswer | PromptTooLong]:
    """Answer a batch greedily; for a prompt that is too long there is an error in the answer's place.

    Queries with and without labels must not be mixed.
    """
    engine.use(adapter)
    prompts = [engine.encode(query) for query in queries]
    done: list[DecodedAnswer | PromptTooLong] = [
        PromptTooLong(f"the prompt has {len(tokens)} tokens, and the model reads {engine.context - 1} at most")
        for tokens in prompts
    ]
    rows = [
        _row(engine, place, query, prompt)
        for place, (query, prompt) in enumerate(zip(queries, prompts, strict=True))
        if len(prompt) < engine.context
    ]
    for group in _side_by_side(rows, engine.context):
        _write(engine, group, engine.read(adapter, [row.prompt for row in group]))
        for row in group:
            done[row.place] = row.answer
    return done


def _row(engine: Engine, place: int, query: Query, prompt: Sequence[int]) -> _Row:
    room = engine.context - len(prompt)
    if not query.labels:
        return _Row(place, query, prompt, min(query.max_tokens, room), None)
    choices = continuations(engine, query)
    return _Row(place, query, prompt, min(max(map(len, choices)), room), choices)


def _side_by_side(rows: Sequence[_Row], context: int) -> Iterator[list[_Row]]:
    """Group rows so that no answer is cut short by the context because the prompt beside it is long."""
    while rows:
        longest = max(len(row.prompt) for row in rows)
        group = [row for row in rows if longest + row.most <= context or len(row.prompt) == longest]
        yield group
        together = {row.place for row in group}
        rows = [row for row in rows if row.place not in together]


def _write(engine: Engine, rows: Sequence[_Row], batch: DecodingBatch) -> None:
    constrained = rows[0].choices is not None
    while any(row.text is None for row in rows):
        allowed = [row.allowed if row.text is None else engine.end for row in rows] if constrained else None
        for row, token in zip(rows, batch.next(allowed), strict=True):
            if row.text is None:
                _extend(engine, row, token)


def _extend(engine: Engine, row: _Row, token: int) -> None:
    if token in engine.end:
        row.text = engine.tokenizer.decode(row.written)
        row.written.append(token)  # written, and counted, as servers do
        return
    row.written.append(token)
    if row.query.stop:
        # A token is at least one byte long, so that a stop string lies within as many tokens as it has bytes.
        tail = engine.tokenizer.decode(row.written[-max(len(stop.encode()) for stop in row.query.stop) - 1 :])
        if any(stop in tail for stop in row.query.stop):
            text = engine.tokenizer.decode(row.written)
            row.text = text[: min(text.find(stop) for stop in row.query.stop if stop in text)]
            return
    if row.choices is not None and row.allowed <= engine.end:
        row.text = engine.tokenizer.decode(row.written)
    elif len(row.written) >= row.most:
        row.text, row.finish = engine.tokenizer.decode(row.written), "length"


def continuations(engine: Engine, query: Query) -> dict[Tokens, frozenset[int]]:
    """Return, for each beginning of a label's tokens, the tokens that may follow; an end follows a whole label."""
    found: dict[Tokens, set[int]] = {}
    for label in query.labels:
        tokens = tuple(after(engine.tokenizer, query.prompt, as_continuation(query.prompt, label)))
        for place, token in enumerate(tokens):
            found.setdefault(tokens[:place], set()).add(token)
        found.setdefault(tokens, set()).update(engine.end)
    return {tokens: frozenset(following) for tokens, following in found.items()}


def after(tokenizer: Tokenizer, prompt: str, text: str) -> list[int]:
    """Return the tokens of a text that goes on after a prompt.

    Many tokenizers mark where a text begins, which an answer does not; so it is encoded behind the prompt's last
    character, unless the two share a token.
    """
    before: list[int] = tokenizer.encode(prompt[-1:], add_special_tokens=False).ids
    both: list[int] = tokenizer.encode(prompt[-1:] + text, add_special_tokens=False).ids
    if both[: len(before)] == before:
        return both[len(before) :]
    return list(tokenizer.encode(text, add_special_tokens=False).ids)
