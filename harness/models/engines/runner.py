"""One loaded base for all models that share it: rows that wait are answered in batches, in a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.models.engines.decoding import DecodedAnswer, Engine, Query, answer


def load(name: str) -> Engine:
    """Load a base model, from a folder or of the hub, by transformers.

    Raises:
        UserError: it cannot be loaded.
    """
    folder = Path(name).expanduser()
    from harness.models.engines.transformers import TransformersEngine

    return TransformersEngine(str(folder) if folder.is_dir() else name)


@dataclass(frozen=True, slots=True)
class _Waiting:
    adapter: str | None
    query: Query
    answered: asyncio.Future[DecodedAnswer]

    @property
    def kind(self) -> tuple[str | None, bool]:
        """What rows of one batch have in common."""
        return self.adapter, bool(self.query.labels)


class Runner:
    """Answers queries with one base model, which is loaded when the first of them comes."""

    def __init__(self, open_engine: Callable[[], Engine]) -> None:
        self._open = open_engine
        self._engine: Engine | None = None
        self._waiting: list[_Waiting] = []
        self._work: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "model")

    async def ask(self, adapter: str | None, query: Query) -> DecodedAnswer:
        """Answer a query, in one batch with others that wait.

        Raises:
            PromptTooLong: the model cannot read it.
            UserError: the model or the adapter cannot be loaded.
        """
        waiting = _Waiting(adapter, query, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._work is None:
            self._work = asyncio.create_task(self._answer_all())
        return await waiting.answered

    def close(self) -> None:
        """Let go of the model, when the batch at work is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._engine = None

    async def _answer_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            # A turn of the loop, in which the rows that were answered just now make way for new ones.
            await asyncio.sleep(0)
            batch = self._waiting
            try:
                if self._engine is None:
                    self._engine = await loop.run_in_executor(self._thread, self._open)
                batch = self._next(self._engine.batch)
                queries = [waiting.query for waiting in batch]
                answers: list[DecodedAnswer | Exception] = [
                    *await loop.run_in_executor(self._thread, answer, self._engine, batch[0].adapter, queries)
                ]
            except Exception as error:  # noqa: BLE001  whatever failed, the rows that wait for it must hear of it
                if batch is self._waiting:  # the model cannot be loaded: for none of them
                    self._waiting = []
                answers = [error] * len(batch)
            for waiting, found in zip(batch, answers, strict=True):
                if waiting.answered.done():
                    continue
                if isinstance(found, DecodedAnswer):
                    waiting.answered.set_result(found)
                else:
                    waiting.answered.set_exception(found)
        self._work = None

    def _next(self, most: int) -> list[_Waiting]:
        """Take at most so many rows of one adapter, those nearest in length to the first that waits."""
        kind = self._waiting[0].kind
        alike = sorted(
            (waiting for waiting in self._waiting if waiting.kind == kind),
            key=lambda waiting: len(waiting.query.prompt),
        )
        place = alike.index(self._waiting[0])
        start = max(0, min(place - most // 2, len(alike) - most))
        batch = alike[start : start + most]
        chosen = {id(waiting) for waiting in batch}
        self._waiting = [waiting for waiting in self._waiting if id(waiting) not in chosen]
        return batch
