"""llama.cpp's own server in this process, with a base and its adapters: which adapter acts, in which slot, and when.

It listens on a port of loopback, with a random key. llama.cpp answers unknown adapters from the bare base, lets all
adapters act at once that a request does not name, and takes adapters only when it starts. So each request here names
the scale of every adapter, goes to the slot that its adapter has for itself, and waits while adapters are changed.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp

from harness.errors import HarnessError, UserError, nearest, warn
from harness.models.engines.adapter_files import CONFIG, WEIGHTS
from harness.models.engines.gguf import shape_of
from harness.models.engines.known_bases import KNOWN, gguf_file
from harness.models.engines.llamacpp import converted, library, scales, server_settings, start_server
from harness.models.local import fingerprint
from harness.serve.memory import check_memory, memory_needed

BASE = ""
"""What stands for the base without an adapter, among the names of adapters."""
LONGEST_EVENT = 1 << 20
NATIVE, CHAT = "/completion", "/v1/chat/completions"
"""Paths of llama.cpp: its own interface for plain text, and OpenAI's for chats."""


class QueueFull(HarnessError):
    """As many requests wait as may wait."""


class LlamaError(HarnessError):
    """llama.cpp refuses a request, or has failed; `status` is that of HTTP, `said` what it says."""

    def __init__(self, status: int, said: Mapping[str, Any]) -> None:
        super().__init__(str(said.get("message", said)))
        self.status, self.said = status, said


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many slots there are, each with a prompt cache of so many tokens, and how many requests may wait."""

    slots: int
    context: int = 512
    queue: int = 256


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as it was when it was loaded, whatever has become of its folder since.

    `file` is the folder in llama.cpp's form, `made` when its weights were written, in seconds since 1970.
    """

    folder: Path
    file: str
    made: int
    fingerprint: str | None

    @classmethod
    def read(cls, folder: Path, base: str, path: Path) -> Adapter:
        """Read an adapter of a base, which is in this GGUF file.

        Raises:
            DataError: it cannot be read, is not plain LoRA, or is of another base.
        """
        file = str(converted(folder, path))
        named = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
        of = {base, KNOWN[base].original} if base in KNOWN else set()
        if of and named not in of and not Path(str(named)).is_dir():
            warn(f"the adapter in {folder} is of {named}, as it says itself; {base} is {KNOWN[base].original}")
        return cls(folder, file, int((folder / WEIGHTS).stat().st_mtime), fingerprint(folder))


class Slots:
    """Which adapter has which slot: the least recently used one is given away when there is no other.

    >>> slots = Slots(2)
    >>> [slots.take(name) for name in ("a", "b", "a", "c", "b")]
    [(0, True), (1, True), (0, False), (1, True), (0, True)]
    """

    def __init__(self, number: int) -> None:
        self._free = list(range(number))[::-1]
        self._taken: OrderedDict[str, int] = OrderedDict()

    def take(self, adapter: str) -> tuple[int, bool]:
        """Return the adapter's slot, and whether it was another's until now, or nobody's."""
        fresh = adapter not in self._taken
        if fresh:
            self._taken[adapter] = self._free.pop() if self._free else self._taken.popitem(last=False)[1]
        self._taken.move_to_end(adapter)
        return self._taken[adapter], fresh


