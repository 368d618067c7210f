"""A Llama of two layers as a GGUF file, and a LoRA adapter of it: random weights of a fixed seed, made in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.models.engines.adapter_files import LoraWeights, write_lora
from harness.models.engines.gguf import LINEAR, Shape, shape_of
from harness.models.engines.gguf import write_adapter as convert_adapter

SHAPE = Shape(layers=2, width=64, inner=96, heads=4, key_value_heads=2)
CONTEXT = 4096
END = "<|im_end|>"
MERGES = [(" ", "a"), ("a", "b"), ("n", "o"), ("y", "e"), ("ye", "s"), ("1", "2")]  # 12 is never one token


def write_base(path: Path, *, layers: int = SHAPE.layers, seed: int = 0) -> Path:
    """Write the base, with weights of four bits as in the file that is downloaded, and return its path."""
    import gguf
    from gguf.quants import quantize
    from tokenizers.pre_tokenizers import ByteLevel

    draw = np.random.default_rng(seed)
    as_bytes = {" ": "Ġ"}
    merges = [tuple(as_bytes.get(part, part) for part in pair) for pair in MERGES]
    tokens = ["<|endoftext|>", "<|im_start|>", END, *sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(SHAPE.width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(SHAPE.inner)
    writer.add_head_count(SHAPE.heads)
    writer.add_head_count_kv(SHAPE.key_value_heads)
    writer.add_rope_dimension_count(SHAPE.width // SHAPE.heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}")

    def add(name: str, outputs: int, inputs: int, kind: gguf.GGMLQuantizationType) -> None:
        weight = draw.normal(0, 0.25, (outputs, inputs)).astype(np.float32)
        writer.add_tensor(name, quantize(weight, kind), raw_dtype=kind)

    four, eight = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0
    add("token_embd.weight", len(tokens), SHAPE.width, eight)
    writer.add_tensor("output_norm.weight", np.ones(SHAPE.width, np.float32))
    for layer in range(layers):
        for module, part in LINEAR.items():
            inputs, outputs = SHAPE.linear(module)
            add(f"blk.{layer}.{part}.weight", outputs, inputs, four)
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", draw.normal(1, 0.1, SHAPE.width).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def lora(rank: int = 4, *, seed: int = 1, layers: int = SHAPE.layers) -> LoraWeights:
    """An adapter of all linear layers, strong enough to change every answer."""
    draw = np.random.default_rng(seed)
    weights = {}
    for layer in range(layers):
        for module in LINEAR:
            inputs, outputs = SHAPE.linear(module)
            name = f"base_model.model.model.layers.{layer}.{module}"
            weights[f"{name}.lora_A.weight"] = draw.normal(0, 0.3, (rank, inputs)).astype(np.float32)
            weights[f"{name}.lora_B.weight"] = draw.normal(0, 0.3, (outputs, rank)).astype(np.float32)
    modules = sorted(module.partition(".")[2] for module in LINEAR)
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
    return LoraWeights({**settings, "target_modules": modules, "base_model_name_or_path": "tiny"}, weights)


def write_adapter(folder: Path, rank: int = 4, *, seed: int = 1, layers: int = SHAPE.layers) -> Path:
    """Write an adapter of the base to a folder, as PEFT does, and return it."""
    write_lora(folder, lora(rank, seed=seed, layers=layers))
    return folder


def write_served(folder: Path) -> Path:
    """Write a base and two adapters, each as PEFT and as llama.cpp store it, and return their folder."""
    base = write_base(folder / "tiny.gguf")
    for seed in (1, 2):
        write_adapter(folder / f"adapter{seed}", seed=seed)
        convert_adapter(folder / f"adapter{seed}", shape_of(base), folder / f"adapter{seed}.gguf")
    return folder
