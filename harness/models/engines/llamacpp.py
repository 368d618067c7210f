"""llama.cpp in this process: a GGUF base with LoRA adapters, one row at a time, which is fastest on a CPU."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from harness.errors import BadReply, DataError, Rejected, UserError
from harness.models.engines.adapter_files import CONFIG, WEIGHTS
from harness.models.engines.decoding import DecodedAnswer, PromptTooLong, Query
from harness.models.engines.known_bases import cache_folder, gguf_file
from harness.tasks.messages import as_chat, as_continuation

INSTALL = "it runs in this process with llama.cpp: pip install xllamacpp"
# Most rows are far shorter than what a model reads, and memory for all of it would be taken at once.
CONTEXT = 2_048
_CONVERSION = 1  # how an adapter is converted; a change makes the files of the cache again


class LlamaCpp:
    """A base by known name or GGUF file. It is loaded when the first row is asked, with all adapters known by then.

    llama.cpp works one row off after another in a single slot: more slots bring nothing on a CPU, take the prefix that
    rows share apart, and move log-probabilities. `notice` is told what takes long.
    """

    def __init__(self, name: str, threads: int | None = None, notice: Any = None) -> None:
        self._name = name
        self._threads = threads
        self._notice = notice or (lambda line: None)
        self._context: int | None = CONTEXT
        self._server: Any = None
        self._missing: str | None = None  # why it cannot be loaded; None before that is known
        self._adapters: dict[str, str | UserError] = {}
        self._numbers: dict[str, int] = {}
        self._worker = ThreadPoolExecutor(1, "llama.cpp")

    def add(self, adapter: str) -> None:
        """Make an adapter's folder known, so that it is loaded together with the base."""
        self._adapters.setdefault(adapter, "")

    def require(self) -> None:
        """See to it that the base can be loaded: its file is fetched where it is missing, tried once only.

        Raises:
            UserError: llama.cpp or the file is missing and cannot be fetched.
        """
        if self._missing is None:
            try:
                library(self._name)
                gguf_file(self._name, self._notice)
                self._missing = ""
            except UserError as error:
                self._missing = str(error)
        if self._missing:
            raise UserError(self._missing)

    async def ask(self, adapter: str | None, query: Query) -> DecodedAnswer:
        """Answer a query greedily, when those before it are answered.

        Raises:
            PromptTooLong: the model cannot read it.
            UserError: the model or the adapter cannot be loaded.
            Rejected: llama.cpp refuses it for another reason.
            BadReply: llama.cpp failed.
        """
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._answer, adapter, query)

    def close(self) -> None:
        """Let go of the model, when the row at work is done."""
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._server = None

    def _answer(self, adapter: str | None, query: Query) -> DecodedAnswer:
        if self._server is None or (adapter is not None and adapter not in self._numbers):
            self._load(adapter)
        reply = self._complete(adapter, query)
        if self._context is not None and _context_was_full(reply, query):
            self._context = None
            self._load(adapter)
            reply = self._complete(adapter, query)
        if "error" in reply:
            _raise(reply["error"])
        choice, usage = reply["choices"][0], reply["usage"]
        text = choice["message"]["content"] if query.chat else choice["text"]
        finish: Literal["stop", "length"] = "length" if choice["finish_reason"] == "length" else "stop"
        return DecodedAnswer(text, finish, usage["prompt_tokens"], usage["completion_tokens"])

    def _complete(self, adapter: str | None, query: Query) -> Mapping[str, Any]:
        body: dict[str, Any] = {
            "max_tokens": query.max_tokens,
            "temperature": 0,
            "stop": list(query.stop),
            "lora": scales(self._numbers, adapter),
        }
        if query.labels:
            labels = [as_continuation(query.prompt, label) for label in query.labels]
            body["grammar"] = f"root ::= {' | '.join(map(json.dumps, labels))}"  # which writes a string as JSON does
            body["max_tokens"] = max(len(label.encode()) for label in labels) + 1  # a token is at least a byte
        if query.chat:
            found = self._server.handle_chat_completions({**body, "messages": as_chat(query.prompt, query.messages)})
        else:
            found = self._server.handle_completions({**body, "prompt": query.prompt})
        return dict(found)

    def _load(self, adapter: str | None) -> None:
        """Load the base with the adapters that are known, of which this one must be."""
        library(self._name)  # before a base is fetched for nothing
        path = gguf_file(self._name, self._notice)
        if adapter is not None:
            self.add(adapter)
        self._convert(path)
        if adapter is not None and isinstance(problem := self._adapters[adapter], UserError):
            raise problem
        self._server = None  # before the next, which needs as much memory
        usable = [(name, file) for name, file in self._adapters.items() if isinstance(file, str)]
        # n_ctx 0: what the model reads
        self._server = start_server(
            server_settings(path, [file for _, file in usable], context=self._context or 0, threads=self._threads)
        )
        self._numbers = {name: number for number, (name, _) in enumerate(usable)}

    def _convert(self, base: Path) -> None:
        """Have llama.cpp's form of each adapter in the cache; what is wrong with one stands in its place."""
        for folder, found in self._adapters.items():
            if not found:
                try:
                    self._adapters[folder] = str(converted(Path(folder), base))
                except UserError as error:
                    self._adapters[folder] = error


