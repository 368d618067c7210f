"""The loss of an answer's tokens, and the precision in which it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.train.batches import Tokens

if TYPE_CHECKING:
    import torch


ALIKE, ALIKE_BF16 = 1e-3, 0.1
"""Most that a gradient may differ for the way in which rows are read, as a share of its norm; bf16 rounds each way
differently."""


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


def exact_frame(model: Any, frame: Tokens, rows: Sequence[tuple[Tokens, Tokens]], device: str = "cpu") -> bool | None:
    """Return whether what prompts share may be read once for a batch; None: rows may not even be read side by side.

    Found out with the longest and the shortest row, by the gradient that each of them gives when it is read whole and
    alone. Models differ too much to know: windows shorter than a row, positions that are counted from the end, layers
    that keep a state.

    Raises:
        UserError: the model cannot be read as it is trained.
    """
    import torch

    rows = sorted(rows, key=lambda row: len(row[0]) + len(row[1]))
    chosen = rows[-1:] + rows[:1]
    whole = [([*frame, *rest], answer) for rest, answer in chosen]
    weights = [weight for weight in model.parameters() if weight.requires_grad]

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return torch.cat([one.flatten().float() for one in found if one is not None])

    def alike(begin: Tokens, read: Sequence[tuple[Tokens, Tokens]]) -> bool:
        try:
            found = gradient(answer_loss(model, begin, read, device))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError):
            return False
        return found.shape == plain.shape and float((found - plain).norm()) <= most * float(plain.norm())

    most = ALIKE_BF16 if model.dtype != torch.float32 or (device == "cpu" and fast_bf16()) else ALIKE
    was_training = model.training
    model.eval()
    try:
        losses = [_plain_loss(model, read, answer, device) for read, answer in whole]
        plain = gradient(torch.stack(losses).sum() / sum(len(answer) for _, answer in chosen))
        if alike(frame, chosen):
            return True
        return False if alike([], whole) else None
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise UserError(
            f"this base cannot be trained here: {type(error).__name__}: {error}; try another engine"
        ) from None
    finally:
        model.train(was_training)


def _plain_loss(model: Any, read: Tokens, answer: Tokens, device: str) -> torch.Tensor:
    """The sum of the cross-entropies of an answer's tokens, of one row read whole."""
    import torch

    with precision(device, model.dtype):
        logits = model(input_ids=torch.tensor([[*read, *answer]], device=device), use_cache=False).logits
    wanted = torch.tensor(answer, device=device)
    return torch.nn.functional.cross_entropy(logits[0, len(read) - 1 : -1].float(), wanted, reduction="sum")


def precision(device: str, weights: torch.dtype) -> torch.autocast:
    """The context in which a training computes: bf16 where this processor multiplies it, else what the weights are."""
    import torch

    mixed = device == "cpu" and weights == torch.float32 and fast_bf16()
    return torch.autocast("cpu", torch.bfloat16, enabled=mixed)


def fast_bf16() -> bool:
    """Whether this processor multiplies bf16 itself; on others it is slower than fp32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
