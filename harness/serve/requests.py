"""What clients may ask for, in OpenAI's form and in LoRAX's: checked here, and put into llama.cpp's words.

A parameter that is not known, or cannot be kept, is refused and not left out in silence: it would change the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from harness.errors import UserError, nearest

MOST_CHOICES, MOST_LOGPROBS = 16, 20
DEFAULT_TOKENS = 16
"""Tokens of a completion whose request names no limit, as OpenAI has it; a chat's answer ends by itself."""

Positive = Annotated[int, Field(ge=1, le=1 << 30)]
Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[list[Annotated[int, Field(lt=1 << 31)]], Field(min_length=1)]
Bias = dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]]
"""By numbers of tokens; llama.cpp would take other keys for texts."""
Body = TypeVar("Body", bound=BaseModel)


class _Body(BaseModel):
    """An object of exactly these keys and types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Sampling(_Body):
    """What both interfaces of OpenAI share; the last group are vLLM's."""

    model: str
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    max_tokens: Positive | None = None
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=1 << 32)
    stop: Text | list[Text] | None = Field(None, description="a text or a list of texts, none of them empty")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Bias | None = None
    top_k: int | None = Field(None, ge=-1, lt=1 << 30)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    ignore_eos: bool = False
    # Of a client, or of its account; none of them changes an answer.
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self, choice: int) -> dict[str, Any]:
        """How llama.cpp is to choose tokens; what is not given is OpenAI's default, which is plain sampling."""
        given = {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": max(0, self.top_k or 0),
            "min_p": self.min_p or 0.0,
            "seed": None if self.seed is None else (self.seed + choice) % (1 << 32),
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repeat_penalty": self.repetition_penalty,
            "logit_bias": self.logit_bias,
            "ignore_eos": self.ignore_eos or None,
        }
        return {name: value for name, value in given.items() if value is not None}


class _StreamOptions(_Body, extra="ignore"):
    include_usage: bool = False


class Completion(_Sampling):
    """The body of `/v1/completions`."""

    prompt: (
        Text | Tokens | Annotated[list[Text], Field(min_length=1)] | Annotated[list[Tokens], Field(min_length=1)]
    ) = Field(description="a text, a list of texts, a list of numbers of tokens or a list of such, none of them empty")
    logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    echo: Literal[False] | None = False
    best_of: Literal[1] | None = None
    suffix: Literal[None, ""] = None

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """All prompts, of which a request may have several."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]  # a list of numbers is one prompt
        return self.prompt

    def asked(self) -> Iterator[dict[str, Any]]:
        """Yield what llama.cpp's own interface is asked, for each choice of each prompt."""
        probabilities = {} if self.logprobs is None else {"n_probs": max(1, self.logprobs)}
        for prompt in self.prompts:
            for choice in range(self.n or 1):
                limit = {"n_predict": self.max_tokens or DEFAULT_TOKENS}
                yield {"prompt": prompt, **limit, **probabilities, **self.sampling(choice)}


class _Part(_Body):
    type: Literal["text"]
    text: str


class _Message(_Body, extra="allow"):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None


class _Schema(_Body, extra="allow"):
    schema_: dict[str, Any] = Field(alias="schema")


class _Format(_Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None

    @model_validator(mode="after")
    def _with_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("missing", "the type json_schema needs the key json_schema")
        return self


class Chat(_Sampling):
    """The body of `/v1/chat/completions`."""

    messages: list[_Message] = Field(min_length=1)
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)
    response_format: _Format | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Any = None

    @model_validator(mode="after")
    def _with_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise PydanticCustomError("missing", "the parameter 'top_logprobs' needs 'logprobs': true")
        return self

    def asked(self) -> Iterator[dict[str, Any]]:
        """Yield what llama.cpp is asked, for each choice."""
        kept = ("logprobs", "tools", "tool_choice", "parallel_tool_calls")
        given = {name: value for name in kept if (value := getattr(self, name)) is not None}
        if self.response_format is not None:
            given["response_format"] = self.response_format.model_dump(by_alias=True, exclude_none=True)
        if self.logprobs:
            given["top_logprobs"] = max(1, self.top_logprobs or 0)
        if limit := self.max_completion_tokens or self.max_tokens:
            given["max_tokens"] = limit
        messages = [message.model_dump(exclude_unset=True) for message in self.messages]
        for choice in range(self.n or 1):
            yield {"messages": messages, **given, **self.sampling(choice)}


