"""How each kind of model answers: llama.cpp in this process, another server, or any backend in one piece."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web
from yarl import URL

from harness.errors import AskError, Rejected, Throttled
from harness.models.backend import Backend, Request
from harness.models.entry import LoraxModel, OpenAIModel
from harness.models.lorax import like_openai
from harness.models.openai import PATHS, Api
from harness.models.passthrough import Instead, Upstream
from harness.models.remote import headers_of, key, server
from harness.serve.exchange import Exchange, Refused
from harness.serve.llama_server import CHAT, NATIVE, LlamaError, LlamaServer
from harness.serve.replies import CompletionChoice, Head, Usage, chat_choice, lorax_details, lorax_tokens
from harness.serve.requests import DEFAULT_TOKENS, Chat, Completion, Generate, checked
from harness.tasks.messages import Message

_FIELDS = [
    "content", "stop_type", "stopping_word", "completion_probabilities", "tokens_evaluated", "tokens_predicted",
    "timings/cache_n",
]  # fmt: skip
"""Of an answer of llama.cpp, what is read here."""
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class LlamaRoute:
    """A base of this process, or one of its adapters."""

    name: str
    server: LlamaServer
    adapter: str

    async def answer(self, exchange: Exchange, body: Mapping[str, Any], api: Api) -> web.StreamResponse:
        """Answer a request in OpenAI's form.

        Raises:
            Refused, UserError, QueueFull, LlamaError: there is no answer; where it began, it is broken off.
        """
        asked = checked(Chat, body) if api == "chat" else checked(Completion, body)
        if isinstance(asked, Chat) and asked.tools and asked.tool_choice != "none" and not self.server.takes_tools:
            raise Refused(400, f"the parameter 'tools': the chat template of {self.server.base} takes no tools")
        async with self.server.admitted():
            return await (self._stream if asked.stream else self._whole)(exchange, asked)

    async def _whole(self, exchange: Exchange, asked: Chat | Completion) -> web.Response:
        usage, choices = Usage(), []
        for index, one in enumerate(asked.asked()):
            first = index % (asked.n or 1) == 0
            if isinstance(asked, Chat):
                found = await self.server.ask(self.adapter, CHAT, one)
                choices.append(chat_choice(found["choices"][0], index, asked.top_logprobs))
                _count_chat(usage, found["usage"], first)
            else:
                found = await self.server.ask(self.adapter, NATIVE, {**one, "response_fields": _FIELDS})
                choices.append(CompletionChoice(index, asked.logprobs).of(found))
                _count(usage, found, first)
        exchange.tokens(usage.prompt, usage.completion)
        return exchange.whole(_head(self.name, asked).of(choices, usage=usage.object))

    async def _stream(self, exchange: Exchange, asked: Chat | Completion) -> web.StreamResponse:
        head, usage = _head(self.name, asked), Usage()
        for index, one in enumerate(asked.asked()):
            first = index % (asked.n or 1) == 0
            if isinstance(asked, Chat):
                one = {**one, "stream_options": {"include_usage": True}}
                async with aclosing(self.server.events(self.adapter, CHAT, one)) as events:
                    async for event in events:
                        if event["choices"]:
                            choice = chat_choice(event["choices"][0], index, asked.top_logprobs)
                            await exchange.send(head.of([choice]))
                        else:
                            _count_chat(usage, event["usage"], first)
                continue
            made = CompletionChoice(index, asked.logprobs)
            async with aclosing(self._plain(one)) as events:
                async for event in events:
                    await exchange.send(head.of([made.of(event)]))
                    if "stop_type" in event:
                        _count(usage, event, first)
        exchange.tokens(usage.prompt, usage.completion)
        return await _ended(exchange, head, usage, asked)

    def _plain(self, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        return self.server.events(self.adapter, NATIVE, {**asked, "response_fields": _FIELDS})

    async def generate(self, exchange: Exchange, asked: Generate) -> dict[str, Any]:
        """Return the answer to a request in LoRAX's form.

        Raises:
            QueueFull, LlamaError: there is none.
        """
        async with self.server.admitted():
            found = await self.server.ask(self.adapter, NATIVE, {**asked.asked(), "response_fields": _FIELDS})
        exchange.tokens(found["tokens_evaluated"], found["tokens_predicted"])
        given = asked.given
        text = (asked.inputs if given.return_full_text else "") + found["content"]
        if not given.details:
            return {"generated_text": text}
        tokens = lorax_tokens(found, given.return_k_alternatives is not None)
        details = {**lorax_details(found, given.seed), "prefill": [], "tokens": tokens}
        return {"generated_text": text, "details": details}

    async def generate_stream(self, exchange: Exchange, asked: Generate) -> web.StreamResponse:
        """Stream the answer to a request in LoRAX's form; the last token comes with the whole text.

        Raises:
            QueueFull, LlamaError: there is none; where it began, it is broken off.
        """
        alternatives = asked.given.return_k_alternatives is not None
        text, held = asked.inputs if asked.given.return_full_text else "", None
        async with self.server.admitted(), aclosing(self._plain(asked.asked())) as events:
            async for event in events:
                text += event["content"]
                for token in lorax_tokens(event, alternatives) if "stop_type" not in event else ():
                    if held is not None:
                        await exchange.send({"token": held, "generated_text": None, "details": None})
                    held = token
                if "stop_type" in event:
                    exchange.tokens(event["tokens_evaluated"], event["tokens_predicted"])
                    # An answer that ends at once has no token but its end, of which llama.cpp does not tell.
                    last = held or {"id": 0, "text": "", "logprob": 0.0, "special": True}
                    details = lorax_details(event, asked.given.seed)
                    await exchange.send({"token": last, "generated_text": text, "details": details})
        return exchange.stream


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """A model of an OpenAI-compatible server, or of a LoRAX server: requests are passed on with its own key."""

    name: str
    model: OpenAIModel | LoraxModel
    task: str
    upstream: Upstream

    async def answer(self, exchange: Exchange, body: Mapping[str, Any], api: Api) -> web.StreamResponse:
        """Pass a request on, and its answer back as it comes."""
        model = self.model
        sent = {**model.extra, **body}
        for name in model.omit:
            sent.pop(name, None)
        if isinstance(model, LoraxModel):
            sent["model"] = (model.adapter or "").replace("{task}", self.task)
            optional = {"adapter_source": model.adapter_source, "api_token": key(model.api_token) or None}
            sent |= {name: value for name, value in optional.items() if value}
            url = server(model, PATHS[api], like_openai(model))
        else:
            sent["model"] = model.model.replace("{task}", self.task)
            if "max_tokens" in sent and model.max_tokens_key != "max_tokens":
                sent[model.max_tokens_key] = sent.pop("max_tokens")
            url = server(model, PATHS[api])
        headers = {**headers_of(model), "Content-Type": "application/json"}
        instead = Instead(URL(str(url), encoded=True), headers, json.dumps(sent).encode())
        return await self.upstream.forward(exchange.request, exchange, instead=instead)


@dataclass(frozen=True, slots=True)
class BackendRoute:
    """A model that is asked through its backend, greedily, and replies in one piece; one backend for each interface."""

    name: str
    backends: Mapping[Api, Backend]
    task: str

    async def answer(self, exchange: Exchange, body: Mapping[str, Any], api: Api) -> web.StreamResponse:
        """Answer a request in OpenAI's form.

        Raises:
            Refused, UserError: it asks for what the backend cannot do, or the backend does not answer.
        """
        asked = checked(Chat, body) if api == "chat" else checked(Completion, body)
        request = _request(asked, self.task)
        try:
            reply = await self.backends[api].ask(request)
        except Throttled as error:
            raise Refused(429, str(error), "rate_limit_exceeded", {"Retry-After": "1"}) from None
        except Rejected as error:
            raise Refused(400, str(error)) from None
        except AskError as error:
            raise Refused(502, str(error)) from None
        usage = Usage(reply.input_tokens or 0, reply.output_tokens or 0)
        exchange.tokens(usage.prompt, usage.completion)
        finish = "length" if reply.finish_reason == "length" else "stop"
        message = {"role": "assistant", "content": reply.completion}
        said = {"delta" if asked.stream else "message": message} if api == "chat" else {"text": reply.completion}
        choice = {"index": 0, "finish_reason": finish, "logprobs": None, **said}
        head = _head(self.name, asked)
        if not asked.stream:
            return exchange.whole(head.of([choice], usage=usage.object))
        await exchange.send(head.of([choice]))
        return await _ended(exchange, head, usage, asked)


Route = LlamaRoute | HttpRoute | BackendRoute


def _head(name: str, asked: Chat | Completion) -> Head:
    chat = "chat.completion.chunk" if asked.stream else "chat.completion"
    return Head(chat if isinstance(asked, Chat) else "text_completion", name)


async def _ended(exchange: Exchange, head: Head, usage: Usage, asked: Chat | Completion) -> web.StreamResponse:
    """End a stream."""
    if asked.with_usage:
        await exchange.send(head.of([], usage=usage.object))
    await exchange.send(DONE)
    return exchange.stream


def _request(asked: Chat | Completion, task: str) -> Request:
    """What a backend is asked.

    Raises:
        Refused: the request says how tokens are to be drawn, or wants more than one text.
    """
    beyond = {
        "temperature": asked.temperature, "n": (asked.n or 1) - 1, "logprobs": asked.logprobs,
        "top_p": asked.top_p not in (None, 1), "logit_bias": asked.logit_bias,
        "presence_penalty": asked.presence_penalty, "frequency_penalty": asked.frequency_penalty,
        "repetition_penalty": asked.repetition_penalty not in (None, 1), "ignore_eos": asked.ignore_eos,
        **({"tools": asked.tools, "response_format": _formatted(asked)} if isinstance(asked, Chat) else {}),
    }  # fmt: skip
    for name, value in beyond.items():
        if value or (name == "logprobs" and value is not None and value is not False):
            raise Refused(
                400, f"the parameter '{name}' is not known to this model, which answers greedily, in one text"
            )
    stop = tuple([asked.stop] if isinstance(asked.stop, str) else asked.stop or ())
    if isinstance(asked, Completion):
        if len(asked.prompts) > 1 or not isinstance(asked.prompts[0], str):
            raise Refused(400, "this model takes one prompt, as a text")
        return Request(task, "", asked.prompts[0], asked.max_tokens or DEFAULT_TOKENS, stop)
    limit = asked.max_completion_tokens or asked.max_tokens or 512
    messages = []
    for message in asked.messages:
        role = _ROLES.get(message.role)
        if role is None or not isinstance(message.content, str):
            raise Refused(400, "this model takes messages of system, user and assistant, each a text")
        messages.append(Message(role, message.content))
    return Request(task, "", messages[-1].content, limit, stop, tuple(messages))


def _formatted(asked: Chat) -> bool:
    return asked.response_format is not None and asked.response_format.type != "text"


_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
}  # fmt: skip


def _count(usage: Usage, found: Mapping[str, Any], first: bool) -> None:
    usage.add(found["tokens_evaluated"], found["tokens_predicted"], found.get("timings/cache_n", 0), first=first)


def _count_chat(usage: Usage, found: Mapping[str, Any], first: bool) -> None:
    cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    usage.add(found["prompt_tokens"], found["completion_tokens"], cached, first=first)


def refused_by_llama(error: LlamaError) -> Refused:
    """What a client is told when llama.cpp refuses its request."""
    said = error.said
    if said.get("type") == "exceed_context_size_error":
        return Refused(
            400, f"the prompt has {said['n_prompt_tokens']} tokens, and a slot holds {said['n_ctx']}, the answer "
            "included; the server can be started with a larger --context", "context_length_exceeded",
        )  # fmt: skip
    code = "model_not_found" if error.status == 404 else None
    # llama.cpp calls a malformed message or tool a failure of its own.
    malformed = str(error).startswith("Failed to parse")
    return Refused(400 if malformed else error.status, str(error), code)
