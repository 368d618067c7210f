"""What an adapter's first answers look like: how a server is later shown to use it, and not its base or another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.hashing import file_sha256
from harness.models.engines.adapter_files import WEIGHTS
from harness.models.engines.gguf import base_folder
from harness.models.engines.transformers import INSTALL, device
from harness.models.proof import FINGERPRINT, LIKELIEST
from harness.store.atomic import replace_file

if TYPE_CHECKING:
    import torch

PROMPTS = 8


def write_fingerprint(base: str, adapter: Path, prompts: Sequence[str], say: Callable[[str], None]) -> None:
    """Write the likeliest first tokens after some prompts, of the adapter and of its base, beside the adapter.

    Log-probabilities are natural, of all tokens of the vocabulary, computed in float32 on a CPU, else in bfloat16. The
    adapter's SHA-256 says which weights they are of.

    Args:
        base: Known name, GGUF file, folder or hub id.
        adapter: Folder of a PEFT adapter.
        prompts: Of which the first `PROMPTS` are taken.
        say: Told when the base has to be fetched or unpacked.

    Raises:
        UserError: the base or the adapter cannot be loaded.
    """
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise UserError(f"a fingerprint: {INSTALL} ({error})") from None
    folder, where = base_folder(base, say), device()
    dtype = torch.float32 if where == "cpu" else torch.bfloat16
    try:
        words = AutoTokenizer.from_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(where)
        model = PeftModel.from_pretrained(loaded, adapter).eval()
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the adapter in {adapter} cannot be loaded with the base '{base}': {reason}") from None
    found = []
    for prompt in prompts[:PROMPTS]:
        read = torch.tensor([words.backend_tokenizer.encode(prompt).ids], device=where)
        with torch.inference_mode():
            of_adapter = model(input_ids=read, logits_to_keep=1).logits[0, -1]
            with model.disable_adapter():
                of_base = model(input_ids=read, logits_to_keep=1).logits[0, -1]
        found.append({"prompt": prompt, "adapter": _likeliest(of_adapter, words), "base": _likeliest(of_base, words)})
    weights = file_sha256(adapter / WEIGHTS)
    made = {"base": base, "weights_sha256": weights, "prompts": found}
    replace_file(adapter / FINGERPRINT, json.dumps(made, indent=1, ensure_ascii=False) + "\n")


def _likeliest(logits: torch.Tensor, words: Any) -> list[dict[str, Any]]:
    values, tokens = logits.float().log_softmax(-1).topk(LIKELIEST)
    return [
        {"token": words.decode([token]), "id": token, "logprob": round(value, 4)}
        for value, token in zip(values.tolist(), tokens.tolist(), strict=True)
    ]