def scales(numbers: Mapping[str, int], adapter: str | None) -> list[dict[str, Any]]:
    """Return the scale of every adapter, by llama.cpp's numbers, where this one is to act.

    Each is named: with an empty list the base goes on from what the last adapter read, and a number that is not there
    is passed over in silence.
    """
    return [{"id": number, "scale": float(name == adapter)} for name, number in numbers.items()]


def library(name: str) -> Any:
    """Return llama.cpp.

    Raises:
        UserError: it is not installed, and so the model of this name cannot be loaded.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise UserError(f"'{name}' cannot be loaded: {INSTALL} ({error})") from None
    return xllamacpp


def start_server(settings: Any) -> Any:
    """Return llama.cpp's server, once it works through requests.

    One that is given up before that is waited for without end: its thread takes the word to stop for one to start.

    Raises:
        UserError: llama.cpp cannot load what the settings name.
    """
    path = settings.model.path
    try:
        server = library(path).Server(settings)
    except RuntimeError as error:
        raise UserError(f"llama.cpp cannot load {path}: {error}") from None
    server.handle_metrics()
    return server


def server_settings(
    base: Path, adapters: Sequence[str], *, context: int, slots: int = 1, threads: int | None = None,
    key: str | None = None,
) -> Any:  # fmt: skip
    """Return what llama.cpp's server is started with.

    `adapters` are files in llama.cpp's form, each of scale 0 until a request names another. `context` counts the tokens
    of all slots together, 0 for what the model reads; each slot has its own prompt cache, and an equal share of it.
    `threads` None is one for each free core; `key` is what its port on this machine asks for, by default one that
    nobody knows.
    """
    settings = library(base.name).CommonParams()
    settings.model.path = str(base)
    settings.n_ctx = context
    settings.n_parallel = slots
    settings.kv_unified = False
    settings.cache_ram_mib = 0
    threads = threads or _threads()
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.lora_adapters = [library(base.name).CommonAdapterLoraInfo(adapter, 0.0) for adapter in adapters]
    settings.lora_init_without_apply = True
    settings.warmup = settings.ui = False
    settings.endpoint_metrics = True  # for `start_server`
    settings.verbosity = -1
    settings.port = 0
    settings.api_keys = [key or secrets.token_hex()]
    settings.n_threads_http = 1 if key is None else 4
    return settings


def converted(folder: Path, base: Path) -> Path:
    """Return the adapter in llama.cpp's form, converted once for each base.

    Raises:
        DataError: it cannot be read, is not plain LoRA, or is of another base.
    """
    try:
        content = b"".join((folder / name).read_bytes() for name in (CONFIG, WEIGHTS))
    except OSError as error:
        raise DataError(f"the adapter in {folder} cannot be read: {error}") from None
    size = base.stat().st_size
    name = hashlib.sha256(b"%d %d %s " % (_CONVERSION, size, base.name.encode()) + content).hexdigest()[:24]
    out = cache_folder() / "lora" / f"{name}.gguf"
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_suffix(".lock")):
        if not out.is_file():
            from harness.models.engines.gguf import shape_of, write_adapter

            write_adapter(folder, shape_of(base), out)
    return out


def _context_was_full(reply: Mapping[str, Any], query: Query) -> bool:
    """Whether a prompt did not fit, or its answer ended for want of room."""
    if "error" in reply:
        return bool(reply["error"].get("type") == "exceed_context_size_error")
    ended = reply["choices"][0]["finish_reason"] == "length"
    return ended and not query.labels and reply["usage"]["completion_tokens"] < query.max_tokens


def _raise(error: Mapping[str, Any]) -> None:
    if error.get("type") == "exceed_context_size_error":
        length, context = error["n_prompt_tokens"], error["n_ctx"]
        raise PromptTooLong(f"the prompt has {length} tokens, and the model reads {context - 1} at most")
    kind = Rejected if 400 <= error.get("code", 500) < 500 else BadReply
    raise kind(f"llama.cpp: {error.get('message', error)}")


def _threads() -> int:
    """One for each core that has nothing else to do, at least one.

    Threads of one model wait for each other without letting go of their cores: beside other work they take several
    times the processor time that a single one does.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0
    return max(1, cores - busy)
