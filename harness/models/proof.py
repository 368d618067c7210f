"""Whether a server answers with the adapter it was asked for, by its first tokens beside the adapter's fingerprint.

A server that cannot apply an adapter often answers from the base and reports success: a whole evaluation then measures
the wrong model. Its text looks right; only the probabilities of its tokens show it.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import AskError, DataError, invalid
from harness.hashing import file_sha256
from harness.models.engines.adapter_files import WEIGHTS
from harness.models.entry import LoraxModel, Model, OpenAIModel
from harness.models.http import json_object, send
from harness.models.lorax import like_openai
from harness.models.remote import bounds, headers_of, server

FINGERPRINT = "fingerprint.json"
LIKELIEST = 5
MOST_APART = 5.0
"""Nats at which the difference of two log-probabilities is capped: beyond it both say that a token will not come."""
EXACT, SAME, LIKE_BASE, SCALED = 0.1, 0.15, 0.35, 0.8
"""Distances as shares of that between adapter and base: to the adapter's side, up to which the weights are its own, its
own in another precision or rank, and some version of it; to the base's, up to which it answers as the base does.

Measured on the thirty shipped adapters of SmolLM2-135M, served by llama.cpp: MEASURED for the adapter itself, 0.99 to
1.03 for the base, 0.20 to 0.66 at half its scale. Another task's adapter may answer as the base does on these prompts.
A base quantised to four bits in another way is some 0.3 away: it counts as another version."""
ENGINES, SLIGHT = 0.12, 0.3
"""Nats that two engines differ by with the same weights, which count as the adapter's own as long as they are at most
this share of the distance between adapter and base. It matters where a short training has left these close together."""
NOISE = 5.0
"""How many times the distance between two askings the fingerprint's two sides must be apart to tell anything."""

Applied = Literal[
    "proven", "proven, not exact", "not applied", "another version or scale", "another adapter", "unknown"
]
WRONG: tuple[Applied, ...] = ("not applied", "another version or scale", "another adapter")
ADVICE: Mapping[Applied, str] = {
    "not applied": "the server answers as the base does, or has another task's adapter under this name: check the "
    "name, the server's limit of ranks, and the modules it adapts",
    "another version or scale": "check the scale (lora_alpha), and whether the server still has an older file",
    "another adapter": "check which adapter the server has under this name",
}
CHANGED = "the server lost the adapter during the run, so some of the answers are another model's"
SILENT = "the server does not tell the probabilities of its tokens"
Likeliest = Mapping[str, float]
"""Log-probabilities, in nats, of the likeliest first tokens after a prompt, by the token's text."""


class NoFingerprint(DataError):
    """There is no file to prove an adapter by."""


class _Token(BaseModel):
    token: str
    logprob: float = Field(le=0)


class _Probe(BaseModel):
    prompt: str
    adapter: list[_Token] = Field(min_length=1)
    base: list[_Token] = Field(min_length=1)


