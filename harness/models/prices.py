"""What a model's answers cost: as the models file says, else as the package genai-prices knows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.metadata import version
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from harness.models.entry import BaselineModel, ColumnModel, LoraxModel, Model, Price, Sampled, in_batches

_LIMITS = (
    *("max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_tokens_to_sample"),
    *("max_length", "max_gen_len", "n_predict", "num_predict"),
)
_ANSWERS = ("n", "best_of", "num_return_sequences", "num_generations", "candidate_count")
BATCH_SHARE = 0.5
"""What the Batch API takes of the usual price."""
_TYPICAL_TOKENS = 1000
"""Where a vendor's price grows with the prompt's length, the price of a prompt of this size is taken."""


@dataclass(frozen=True, slots=True)
class Priced:
    """What answers cost, by the token or by the hour of the server, and where that is from, as the user is told."""

    source: str
    price: Price | None = None
    per_hour: float | None = None

    @property
    def free(self) -> bool:
        """Whether nothing that is asked costs anything."""
        return not self.per_hour and (self.price is None or not (self.price.input or self.price.output))


class Answered(Protocol):
    """A recorded response, as far as its cost goes."""

    @property
    def status(self) -> str:
        """`failed` where there is no answer."""

    @property
    def input_tokens(self) -> int | None:
        """Tokens of the prompt."""

    @property
    def output_tokens(self) -> int | None:
        """Tokens of the answer."""

    @property
    def at(self) -> str:
        """When it arrived, as ISO 8601."""

    @property
    def latency_s(self) -> float | None:
        """Seconds it took."""

    @property
    def lost(self) -> tuple[int, int, float] | None:
        """Tokens read and written, and seconds, of the attempts that brought no answer and may have to be paid for."""


def most_output(model: Model, limit: int) -> int | None:
    """Return the most tokens that may be written, and paid for, to answer one request of a task with this limit.

    Counted are the limit that is sent, also as a key of `extra`, and how many answers `extra` asks for. None: no limit
    is sent.
    """
    if not isinstance(model, Sampled):
        return limit
    generates = isinstance(model, LoraxModel) and model.api == "generate"
    key = "max_new_tokens" if generates else getattr(model, "max_tokens_key", "max_tokens")
    sent: dict[str, object] = {} if "max_tokens" in model.omit else {key: model.max_tokens or limit}
    # What extra says replaces what would be sent under the same name; -1, say, stands for no limit.
    sent |= {key: model.extra[key] for key in _LIMITS if key in model.extra}
    own = [_positive(value) for value in sent.values() if value is not None]
    answers = max(_positive(model.extra.get(key)) or 1 for key in _ANSWERS)
    return max(own) * answers if own and all(own) else None


def _positive(value: object) -> int:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return 0
    return max(0, math.ceil(value))


def price_of(model: Model, task: str) -> Priced | None:
    """Return what a model's answers to a task cost, None when it is not known. All that reckons with money asks here.

    The models file comes first. The package is asked for the model's name at its address, so a server of one's own
    never gets a vendor's price. Charges for a request or a search, and discounts for cached prompts, are not in it.
    """
    if isinstance(model, BaselineModel) or (isinstance(model, ColumnModel) and model.price is None):
        return Priced("free", Price(input=0, output=0))
    if model.gpu_per_hour is not None:
        return Priced("gpu_per_hour", per_hour=model.gpu_per_hour)
    if model.price is not None:
        found: Priced | None = Priced("models file", model.price)
    else:
        name, address = getattr(model, "model", None), getattr(model, "base_url", None)
        found = _listed(str(name).replace("{task}", task), str(address)) if name and address else None
    if found and found.price and in_batches(model):
        half = Price(input=BATCH_SHARE * found.price.input, output=BATCH_SHARE * found.price.output)
        return replace(found, source=f"{found.source}, half of it in batches", price=half)
    return found


@lru_cache
def _listed(name: str, address: str) -> Priced | None:
    if _private(urlsplit(address).hostname or ""):
        return None
    from genai_prices import Usage, calc_price  # up to half a second to import, with all its prices

    today = datetime.now(UTC)
    usage = Usage(input_tokens=_TYPICAL_TOKENS, output_tokens=_TYPICAL_TOKENS)
    try:
        found = calc_price(usage, name, provider_api_url=address, genai_request_timestamp=today)
    except LookupError:
        return None
    scale = 1_000_000 / _TYPICAL_TOKENS
    price = Price(input=float(found.input_price) * scale, output=float(found.output_price) * scale)
    return Priced(f"genai-prices {version('genai-prices')} (newest dated price {_newest(today.date())})", price)


def _private(host: str) -> bool:
    """Whether a host is no vendor's: an IP address, or a name without a dot, such as localhost."""
    try:
        ip_address(host)
    except ValueError:
        return "." not in host
    return True


@lru_cache
def _newest(today: date) -> date:
    """The newest dated price that was in force by `today`: the package tells no date of its whole list."""
    from genai_prices.data import providers
    from genai_prices.types import ConditionalPrice, StartDateConstraint

    dates = [
        price.constraint.start_date
        for provider in providers
        for model in provider.models
        for price in (model.prices if isinstance(model.prices, list) else [])
        if isinstance(price, ConditionalPrice) and isinstance(price.constraint, StartDateConstraint)
    ]
    return max(day for day in dates if day <= today)


def usd_of(priced: Priced | None, answers: Sequence[Answered]) -> float | None:
    """Return what a run's responses cost in USD, None when the price or what it is counted in is not known.

    Attempts that brought no answer are in it, where they may have to be paid for.
    """
    if priced is None or priced.free:
        return None if priced is None else 0.0
    if priced.per_hour is not None:
        seconds = busy_seconds(answers)
        return None if seconds is None else priced.per_hour * seconds / 3600
    usd = lost_usd(priced, answers) or 0.0
    for line in answers:
        # A prompt that a filter has refused is not charged; earlier versions kept no counts of it.
        if line.status == "failed" or (line.status == "refused" and line.input_tokens is line.output_tokens is None):
            continue
        if priced.price is None or line.input_tokens is None or line.output_tokens is None:
            return None
        usd += priced.price.usd(line.input_tokens, line.output_tokens)
    return usd


def lost_usd(priced: Priced | None, answers: Iterable[Answered]) -> float | None:
    """Return the part of the cost of a run that paid for attempts without an answer, None when it is not known."""
    lost = [line.lost for line in answers if line.lost is not None]
    if priced is None:
        return None
    if priced.per_hour is not None:
        return priced.per_hour * sum(seconds for _, _, seconds in lost) / 3600
    return sum(priced.price.usd(read, written) for read, written, _ in lost) if priced.price else 0.0


def busy_seconds(answers: Iterable[Answered]) -> float | None:
    """The seconds during which at least one of these responses was being waited for, over any number of runs.

    None when the time of an answer is not known.
    """
    spans = []
    for line in answers:
        lost = line.lost[2] if line.lost else 0.0
        if line.status == "failed" and not lost:
            continue
        if not line.at or (line.latency_s is None and line.status != "failed"):
            return None
        end = datetime.fromisoformat(line.at).timestamp()
        spans.append((end - (line.latency_s or 0.0) - lost, end))
    busy, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy
