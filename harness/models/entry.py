"""A model entry of `models.yaml` as a pydantic model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, PrivateAttr, ValidationInfo, field_validator

from harness.errors import SpecError, UserError, nearest
from harness.models.given import FORMS, settings_of
from harness.plugins import plugins
from harness.secrets import MASK, SHORTEST_IN_ANSWERS, in_url, of_proxies, usable
from harness.tasks.catalog import NAME
from harness.tasks.task import Strict, names_of
from harness.tasks.yaml import Source, read, validate

if TYPE_CHECKING:
    from harness.models.backend import Backend


class Price(Strict):
    """USD per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)

    def usd(self, input_tokens: int, output_tokens: int) -> float:
        """What these tokens cost."""
        return (self.input * input_tokens + self.output * output_tokens) / 1_000_000


class Thinking(Strict):
    """What stands around the thinking of a model in its completions, beside the usual markers such as `<think>`."""

    open: str | None = Field(None, min_length=1, description="What begins it; absent where the prompt's end does.")
    close: str = Field(min_length=1, description="What ends it; the answer follows.")


class Common(Strict):
    """What every entry may say."""

    base: str | None = Field(
        None,
        min_length=1,
        description="What this adapter was tuned from: the name of an entry, which gives the lift, or any text.",
    )
    demonstration: bool = Field(
        False, description="Made to try the harness out: no report's headline is about it while another model ran."
    )
    price: Price | None = Field(
        None, description="The usual price, USD per million tokens, input and output; a batch costs half of it."
    )
    gpu_per_hour: float | None = Field(
        None, ge=0, description="USD an hour of the server, for a model of one's own, instead of a price."
    )
    tokens_per_second: float | None = Field(
        None, gt=0, description="Tokens a second, read and written, that the server works through; for `harness plan`."
    )
    thinking: Thinking | None = Field(None, description="Markers around the model's thinking, if they are its own.")
    concurrency: int = Field(32, ge=1, description="Most requests in flight at the model's endpoint.")
    requests_per_minute: float | None = Field(None, gt=0, description="Most requests a minute at the endpoint.")
    timeout: float = Field(60, gt=0, description="Deadline of one attempt, in seconds.")
    attempts: int = Field(6, ge=1, description="Most attempts for one row before it counts as failed.")
    revision: str | None = Field(
        None, description="Any text that names the weights; change it when they have changed, and all is asked again."
    )
    # The entry as the file writes it, with `${VAR}` in place of values; empty for a model that no file describes.
    _written: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _secrets: tuple[str, ...] = PrivateAttr(())

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be written: the values of all variables of the entry, its keys, headers and query."""
        headers, query = getattr(self, "headers", {}), getattr(self, "query", {})
        long = [value for value in (*headers.values(), *query.values()) if len(value) >= SHORTEST_IN_ANSWERS]
        keys = [getattr(self, "api_key", None), getattr(self, "api_token", None)]
        return usable([*self._secrets, *keys, *long, *in_url(str(getattr(self, "base_url", ""))), *of_proxies()])

    def written(self, key: str) -> Any:
        """A setting as the models file writes it: with the names of variables, not their values."""
        return self._written.get(key, getattr(self, key))

    def remember(self, written: Mapping[str, Any], secrets: Sequence[str]) -> None:
        """Keep how the file writes the entry, and the values of its variables."""
        self._written, self._secrets = written, tuple(secrets)

    def unnamed(self) -> Self:
        """The model without the names of its variables, by which earlier results were not known."""
        plain = self.model_copy()
        plain.remember({}, self._secrets)
        return plain

    @field_validator("gpu_per_hour")
    @classmethod
    def _one_kind_of_price(cls, value: float | None, seen: ValidationInfo) -> float | None:
        # Not a check of the whole entry, because the message would show what it was given, and with it the key.
        if value is not None and seen.data.get("price") is not None:
            raise ValueError("a model has a price for its tokens or a gpu_per_hour, not both")
        return value


_MESSAGES = "the task and `system` decide what is asked"
_ADAPTER = "use backend: lorax with `adapter` and `adapter_source`"
OWNED = {
    **dict.fromkeys(("messages", "prompt", "input", "inputs", "parameters", "suffix", "echo"), _MESSAGES),
    "system": "use the key `system` of the entry",
    "model": "use the key `model` of the entry",
    **dict.fromkeys(("adapter_id", "adapter_source"), _ADAPTER),
    "api_token": "use the key `api_token` of the entry",
    **dict.fromkeys(("stream", "stream_options"), "use the key `stream` of the entry"),
}
"""Keys of a request's body that `extra` may not replace, each with what to use instead."""
HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
TRANSFER = frozenset(
    ("host", "content-type", "content-length", "transfer-encoding", "connection", "accept", "accept-encoding", "te")
)


