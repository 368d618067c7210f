"""transformers and PEFT: any causal language model of the hub or a folder, on CPU, CUDA or Apple's GPU."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from harness.errors import UserError
from harness.models.engines.decoding import Allowed, Batch, Query
from harness.tasks.messages import as_chat

if TYPE_CHECKING:
    import torch

INSTALL = "it runs in this process with torch, transformers and peft: pip install -e '.[local]'"
# PEFT's warning where the input embeddings are adapted and the output's are tied to them. It concerns merging.
TIED = "Model has `tie_word_embeddings=True` and a tied layer is part of the adapter"


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
        self.batch = 16 if self.device == "cpu" else 64
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        try:
            words = AutoTokenizer.from_pretrained(name)
            model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).to(self.device)
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise UserError(f"the model '{name}' cannot be loaded: {str(error).splitlines()[0]}") from None
        self._model: Any = model.eval()
        self._words = words
        self.tokenizer: Tokenizer = words.backend_tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.context = context(model)
        end = model.generation_config.eos_token_id
        ends = [words.eos_token_id] if end is None else end if isinstance(end, list) else [end]
        self.end = frozenset(token for token in ends if token is not None)
        self._names: dict[str, str] = {}
        self._loaded: set[str] = set()

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

    def read(self, adapter: str | None, prompts: Sequence[Sequence[int]], room: int) -> Batch:
        """Read prompts, padded on the left, so that every row's next token is at the same place.

        Raises:
            UserError: the adapter cannot be loaded.
        """
        import torch

        longest = max(map(len, prompts))
        # What stands in the padding does not matter: the mask hides it.
        tokens = torch.zeros((len(prompts), longest), dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        model = self._adapted(adapter)
        return _TorchBatch(model, tokens.to(self.device), mask.to(self.device))

    def _adapted(self, adapter: str | None) -> Any:
        """The model with this adapter at work, or with none.

        PEFT only warns of an adapter whose weights fit no module and then answers as the base would: here it is an
        error.
        """
        if adapter is not None and adapter not in self._loaded:
            self._load(adapter)
        if self._names:
            import peft

            for module in self._model.modules():
                if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
                    module.enable_adapters(adapter is not None)
        if adapter is not None:
            self._model.set_adapter(self._names[adapter])
        return self._model

    def _load(self, adapter: str) -> None:
        # One that failed keeps its name, because parts of it may stay in the model. PEFT looks for the name anywhere in
        # the names of weights, so that it must be in none of them.
        name = self._names.setdefault(adapter, f"adapter{len(self._names)}")
        try:
            from peft import PeftModel

            with warnings.catch_warnings():
                warnings.filterwarnings("error", "Found missing adapter keys", UserWarning)
                warnings.filterwarnings("ignore", TIED)
                if self._loaded:
                    self._model.load_adapter(adapter, name)
                else:
                    self._model = PeftModel.from_pretrained(self._model, adapter, adapter_name=name).eval()
        except (OSError, ValueError, ImportError, RuntimeError, UserWarning) as error:
            raise UserError(f"the adapter '{adapter}' cannot be loaded: {str(error).splitlines()[0]}") from None
        self._loaded.add(adapter)


class _TorchBatch:
    def __init__(self, model: Any, tokens: torch.Tensor, mask: torch.Tensor) -> None:
        self._model, self._tokens, self._mask = model, tokens, mask
        self._cache: Any = None

    def next(self, allowed: Allowed) -> list[int]:
        """As `Batch` says."""
        import torch

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
        logits = done.logits[:, -1].float()
        if allowed is not None:
            barred = torch.full_like(logits, -torch.inf)
            for row, tokens in enumerate(allowed):
                barred[row, list(tokens)] = 0
            logits = logits + barred
        found = logits.argmax(-1, keepdim=True)
        self._tokens = found
        self._mask = torch.cat([self._mask, torch.ones_like(found)], dim=1)
        return [int(token) for token in found[:, 0]]


def device() -> str:
    """Where models run: CUDA before Apple's GPU before the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def context(model: Any) -> int:
    """Most tokens that a model reads and writes; no bound where its configuration has none."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20)