class Fingerprint(BaseModel):
    """What `harness train` writes beside an adapter: its first tokens after some prompts, and its base's."""

    model_config = ConfigDict(frozen=True)

    base: str
    weights_sha256: str
    prompts: list[_Probe] = Field(min_length=1)

    def of(self, side: Literal["adapter", "base"]) -> list[dict[str, float]]:
        """The likeliest tokens after each prompt, of the adapter or of its base."""
        return [_by_text((one.token, one.logprob) for one in getattr(probe, side)) for probe in self.prompts]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a server's first tokens show. Distances are mean differences of log-probabilities, in nats.

    `to_adapter` and `to_base` are the distances of what it answered to the two sides of the fingerprint, `apart` that
    between these, and `noise` that between asking twice; None where it was not asked or did not tell.
    """

    verdict: Applied
    reason: str = ""
    to_adapter: float | None = None
    to_base: float | None = None
    apart: float | None = None
    noise: float | None = None
    weights_sha256: str = ""

    @property
    def trouble(self) -> str | None:
        """What is wrong and what to check, where the server answers with other weights; None where it does not."""
        return f"{self.verdict}: {ADVICE[self.verdict]}" if self.verdict in WRONG else None

    def __str__(self) -> str:
        said = self.reason
        if self.to_adapter is not None:
            said = f"{self.to_adapter:.2f} nats from its fingerprint, {self.to_base:.2f} from the base's"
        return f"{self.verdict}: {said}" if said else self.verdict


def read_fingerprint(adapter: Path) -> Fingerprint:
    """Return the fingerprint beside an adapter.

    Raises:
        DataError: there is none, it is malformed, or of other weights than those that lie beside it.
    """
    path, weights = adapter / FINGERPRINT, adapter / WEIGHTS
    try:
        found = Fingerprint.model_validate_json(path.read_bytes())
        if weights.is_file() and file_sha256(weights) != found.weights_sha256:
            raise DataError(
                f"{path} is of other weights than {WEIGHTS} beside it; make it again with "
                f"`harness proof --make {adapter}`"
            )
        return found
    except FileNotFoundError:
        raise NoFingerprint(f"{path} does not exist; make it with `harness proof --make {adapter}`") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise DataError(f"{path}: {invalid(error)}") from None


def distance(expected: Sequence[Likeliest], seen: Sequence[Likeliest]) -> float:
    """The mean difference of the log-probabilities of the expected tokens, each at most `MOST_APART`.

    A token that is not among those seen is taken to be as likely as the least likely of them.
    """
    return statistics.fmean(
        min(MOST_APART, abs(logprob - found.get(token, min(found.values()))))
        for wanted, found in zip(expected, seen, strict=True)
        for token, logprob in wanted.items()
    )


def judge(print_: Fingerprint, seen: Sequence[Likeliest], again: Sequence[Likeliest]) -> Proof:
    """Tell from the likeliest tokens after each prompt, asked twice, whose they are.

    A prompt after which a server told nothing, as some do where the answer ends at once, does not count.
    """
    told = [place for place, two in enumerate(zip(seen, again, strict=True)) if all(two)]
    if 2 * len(told) < len(seen):
        return Proof("unknown", SILENT)
    adapter, base, seen, again = (
        [side[place] for place in told] for side in (print_.of("adapter"), print_.of("base"), seen, again)
    )
    apart, noise = distance(adapter, base), distance(seen, again)
    to_adapter, to_base = distance(adapter, seen), distance(base, seen)
    if apart < NOISE * noise:
        verdict: Applied = "unknown"
    elif to_adapter <= max(SAME * apart, min(ENGINES, SLIGHT * apart)):
        verdict = "proven" if to_adapter <= EXACT * apart else "proven, not exact"
    elif to_base <= LIKE_BASE * apart:
        verdict = "not applied"
    else:
        verdict = "another version or scale" if to_adapter <= SCALED * apart else "another adapter"
    reason = "adapter and base are not further apart than two answers of the server" if verdict == "unknown" else ""
    return Proof(
        verdict,
        reason,
        round(to_adapter, 4),
        round(to_base, 4),
        round(apart, 4),
        round(noise, 4),
        print_.weights_sha256,
    )


def has_fingerprint(model: Model) -> bool:
    """Whether a model names the adapter that its server should apply."""
    return isinstance(model, OpenAIModel | LoraxModel) and model.fingerprint is not None


def fingerprint_of(model: Model, task: str) -> Fingerprint | None:
    """Return the fingerprint that a model's entry names for a task, None where it names none.

    Raises:
        DataError: it is missing or malformed.
    """
    if not isinstance(model, OpenAIModel | LoraxModel) or model.fingerprint is None:
        return None
    return read_fingerprint(Path(model.fingerprint.replace("{task}", task)).expanduser())


async def prove(transport: httpx.AsyncBaseTransport, model: Model, task: str) -> Proof | None:
    """Ask a server for the first tokens of a model with a `fingerprint`, and tell whose they are.

    None where the entry names no fingerprint. A server that tells no log-probabilities leaves it unknown.

    Raises:
        DataError: the fingerprint is missing or malformed.
    """
    if not isinstance(model, OpenAIModel | LoraxModel) or (print_ := fingerprint_of(model, task)) is None:
        return None
    prompts = [probe.prompt for probe in print_.prompts]
    try:
        seen = [await first_tokens(transport, model, task, prompt) for prompt in prompts]
        again = [await first_tokens(transport, model, task, prompt) for prompt in reversed(prompts)][::-1]
    except AskError as error:
        return Proof("unknown", f"{SILENT}: {error}")
    except TimeoutError:
        return Proof("unknown", f"{SILENT} within {model.timeout:g} s")
    return judge(print_, seen, again)


async def first_tokens(
    transport: httpx.AsyncBaseTransport, model: OpenAIModel | LoraxModel, task: str, prompt: str
) -> dict[str, float]:
    """The likeliest first tokens after a prompt, with their log-probabilities; none where the server tells none.

    Prompts are sent as plain text, as the fingerprint was taken, also to a model that is otherwise asked as a chat.
    """
    if isinstance(model, LoraxModel):
        name, url = model.adapter or "", like_openai(model)
    else:
        name, url = model.model, model.base_url
    body = {"model": name.replace("{task}", task), "prompt": prompt, "max_tokens": 1, "logprobs": LIKELIEST}
    body |= {} if isinstance(model, LoraxModel) else {"temperature": 0}
    headers = {"Content-Type": "application/json", **headers_of(model)}
    content = json.dumps({**body, **model.extra})
    place = server(model, "/completions", url)
    async with asyncio.timeout(model.timeout):
        reply = await send(transport, "POST", place, headers, model.secrets, bounds(model), content=content)
    return _likeliest(json_object(reply, model.secrets))


def _likeliest(reply: Mapping[str, Any]) -> dict[str, float]:
    """The first token's alternatives: OpenAI's completions have a mapping, its chat and llama.cpp a list."""
    try:
        found = reply["choices"][0]["logprobs"]
        first = found["content"][0]["top_logprobs"] if "content" in found else found["top_logprobs"][0]
        pairs = first.items() if isinstance(first, Mapping) else [(one["token"], one["logprob"]) for one in first]
        return _by_text((str(token), float(logprob)) for token, logprob in pairs)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return {}


def _by_text(tokens: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Log-probabilities by the token's text: the likeliest where several read alike, as parts of characters do."""
    found: dict[str, float] = {}
    for token, logprob in tokens:
        found[token] = max(logprob, found.get(token, logprob))
    return found
