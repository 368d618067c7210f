"""A LoRA adapter as PEFT stores it, read and written without torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")
# What makes an adapter more than a product of two matrices beside each linear layer.
_EXTENSIONS = (
    "use_dora", "lora_bias", "modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication",
    "alora_invocation_tokens", "use_qalora", "use_bdlora",
)  # fmt: skip
_SCALES = ("use_rslora", "rank_pattern", "alpha_pattern")
# Ways to begin that take a part out of the base's own weights, which the adapter then replaces.
_OF_ANOTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """The settings in `adapter_config.json`, and the weights by name, in float32."""

    settings: Mapping[str, Any]
    weights: Mapping[str, NDArray[np.float32]]

    @property
    def rank(self) -> int:
        """Columns of B, rows of A."""
        return int(self.settings["r"])

    @property
    def alpha(self) -> float:
        """B·A is scaled by alpha / rank."""
        return float(self.settings["lora_alpha"])

    @property
    def pairs(self) -> Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """A (rank x inputs) and B (outputs x rank) of each adapted module, by the module's name."""
        names = [name.removesuffix(".lora_A.weight") for name in self.weights if name.endswith(".lora_A.weight")]
        return {name: (self.weights[f"{name}.lora_A.weight"], self.weights[f"{name}.lora_B.weight"]) for name in names}

    def scale(self, module: str) -> float:
        """What B·A of a module is multiplied by: alpha / rank, or alpha / √rank with rsLoRA, both perhaps its own."""
        rank = self.weights[f"{module}.lora_A.weight"].shape[0]
        own = self.settings.get("alpha_pattern") or {}
        alpha = next((own[key] for key in own if re.fullmatch(rf"(.*\.)?({key})", module)), self.alpha)
        return float(alpha) / (math.sqrt(rank) if self.settings.get("use_rslora") else rank)


def read_lora(folder: Path, *, any_scale: bool = False) -> LoraWeights:
    """Read a plain LoRA adapter; with `any_scale` also one with rsLoRA, or with ranks and alphas of single modules.

    Raises:
        DataError: it cannot be read, or is more than plain LoRA.
    """
    import ml_dtypes  # noqa: F401  makes bfloat16 known to numpy
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = {name: weight.astype(np.float32) for name, weight in load_file(folder / WEIGHTS).items()}
        found = LoraWeights(settings, weights)
        whole = {f"{name}.lora_{matrix}.weight" for name in found.pairs for matrix in "AB"}
        _ = found.rank, found.alpha
        if not whole:
            raise ValueError(f"{WEIGHTS} holds no LoRA weights")
        if broken := [name for name, weight in weights.items() if not np.isfinite(weight).all()]:
            raise ValueError(f"{broken[0]} holds weights that are not finite numbers")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DataError(f"the adapter in {folder} cannot be read: {type(error).__name__}: {error}") from None
    refused = _EXTENSIONS if any_scale else (*_EXTENSIONS, *_SCALES)
    more = [key for key in refused if settings.get(key)] + sorted(weights.keys() - whole)
    if str(begun := settings.get("init_lora_weights")).lower().startswith(_OF_ANOTHER_BASE):
        more.append(f"init_lora_weights {begun}")
    if settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none" or more:
        what = more[0] if more else f"peft_type {settings.get('peft_type')}, bias {settings.get('bias', 'none')}"
        raise DataError(f"the adapter in {folder} is not plain LoRA: it has {what}")
    return found


def write_lora(folder: Path, lora: LoraWeights, dtype: str = "bfloat16") -> None:
    """Write an adapter with its weights in bfloat16 or float32, each file whole or not at all."""
    import ml_dtypes  # noqa: F401  makes bfloat16 known to numpy
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    settings = {**lora.settings, "target_modules": sorted(lora.settings["target_modules"])}  # PEFT writes a set
    _replace(folder / CONFIG, (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode())
    # safetensors writes an array as it lies in memory: a transposed one would be another matrix.
    weights = {name: weight.astype(dtype, order="C") for name, weight in lora.weights.items()}
    _replace(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)
