"""transformers and PEFT: any causal language model of the hub or a folder, on CPU, CUDA or Apple's GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from harness.errors import UserError
from harness.local.decoding import Allowed, Batch, Query

if TYPE_CHECKING:
    import torch

INSTALL = "it runs in this process with torch, transformers and peft: pip install 'lora-leaderboard[local]'"


class TransformersEngine:
    """A causal language model by hub id or folder, loaded once, with PEFT adapters that are loaded when asked for.

    Weights are bf16 on a GPU, fp32 on the CPU, where half precision is slower and rounds differently.
    """

    def __init__(self, name: str) -> None:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise UserError(f"'{name}' cannot be loaded: {INSTALL} ({error})") from None
        self.device = device()
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        try:
            words = AutoTokenizer.from_pretrained(name)
            model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
        except (OSError, ValueError) as error:
            raise UserError(f"the model '{name}' cannot be loaded: {str(error).splitlines()[0]}") from None
        self._model: Any = model.to(self.device).eval()
        self._words = words
        self.tokenizer: Tokenizer = words.backend_tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.context = int(getattr(model.config, "max_position_embeddings", 1 << 20))
        end = model.generation_config.eos_token_id
        self.end = frozenset([words.eos_token_id] if end is None else end if isinstance(end, list) else [end])
        self._pad = words.pad_token_id if words.pad_token_id is not None else next(iter(self.end))
        self._base = self._model
        self._loaded: dict[str, str] = {}

    def encode(self, query: Query) -> list[int]:
        """As `Engine` says.

        Raises:
            UserError: a chat is asked of a model without a chat template.
        """
        if not query.chat:
            return list(self.tokenizer.encode(query.prompt).ids)
        if self._words.chat_template is None:
            raise UserError("the model has no chat template: leave `api: chat` out")
        message = {"role": "user", "content": query.prompt}
        text = self._words.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def read(self, adapter: str | None, prompts: Sequence[Sequence[int]], room: int) -> Batch:
        """Read prompts, padded on the left, so that every row's next token is at the same place."""
        import torch

        longest = max(map(len, prompts))
        tokens = torch.full((len(prompts), longest), self._pad, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        model = self._adapted(adapter)
        return _TorchBatch(model, tokens.to(self.device), mask.to(self.device))

    def _adapted(self, adapter: str | None) -> Any:
        """The model with this adapter at work, or with none."""
        from peft import PeftModel

        if adapter is None:
            if self._loaded:
                self._model.base_model.disable_adapter_layers()
            return self._model
        if adapter not in self._loaded:
            name = str(len(self._loaded))
            try:
                if self._loaded:
                    self._model.load_adapter(adapter, name)
                else:
                    self._model = PeftModel.from_pretrained(self._base, adapter, adapter_name=name).eval()
            except (OSError, ValueError, RuntimeError) as error:
                raise UserError(f"the adapter '{adapter}' cannot be loaded: {str(error).splitlines()[0]}") from None
            self._loaded[adapter] = name
        self._model.base_model.enable_adapter_layers()
        self._model.set_adapter(self._loaded[adapter])
        return self._model


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
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._cache = done.past_key_values
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