Named = Annotated[str, Field(description="Model name to ask for; `{task}` is replaced by the task's name.")]
_PRUNE = "Folder of an adapter, or of `harness distill`, whose card says what is taken out of prompts."
Pruned = Annotated[str | None, Field(description=_PRUNE)]
_PROOF = "Folder of the adapter that the server should apply, `{task}` replaced; proven before it is asked."
Proven = Annotated[str | None, Field(description=_PROOF)]


class Sampled(Common):
    """Settings of a served model that are sent with each request."""

    temperature: float = Field(0, ge=0)
    max_tokens: int | None = Field(
        None, ge=1, description="Instead of the task's limit, for models that think before they answer."
    )
    omit: list[Literal["temperature", "stop", "max_tokens"]] = Field(
        default_factory=list, description="Parameters this model rejects; they are left out."
    )
    samples: int = Field(1, ge=1, description="Answers to each row; its score is their mean. Needs a temperature.")
    connect_timeout: float = Field(10, gt=0, description="Deadline of taking a connection, in seconds.")
    first_byte_timeout: float | None = Field(
        None, gt=0, description="Deadline of the first byte of an answer, of its first token when it is streamed."
    )
    loading_timeout: float = Field(
        600, gt=0, description="How long a server may answer that it is not ready yet (503), in seconds."
    )
    body_limit: float = Field(64, gt=0, description="Most megabytes of an answer, unpacked; a longer one is dropped.")
    stream: bool = Field(False, description="Have answers streamed, to record the times of their tokens.")
    strict_model: bool = Field(False, description="Refuse answers that name another model than the one asked for.")
    system: str | None = Field(None, description="Text before the task's own system prompt, for a chat model.")
    prune: Pruned = None
    headers: dict[str, str] = Field(default_factory=dict, description="Further headers, such as Azure's `api-key`.")
    query: dict[str, str] = Field(default_factory=dict, description="Further parameters of the URL.")
    extra: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further keys of the request body, as they are."
    )

    @field_validator("samples")
    @classmethod
    def _differ(cls, value: int, seen: ValidationInfo) -> int:
        if value > 1 and seen.data.get("temperature") == 0 and "temperature" not in seen.data.get("omit", ()):
            raise ValueError(f"{value} answers at temperature 0 are {value} times the same one: set temperature")
        return value

    @field_validator("extra")
    @classmethod
    def _asks_the_same_question(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in OWNED:
                raise ValueError(f"'{name}' is not for extra: {OWNED[name]}")
        return value

    @field_validator("headers")
    @classmethod
    def _leaves_the_transfer_alone(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not HEADER.fullmatch(name):
                raise ValueError(f"'{name}' is not the name of a header")
            if name.lower() in TRANSFER:
                raise ValueError(f"the header '{name}' is set by the request itself")
        return value


def _chat_if_system(value: str, seen: ValidationInfo) -> str:
    if value != "chat" and seen.data.get("system") is not None:
        raise ValueError(f"`system` needs `api: chat`, not {value}: plain text has no system prompt")
    return value


class OpenAIModel(Sampled):
    """Any OpenAI-compatible server."""

    backend: Literal["openai"]
    model: Named
    base_url: str = Field("https://api.openai.com/v1", description="Address up to and including the version.")
    api: Literal["chat", "completions"] = "chat"
    api_key: str | None = None
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    fingerprint: Proven = None
    batch: bool = Field(False, description="Ask through the Batch API: half the price, answers within 24 hours.")

    _system_in_chat = field_validator("api")(_chat_if_system)

    @field_validator("batch")
    @classmethod
    def _whole(cls, value: bool, seen: ValidationInfo) -> bool:
        if value and seen.data.get("stream"):
            raise ValueError("the answers of a batch cannot be streamed; leave out batch or stream")
        return value


class AnthropicModel(Sampled):
    """Anthropic's Messages API."""

    backend: Literal["anthropic"]
    model: Named
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
    api: Literal["generate", "completions", "chat"] = Field("generate", validate_default=True)
    fingerprint: Proven = None
    api_token: str | None = Field(None, description="Token with which the server fetches a private adapter.")
    api_key: str | None = Field(None, description="Bearer token of the server itself.")

    _system_in_chat = field_validator("api")(_chat_if_system)


class RecordedModel(Common):
    """Answers made elsewhere, from a JSONL file."""

    backend: Literal["recorded"]
    path: str = Field(description="JSONL file of {row | prompt, completion}; `{task}` is replaced by the task's name.")


class ColumnModel(Common):
    """Answers that stand in a column of the data."""

    backend: Literal["column"]
    column: str = Field(description="Column that holds the answer to each row.")


class InProcess(Common):
    """What every model that runs in this process may say, with or without a LoRA adapter."""

    backend: str
    model: str
    adapter: str | None = Field(
        None, description="Folder of a PEFT adapter, or its hub id; `{task}` is replaced by the task's name."
    )
    api: Literal["chat", "completions"] = Field(
        "completions", description="Whether the prompt goes into the model's chat template."
    )
    prune: Pruned = None
    decode: Literal["generate", "labels"] = Field(
        "generate", description="`labels` lets a model answer nothing but the task's labels, where it has them."
    )
    max_tokens: int | None = Field(None, ge=1, description="Instead of the task's limit.")
    # A row waits for the model to be loaded, and for the batches before its own.
    timeout: float = Field(3600, gt=0, description="Deadline of one answer, in seconds.")


class LocalModel(InProcess):
    """A causal language model of transformers."""

    backend: Literal["local"]
    model: str = Field(description="Folder (`./…`, `/…`, `~…`) or hub id of the base model.")
    concurrency: int = Field(64, ge=1, description="Most rows that wait together to be put into batches.")


class LlamaCppModel(InProcess):
    """A GGUF file with llama.cpp."""

    backend: Literal["llamacpp"]
    model: str = Field(description="Known name (`smollm2-135m`) or path of a GGUF file.")
    threads: int | None = Field(
        None, ge=1, description="To compute with. Default: one for each core that is free when the model is loaded."
    )
    concurrency: int = Field(1, ge=1, description="Rows that wait; they are answered one after another.")


class CustomModel(Sampled):
    """The settings of a backend that a plugin adds; the fields of a subclass are the keys of its entries."""

    backend: str

    def open(self, task: str) -> Backend:
        """Return the backend that asks this model the rows of a task."""
        raise NotImplementedError


class BaselineModel(Common):
    """A reference point that costs nothing, fitted on the task's training split."""

    backend: Literal["baseline"]
    method: Literal["majority", "tfidf"]
    # The first answer waits for the fit, which on a hub-sized training split takes minutes.
    timeout: float = Field(3600, gt=0, description="Deadline of one answer, the fit included, in seconds.")


Model = Annotated[
    OpenAIModel
    | AnthropicModel
    | LoraxModel
    | LocalModel
    | LlamaCppModel
    | RecordedModel
    | ColumnModel
    | BaselineModel,
    Field(discriminator="backend"),
]
BACKENDS = names_of(Model, "backend")


def samples_of(model: Model) -> int:
    """The answers that a model is asked for of each row."""
    return model.samples if isinstance(model, Sampled) else 1


def in_batches(model: Model) -> bool:
    """Whether a model is asked through the Batch API."""
    return isinstance(model, OpenAIModel) and model.batch


# The user, password, query and fragment of an address, where people put keys.
_PRIVATE = re.compile(r"(?<=://)[^/?#]*@|[?#].*", re.DOTALL)
# YAML forbids braces in an unquoted value of a {flow: mapping}, where people write ${KEY} all the same. So the file is
# parsed with other characters in their place, from the range that Unicode leaves for private use.
_WRITTEN = re.compile(r"\$\{(\w+)\}")
_VARIABLE = re.compile("\ue000(\\w+)\ue001")
# What begins like this is a folder and no id of the hub.
_FOLDER = re.compile(r"(\.{1,2}|~[^/]*)?/")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model of the file. `unset` names the environment variables that it needs and that are not set."""

    name: str
    model: Model
    unset: tuple[str, ...]

    @property
    def missing(self) -> str | None:
        """The folder of a local model (`./…`, `/…` or `~…`) where it does not exist, else None."""
        if not isinstance(self.model, LocalModel) or not _FOLDER.match(self.model.model):
            return None
        return None if Path(self.model.model).expanduser().is_dir() else self.model.model

    @property
    def ready(self) -> bool:
        """Whether the model can be asked."""
        return not self.unset and self.missing is None

    @property
    def needs(self) -> str:
        """What the model needs before it can be asked; "" when it is ready."""
        return f"the folder {self.missing}" if self.missing else " and ".join(self.unset)

    @property
    def endpoint(self) -> str:
        """What shares limits with this model: the server, or the process itself for models that run in it."""
        if not hasattr(self.model, "base_url"):
            return str(self.model.backend)
        return _PRIVATE.sub("", str(self.model.written("base_url"))).rstrip("/")

    def served(self, task: str) -> str:
        """The name by which the server knows the model, or its adapter for a task; "" where there is only one."""
        names = (getattr(self.model, name, None) for name in ("model", "adapter"))
        return " ".join(str(name) for name in names if name).replace("{task}", task)

    @property
    def addressed(self) -> bool:
        """Whether the model's address is known: no variable in it is unset."""
        return "${" not in str(getattr(self.model, "base_url", ""))

    def public(self) -> dict[str, Any]:
        """The settings as they may be shown and stored: without secrets, and without what is at its default."""
        shown = self.model.model_dump(mode="json", exclude_defaults=True, exclude={"api_key", "api_token"})
        # How an answer is read depends on the markers of its thinking, whoever has set them.
        named = {name: _by_name(value, self.model.written(name)) for name, value in shown.items() if name != "thinking"}
        if "base_url" in named:
            named["base_url"] = _PRIVATE.sub("", str(self.model.written("base_url")))
        for name in {"headers", "query"} & named.keys():
            named[name] = {key: value if "${" in value else MASK for key, value in named[name].items()}
        return shown | named


def _by_name(value: Any, written: Any) -> Any:
    """A setting's value, with what comes from a variable as the file writes it."""
    if isinstance(written, str):
        return written if "${" in written else value
    if isinstance(value, dict) and isinstance(written, Mapping):
        return {key: _by_name(inner, written.get(key, inner)) for key, inner in value.items()}
    if isinstance(value, list) and isinstance(written, list) and len(value) == len(written):
        return [_by_name(*pair) for pair in zip(value, written, strict=True)]
    return value


def model_names(path: Path) -> list[str]:
    """Return the names of the models of a file, in its order; their entries are not checked.

    Raises:
        SpecError: the file is not YAML.
    """
    return [name for name in _read(path).data if isinstance(name, str)]


def _read(path: Path) -> Source:
    return read(path, _marked)


def _marked(text: str) -> str:
    """The text with variables marked, so that what is like one in a variable's value is left alone."""
    return _WRITTEN.sub("\ue000\\1\ue001", text)


def load_models(
    path: Path, names: Sequence[str], environment: Mapping[str, str], *, ready: bool = True
) -> list[ModelEntry]:
    """Load the models of a file: those named, or all when `names` is empty.

    `${VAR}` in a value is replaced from `environment`. With `ready` unset, a named model may lack its variables.

    Raises:
        UserError: a model asked for by name does not exist, or a variable it needs is not set.
        SpecError: the file is wrong.
    """
    source = _read(path)
    known = [name for name in source.data if isinstance(name, str)]
    problems = [
        source.problem([name], "a model's name must be a text; write it in quotes")
        for name in source.data
        if not isinstance(name, str)
    ]
    entries: dict[str, ModelEntry] = {}
    for name in known:
        try:
            entries[name] = _entry(source, name, environment)
        except SpecError as error:
            problems.append(str(error))
    if problems:
        raise SpecError("\n".join(problems))
    given = {name: _given(name, path, known, environment) for name in names if name not in known}
    if len({entry.name for entry in given.values()}) < len(given):
        raise UserError(f"--model: two models have the same name; give them entries in {path}")
    chosen = [entry for name, entry in entries.items() if not names or name in names] + list(given.values())
    for entry in chosen:
        if names and ready and not entry.ready:
            where = "which does not exist" if entry.missing else "in the environment"
            place = f"({path}:{source.line([entry.name])})" if entry.name in known else "(--model)"
            raise UserError(f"model '{entry.name}' needs {entry.needs}{',' if entry.missing else ''} {where} {place}")
    return chosen


def _given(text: str, path: Path, known: Sequence[str], environment: Mapping[str, str]) -> ModelEntry:
    """A model that no entry describes: `openai:MODEL`, say, or a server's address.

    Raises:
        UserError: it is neither that nor an entry, or an entry has its name.
    """
    found = settings_of(text)
    if found is None:
        raise UserError(f"no model '{text}' in {path}{nearest(text, known)}; without an entry: {FORMS}")
    name, settings = found
    if name in known:
        raise UserError(f"--model: {path} has another entry of the name '{name}'; ask that one, or add an entry")
    written = {key: _marked(one) if isinstance(one, str) else one for key, one in settings.items()}
    return _entry(Source(Path("--model"), "", {name: written}, {}), name, environment)


def _entry(source: Source, name: str, environment: Mapping[str, str]) -> ModelEntry:
    if not NAME.fullmatch(name):
        raise SpecError(source.problem([name], "a model's name may hold letters, digits, '.', '_' and '-' only"))
    unset: dict[str, None] = {}
    written = _fill(source.data[name], {}, {})
    data = {**source.data, name: _fill(source.data[name], environment, unset)}
    filled = Source(source.path, source.text, data, source.positions)
    used = dict.fromkeys(_VARIABLE.findall(json.dumps(source.data[name], ensure_ascii=False, default=str)))
    values = {variable: value for variable in used if (value := environment.get(variable, ""))}
    hidden = {value: f"${{{variable}}}" for variable, value in values.items() if len(value) > 3}
    backend = data[name].get("backend") if isinstance(data[name], dict) else None
    added = plugins().of("backend", BACKENDS).get(str(backend))
    model: Model = validate(filled, added.made if added else Model, [name], hidden)
    for setting, problem in _doubtful_texts(model, written if isinstance(written, dict) else {}):
        raise SpecError(source.problem([name, setting], problem))
    for key, value in carried_by_headers(model):
        if not (value.isascii() and value.isprintable()):
            raise SpecError(source.problem([name, *key], UNSENDABLE))
    # A variable that holds a whole URL names a server; what is private in it is taken out wherever it is shown.
    addresses = {variable: value for variable, value in values.items() if "://" in value}
    if isinstance(source.data[name], dict) and "base_url" in source.data[name]:
        written["base_url"] = _fill(source.data[name]["base_url"], addresses, {})
    model.remember(written, [value for variable, value in values.items() if not _plain(variable, value, addresses)])
    return ModelEntry(name, model, tuple(unset))


BAD_URL = (
    "base_url is not a valid URL: expected http://HOST[:PORT]/PATH or https://…, in which a password's '@', '/', '?' "
    "and '#' are percent-encoded"
)
_METHOD = re.compile(r"(/chat)?/completions/?$|/messages/?$|/generate(_stream)?/?$")
_BAD_VARIABLE = "a variable is written ${NAME}, in which NAME is of letters, digits and _"
_LIKE_VARIABLE = re.compile(r"\$\{[^}]*\}?|^\s*\$\w+\s*$")


def _doubtful_texts(model: Common, written: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each setting that says where to ask, or with which key, and cannot be meant so, with what is wrong."""
    for key in ("base_url", "api_key", "api_token"):
        if _LIKE_VARIABLE.search(_WRITTEN.sub("", str(written.get(key, "")))):
            yield key, _BAD_VARIABLE
    address = str(getattr(model, "base_url", ""))
    if address and "${" not in address:
        try:
            parts = urlsplit(address)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid:
            yield "base_url", BAD_URL
        elif method := _METHOD.search(parts.path):
            yield "base_url", f"{method[0].rstrip('/')} is added to base_url; leave it out"


UNSENDABLE = (
    "it holds a line break or a character outside ASCII, which no header can carry; was more than the key pasted?"
)


def carried_by_headers(model: Common) -> Iterator[tuple[Sequence[str], str]]:
    """Yield what of an entry travels in the headers of a request, each with its place in the entry."""
    for name in ("api_key", "api_token"):
        if value := getattr(model, name, None):
            yield [name], value.strip()
    for name, value in getattr(model, "headers", {}).items():
        yield ["headers", name], value.strip()


def _plain(variable: str, value: str, addresses: Mapping[str, str]) -> bool:
    """Whether a variable's value is no secret: a server's address, or a number such as a limit."""
    return variable in addresses or (value.isdigit() and len(value) < SHORTEST_IN_ANSWERS)


def _fill(value: Any, environment: Mapping[str, str], unset: dict[str, None]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(inner, environment, unset) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, environment, unset) for inner in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = environment.get(match[1], "")
        if not found:
            unset[match[1]] = None
        return found or f"${{{match[1]}}}"

    return _VARIABLE.sub(variable, value)
