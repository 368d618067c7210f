"""A model entry of `models.yaml` as a pydantic model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from harness.spec.task import Strict


class Price(Strict):
    """USD per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def usd(self, input_tokens: int, output_tokens: int) -> float:
        """What these tokens cost."""
        return (self.input * input_tokens + self.output * output_tokens) / 1_000_000


class Common(Strict):
    """What every entry may say."""

    base: str | None = Field(None, description="Name of the entry this adapter was tuned from; gives the lift.")
    price: Price | None = Field(
        None, description="The usual price, USD per million tokens, input and output; a batch costs half of it."
    )
    gpu_per_hour: float | None = Field(
        None, ge=0, description="USD an hour of the server, for a model of one's own, instead of a price."
    )
    tokens_per_second: float | None = Field(
        None, gt=0, description="Tokens a second, read and written, that the server works through; for `harness plan`."
    )
    concurrency: int = Field(32, ge=1, description="Most requests in flight at the model's endpoint.")
    requests_per_minute: float | None = Field(None, gt=0, description="Most requests a minute at the endpoint.")
    timeout: float = Field(60, gt=0, description="Deadline of one attempt, in seconds.")
    attempts: int = Field(6, ge=1, description="Most attempts for one row before it counts as failed.")

    @field_validator("gpu_per_hour")
    @classmethod
    def _one_kind_of_price(cls, value: float | None, seen: ValidationInfo) -> float | None:
        # Not a check of the whole entry, because the message would show what it was given, and with it the key.
        if value is not None and seen.data.get("price") is not None:
            raise ValueError("a model has a price for its tokens or a gpu_per_hour, not both")
        return value


class Sampled(Common):
    """Settings of a served model that are sent with each request."""

    temperature: float = Field(0, ge=0)
    max_tokens: int | None = Field(
        None, ge=1, description="Instead of the task's limit, for models that think before they answer."
    )
    omit: list[Literal["temperature", "stop", "max_tokens"]] = Field(
        default_factory=list, description="Parameters this model rejects; they are left out."
    )
    connect_timeout: float = Field(10, gt=0, description="Deadline of taking a connection, in seconds.")
    first_byte_timeout: float | None = Field(
        None, gt=0, description="Deadline of the first byte of an answer, of its first token when it is streamed."
    )
    stream: bool = Field(False, description="Have answers streamed, to record the times of their tokens.")
    extra: dict[str, Any] = Field(default_factory=dict, description="Further keys of the request body, as they are.")


class OpenAIModel(Sampled):
    """Any OpenAI-compatible server."""

    backend: Literal["openai"]
    model: str = Field(description="Model name to ask for; `{task}` is replaced by the task's name.")
    base_url: str = Field("https://api.openai.com/v1", description="Address up to and including the version.")
    api: Literal["chat", "completions"] = "chat"
    api_key: str | None = None
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    batch: bool = Field(False, description="Ask through the Batch API: half the price, answers within 24 hours.")

    @field_validator("batch")
    @classmethod
    def _whole(cls, value: bool, seen: ValidationInfo) -> bool:
        if value and seen.data.get("stream"):
            raise ValueError("the answers of a batch cannot be streamed; leave out batch or stream")
        return value


class AnthropicModel(Sampled):
    """Anthropic's Messages API."""

    backend: Literal["anthropic"]
    model: str = Field(description="Model name to ask for; `{task}` is replaced by the task's name.")
    base_url: str = Field("https://api.anthropic.com", description="Address without the version.")
    api_key: str | None = None

    @field_validator("omit")
    @classmethod
    def _length_is_required(cls, value: list[str]) -> list[str]:
        if "max_tokens" in value:
            raise ValueError("Anthropic requires max_tokens; it cannot be left out")
        return value


class LoraxModel(Sampled):
    """A LoRAX server: its own `/generate`, or its OpenAI-compatible `/v1`."""

    backend: Literal["lorax"]
    base_url: str
    adapter: str | None = Field(None, description="Adapter id; `{task}` is replaced by the task's name.")
    adapter_source: Literal["hub", "local", "s3", "pbase"] | None = None
    api: Literal["generate", "completions", "chat"] = "generate"
    api_token: str | None = Field(None, description="Token with which the server fetches a private adapter.")
    api_key: str | None = Field(None, description="Bearer token of the server itself.")


class RecordedModel(Common):
    """Answers made elsewhere, from a JSONL file."""

    backend: Literal["recorded"]
    path: str = Field(description="JSONL file of {row | prompt, completion}; `{task}` is replaced by the task's name.")


class LocalModel(Common):
    """A causal language model that runs in this process, with or without a LoRA adapter."""

    backend: Literal["local"]
    model: str = Field(description="Folder or hub id of the base model.")
    adapter: str | None = Field(
        None, description="Folder or hub id of a PEFT adapter; `{task}` is replaced by the task's name."
    )
    api: Literal["chat", "completions"] = Field(
        "completions", description="Whether the prompt goes into the model's chat template."
    )
    decode: Literal["generate", "labels"] = Field(
        "generate", description="`labels` lets a model answer nothing but the task's labels, where it has them."
    )
    max_tokens: int | None = Field(None, ge=1, description="Instead of the task's limit.")
    concurrency: int = Field(64, ge=1, description="Most rows that wait together to be put into batches.")
    # A row waits for the model to be loaded, and for the batches before its own.
    timeout: float = Field(3600, gt=0, description="Deadline of one answer, in seconds.")


class BaselineModel(Common):
    """A reference point that costs nothing, fitted on the task's training split."""

    backend: Literal["baseline"]
    method: Literal["majority", "tfidf"]
    # The first answer waits for the fit, which on a hub-sized training split takes minutes.
    timeout: float = Field(3600, gt=0, description="Deadline of one answer, the fit included, in seconds.")


Model = Annotated[
    OpenAIModel | AnthropicModel | LoraxModel | LocalModel | RecordedModel | BaselineModel,
    Field(discriminator="backend"),
]


def in_batches(model: Model) -> bool:
    """Whether a model is asked through the Batch API."""
    return isinstance(model, OpenAIModel) and model.batch