class LlamaServer:
    """A base with adapters, from entering the context to leaving it. Requests are answered one at a time, in turn.

    Different adapters never share a step of llama.cpp, and on a CPU rows side by side gain nothing: what waits here
    would wait there, where the lowest slot would always be first. `base` is a known name or a GGUF file's path,
    `adapters` are folders by name, `threads` None is one for each free core; `say` is told what takes long.

    Raises:
        UserError: the base or an adapter cannot be loaded, or there is not enough memory.
    """

    def __init__(
        self, base: str, adapters: Mapping[str, Path], sizes: Sizes, threads: int | None, say: Callable[[str], None]
    ) -> None:
        self.base, self.sizes = base, sizes
        self.adapters: Mapping[str, Adapter] = {}
        self.switches = 0
        """How often a request was for another adapter than the one before it."""
        self._folders, self._threads, self._say = adapters, threads, say
        self._turn = asyncio.Lock()
        self.waiting = 0
        """Requests that wait, or are being answered."""
        self._last: str | None = None
        self._key = secrets.token_hex()
        self._server: Any = None

    async def __aenter__(self) -> Self:
        # llama.cpp closes a connection after five idle seconds.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3.0), read_bufsize=LONGEST_EVENT,
            headers={"Authorization": f"Bearer {self._key}"}, timeout=aiohttp.ClientTimeout(total=None),
        )  # fmt: skip
        try:
            await asyncio.to_thread(self._start, self._folders)
            await self._ask_what_it_can()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._session.close()
        self._server = None

    async def _ask_what_it_can(self) -> None:
        async with self._session.get(f"{self._address}/props") as reply:
            found = _object(await reply.read())
        self.longest: int = found["default_generation_settings"]["n_ctx"]
        """The most tokens of a prompt and its answer."""
        self.takes_tools: bool = found["chat_template_caps"]["supports_tools"]
        if self.longest < self.sizes.context:
            raise UserError(f"{self.base} reads {self.longest:,} tokens at most: choose a --context up to that")

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """A place in the queue, for one request of a client.

        Raises:
            QueueFull: all are taken.
        """
        if self.waiting > self.sizes.queue:
            raise QueueFull(f"{self.waiting - 1} requests wait already")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def ask(self, adapter: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole answer of an adapter, or of the base, to a request.

        Raises:
            LlamaError: llama.cpp refuses it or fails.
        """
        async with self._exchange(adapter, path, body, {}) as reply:
            return _object(await reply.read())

    async def events(self, adapter: str, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the parts of an answer as they come.

        Raises:
            LlamaError: as for `ask`; or it fails in the middle of its answer.
        """
        # After a stream llama.cpp closes its connection without a word.
        async with self._exchange(adapter, path, {**body, "stream": True}, {"Connection": "close"}) as reply:
            async for line in reply.content:
                found = line.removeprefix(b"data: ")
                if line.startswith(b"error: "):
                    raise LlamaError(500, _object(line.removeprefix(b"error: ")))
                if found.startswith(b"{"):
                    event = _object(found)
                    if "error" in event:
                        raise LlamaError(500, event["error"])
                    yield event

    async def load(self, name: str, folder: Path) -> None:
        """Have one more adapter; requests wait meanwhile.

        Raises:
            UserError: it cannot be loaded, and so the others are there again; or one of this name is loaded.
        """
        async with self._turn:
            if name in self.adapters:
                raise UserError(f"the adapter '{name}' has already been loaded")
            await self._change({**self.adapters, name: folder})

    async def unload(self, name: str) -> None:
        """Have one adapter less; requests wait meanwhile.

        Raises:
            LlamaError: there is none of this name.
        """
        async with self._turn:
            if name not in self.adapters:
                raise LlamaError(404, {"message": f"no adapter '{name}'{nearest(name, self.adapters)}"})
            await self._change({other: adapter for other, adapter in self.adapters.items() if other != name})

    async def _change(self, adapters: Mapping[str, Adapter | Path]) -> None:
        try:
            await asyncio.to_thread(self._start, adapters)
        except Exception:
            if self._server is None:
                await asyncio.to_thread(self._start, self.adapters)
            raise

    def _start(self, adapters: Mapping[str, Adapter | Path]) -> None:
        path = gguf_file(self.base, self._say)
        library(self.base)  # before a base is fetched for nothing
        read = {
            name: one if isinstance(one, Adapter) else Adapter.read(one, self.base, path)
            for name, one in adapters.items()
        }
        files = [one.file for one in read.values()]
        slots, context = self.sizes.slots, self.sizes.context
        shape, tokens = shape_of(path), slots * context
        loaded = [one.file for one in self.adapters.values()]
        given_back = 0 if self._server is None else memory_needed(path, loaded, shape, tokens)
        check_memory(memory_needed(path, files, shape, tokens), given_back, len(files), slots, context)
        settings = server_settings(path, files, context=tokens, slots=slots, threads=self._threads, key=self._key)
        self._server = None  # before the next, which needs as much memory
        self._server = start_server(settings)
        self._address = self._server.listening_address
        self.adapters = read
        self._numbers = {name: number for number, name in enumerate(adapters)}
        self._slots = Slots(slots)

    @asynccontextmanager
    async def _exchange(
        self, adapter: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._turn:
            if adapter != BASE and adapter not in self._numbers:
                raise LlamaError(404, {"message": f"the adapter '{adapter}' was unloaded meanwhile"})
            slot, fresh = self._slots.take(adapter)
            self.switches += adapter != self._last
            self._last = adapter
            # What another adapter has read is never gone on from, whatever llama.cpp does when adapters change.
            own = {"lora": scales(self._numbers, adapter), "id_slot": slot, "cache_prompt": not fresh}
            try:
                async with self._session.post(self._address + path, json={**body, **own}, headers=headers) as reply:
                    if reply.status != 200:
                        found = _object(await reply.read())
                        raise LlamaError(reply.status, found.get("error", found))
                    yield reply
            except (aiohttp.ClientError, OSError) as error:
                raise LlamaError(502, {"message": f"llama.cpp broke off: {error or type(error).__name__}"}) from None


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": content.decode(errors="replace")}
