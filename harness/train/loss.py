"""The loss of an answer's tokens, and the precision in which it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.train.batches import Tokens

if TYPE_CHECKING:
    import torch


def answer_loss(model: Any, frame: Tokens, rows: Sequence[tuple[Tokens, Tokens]], device: str = "cpu") -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, given prompt and answer so far, in nats.

    What all prompts share is read once for the batch; its keys and values, and their gradients, serve all rows.
    Rows are padded on the left, so that the answers end together and only their places pass through the head.

    Args:
        model: A causal language model of transformers, with or without an adapter.
        frame: The tokens that all prompts begin with.
        rows: The rest of each prompt, and its answer.
        device: Where the model is.
    """
    import torch

    longest = max(len(rest) + len(answer) for rest, answer in rows)
    most = max(len(answer) for _, answer in rows)
    tokens = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    labels = torch.full((len(rows), most), -100)
    for row, (rest, answer) in enumerate(rows):
        tokens[row, longest - len(rest) - len(answer) :] = torch.tensor([*rest, *answer])
        mask[row, longest - len(rest) - len(answer) :] = 1
        labels[row, most - len(answer) :] = torch.tensor(answer)
    places = (mask.cumsum(-1) - 1).clamp(min=0) + len(frame)
    mask = torch.cat([torch.ones((len(rows), len(frame)), dtype=mask.dtype), mask], dim=1)
    with precision(device):
        cache = None
        if frame:
            shared = torch.tensor([frame], device=device)
            cache = model(input_ids=shared, use_cache=True, logits_to_keep=1).past_key_values
            cache.batch_repeat_interleave(len(rows))
        logits = model(
            input_ids=tokens.to(device),
            attention_mask=mask.to(device),
            position_ids=places.to(device),
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=most + 1,
        ).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.to(device).flatten())


def precision(device: str = "cpu") -> torch.autocast:
    """The context in which a training computes: bf16 where this processor multiplies it, else what the weights are."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu" and fast_bf16())


def fast_bf16() -> bool:
    """Whether this processor multiplies bf16 itself; on others it is slower than fp32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
