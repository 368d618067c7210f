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
    Rows are padded on the left. Only the places of the answers pass through the head, as one list over all rows: it is
    the largest matrix of a small model, and a slice of each row would have it copied for each.

    Args:
        model: A causal language model of transformers, with or without an adapter.
        frame: The tokens that all prompts begin with.
        rows: The rest of each prompt, and its answer.
        device: Where the model is.
    """
    import torch

    longest = max(len(rest) + len(answer) for rest, answer in rows)
    tokens = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    labels = torch.full_like(tokens, -100)
    for row, (rest, answer) in enumerate(rows):
        tokens[row, longest - len(rest) - len(answer) :] = torch.tensor([*rest, *answer])
        mask[row, longest - len(rest) - len(answer) :] = 1
        labels[row, longest - len(answer) - 1 : longest - 1] = torch.tensor(answer)
    places = (mask.cumsum(-1) - 1).clamp(min=0) + len(frame)
    mask = torch.cat([torch.ones((len(rows), len(frame)), dtype=mask.dtype), mask], dim=1)
    answers = (labels != -100).to(device)
    with precision(device, model.dtype):
        cache = None
        if frame:
            shared = torch.tensor([frame], device=device)
            cache = model(input_ids=shared, use_cache=True, logits_to_keep=1).cache
            cache.batch_repeat_interleave(len(rows))
        head = model.get_output_embeddings()
        only_answers = head.register_forward_pre_hook(lambda _, given: (given[0][answers],))
        try:
            logits = model(
                input_ids=tokens.to(device),
                attention_mask=mask.to(device),
                position_ids=places.to(device),
                cache=cache,
                use_cache=cache is not None,
            ).logits
        finally:
            only_answers.remove()
    return torch.nn.functional.cross_entropy(logits.float(), labels.to(device)[answers])


def precision(device: str, weights: torch.dtype) -> torch.autocast:
    """The context in which a training computes: bf16 where this processor multiplies it, else what the weights are."""
    import torch

    mixed = device == "cpu" and weights == torch.float32 and fast_bf16()
    return torch.autocast("cpu", torch.bfloat16, enabled=mixed)


def fast_bf16() -> bool:
    """Whether this processor multiplies bf16 itself; on others it is slower than fp32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