class _Parameters(_Body):
    """LoRAX's; what is `None` only cannot be kept here."""

    adapter_id: str | None = None
    adapter_source: str | None = None
    api_token: None = None
    do_sample: bool = False
    max_new_tokens: Positive | None = None
    ignore_eos_token: bool = False
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    return_full_text: bool | None = False
    stop: list[Text] = Field(default_factory=list)
    seed: int | None = Field(None, ge=0, lt=1 << 32)
    temperature: float | None = Field(None, gt=0, le=100)
    top_k: int | None = Field(None, ge=1)
    top_p: float | None = Field(None, gt=0, le=1)
    details: bool = False
    return_k_alternatives: int | None = Field(None, ge=1, le=MOST_LOGPROBS)
    best_of: Literal[1] | None = None
    typical_p: None = None
    truncate: None = None
    watermark: Literal[False] = False
    merged_adapters: None = None
    decoder_input_details: Literal[False] = False
    response_format: None = None
    apply_chat_template: Literal[False] = False


class Generate(_Body):
    """The body of LoRAX's `/generate`, `/generate_stream` and `/`, the last with `stream`."""

    inputs: str = Field(min_length=1)
    parameters: _Parameters | None = None
    stream: bool = False

    @property
    def given(self) -> _Parameters:
        """The parameters, or their defaults."""
        return self.parameters or _Parameters()

    def asked(self) -> dict[str, Any]:
        """What llama.cpp is asked: greedily, unless something says that tokens are to be drawn."""
        given = self.given
        drawn = given.do_sample or any(value is not None for value in (given.temperature, given.top_k, given.top_p))
        settings = {
            "temperature": (given.temperature or 1.0) if drawn else 0.0,
            "top_k": given.top_k or 0,
            "top_p": given.top_p or 1.0,
            "min_p": 0.0,
            "repeat_penalty": given.repetition_penalty,
            "seed": given.seed,
            "ignore_eos": given.ignore_eos_token or None,
        }
        return {
            "prompt": self.inputs,
            "n_predict": given.max_new_tokens or DEFAULT_TOKENS,
            "n_probs": given.return_k_alternatives or 1,
            "stop": given.stop,
            **{name: value for name, value in settings.items() if value is not None},
        }


class UnloadAdapter(_Body, extra="ignore"):
    """The body of vLLM's `/v1/unload_lora_adapter`."""

    lora_name: Text


class LoadAdapter(UnloadAdapter):
    """The body of vLLM's `/v1/load_lora_adapter`."""

    lora_path: Text


def checked(kind: type[Body], body: Mapping[str, Any]) -> Body:
    """Return a body as its kind.

    Raises:
        UserError: it is not of that kind; the message names the parameter.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        if not detail["loc"]:
            raise UserError(detail["msg"]) from None
        # Of what may be of several kinds, pydantic names the kind, too.
        name = ".".join(str(part) for part in detail["loc"] if part != "str" and "[" not in str(part))
        first, last = str(detail["loc"][0]), str(detail["loc"][-1])
        if detail["type"] == "extra_forbidden":
            below = _Parameters.model_fields if kind is Generate else ()
            known = list(kind.model_fields if len(detail["loc"]) == 1 else below)
            raise UserError(f"the parameter '{name}' is not known here{nearest(last, known)}") from None
        expected = kind.model_fields[first].description
        if expected and detail["type"] != "missing":
            raise UserError(f"the parameter '{first}': expected {expected}") from None
        raise UserError(f"the parameter '{name}': {detail['msg']}") from None
