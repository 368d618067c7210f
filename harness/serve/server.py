"""`harness serve`: one address for models of this process, of other servers, and for adapters of one base."""

from __future__ import annotations

import asyncio
import hmac
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from harness.errors import HarnessError, UserError, nearest
from harness.models.backend import Backend
from harness.models.connect import Connections
from harness.models.entry import LlamaCppModel, LocalModel, LoraxModel, ModelEntry, OpenAIModel
from harness.models.http import address, public
from harness.models.openai import PATHS, Api
from harness.models.passthrough import HUNG_UP, LOCAL, LOOPBACK, Front, Tap, Upstream, refusal
from harness.serve.choice import Chosen, Elsewhere, check_adapter, choose
from harness.serve.exchange import Exchange, Refused
from harness.serve.llama_server import BASE, LlamaError, LlamaServer, QueueFull, Sizes
from harness.serve.metrics import Metrics
from harness.serve.requests import Generate, LoadAdapter, UnloadAdapter, checked
from harness.serve.routes import BackendRoute, HttpRoute, LlamaRoute, Route, refused_by_llama
from harness.teach.proxy import Logged, stopped_by_signals
from harness.teach.request_log import RequestLog

MOST_SLOTS = 32
"""Slots by default, where there are more adapters."""
_ONE_MODEL = "/v1/models/"
OF_LORAX = ("/", "/generate", "/generate_stream")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What a user asks of `harness serve`. `port` 0 is any that is free; `slots` None one for each model of a base."""

    models_file: Path
    models: Sequence[str] = ()
    adapters: Path | None = None
    tasks: Sequence[str] = ()
    host: str = LOOPBACK
    port: int = 8000
    slots: int | None = None
    context: int = 512
    max_queue: int = 256
    token: str | None = field(default=None, repr=False)
    record: Path | None = None


async def serve(options: ServeOptions, say: Callable[[str], None], stop: asyncio.Event | None = None) -> None:
    """Answer requests until `stop` is set, by default by SIGINT or SIGTERM; running answers then have ten seconds.

    `say` is told the address, once requests are answered there.

    Raises:
        UserError: a model, a folder, the port or the address cannot be used.
    """
    if options.host not in LOCAL and not options.token:
        raise UserError(f"{options.host} can be reached by others: choose a --token, which clients have to send")
    stop = stop or stopped_by_signals()
    chosen = choose(options.models_file, options.models, options.adapters, options.tasks)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(RequestLog(options.record)) if options.record else None
        server = Server(options, log)
        await server.open(chosen, stack, say)
        front = await stack.enter_async_context(Front(server.answer, options.port, host=options.host))
        names = list(server.routes)
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        say(f"{front.url} serves {shown}; Ctrl-C stops it")
        await stop.wait()


class Server:
    """Answers requests by the routes of the models; `routes` are by name, in the order in which they are listed."""

    def __init__(self, options: ServeOptions, log: RequestLog | None) -> None:
        self.routes: dict[str, Route] = {}
        self._options, self._log = options, log
        self._llamas: list[LlamaServer] = []
        self._changes: set[asyncio.Task[None]] = set()
        self._connections = Connections()
        self._metrics = Metrics(
            lambda: sum(llama.waiting for llama in self._llamas), lambda: sum(llama.switches for llama in self._llamas)
        )
        self._started = int(time.time())
        self._handlers: Mapping[tuple[str, str], Callable[[Exchange], Awaitable[web.StreamResponse]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/metrics"): self._show_metrics,
            ("GET", "/v1/models"): self._list,
            ("POST", "/v1/chat/completions"): self._complete,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/v1/load_lora_adapter"): self._load,
            ("POST", "/v1/unload_lora_adapter"): self._unload,
            **{("POST", path): self._generate for path in OF_LORAX},
        }

    async def open(self, chosen: Chosen, stack: AsyncExitStack, say: Callable[[str], None]) -> None:
        """Load what runs in this process and make the routes; the stack closes it all.

        Raises:
            UserError: a model cannot be loaded.
        """
        await stack.enter_async_context(self._connections)
        for base in chosen.bases:
            slots = self._options.slots or min(MOST_SLOTS, 1 + len(base.adapters))
            sizes = Sizes(slots, self._options.context, self._options.max_queue)
            llama = LlamaServer(base.model, base.adapters, sizes, base.threads, say)
            self._llamas.append(await stack.enter_async_context(llama))
            self.routes |= {name: LlamaRoute(name, llama, BASE) for name in base.names}
            self.routes |= {name: LlamaRoute(name, llama, name) for name in base.adapters}
        upstreams: dict[str, Upstream] = {}
        for model in chosen.elsewhere:
            self.routes[model.name] = await self._route(model, stack, upstreams)

    async def _route(self, model: Elsewhere, stack: AsyncExitStack, upstreams: dict[str, Upstream]) -> Route:
        entry = model.entry.model
        if isinstance(entry, OpenAIModel | LoraxModel):
            url = public(address(entry.base_url, ""))
            if url not in upstreams:
                upstreams[url] = await stack.enter_async_context(Upstream(url))
            return HttpRoute(model.name, entry, model.task, upstreams[url])
        backends = {kind: self._backend(model.entry, kind, model.task) for kind in PATHS}
        return BackendRoute(model.name, backends, model.task)

    def _backend(self, entry: ModelEntry, kind: Api, task: str) -> Backend:
        model = entry.model
        if isinstance(model, LocalModel | LlamaCppModel):
            entry = ModelEntry(entry.name, model.model_copy(update={"api": kind}), entry.unset)
        return self._connections.open(
            entry, task, objective=None, fingerprint=None, training=lambda: ([], []), column=lambda name: {}
        )

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request; none of them ends the server."""
        handler = self._handlers.get((request.method, request.path))
        if handler is None and request.method == "GET" and request.path.startswith(_ONE_MODEL):
            handler = self._show
        completing = request.method == "POST" and handler in (self._complete, self._generate)
        tap = Logged(request, self._log, {}) if self._log is not None and handler == self._complete else Tap()
        exchange = Exchange(request, self._metrics if completing else None, tap)
        error: str | None = HUNG_UP
        try:
            try:
                self._authorize(request)
                if handler is None:
                    raise self._no_handler(request)
                response = await handler(exchange)
                error = None
            except ConnectionError:  # met before this handler is cancelled for it
                if not exchange.began:
                    raise
                response = exchange.stream
            except Exception as failed:  # noqa: BLE001  a bug met by one request must not be met by all others
                error = None
                if not isinstance(failed, HarnessError):
                    traceback.print_exception(failed)
                response = await self._refuse(exchange, _refusal_of(failed))
            return response
        finally:
            exchange.ended(error)

    def _authorize(self, request: web.BaseRequest) -> None:
        token = self._options.token
        if not token or request.path == "/health":
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(errors="replace"), token.encode()):
            said = "the token is wrong: send `Authorization: Bearer TOKEN`"
            raise Refused(401, said, "invalid_api_key", {"WWW-Authenticate": "Bearer"})

    def _no_handler(self, request: web.BaseRequest) -> Refused:
        methods = [method for method, path in self._handlers if path == request.path]
        if methods:
            return Refused(405, f"{request.path} takes {methods[0]}", None, {"Allow": methods[0]})
        paths = sorted({path for _, path in self._handlers if path != "/"})
        return Refused(404, f"there is no {request.path} here{nearest(request.path, paths)}")

    async def _refuse(self, exchange: Exchange, refused: Refused) -> web.StreamResponse:
        """Tell a client why it is not answered, in the form of the interface that it uses."""
        of_lorax = exchange.request.path in OF_LORAX
        plain = {"error": str(refused), "error_type": _LORAX_ERRORS.get(refused.status, "generation")}
        if exchange.began:
            body = plain if of_lorax else {"error": {"message": str(refused), "type": "harness", "code": refused.code}}
            await exchange.send(body)
            return exchange.stream
        if of_lorax:
            return exchange.whole(plain, refused.status, refused.headers)
        return refusal(refused.status, str(refused), refused.code, refused.headers, exchange)

    async def _complete(self, exchange: Exchange) -> web.StreamResponse:
        body = await exchange.body()
        route = self._find(exchange, body.get("model"))
        chat = exchange.request.path.endswith("/chat/completions")
        return await route.answer(exchange, body, "chat" if chat else "completions")

    async def _generate(self, exchange: Exchange) -> web.StreamResponse:
        asked = checked(Generate, await exchange.body())
        first = next((name for name, route in self.routes.items() if isinstance(route, LlamaRoute)), None)
        route = self._find(exchange, asked.given.adapter_id or first)
        if not isinstance(route, LlamaRoute):
            raise Refused(400, f"'{route.name}' is asked through /v1: LoRAX's interface is for models of this process")
        path = exchange.request.path
        if path == "/generate_stream" or (path == "/" and asked.stream):
            return await route.generate_stream(exchange, asked)
        found = await route.generate(exchange, asked)
        return exchange.whole([found] if path == "/" else found)

    def _find(self, exchange: Exchange, name: Any) -> Route:
        if not isinstance(name, str):
            raise Refused(400, "the parameter 'model' is missing: it is the name of a model in /v1/models")
        route = self.routes.get(name)
        if route is None:
            name = name[:100]
            raise Refused(404, f"no model '{name}'{nearest(name, self.routes)}", "model_not_found")
        exchange.model = name
        return route

    async def _load(self, exchange: Exchange) -> web.StreamResponse:
        asked = checked(LoadAdapter, await exchange.body())
        llama, name, place = self._changeable(), asked.lora_name, Path(asked.lora_path)
        allowed = self._options.adapters
        folder = place if place.is_absolute() or allowed is None else allowed / place
        try:
            if allowed is None or not folder.resolve().is_relative_to(allowed.resolve()):
                raise Refused(403, f"adapters are loaded from below --adapters only, which is {allowed}")
            if name in self.routes:
                raise Refused(400, f"the adapter '{name}' has already been loaded")
            check_adapter(folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise Refused(400, f"'lora_path' cannot be read: {error}") from None

        async def load() -> None:
            await llama.load(name, folder)
            self.routes[name] = LlamaRoute(name, llama, name)

        await self._to_the_end(load())
        return exchange.whole(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, exchange: Exchange) -> web.StreamResponse:
        asked = checked(UnloadAdapter, await exchange.body())
        llama, name = self._changeable(), asked.lora_name

        async def unload() -> None:
            await llama.unload(name)
            self.routes.pop(name, None)

        await self._to_the_end(unload())
        return exchange.whole(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _to_the_end(self, change: Coroutine[Any, Any, None]) -> None:
        """Wait for a change of adapters, which goes on when the client that asked for it hangs up."""
        self._changes.add(task := asyncio.create_task(change))
        task.add_done_callback(self._changes.discard)
        await asyncio.shield(task)

    def _changeable(self) -> LlamaServer:
        if self._options.adapters is None:
            raise Refused(403, "adapters can be loaded and unloaded where the server was started with --adapters")
        return self._llamas[0]

    async def _list(self, exchange: Exchange) -> web.StreamResponse:
        listed = [self._listed(name, route) for name, route in self.routes.items()]
        return exchange.whole({"object": "list", "data": listed})

    async def _show(self, exchange: Exchange) -> web.StreamResponse:
        name = exchange.request.path.removeprefix(_ONE_MODEL)
        return exchange.whole(self._listed(name, self._find(exchange, name)))

    def _listed(self, name: str, route: Route) -> dict[str, Any]:
        """A model in the form of vLLM's list, with when it was made and what stands for its weights."""
        found: dict[str, Any] = {"id": name, "object": "model", "created": self._started, "owned_by": "harness"}
        found |= {"root": name, "parent": None}
        if not isinstance(route, LlamaRoute):
            return found
        found |= {"root": route.server.base, "max_model_len": route.server.longest}
        if route.adapter != BASE and (adapter := route.server.adapters.get(route.adapter)):
            found |= {"root": str(adapter.folder), "parent": self._base_of(route.server), "created": adapter.made}
            found["fingerprint"] = adapter.fingerprint
        return found

    def _base_of(self, server: LlamaServer) -> str:
        routes = [route for route in self.routes.values() if isinstance(route, LlamaRoute)]
        return next(route.name for route in routes if route.server is server and route.adapter == BASE)

    async def _health(self, exchange: Exchange) -> web.StreamResponse:
        return exchange.whole({"status": "ok"})

    async def _show_metrics(self, exchange: Exchange) -> web.StreamResponse:
        return exchange.whole(self._metrics.text())


_LORAX_ERRORS = {400: "validation", 413: "validation", 429: "overloaded"}


def _refusal_of(failed: Exception) -> Refused:
    """What a client is told of an error."""
    match failed:
        case Refused():
            return failed
        case LlamaError():
            return refused_by_llama(failed)
        case QueueFull():
            return Refused(429, f"the queue is full: {failed}", "rate_limit_exceeded", {"Retry-After": "1"})
        case UserError():
            return Refused(400, str(failed))
        case HarnessError():
            return Refused(500, str(failed))
    return Refused(500, f"the server failed: {type(failed).__name__}")
