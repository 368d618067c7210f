"""What quality costs: USD per 1,000 rows, who is on the frontier, and from which volume a server of one's own pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.report.contest import Contest
from harness.scoring import ScoredRun

EXAMPLE_SERVER = 1.0
"""USD an hour that the break-even table starts from when no model names what its server costs."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model's macro average and its price over the same tasks; `usd` is per 1,000 rows, None if not known.

    `frontier`: no other model is both at least as good and at most as dear, and better in one of the two.
    """

    model: str
    score: float
    usd: float | None
    frontier: bool = False


@dataclass(frozen=True, slots=True)
class Market:
    """The offers over the tasks that every model was asked; empty when there is no such task."""

    tasks: tuple[str, ...]
    offers: tuple[Offer, ...]


def market(contest: Contest) -> Market:
    """Compare models by macro average and by price, over the tasks of the macro average."""
    table = contest.standings
    tasks = tuple(task for task in table.common if task not in table.left_out)
    found = []
    for row in table.models:
        if row.macro is None:
            return Market((), ())
        usd = _usd([contest.tasks[task][row.model] for task in tasks])
        found.append(Offer(row.model, row.macro.value, usd))
    marked = [replace(offer, frontier=_on_frontier(offer, found)) for offer in found]
    return Market(tasks, tuple(sorted(marked, key=lambda offer: (-offer.score, offer.model))))


def _usd(runs: Sequence[ScoredRun]) -> float | None:
    """USD per 1,000 rows, each task counting the same as in the score; None where the cost of one is not known."""
    known = [1000 * run.usd / len(run.rows.ids) for run in runs if run.usd is not None]
    return sum(known) / len(known) if known and len(known) == len(runs) else None


def server_price(contest: Contest) -> float | None:
    """USD an hour of the dearest server that a model of these runs names, None when none does."""
    rates = [
        rate
        for runs in contest.tasks.values()
        for run in runs.values()
        if (rate := run.manifest.model_settings.get("gpu_per_hour")) is not None
    ]
    return float(max(rates)) if rates else None


def break_even(server_per_hour: float, usd_per_1000_rows: float) -> float:
    """Rows an hour above which a server at this price is cheaper than paying per row."""
    return 1000 * server_per_hour / usd_per_1000_rows


def _on_frontier(offer: Offer, offers: Sequence[Offer]) -> bool:
    if offer.usd is None:
        return False
    return not any(
        other.usd is not None
        and other.usd <= offer.usd
        and other.score >= offer.score
        and (other.usd < offer.usd or other.score > offer.score)
        for other in offers
    )
