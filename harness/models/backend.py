"""The interface of every backend: a request in, a reply out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from harness.errors import AskError, Quota
from harness.tasks.messages import Message, as_chat

FinishReason = Literal["stop", "length", "refusal", "unknown"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked for one row.

    `prompt` is all that is asked, as plain text. A chat backend sends `messages` instead, or the prompt as one message
    of the user's where there are none.
    `row` holds the row's id, `task` the task's name (both are needed to fill `{task}` and to look answers up, and
    are never sent). `sample` numbers the answers that a model is asked for of one row, from 0.
    """

    task: str
    row: str
    prompt: str
    max_tokens: int
    stop: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    sample: int = 0

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages as chat servers are sent them."""
        return as_chat(self.prompt, self.messages)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. Token counts are None when the server gave none. `model` is the name the server reports.

    `ttft_s` and `tpot_s` are the seconds to the first token and for each one after it, None unless it was streamed.
    `quota` is what the headers said of the server's rate limits.
    """

    completion: str
    finish_reason: FinishReason = "stop"
    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    quota: tuple[Quota, ...] = ()


class Backend(Protocol):
    """A way to reach one model.

    `body(request)` is the JSON-able content that will be sent, whole, without secrets: it is shown by
    `harness preview` and hashed (with `identity`) into the key under which the answer is stored.
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """What names the model beyond the body: backend, address, adapter. No secrets."""
        ...

    def body(self, request: Request) -> Mapping[str, Any]:
        """The content of the request as it will be sent."""
        ...

    async def ask(self, request: Request) -> Reply:
        """Ask once.

        Raises:
            AskError: one of its kinds (see `harness.errors`) when there is no usable answer.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and memory."""
        ...


@runtime_checkable
class ListBackend(Backend, Protocol):
    """A way to reach one model that takes a list of requests, whose replies may come hours later."""

    def ask_all(self, requests: Iterable[Request]) -> AsyncGenerator[tuple[Request, Reply | AskError], None]:
        """Ask requests; yield each with its reply, or with the final reason why there is none, as it comes."""
        ...
