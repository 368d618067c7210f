"""transformers and PEFT: any causal language model of the hub or a folder, on CPU, CUDA or Apple's GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from harness.errors import UserError
from harness.models.engines.decoding import Allowed, DecodingBatch, Query
from harness.models.engines.peft_adapters import Adapters
from harness.tasks.messages import as_chat

if TYPE_CHECKING:
    import torch

INSTALL = (
    "it runs in this process with torch, transformers and peft: pip install -e '.[local]' takes 1 GB of disk after "
    "`pip install torch --index-url https://download.pytorch.org/whl/cpu`, which is enough without a GPU, else 6 GB"
)
ALIKE = 0.2
"""Most that logits may differ for the way in which rows are read, as a share of what the tokens before the last do to
them. Half precision rounds differently each way, by much less."""


class TransformersEngine:
    """A causal language model by hub id or folder, loaded once, with PEFT adapters that are loaded when asked for.

    Weights are bf16 on a GPU, fp32 on the CPU, where half precision is slower and rounds differently.

    Raises:
        UserError: the libraries are not installed, or the model cannot be loaded or does not fit the device.
    """

    def __init__(self, name: str) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer, logging
        except ImportError as error:
            raise UserError(f"'{name}' cannot be loaded: {INSTALL} ({error})") from None
        logging.disable_progress_bar()
        self.device = device()
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16

        def opened() -> Any:
            return AutoModelForCausalLM.from_pretrained(name, dtype=dtype).to(self.device).eval()

        try:
            words = AutoTokenizer.from_pretrained(name)
            model = opened()
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise UserError(f"the model '{name}' cannot be loaded: {str(error).splitlines()[0]}") from None
        self.context = context(model)
        end = model.generation_config.eos_token_id
        self._ends = frozenset([] if end is None else end if isinstance(end, list) else [end])
        self._adapters = Adapters(model, words, opened)
        self.batch = self._rows_at_once(name, model)
        self.use(None)

    def use(self, adapter: str | None) -> None:
        """Read and write with an adapter's own tokenizer and chat template, where it has them.

        Besides the model's own ends the tokenizer's counts, which is what training teaches.

        Raises:
            UserError: the adapter's tokenizer cannot be loaded.
        """
        try:
            self._words = self._adapters.words(adapter)
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"the tokenizer of '{adapter}' cannot be loaded: {str(error).splitlines()[0]}") from None
        self.tokenizer: Tokenizer = self._words.backend_tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        own = self._words.eos_token_id
        self.end = self._ends if own is None else self._ends | {own}

    def _rows_at_once(self, name: str, model: Any) -> int:
        """As many rows as suit the device, or one of a model that padding disturbs: found out with a few tokens.

        Raises:
            UserError: not even one row is read on as it is read at once.
        """
        most = min(int(model.get_input_embeddings().weight.shape[0]), 1_000) - 1
        rows = [[1 + (place * step) % most for place in range(length)] for step, length in ((7, 23), (11, 6), (5, 12))]
        try:
            alone = [_after(model, row, self.device) for row in rows]
            bounds = [
                _distance(one, _after(model, row[-1:], self.device)) for one, row in zip(alone, rows, strict=True)
            ]
            for together in (rows, rows[:1]):
                batch = _TorchBatch(model, *_padded([row[:-4] for row in together], self.device))
                found = batch.logits()
                for place in range(-4, 0):
                    found = batch.logits([row[place] for row in together])
                differences = map(_distance, found, alone)
                if all(found <= ALIKE * bound for found, bound in zip(differences, bounds, strict=False)):
                    return (16 if self.device == "cpu" else 64) if together is rows else 1
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError) as error:
            why = f" ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        else:
            why = ""
        raise UserError(
            f"the model '{name}' cannot be run in this process: read in parts it does not go on as read at once{why}; "
            "serve it, for example with vLLM, and name its server"
        )

    def encode(self, query: Query) -> list[int]:
        """As `Engine` says.

        Raises:
            UserError: a chat is asked of a model without a chat template.
        """
        if not query.chat:
            return list(self.tokenizer.encode(query.prompt).ids)
        if self._words.chat_template is None:
            raise UserError("the model has no chat template: leave `api: chat` out")
        messages = as_chat(query.prompt, query.messages)
        text = self._words.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def read(self, adapter: str | None, prompts: Sequence[Sequence[int]]) -> DecodingBatch:
        """Read prompts, padded on the left, so that every row's next token is at the same place.

        Raises:
            UserError: the adapter cannot be loaded.
        """
        return _TorchBatch(self._adapters.model(adapter), *_padded(prompts, self.device))


def _after(model: Any, tokens: Sequence[int], where: str) -> torch.Tensor:
    """The logits of what comes after these tokens, read at once."""
    import torch

    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=torch.tensor([tokens], device=where)).logits[0, -1].float()
    return found


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm())


def _padded(prompts: Sequence[Sequence[int]], where: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens padded on the left, and the mask that hides the padding, in which it does not matter what stands."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    rows = [torch.tensor(prompt) for prompt in prompts]
    tokens, mask = (
        pad_sequence(parts, batch_first=True, padding_side="left")
        for parts in (rows, [torch.ones_like(row) for row in rows])
    )
    return tokens.to(where), mask.to(where)


class _TorchBatch:
    def __init__(self, model: Any, tokens: torch.Tensor, mask: torch.Tensor) -> None:
        self._model, self._tokens, self._mask = model, tokens, mask
        self._cache: Any = None
        self._written: list[int] | None = None

    def logits(self, following: Sequence[int] | None = None) -> torch.Tensor:
        """Read what is not read yet, or one more token of each row; the logits of what comes next, shape [rows, v]."""
        import torch

        if following is not None:
            self._tokens = torch.tensor(following, device=self._tokens.device)[:, None]
            self._mask = torch.cat([self._mask, torch.ones_like(self._tokens)], dim=1)
        places = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -self._tokens.shape[1] :]
        with torch.inference_mode():
            done = self._model(
                input_ids=self._tokens,
                attention_mask=self._mask,
                position_ids=places,
                cache=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._cache = done.cache
        found: torch.Tensor = done.logits[:, -1].float()
        return found

    def next(self, allowed: Allowed) -> list[int]:
        """As `Batch` says."""
        import torch

        logits = self.logits(self._written)
        if allowed is not None:
            barred = torch.full_like(logits, -torch.inf)
            for row, tokens in enumerate(allowed):
                barred[row, list(tokens)] = 0
            logits = logits + barred
        self._written = [int(token) for token in logits.argmax(-1)]
        return self._written


def device() -> str:
    """Where models run: CUDA before Apple's GPU before the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def context(model: Any) -> int:
    """Most tokens that a model reads and writes; no bound where its configuration has none."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)
