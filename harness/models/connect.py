"""From an entry of the models file to the backend that reaches it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness.errors import DataError, UserError
from harness.models.backend import Backend
from harness.models.entry import (
    AnthropicModel,
    BaselineModel,
    ColumnModel,
    CustomModel,
    LlamaCppModel,
    LocalModel,
    LoraxModel,
    ModelEntry,
    OpenAIModel,
    RecordedModel,
)
from harness.models.recorded import ColumnBackend, RecordedBackend, Values

if TYPE_CHECKING:
    from harness.models.baseline import Objective, Training
    from harness.models.engines.llamacpp import LlamaCpp
    from harness.models.engines.runner import Runner
    from harness.models.http import Transport


class Connections:
    """The backends of a run, which share HTTP connections and the base models loaded in this process.

    A context manager that closes both.
    """

    def __init__(self) -> None:
        self._transport: Transport | None = None
        self._runners: dict[str, Runner] = {}
        self._gguf: dict[str, LlamaCpp] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *problem: object) -> None:
        if self._transport is not None:
            await self._transport.aclose()
        bases: list[Runner | LlamaCpp] = [*self._runners.values(), *self._gguf.values()]
        for base in bases:
            base.close()

    def open(
        self,
        entry: ModelEntry,
        task: str,
        *,
        objective: Objective | None,
        labels: tuple[str, ...] = (),
        fingerprint: str | None,
        training: Training,
        column: Values,
        folder: Path | None = None,
    ) -> Backend:
        """Open a model for one task.

        `objective` says that answers are labels and what a baseline is fitted for, `labels` which, where each answer
        is one of them. `training` loads the prompts and targets of the training split when a baseline needs them, and
        `fingerprint` stands for them, None where there are none. `column` gives the texts of a column of the data by
        row. `folder` holds the pair's results; a model with `batch: true` keeps its batches there, and is asked
        directly where there is none.

        Raises:
            DataError: a baseline has no training rows, a local model no adapter, or recorded answers cannot be read.
        """
        match entry.model:
            case OpenAIModel(batch=True) as model if folder is not None:
                from harness.models.batch import BatchBackend

                return BatchBackend(model, self.transport, folder / "batches.jsonl")
            case OpenAIModel() as model:
                from harness.models.openai import OpenAIBackend

                return OpenAIBackend(model, self.transport)
            case AnthropicModel() as model:
                from harness.models.anthropic import AnthropicBackend

                return AnthropicBackend(model, self.transport)
            case LoraxModel() as model:
                from harness.models.lorax import LoraxBackend

                return LoraxBackend(model, self.transport)
            case LocalModel() | LlamaCppModel() as model:
                from harness.models.local import LocalBackend, adapter_of

                adapter = adapter_of(model, task)
                base = (
                    self._llama_cpp(model, adapter) if isinstance(model, LlamaCppModel) else self._runner(model.model)
                )
                return LocalBackend(model, adapter, labels, base)
            case RecordedModel() as model:
                return RecordedBackend(model, task)
            case ColumnModel() as model:
                return ColumnBackend(model.column, column)
            case BaselineModel() as model:
                from harness.models.baseline import BaselineBackend

                if fingerprint is None:
                    raise DataError("there are no training rows to fit it on")
                return BaselineBackend(model.method, training, objective, fingerprint)
            case CustomModel() as model:
                return model.open(task)

    def fetch(self, entry: ModelEntry) -> None:
        """Fetch the base of a model that runs in llama.cpp, where it is not on this machine yet.

        Raises:
            DataError: it is missing and cannot be fetched, or llama.cpp is not installed.
        """
        try:
            if isinstance(entry.model, LlamaCppModel) and entry.model.model in self._gguf:
                self._gguf[entry.model.model].require()
        except UserError as error:
            raise DataError(str(error)) from None

    def _runner(self, base: str) -> Runner:
        from harness.models.engines.runner import Runner, load

        if base not in self._runners:
            self._runners[base] = Runner(lambda: load(base))
        return self._runners[base]

    def _llama_cpp(self, model: LlamaCppModel, adapter: str | None) -> LlamaCpp:
        from harness.models.engines.llamacpp import LlamaCpp

        if model.model not in self._gguf:
            self._gguf[model.model] = LlamaCpp(model.model, model.threads, lambda line: print(line, file=sys.stderr))
        if adapter is not None:
            self._gguf[model.model].add(adapter)
        return self._gguf[model.model]

    @property
    def transport(self) -> Transport:
        """What carries the requests of all served models."""
        if self._transport is None:
            from harness.models.http import Transport

            self._transport = Transport()
        return self._transport
