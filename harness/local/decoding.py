"""Greedy decoding of a batch, whatever computes the tokens: where an answer ends, and which answers there may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tokenizers import Tokenizer

Tokens = tuple[int, ...]
# For each row of the batch the tokens that may come next; None for any.
Allowed = Sequence[Collection[int]] | None


@dataclass(frozen=True, slots=True)
class Query:
    """A prompt and where its answer ends. With `labels`, each token is the likeliest that leads to one of them.

    `chat` puts the prompt into the model's chat template, as the message of a user.
    """

    prompt: str
    max_tokens: int
    stop: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    chat: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion without its stop string, why it ended, and the tokens read and written."""

    text: str
    finish: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int


class PromptTooLong(Exception):
    """A prompt leaves no room for an answer in the model's context."""


class Batch(Protocol):
    """Prompts of which a model has read everything so far."""

    def next(self, allowed: Allowed) -> list[int]:
        """Append the most likely token, of those allowed, to each row, and return them."""
        ...


class Engine(Protocol):
    """A loaded base model and its adapters. It is used from one thread at a time."""

    tokenizer: Tokenizer
    context: int
    end: frozenset[int]

    def encode(self, query: Query) -> list[int]:
        """Return the tokens of a query's prompt, with those that the model expects around it."""
        ...

    def read(self, adapter: str | None, prompts: Sequence[Sequence[int]], room: int) -> Batch:
        """Read prompts, given as tokens, to which at most `room` more will be added."""
        ...


@dataclass(slots=True)
class _Row:
    """One row's answer while it is being written."""

    query: Query
    read: int
    most: int
    choices: Mapping[Tokens, frozenset[int]] | None
    written: list[int] = field(default_factory=list)
    text: str | None = None
    finish: Literal["stop", "length"] = "stop"

    @property
    def allowed(self) -> frozenset[int]:
        """The tokens by which the answer so far can become a label."""
        return (self.choices or {})[tuple(self.written)]


def answer(engine: Engine, adapter: str | None, queries: Sequence[Query]) -> list[Answer | PromptTooLong]:
    """Answer a batch greedily; for a prompt that is too long there is an error in the answer's place.

    Queries with and without labels must not be mixed.
    """
    prompts = [engine.encode(query) for query in queries]
    fitting = [place for place, tokens in enumerate(prompts) if len(tokens) < engine.context]
    done: list[Answer | PromptTooLong] = [
        PromptTooLong(f"the prompt has {len(tokens)} tokens, and the model reads {engine.context - 1} at most")
        for tokens in prompts
    ]
    if fitting:
        rows = [_row(engine, queries[place], len(prompts[place])) for place in fitting]
        _write(engine, rows, engine.read(adapter, [prompts[place] for place in fitting], max(row.most for row in rows)))
        for place, row in zip(fitting, rows, strict=True):
            done[place] = Answer(row.text or "", row.finish, row.read, len(row.written))
    return done


def _row(engine: Engine, query: Query, read: int) -> _Row:
    room = engine.context - read
    if not query.labels:
        return _Row(query, read, min(query.max_tokens, room), None)
    choices = continuations(engine, query)
    return _Row(query, read, min(max(map(len, choices)) + 1, room), choices)


def _write(engine: Engine, rows: Sequence[_Row], batch: Batch) -> None:
    constrained = rows[0].choices is not None
    while any(row.text is None for row in rows):
        allowed = [row.allowed if row.text is None else engine.end for row in rows] if constrained else None
        for row, token in zip(rows, batch.next(allowed), strict=True):
            if row.text is None:
                _extend(engine, row, token)


def _extend(engine: Engine, row: _Row, token: int) -> None:
    if token in engine.end:
        row.text = engine.tokenizer.decode(row.written)
        return
    row.written.append(token)
    if row.query.stop:
        # A token is at least one byte long, so that a stop string lies within as many tokens as it has bytes.
        tail = engine.tokenizer.decode(row.written[-max(len(stop.encode()) for stop in row.query.stop) - 1 :])
        if any(stop in tail for stop in row.query.stop):
            text = engine.tokenizer.decode(row.written)
            row.text = text[: min(text.find(stop) for stop in row.query.stop if stop in text)]
            return
    if len(row.written) >= row.most:
        row.text, row.finish = engine.tokenizer.decode(row.written), "length"


def continuations(engine: Engine, query: Query) -> dict[Tokens, frozenset[int]]:
    """Return, for each beginning of a label's tokens, the tokens that may follow; an end follows a whole label.

    A label follows the prompt as a training target does: behind a space, unless the prompt ends with white space.
    """
    space = "" if query.prompt[-1:].isspace() else " "
    found: dict[Tokens, set[int]] = {}
    for label in query.labels:
        tokens = tuple(engine.tokenizer.encode(space + label, add_special_tokens=False).ids)
        for place, token in enumerate(tokens):
            found.setdefault(tokens[:place], set()).add(token)
        found.setdefault(tokens, set()).update(engine.end)
    return {tokens: frozenset(following) for tokens, following in found.items()}
