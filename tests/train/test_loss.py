"""The loss of answers is that of the plain model, however their prompts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def _small(kind: str, context: int = 128) -> Any:
    """An untrained model of another kind, with the tiny base's tokens."""
    import torch
    import transformers

    torch.manual_seed(0)
    tokens = {"vocab_size": 400, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3}
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    windowed = {"num_key_value_heads": 2, "sliding_window": 8, "max_position_embeddings": context}
    settings: dict[str, dict[str, Any]] = {
        "Mistral": size | windowed,
        "Gemma3Text": size | windowed | {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
        "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": context},
        "Bloom": {"hidden_size": 32, "n_head": 4, "n_layer": 2},
        "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
        "RecurrentGemma": size | {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8, "head_dim": 8},
        "Llama": size,
        "GPT2": {"n_embd": 32, "n_head": 4, "n_layer": 2},
    }
    config = getattr(transformers, f"{kind}Config")(**settings[kind], **tokens)
    head = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}.get(kind, f"{kind}ForCausalLM")
    return getattr(transformers, head)(config).eval()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        ("Llama", True), ("GPT2", None), ("Mistral", None), ("Gemma3Text", None), ("Mpt", None), ("Bloom", None),
        ("Mamba", None), ("RecurrentGemma", None),
    ],
)  # fmt: skip
def test_rows_are_read_together_only_as_far_as_it_changes_no_gradient(
    kind: str, shared: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever way a model is found to allow, its gradient is that of whole rows read alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer

    from harness.train.batches import encode

    monkeypatch.setattr(loss, "fast_bf16", lambda: False)
    words = AutoTokenizer.from_pretrained(tiny.base(tmp_path)).backend_tokenizer
    encoded = encode(tiny.pairs(), words, 2, 128)
    modules = ["in_proj", "x_proj"] if kind == "Mamba" else "all-linear"
    model = get_peft_model(_small(kind), LoraConfig(r=4, target_modules=modules, task_type="CAUSAL_LM")).eval()
    model.set_attn_implementation("eager")
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found = loss.exact_frame(model, encoded.frame, encoded.rows)
    assert not shared or found is True
    rows = encoded.rows[:6]
    whole = [([*encoded.frame, *rest], answer) for rest, answer in rows]
    frame, parts = (encoded.frame, [rows]) if found else ([], [whole] if found is False else [[row] for row in whole])
    tokens = sum(len(answer) for _, answer in rows)
    ours = sum(loss.answer_loss(model, frame, part) * sum(len(answer) for _, answer in part) / tokens for part in parts)
    plain = torch.tensor(0.0)
    for read, answer in whole:
        labels = torch.tensor([[-100] * len(read) + answer])
        plain = plain + model(input_ids=torch.tensor([[*read, *answer]]), labels=labels).loss * len(answer) / tokens
    gradients = [torch.cat([one.flatten() for one in torch.autograd.grad(each, weights)]) for each in (ours, plain)]
    assert (gradients[0] - gradients[1]).norm() < 0.01 * gradients[1].norm(), (kind, found)
