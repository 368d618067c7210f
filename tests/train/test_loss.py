"""The loss of answers is that of the plain model, however their prompts are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.train import loss
from tests.train import tiny

pytestmark = [pytest.mark.local, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-5), (True, 2e-2)])
def test_it_is_that_of_whole_rows_one_by_one(
    size: int, bf16: bool, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What prompts share is read once; the loss must be that of whole rows, which have it each."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness.train.batches import encode

    monkeypatch.setattr(loss, "fast_bf16", lambda: bf16)
    base = tiny.base(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(base)
    encoded = encode(tiny.pairs(), AutoTokenizer.from_pretrained(base).backend_tokenizer, 2, 128)
    assert len(encoded.frame) > 5
    rows = encoded.rows[:size]
    found = loss.answer_loss(model, encoded.frame, rows)
    total, tokens = torch.tensor(0.0), 0
    for rest, target in rows:
        read = torch.tensor([[*encoded.frame, *rest, *target]])
        labels = read.clone()
        labels[:, : -len(target)] = -100
        total = total + model(input_ids=read, labels=labels).loss * len(target)
        tokens += len(target)
    assert found.item() == pytest.approx((total / tokens).item(), rel=tolerance)
    weight = model.model.layers[0].self_attn.v_proj.weight
    ours, plain = (torch.autograd.grad(value, weight)[0] for value in (found, total / tokens))
    assert torch.nn.functional.cosine_similarity(ours.flatten(), plain.flatten(), dim=0) > 1 - tolerance
