"""What a model's tokens cost: as the models file says, else as the package genai-prices knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib.metadata import version

from harness.spec.model import Model, Price

_TYPICAL_TOKENS = 1000
"""Where a vendor's price grows with the prompt's length, the price of a prompt of this size is taken."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A price and where it is from, as the user is told."""

    price: Price
    source: str


def price_of(model: Model, task: str) -> Priced | None:
    """Return a served model's price, None when it is not known.

    The models file comes first. The package is asked for the model's name at its address, so a server of one's own
    never gets a vendor's price. Charges for a request or a search, and discounts for cached prompts, are not in it.
    """
    if model.price is not None:
        return Priced(model.price, "models file")
    name, address = getattr(model, "model", None), getattr(model, "base_url", None)
    if name is None or address is None:
        return None
    return _listed(str(name).replace("{task}", task), str(address), bool(getattr(model, "batch", False)))


@lru_cache
def _listed(name: str, address: str, batch: bool) -> Priced | None:
    from genai_prices import Usage, calc_price  # most of a second to import, with all its prices

    today = datetime.now(UTC)
    usage = Usage(input_tokens=_TYPICAL_TOKENS, output_tokens=_TYPICAL_TOKENS)
    try:
        found = calc_price(
            usage,
            name,
            provider_api_url=address,
            genai_request_timestamp=today,
            price_context={"processing": "batch"} if batch else None,
        )
    except LookupError:
        return None
    scale = 1_000_000 / _TYPICAL_TOKENS
    price = Price(input=float(found.input_price) * scale, output=float(found.output_price) * scale)
    return Priced(price, f"genai-prices {version('genai-prices')} (newest dated price {_newest(today.date())})")


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
