"""A base model small enough to be made and trained within a test, and rows for it to learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.rows.training import TrainingExample

FRUIT = ("apple", "pear", "plum", "fig")
TOOLS = ("hammer", "saw", "drill", "file")


def pairs(number: int = 80) -> list[TrainingExample]:
    """Rows whose answer is the kind of a thing; prompts share their beginning and differ in length."""
    things = [(name, kind) for kind, names in (("fruit", FRUIT), ("tool", TOOLS)) for name in names]
    return [
        TrainingExample(f"What kind of thing is this?\nThing: {'very ' * (place % 3)}{name}\nKind:", kind)
        for place, (name, kind) in enumerate((things * number)[:number])
    ]


def base(folder: Path, *, context: int = 128, texts: Sequence[str] = ()) -> Path:
    """Write an untrained Mistral of two layers, with a byte-level tokenizer, to a folder, and return it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator([*texts, *(pair.prompt + " " + pair.target for pair in pairs())], trainer)
    pad, start, end, unknown = special
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=pad, bos_token=start, eos_token=end, unk_token=unknown
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=words.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context, sliding_window=None,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, modules: Sequence[str] = ("q_proj", "v_proj"), *, seed: int = 0) -> Path:
    """Write a LoRA adapter of the base with weights that change every answer to a folder, and return it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules=list(modules), init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder
