"""Models that run in this process: a base model in a folder or of the hub, with or without an adapter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError, ModelRejected, Rejected, UserError
from harness.models.backend import Reply, Request
from harness.models.engines.decoding import PromptTooLong, Query
from harness.models.engines.runner import Runner
from harness.models.entry import LocalModel

_WEIGHTS = ("*.safetensors", "*.bin", "*.onnx.data", "*.onnx", "*.onnx_adapter")


_SETTINGS = ("config.json", "*_config.json", "tokenizer.*", "chat_template.*")


# Of a file of weights the ends and the size stand for the whole: to read 14 GB would take as long as to load them.
_PEEK = 1 << 22


@dataclass(frozen=True)
class LocalBackend:
    """One base model, or adapter, for one task; `runner` is shared by all models of the base.

    `adapter` is a folder or an id of the hub, None for the base itself. `labels` are the task's, when its answers are
    labels; `decode: labels` allows no other answer.
    """

    model: LocalModel
    adapter: str | None
    labels: tuple[str, ...]
    runner: Runner

    @property
    def identity(self) -> Mapping[str, Any]:
        """Names and fingerprints of the weights, so that a model trained again is asked again."""
        return {
            "backend": "local",
            "model": self.model.model,
            "weights": fingerprint(Path(self.model.model)),
            "adapter": self.adapter,
            "adapter_weights": fingerprint(Path(self.adapter)) if self.adapter else None,
        }

    def body(self, request: Request) -> Mapping[str, Any]:
        """What the model is given."""
        query = self._query(request)
        body: dict[str, Any] = {"prompt": query.prompt, "max_new_tokens": query.max_tokens, "stop": list(query.stop)}
        if query.labels:
            body["labels"] = list(query.labels)
        if query.chat:
            body |= {"chat": True, **({"messages": request.chat} if request.messages else {})}
        return body

    async def ask(self, request: Request) -> Reply:
        """Answer in this process.

        Raises:
            Rejected: the prompt is longer than the model's context.
            ModelRejected: the model or its adapter cannot be loaded.
        """
        try:
            answer = await self.runner.ask(self.adapter, self._query(request))
        except PromptTooLong as error:
            raise Rejected(str(error)) from error
        except UserError as error:
            raise ModelRejected(str(error)) from error
        return Reply(answer.text, answer.finish, answer.input_tokens, answer.output_tokens)

    async def aclose(self) -> None:
        """Nothing to release: the base is shared, and closed by who opened it."""

    def _query(self, request: Request) -> Query:
        labels = self.labels if self.model.decode == "labels" else ()
        most = self.model.max_tokens or request.max_tokens
        return Query(request.prompt, most, request.stop, labels, self.model.api == "chat", request.messages)


def adapter_of(model: LocalModel, task: str) -> str | None:
    """Return the folder or hub id of a model's adapter for a task, None for a model without adapters.

    Raises:
        DataError: the base is a folder, and there is no folder for this adapter.
    """
    if model.adapter is None:
        return None
    name = model.adapter.replace("{task}", task)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if Path(model.model).expanduser().is_dir():
        raise DataError(f"there is no adapter in {name}")
    return name


def fingerprint(folder: Path) -> str | None:
    """Return a hash that stands for all in a folder that decides answers; None where there is no such folder."""
    folder = folder.expanduser()
    if not folder.is_dir():
        return None
    found = hashlib.blake2b(digest_size=8)
    for path in sorted({path for pattern in (*_WEIGHTS, *_SETTINGS) for path in folder.glob(pattern)}):
        size = path.stat().st_size
        found.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            found.update(file.read(_PEEK))
            file.seek(max(0, size - _PEEK))
            found.update(file.read(_PEEK))
    return found.hexdigest()


CARD = "card.json"


def borrowed_from(adapter: Path) -> str | None:
    """Return the fingerprint of the evaluated split that an adapter learned from, by its card; None: it did not.

    Raises:
        DataError: there is something else in place of the card.
    """
    path = adapter / CARD
    if not path.is_file():
        return None
    try:
        found: str | None = json.loads(path.read_text(encoding="utf-8")).get("borrowed_from")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is no card as `harness train` writes it: {error}") from None
    return found
