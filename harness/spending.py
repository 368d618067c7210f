"""The money of a run: what its answers have cost, and whether the next request still fits under the cap."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.backends.base import Reply, Request
from harness.errors import HarnessError
from harness.spec.model import Price
from harness.store import Manifest

# English text has four to five characters in a token; three leaves room for other languages and the chat's frame.
CHARACTERS_PER_TOKEN = 3


class CapReached(HarnessError):
    """The run ended before the cap on spending would be passed; `manifests` are those of the pairs that had begun."""

    exit_code = 3

    def __init__(self, reason: str, manifests: Sequence[Manifest]) -> None:
        super().__init__(f"stopped: {reason}; go on with a higher --max-usd")
        self.manifests = manifests


@dataclass(slots=True)
class Budget:
    """Lets a request be sent only when its worst case, with that of all others in flight, stays under the cap.

    Attributes:
        cap: Most USD that may be spent; None for no cap.
        prices: Price by model; a model without one costs nothing here.
        max_tokens: Longest answer by model, where it differs from the request's.
        spent: USD spent so far, in this run.
    """

    cap: float | None
    prices: Mapping[str, Price] = field(default_factory=dict)
    max_tokens: Mapping[str, int] = field(default_factory=dict)
    spent: float = 0.0
    _reserved: float = 0.0
    _open: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def worst(self, model: str, request: Request) -> float:
        """The most that one attempt can cost, in USD."""
        if (price := self.prices.get(model)) is None:
            return 0.0
        longest = self.max_tokens.get(model, request.max_tokens)
        return price.usd(len(request.prompt) // CHARACTERS_PER_TOKEN + 1, longest)

    def cost(self, model: str, request: Request, reply: Reply) -> float:
        """What an answer cost, in USD; the worst case when the server does not say how long it was."""
        price = self.prices.get(model)
        if price is None or reply.input_tokens is None or reply.output_tokens is None:
            return self.worst(model, request)
        return price.usd(reply.input_tokens, reply.output_tokens)

    async def reserve(self, worst: float) -> bool:
        """Put so much aside, once enough of what is in flight has proved cheaper; False when it never fits."""
        while self.cap is not None and worst and self.spent + self._reserved + worst > self.cap:
            if not self._open:
                return False
            self._settled.clear()
            await self._settled.wait()
        self._reserved += worst
        self._open += 1
        return True

    def settle(self, reserved: float, spent: float) -> None:
        """Put back what was reserved, and book what was spent instead."""
        self._open -= 1
        # Sums of fractions leave a remainder, which must not stay for good.
        self._reserved = self._reserved - reserved if self._open else 0.0
        self.spent += spent
        self._settled.set()

    def explanation(self) -> str:
        """Say why nothing more is asked."""
        return f"the next request could pass the limit of {self.cap:g} USD ({self.spent:.4f} USD spent)"
