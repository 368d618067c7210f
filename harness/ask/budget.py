"""The cost of a run: what its answers have cost, and whether the next request still fits under the cap."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import HarnessError
from harness.models.backend import Reply, Request
from harness.models.entry import Model
from harness.models.prices import Priced, most_output, price_of
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

    A prompt's tokens are counted roughly, and some servers write more than the limit that they are sent. So, under a
    cap, a model is asked one row first; when an answer costs more than its worst case, the worst cases of all others,
    also of those in flight, grow in proportion.

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
    _reserved: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _open: Counter[str] = field(default_factory=Counter)
    _factors: dict[str, float] = field(default_factory=dict)
    _proved: set[str] = field(default_factory=set)
    _since: float = 0.0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def price(self, model: str, task: str) -> Priced | None:
        """Return the price of a model's answers to a task, None when it is not known."""
        if (model, task) not in self._prices:
            self._prices[model, task] = price_of(self.models[model], task) if model in self.models else None
        return self._prices[model, task]

    def worst_tokens(self, model: str, request: Request) -> tuple[int, int]:
        """Return the maximum tokens of one attempt, read and written."""
        entry = self.models.get(model)
        text = request.prompt + (getattr(entry, "system", None) or "")
        longest = most_output(entry, request.max_tokens) if entry else request.max_tokens
        return len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN + 1, longest or request.max_tokens

    def lost_tokens(self, model: str, request: Request) -> tuple[int, int]:
        """Return the tokens, read and written, of an attempt that may be charged and whose tokens are not known."""
        factor = self._factors.get(model, 1.0)
        read, written = (math.ceil(tokens * factor) for tokens in self.worst_tokens(model, request))
        return read, written

    def worst_case(self, model: str, request: Request) -> float:
        """Return the maximum cost of one attempt, in USD, were all counts right."""
        priced = self.price(model, request.task)
        if priced is None or priced.price is None:
            return 0.0
        return priced.price.usd(*self.worst_tokens(model, request))

    def limited(self, model: str) -> bool:
        """Whether the cost of an answer of a model has a limit: the length of its answers has one, or costs nothing."""
        return most_output(self.models[model], 1) is not None

    def cost(self, model: str, request: Request, reply: Reply) -> float:
        """Return the cost of an answer, in USD; the worst case when the server does not count its tokens."""
        priced, worst = self.price(model, request.task), self.worst_case(model, request)
        if priced is None or priced.price is None or reply.input_tokens is None or reply.output_tokens is None:
            self._proved.add(model)  # which does not count its tokens: nothing is to be learnt of it
            return worst * self._factors.get(model, 1.0)
        found = priced.price.usd(reply.input_tokens, reply.output_tokens)
        self._learn(model, worst, found)
        return found

    def fits(self, model: str, worst: float) -> bool:
        """Return whether the worst case of a request, in USD, fits under the cap beside what is reserved now."""
        costs = worst or self._a_second(model)
        ahead = self._ahead(model) + worst * self._factors.get(model, 1.0)
        return self.cap is None or not costs or self._now() + ahead <= self.cap

    async def reserve(self, model: str, worst: float, *, alone: bool = False) -> bool:
        """Reserve the worst case of a request, in USD, as soon as it fits; False when it never does.

        `alone` lets it wait until the model has answered a row.
        """
        while not self.fits(model, worst) or self._must_wait(model, worst, alone):
            if not self._open.total():
                return False
            await self._settled.wait()
        self._now()
        self._reserved[model] += worst
        self._open[model] += 1
        return True

    def charge_lost(self, model: str, task: str, worst: float, usage: tuple[int, int], *, counted: bool = True) -> bool:
        """Count an attempt without an answer as charged; return whether all reservations still fit.

        `usage` are the tokens read and written, as the server has `counted` them, else `lost_tokens`.
        """
        priced = self.price(model, task)
        found = priced.price.usd(*usage) if priced and priced.price else 0.0
        if counted:
            self._learn(model, worst, found)
        self.spent += found
        return self.cap is None or self._now() + self._reservations() <= self.cap

    def book(self, model: str, reserved: float, spent: float) -> None:
        """Replace a reservation by what was spent, both in USD."""
        self._now()
        self._open[model] -= 1
        # Sums of fractions leave a remainder, which must not stay for good.
        self._reserved[model] = self._reserved[model] - reserved if self._open[model] else 0.0
        self.spent += spent
        # Another one for those that wait from now on, who may be of another event loop: a budget outlives a run.
        self._settled.set()
        self._settled = asyncio.Event()

    def _must_wait(self, model: str, worst: float, alone: bool) -> bool:
        """Whether a model is still to prove by its first row what a row costs."""
        return alone and self.cap is not None and worst > 0 and model not in self._proved and self._open[model] > 0

    def _learn(self, model: str, worst: float, found: float) -> None:
        """Learn from what a row has cost how far the worst cases of a model are off."""
        self._proved.add(model)
        if worst > 0 and found > worst:
            self._factors[model] = max(self._factors.get(model, 1.0), found / worst)

    def _reservations(self) -> float:
        return sum(reserved * self._factors.get(model, 1.0) for model, reserved in self._reserved.items())

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
        return self._reservations() + sum(hours)
