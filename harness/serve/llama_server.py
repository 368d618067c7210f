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

from harness.errors import HarnessError, UserError
from harness.models.engines.gguf import shape_of
from harness.models.engines.known_bases import gguf_file
from harness.models.engines.llamacpp import converted, library, server_settings
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
    would wait there, where the lowest slot would always be first.

    Args:
        base: Known name or path of a GGUF file.
        adapters: Folders of PEFT adapters by name.
        sizes: Of slots and queue.
        threads: To compute with; None for one for each free core.
        say: Told what takes long.

    Raises:
        UserError: the base or an adapter cannot be loaded, or there is not enough memory.
    """

    def __init__(
        self, base: str, adapters: Mapping[str, Path], sizes: Sizes, threads: int | None, say: Callable[[str], None]
    ) -> None:
        self.base, self.sizes, self.adapters = base, sizes, dict(adapters)
        self.switches = 0
        """How often a request was for another adapter than the one before it."""
        self._threads, self._say = threads, say
        self._turn = asyncio.Lock()
        self._admitted = 0
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
            await asyncio.to_thread(self._start, self.adapters)
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._session.close()
        self._server = None

    @property
    def waiting(self) -> int:
        """Requests that wait, or are being answered."""
        return self._admitted

    @property
    def longest(self) -> int:
        """The most tokens of a prompt and its answer."""
        return self.sizes.context

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """A place in the queue, for one request of a client.

        Raises:
            QueueFull: all are taken.
        """
        if self._admitted > self.sizes.queue:
            raise QueueFull(f"{self._admitted - 1} requests wait already")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

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

    async def change(self, adapters: Mapping[str, Path]) -> None:
        """Have these adapters in place of those before; requests wait meanwhile, also when who asked for it hangs up.

        Raises:
            UserError: one of them cannot be loaded, and so those before are there again.
        """
        self._changing = asyncio.create_task(self._change(adapters))
        await asyncio.shield(self._changing)

    async def _change(self, adapters: Mapping[str, Path]) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(self._start, adapters)
            except UserError:
                if self._server is None:
                    await asyncio.to_thread(self._start, self.adapters)
                raise
            self.adapters = dict(adapters)

    def _start(self, adapters: Mapping[str, Path]) -> None:
        path = gguf_file(self.base, self._say)
        xllamacpp = library(self.base)
        files = [str(converted(folder, path)) for folder in adapters.values()]
        slots, context = self.sizes.slots, self.sizes.context
        if self._server is None:  # else its memory is given back first
            check_memory(memory_needed(path, files, shape_of(path), slots * context), len(files), slots, context)
        settings = server_settings(
            path, files, context=slots * context, slots=slots, threads=self._threads, key=self._key
        )
        self._server = None  # before the next, which needs as much memory
        try:
            self._server = xllamacpp.Server(settings)
        except RuntimeError as error:
            raise UserError(f"llama.cpp cannot load {path}: {error}") from None
        self._address = self._server.listening_address
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
            lora = [{"id": number, "scale": float(name == adapter)} for name, number in self._numbers.items()]
            # What another adapter has read is never gone on from, whatever llama.cpp does when adapters change.
            own = {"lora": lora, "id_slot": slot, "cache_prompt": not fresh}
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
