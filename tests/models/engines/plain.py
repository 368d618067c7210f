"""What transformers and PEFT answer by themselves, to be compared with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PROMPTS = (
    "The film is a delight from beginning to end.\nSentiment:",
    "Dull.\nSentiment:",
    "Stocks fell on Wall Street after the central bank raised its rates again, and oil was dearer than ever.\nTopic:",
    "name[Blue Spice], eatType[pub]",
)


def generated(base: Path, adapter: str | None, prompts: Iterable[str], most: int) -> list[str]:
    """Return what `generate` answers, one prompt after the other."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    texts = []
    for prompt in prompts:
        read = words(prompt, return_tensors="pt", return_token_type_ids=False)
        written = model.eval().generate(**read, max_new_tokens=most, do_sample=False, pad_token_id=0)
        texts.append(words.decode(written[0, read["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts
