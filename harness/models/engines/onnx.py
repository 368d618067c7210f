"""onnxruntime-genai: the small engine of the default install, for models that are exported with their adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from harness.errors import UserError
from harness.models.engines.decoding import Allowed, Batch, Query

ADAPTER_FILE = "adapter.onnx_adapter"
_CONFIG = "genai_config.json"
_NEVER = np.float32(-1e30)


def is_exported(base: Path, adapter: Path | None = None) -> bool:
    """Whether these folders hold a model, and an adapter of it, for this engine."""
    return (base / _CONFIG).is_file() and (adapter is None or (adapter / ADAPTER_FILE).is_file())


class OnnxEngine:
    """A folder with an exported graph and its tokenizer; adapters are folders with an `adapter.onnx_adapter`.

    Raises:
        UserError: the folder does not hold what it should, or the library is not there.
    """

    batch = 8  # the library takes 32 at most; on a CPU more than these are slower

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime_genai

            onnxruntime_genai.disable_telemetry_events()
            config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["model"]
            end = config["eos_token_id"]
            self.context = int(config["context_length"])
            self._pad = int(config["pad_token_id"])
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._model = onnxruntime_genai.Model(str(folder))
        except Exception as error:  # noqa: BLE001  both libraries raise plain Exception
            raise UserError(f"the model in {folder} cannot be loaded: {type(error).__name__}: {error}") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.end = frozenset(end if isinstance(end, list) else [end])
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
        """Read prompts, padded on the right: the library finds where each ends by the padding.

        Raises:
            UserError: the adapter is not one for this graph.
        """
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
        try:
            if adapter is not None:
                if adapter not in self._loaded:
                    self._adapters.load(str(Path(adapter) / ADAPTER_FILE), adapter)
                    self._loaded.add(adapter)
                generator.set_active_adapter(self._adapters, adapter)
            generator.append_tokens(tokens)
        except RuntimeError as error:
            raise UserError(f"{adapter or 'the model'}: {str(error).splitlines()[0]}") from None
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
