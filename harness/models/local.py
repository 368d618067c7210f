"""Models that run in this process: a base model in a folder or of the hub, with or without an adapter."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, ModelRejected, Rejected, UserError
from harness.hashing import digest, file_sha256
from harness.models.backend import Reply, Request
from harness.models.engines.decoding import PromptTooLong, Query
from harness.models.engines.known_bases import KNOWN, cache_folder
from harness.models.entry import InProcess, LlamaCppModel
from harness.store.atomic import replace_file
from harness.tasks.pruning import Prune, prune_from

if TYPE_CHECKING:
    from harness.models.engines.llamacpp import LlamaCpp
    from harness.models.engines.runner import Runner

CARD = "card.json"
_WEIGHTS = ("*.safetensors", "*.bin")
_SETTINGS = ("config.json", "*_config.json", "tokenizer.*", "chat_template.*")
# Of a file of weights the ends and the size stand for the whole: to read 14 GB would take as long as to load them.
_PEEK = 1 << 22


@dataclass(frozen=True)
class LocalBackend:
    """One base model, or adapter, for one task; `runner` is shared by all models of the base.

    `adapter` is a folder or an id of the hub, None for the base itself. `labels` are the task's, when its answers are
    labels; `decode: labels` allows no other answer.
    """

    model: InProcess
    adapter: str | None
    labels: tuple[str, ...]
    runner: Runner | LlamaCpp

    @property
    def identity(self) -> Mapping[str, Any]:
        """Names and fingerprints of the weights, so that a model trained again is asked again."""
        return {
            "backend": self.model.backend,
            "model": self.model.model,
            "weights": _weights(self.model),
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


def adapter_of(model: InProcess, task: str) -> str | None:
    """Return the folder or hub id of a model's adapter for a task, None for a model without adapters.

    Raises:
        DataError: the base is a folder or a GGUF file, and there is no folder for this adapter.
    """
    if model.adapter is None:
        return None
    name = model.adapter.replace("{task}", task)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if isinstance(model, LlamaCppModel) or Path(model.model).expanduser().is_dir():
        raise DataError(f"there is no adapter in {name}")
    return name


def _weights(model: InProcess) -> str | None:
    """What stands for a base's weights: a known file's SHA-256, which need not be there yet, or a fingerprint."""
    known = isinstance(model, LlamaCppModel) and KNOWN.get(model.model)
    return known.sha256[:16] if known else fingerprint(Path(model.model))


def fingerprint(place: Path) -> str | None:
    """Return a hash that stands for all in a folder, or in a file, that decides answers; None where there is none."""
    place = place.expanduser()
    files = {place} if place.is_file() else {path for kind in (*_WEIGHTS, *_SETTINGS) for path in place.glob(kind)}
    if not files and not place.is_dir():
        return None
    found = hashlib.blake2b(digest_size=8)
    for path in sorted(files):
        size = path.stat().st_size
        found.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            found.update(file.read(_PEEK))
            file.seek(max(0, size - _PEEK))
            found.update(file.read(_PEEK))
        if size > 2 * _PEEK:
            found.update(_whole(path).encode())
    return found.hexdigest()


def _whole(path: Path) -> str:
    """Return the SHA-256 of a large file, which is read once: its size, time and place stand for it afterwards."""
    seen = path.stat()
    name = digest(str(path.resolve()), *map(str, (seen.st_size, seen.st_mtime_ns, seen.st_ino)))
    kept = cache_folder() / "hashes" / name
    with contextlib.suppress(OSError):
        if len(known := kept.read_text(encoding="ascii")) == hashlib.sha256().digest_size * 2:
            return known
    found = file_sha256(path)
    with contextlib.suppress(UserError):  # a cache that cannot be written costs time only
        replace_file(kept, found)
    return found


def borrowed_from(adapter: Path, task: str) -> str | None:
    """Return the fingerprint of the evaluated split that an adapter learned from, by its card; None: it did not.

    The card of a merge has one for each task of its parents; for another task any of them counts.

    Raises:
        DataError: there is something else in place of the card.
    """
    found: str | dict[str, str | None] | None = _on_card(adapter / CARD, "borrowed_from")
    if isinstance(found, dict):
        return found[task] if task in found else next(filter(None, found.values()), None)
    return found


def learned_without(folder: Path, *cards: str) -> Prune | None:
    """Return what was taken out of the prompts that were learned, by the first of these cards in a folder.

    Raises:
        DataError: there is something else in place of the card.
    """
    path = next((folder / name for name in (CARD, *cards) if (folder / name).is_file()), folder / CARD)
    try:
        return prune_from(_on_card(path, "prune"))
    except ValueError as error:
        raise DataError(f"{path}: prune: {error}") from None


def _on_card(path: Path, key: str) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(key)
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is no card as `harness train` writes it: {error}") from None
