"""The cost of a run: what its answers have cost, and whether the next request still fits under the cap."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import HarnessError
from harness.models.backend import Reply, Request
from harness.models.entry import Model, Sampled
from harness.models.prices import Priced, price_of
from harness.store.results import Manifest

# English text has four to five bytes in a token; three leaves room for other languages and the chat's frame.
BYTES_PER_TOKEN = 3
HOUR = 3600.0


class CapReached(HarnessError):
    """The run ended before the cap on spending would be passed; `manifests` are those of the pairs that had begun."""

    exit_code = 3

    def __init__(self, reason: str, manifests: Sequence[Manifest]) -> None:
        super().__init__(f"stopped: {reason}; to resume, raise --max-usd")
        self.manifests = manifests


@dataclass(slots=True)
class Budget:
    """Lets a request be sent only when its worst case, with that of all others in flight, stays under the cap.

    A server paid by the hour costs its time while anything is asked of it, however much; its worst case is that the
    model's deadline passes before the next answer.

    Attributes:
        cap: Most USD that may be spent; None for no cap.
        models: What may be asked, by name; another model costs nothing here.
        spent: USD spent so far, in this run.
        clock: The time in seconds.
    """

    cap: float | None
    models: Mapping[str, Model] = field(default_factory=dict)
    spent: float = 0.0
    clock: Callable[[], float] = time.monotonic
    _prices: dict[tuple[str, str], Priced | None] = field(default_factory=dict)
    _reserved: float = 0.0
    _open: Counter[str] = field(default_factory=Counter)
    _since: float = 0.0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def price(self, model: str, task: str) -> Priced | None:
        """Return the price of a model's answers to a task, None when it is not known."""
        if (model, task) not in self._prices:
            self._prices[model, task] = price_of(self.models[model], task) if model in self.models else None
        return self._prices[model, task]

    def worst_case(self, model: str, request: Request) -> float:
        """Return the maximum cost of one attempt, in USD."""
        priced = self.price(model, request.task)
        if priced is None or priced.price is None:
            return 0.0
        entry = self.models[model]
        own = entry.max_tokens if isinstance(entry, Sampled) else None
        return priced.price.usd(len(request.prompt.encode()) // BYTES_PER_TOKEN + 1, own or request.max_tokens)

    def cost(self, model: str, request: Request, reply: Reply) -> float:
        """Return the cost of an answer, in USD; the worst case when the server does not count its tokens."""
        priced = self.price(model, request.task)
        if priced is None or priced.price is None or reply.input_tokens is None or reply.output_tokens is None:
            return self.worst_case(model, request)
        return priced.price.usd(reply.input_tokens, reply.output_tokens)

    def fits(self, model: str, worst: float) -> bool:
        """Return whether the worst case of a request, in USD, fits under the cap beside what is reserved now."""
        costs = worst or self._a_second(model)
        return self.cap is None or not costs or self._now() + self._ahead(model) + worst <= self.cap

    async def reserve(self, model: str, worst: float) -> bool:
        """Reserve the worst case of a request, in USD, as soon as it fits; False when it never does."""
        while not self.fits(model, worst):
            if not self._open.total():
                return False
            self._settled.clear()
            await self._settled.wait()
        self._now()
        self._reserved += worst
        self._open[model] += 1
        return True

    def charge_lost(self, worst: float) -> bool:
        """Count an attempt without an answer as charged in full; return whether all reservations still fit."""
        self.spent += worst
        return self.cap is None or self._now() + self._reserved <= self.cap

    def book(self, model: str, reserved: float, spent: float) -> None:
        """Replace a reservation by what was spent, both in USD."""
        self._now()
        self._open[model] -= 1
        # Sums of fractions leave a remainder, which must not stay for good.
        self._reserved = self._reserved - reserved if self._open.total() else 0.0
        self.spent += spent
        self._settled.set()

    def explanation(self) -> str:
        """Return why nothing more is asked."""
        return f"the next request could pass the limit of {self.cap:g} USD ({self.spent:.4f} USD spent)"

    def _a_second(self, model: str) -> float:
        """What a second of a model's server costs, in USD."""
        entry = self.models.get(model)
        return (entry.gpu_per_hour or 0.0) / HOUR if entry else 0.0

    def _now(self) -> float:
        """Book the time that has passed on servers paid by the hour, and return what is spent by now, in USD."""
        clock = self.clock()
        busy = sum(self._a_second(model) for model, open_ in self._open.items() if open_)
        self.spent += busy * (clock - self._since)
        self._since = clock
        return self.spent

    def _ahead(self, model: str) -> float:
        """The most that what is in flight can still cost, and the time of one request more, in USD."""
        busy = {name for name, open_ in self._open.items() if open_} | {model}
        hours = (self._a_second(name) * self.models[name].timeout for name in busy if name in self.models)
        return self._reserved + sum(hours)
