"""PEFT adapters at work in one base model: each alone, and the base without any trace of them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.models.engines.adapter_files import EMBEDDINGS

# PEFT's warning where the input embeddings are adapted and the output's are tied to them. It concerns merging.
TIED = "Model has `tie_word_embeddings=True` and a tied layer is part of the adapter"
_OF_ITS_OWN_FORWARD = ("XLORA", "POLY", "ADAPTION_PROMPT", "CPT", "TRAINABLE_TOKENS_ALORA")


class Adapters:
    """The adapters of a base model, each loaded when it is first used.

    An adapter that would change the base for the others (its biases, its embeddings, more tokens), or is of another
    kind than theirs, gets a copy of the base; of these the last one is kept.
    """

    def __init__(self, base: Any, words: Any, open_base: Callable[[], Any]) -> None:
        self._model, self._base_words, self._open = base, words, open_base
        self._names: dict[str, str] = {}
        self._loaded: set[str] = set()
        self._failed: dict[str, str] = {}
        self._words: dict[str, Any] = {}
        self._apart: tuple[str, Any] | None = None
        self._kind: str | None = None

    def words(self, adapter: str | None) -> Any:
        """The tokenizer of an adapter, with its own tokens and chat template; the base's, where it has none."""
        if adapter is None:
            return self._base_words
        if adapter not in self._words:
            self._words[adapter] = _own_words(adapter, self._base_words)
        return self._words[adapter]

    def model(self, adapter: str | None) -> Any:
        """The model with this adapter at work, or with none.

        Raises:
            UserError: the adapter cannot be loaded, does not fit the base, or is of a kind that is not served here; the
                same each time.
        """
        if adapter is None:
            self._switch(on=False)
            return self._model
        if adapter in self._failed:
            raise UserError(self._failed[adapter])
        try:
            return self._with(adapter)
        except (OSError, ValueError, ImportError, RuntimeError, KeyError, TypeError, AttributeError, Warning) as error:
            said = str(error).strip() or type(error).__name__
            self._failed[adapter] = f"the adapter '{adapter}' cannot be loaded: {said.splitlines()[0]}"
            raise UserError(self._failed[adapter]) from None

    def _with(self, adapter: str) -> Any:
        from peft import PeftConfig
        from peft.utils.save_and_load import load_peft_weights

        if self._apart and self._apart[0] == adapter:
            return self._apart[1]
        if adapter not in self._loaded:
            settings = PeftConfig.from_pretrained(adapter)
            kind = str(getattr(settings.peft_type, "value", settings.peft_type))
            if (
                settings.is_prompt_learning
                or kind in _OF_ITS_OWN_FORWARD
                or getattr(settings, "alora_invocation_tokens", None)
            ):
                raise ValueError(
                    f"it is of the kind {kind}, which is not served in this process: serve it with vLLM or merge it"
                )
            stored = set(load_peft_weights(adapter, device="cpu"))
            if self._changes_base(adapter, settings, stored) or self._kind not in (None, kind):
                self._apart = None  # before the next takes its memory
                self._apart = (adapter, self._copy(adapter, stored))
                return self._apart[1]
            self._load(adapter, stored)
            self._kind = kind
        self._switch(on=True)
        self._model.set_adapter(self._names[adapter])
        return self._model

    def _changes_base(self, adapter: str, settings: Any, stored: set[str]) -> bool:
        """Whether an adapter's weights would become the base's own."""
        if getattr(settings, "bias", "none") != "none":
            return True
        if len(self.words(adapter)) > self._model.get_input_embeddings().weight.shape[0]:
            return True
        saved = set(getattr(settings, "modules_to_save", None) or ())
        return any(
            part in key.split(".") and part not in saved and "lora_" not in key for key in stored for part in EMBEDDINGS
        )

    def _copy(self, adapter: str, stored: set[str]) -> Any:
        from peft import PeftModel

        base = self._open()
        if (tokens := len(self.words(adapter))) > base.get_input_embeddings().weight.shape[0]:
            base.resize_token_embeddings(tokens, mean_resizing=False)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # it is checked here
            model = PeftModel.from_pretrained(base, adapter).eval()
        _check_fit(model, "default", stored)
        return model

    def _load(self, adapter: str, stored: set[str]) -> None:
        # One that failed keeps its name, because parts of it may stay in the model. PEFT looks for the name anywhere in
        # the names of weights, so that it must be in none of them.
        from peft import PeftModel

        name = self._names.setdefault(adapter, f"adapter{len(self._names)}")
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # it is checked here
            if isinstance(self._model, PeftModel):
                self._model.load_adapter(adapter, name)
            else:
                self._model = PeftModel.from_pretrained(self._model, adapter, adapter_name=name).eval()
        _check_fit(self._model, name, stored)
        self._loaded.add(adapter)

    def _switch(self, *, on: bool) -> None:
        """Have the layers of all adapters do their work or not: matrices, saved modules and trained tokens."""
        if not self._names:
            return
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        for module in self._model.modules():
            if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
                module.enable_adapters(on)


def _check_fit(model: Any, name: str, stored: set[str]) -> None:
    """Compare the weights of an adapter's file with those that its layers in this base have.

    Raises:
        ValueError: weights of the one are not among those of the other.
    """
    from peft import get_peft_model_state_dict

    with warnings.catch_warnings(action="ignore"):
        expected = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    missing = sorted(expected - stored)
    strange = sorted(key for key in stored - expected if not any(part in key.split(".") for part in EMBEDDINGS))
    if missing or strange or not expected:
        what = (
            f"it has no '{missing[0]}'" if missing else f"the base has no '{strange[0]}'" if strange else "it is empty"
        )
        raise ValueError(
            f"it does not fit this base: of {len(expected)} weights {len(missing)} are missing and {len(strange)} fit "
            f"nothing, {what} (an adapter of another base?)"
        )


def _own_words(adapter: str, base: Any) -> Any:
    """The tokenizer beside an adapter's weights, or the base's with the adapter's chat template."""
    from transformers import AutoTokenizer

    folder = Path(adapter)
    if not folder.is_dir() or (folder / "tokenizer_config.json").is_file():
        try:
            return AutoTokenizer.from_pretrained(adapter)
        except (OSError, ValueError, ImportError):
            if folder.is_dir():
                raise
            return base
    template = folder / "chat_template.jinja"
    if not template.is_file():
        return base
    words = copy.deepcopy(base)
    words.chat_template = template.read_text(encoding="utf-8")
    return words
