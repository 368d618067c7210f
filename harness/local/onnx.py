"""onnxruntime-genai: the small engine of the default install, for models that are exported with their adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from harness.errors import UserError
from harness.local.decoding import Allowed, Batch, Query

ADAPTER_FILE = "adapter.onnx_adapter"
_CONFIG = "genai_config.json"
_NEVER = np.float32(-1e30)


def is_exported(folder: Path) -> bool:
    """Whether the folder holds a model for this engine."""
    return (folder / _CONFIG).is_file()


class OnnxEngine:
    """A folder with an exported graph and its tokenizer; adapters are folders with an `adapter.onnx_adapter`."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime_genai

        onnxruntime_genai.disable_telemetry_events()
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["model"]
        end = config["eos_token_id"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.context = int(config["context_length"])
        self.end = frozenset(end if isinstance(end, list) else [end])
        self._pad = int(config["pad_token_id"])
        self._model = onnxruntime_genai.Model(str(folder))
        self._adapters = onnxruntime_genai.Adapters(self._model)
        self._loaded: set[str] = set()

    def encode(self, query: Query) -> list[int]:
        """As `Engine` says.

        Raises:
            UserError: the model has no chat template.
        """
        if query.chat:
            raise UserError("a model exported to ONNX reads plain text: leave `api: chat` out")
        return list(self.tokenizer.encode(query.prompt).ids)

    def read(self, adapter: str | None, prompts: Sequence[Sequence[int]], room: int) -> Batch:
        """Read prompts, padded on the right: the library finds where each ends by the padding."""
        import onnxruntime_genai

        longest = max(map(len, prompts))
        tokens = np.full((len(prompts), longest), self._pad, dtype=np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = prompt
        parameters = onnxruntime_genai.GeneratorParams(self._model)
        parameters.set_search_options(
            max_length=min(longest + room, self.context), do_sample=False, batch_size=len(prompts)
        )
        generator = onnxruntime_genai.Generator(self._model, parameters)
        if adapter is not None:
            if adapter not in self._loaded:
                self._adapters.load(str(Path(adapter) / ADAPTER_FILE), adapter)
                self._loaded.add(adapter)
            generator.set_active_adapter(self._adapters, adapter)
        generator.append_tokens(tokens)
        return _OnnxBatch(generator)


class _OnnxBatch:
    def __init__(self, generator: object) -> None:
        self._generator: Any = generator

    def next(self, allowed: Allowed) -> list[int]:
        """As `Batch` says."""
        if allowed is not None:
            logits = self._generator.get_logits()
            barred = np.full_like(logits, _NEVER)
            for row, tokens in enumerate(allowed):
                barred[row, -1, list(tokens)] = 0
            self._generator.set_logits(logits + barred)
        self._generator.generate_next_token()
        return [int(token) for token in self._generator.get_next_tokens()]
