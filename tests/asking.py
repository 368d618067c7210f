"""Ways for tests to ask a loopback server through everything below scoring: real backends, the fan-out, the store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from harness.ask.attempts import Job, Limits
from harness.ask.budget import Budget
from harness.ask.fanout import run
from harness.ask.limiter import Brake, GiveUpAfter
from harness.hashing import digest
from harness.models.backend import Backend, Request
from harness.models.entry import LoraxModel, OpenAIModel
from harness.models.http import Transport
from harness.models.lorax import LoraxBackend
from harness.models.openai import OpenAIBackend
from harness.store.results import Response, ResponseLog, read_responses, response_key
from tests.loopback import Loopback

Open = Callable[[httpx.AsyncBaseTransport, str], Backend]
QUICK = GiveUpAfter(first_wait=0.02, longest_wait=0.1, down=2.0, never_reached=2.0)


def openai(server: Loopback, **settings: Any) -> Open:
    """A chat model of the server; `api="completions"` for its plain kind."""
    model = OpenAIModel(**{"backend": "openai", "base_url": server.openai_url, "model": "m", **settings})
    return lambda connection, task: OpenAIBackend(model, connection)


def lorax(server: Loopback, **settings: Any) -> Open:
    """An adapter of the server."""
    model = LoraxModel(**{"backend": "lorax", "base_url": server.url, "adapter": "tuned/{task}", **settings})
    return lambda connection, task: LoraxBackend(model, connection)


@dataclass
class Pair:
    """A model and a task with the prompts that are to be asked."""

    open: Open
    prompts: Sequence[str]
    model: str = "m"
    task: str = "jigsaw"
    endpoint: str = "server"
    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout: float = 5.0
    attempts: int = 6
    served: str = ""


@dataclass
class Asked:
    """What came of asking."""

    jobs: list[Job]
    responses: dict[str, list[Response]]
    ended: str | None
    finished: list[str]
    notices: list[str]
    budget: Budget
    watched: Counter[str] = field(default_factory=Counter)

    def statuses(self, model: str = "m") -> Counter[str]:
        return Counter(response.status for response in self.responses[model])


def prompts(count: int) -> list[str]:
    """So many different prompts."""
    return [f"row {number}" for number in range(count)]


def ask(
    folder: Path,
    pairs: Sequence[Pair],
    *,
    give_up: GiveUpAfter = QUICK,
    brake: Brake | None = None,
    budget: Budget | None = None,
    watch: Callable[[Job, Response], None] = lambda job, response: None,
) -> Asked:
    """Ask what is not answered yet in `folder`, with one pool of connections for all, as `harness bench` does."""
    return asyncio.run(asking(folder, pairs, give_up=give_up, brake=brake, budget=budget, watch=watch))


async def asking(
    folder: Path,
    pairs: Sequence[Pair],
    *,
    give_up: GiveUpAfter = QUICK,
    brake: Brake | None = None,
    budget: Budget | None = None,
    watch: Callable[[Job, Response], None] = lambda job, response: None,
) -> Asked:
    """The same, to be awaited."""
    asked = Asked([], {}, None, [], [], budget or Budget(None))

    def count(job: Job, response: Response) -> None:
        asked.watched[response.status] += 1
        watch(job, response)

    with ExitStack() as logs:
        async with Transport() as connection:
            for pair in pairs:
                log = logs.enter_context(ResponseLog(folder / pair.task / pair.model))
                asked.jobs.append(_job(pair, pair.open(connection, pair.task), log, asked.finished))
            asked.ended = await run(
                asked.jobs, count, brake=brake, budget=asked.budget, give_up=give_up, notice=asked.notices.append
            )
    for pair in pairs:
        asked.responses[pair.model] = list(read_responses(folder / pair.task / pair.model))
    return asked


def _job(pair: Pair, backend: Backend, log: ResponseLog, finished: list[str]) -> Job:
    def unanswered() -> Iterator[tuple[str, Request]]:
        seen = set()
        for number, prompt in enumerate(pair.prompts):
            request = Request(pair.task, f"r{number}", prompt, 4)
            settings = digest(repr(sorted(backend.identity.items())), repr(backend.body(request)))
            key = response_key(settings, prompt)
            if key not in log and key not in seen:
                seen.add(key)
                yield key, request

    async def finish() -> None:
        finished.append(f"{pair.task}/{pair.model}")

    limits = Limits(pair.concurrency, pair.requests_per_minute, pair.timeout, pair.attempts)
    pending = sum(1 for _ in unanswered())
    return Job(
        pair.task, pair.model, backend, pair.endpoint, limits, unanswered(), pending, log.append, finish,
        answered_before=pending < len(pair.prompts), failed_before=log.failed, served=pair.served,
    )  # fmt: skip
