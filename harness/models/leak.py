"""Whether what a server answers for one model depends on which model was asked before.

Servers share work between requests: a cached prefix, an adapter that is still switched on. Where one model goes on from
what another has computed, its answers are neither's, and only now and then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import httpx

from harness.models.entry import LoraxModel, OpenAIModel
from harness.models.proof import SAME, Likeliest, distance, first_tokens

LEAST_APART = 0.05
"""Nats that two models must be apart on a prompt, so that their answers can be distinguished."""
Asked = tuple[OpenAIModel | LoraxModel, str]
"""A model as it is asked, and the task that its name may hold."""


@dataclass(frozen=True, slots=True)
class Leak:
    """How far the answers of each model to one prompt move with what was asked before, in nats (`proof.distance`).

    `apart` is the largest distance between two models' first answers; None where a model told nothing.
    """

    moved: Mapping[str, float]
    apart: float | None

    @property
    def leaking(self) -> list[str]:
        """The models whose answers move by more than a model in another precision differs."""
        if self.apart is None or self.apart < LEAST_APART:
            return []
        return [name for name, by in self.moved.items() if by > SAME * self.apart]

    def __str__(self) -> str:
        names = " and ".join([", ".join(list(self.moved)[:-1]), list(self.moved)[-1]])
        if self.apart is None or self.apart < LEAST_APART:
            return f"whether {names} leak into each other cannot be told: they answer alike, or without probabilities"
        if self.leaking:
            how = ", ".join(f"{name} by {self.moved[name]:.2f} nats" for name in self.leaking)
            return (
                f"what {names} answer depends on which of them was asked before ({how}): the server shares cached "
                "prefixes between adapters, or leaves one switched on; turn its prefix cache off and try again"
            )
        return f"{names} answer the same whichever of them was asked before"


async def leak(transport: httpx.AsyncBaseTransport, asked: Mapping[str, Asked], prompt: str) -> Leak:
    """Ask models of one server for the first tokens after one prompt, in two orders, each at least three times.

    Of a base and adapters A and B: base, A, B, base, A; B, A, base, B, A.

    Raises:
        AskError: the server refuses, or cannot be asked.
        TimeoutError: it does not answer in time.
    """
    names = list(asked)
    told: dict[str, list[Likeliest]] = {name: [] for name in names}
    for order in (names, names[::-1]):
        for name in [*order, *order[:-1]]:
            told[name].append(await first_tokens(transport, *asked[name], prompt))
    if not all(answer for answers in told.values() for answer in answers):
        return Leak(dict.fromkeys(names, 0.0), None)
    firsts = [answers[0] for answers in told.values()]
    return Leak({name: _furthest(answers) for name, answers in told.items()}, _furthest(firsts))


def _furthest(answers: Sequence[Likeliest]) -> float:
    return max((distance([one], [other]) for one, other in combinations(answers, 2)), default=0.0)
