"""The miniature's base: a byte-level tokenizer and a small Mistral, trained from nothing on training rows."""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import DataError, UserError
from harness.hashing import digest
from harness.rows.training import completion
from harness.train import checkpoint
from harness.train.batches import Encoded, Tokens, encode, shuffled
from harness.train.loss import answer_loss, precision
from harness.train.recipe import learning_rate_factor
from studies.mini import MODEL
from studies.mini.corpus import Corpus, corpus, real_pairs
from studies.mini.graph import GRAPH_FILES

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import MistralForCausalLM, PreTrainedTokenizerFast

Say = Callable[[str], None]

PAD, BOS, EOS, UNK = 0, 1, 2, 3
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
HELD_OUT = 30_000
WORDS_FROM = 100  # rows of each task from which the tokenizer learns the instructions' words, too


@dataclass(frozen=True, slots=True)
class BaseModelConfig:
    """Everything that determines the base besides its corpus. Lengths are in tokens.

    A step learns from `tokens_a_step` of plain text, and `batches_a_step` times from the answers of one task's rows, as
    many as have about `tokens_a_batch` of their own. The last `long_share` of the steps read windows of the whole
    context, so that every position has been trained. The matrices inside the layers are trained by Muon, everything
    else by AdamW.
    """

    vocabulary: int = 4096
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    key_value_heads: int = 2
    intermediate: int = 512
    context: int = 1024
    window: int = 256
    tokens_a_step: int = 2048
    tokens_a_batch: int = 1536
    batches_a_step: int = 2
    steps: int = 3000
    long_share: float = 0.05
    matrix_learning_rate: float = 6e-3
    learning_rate: float = 3e-3
    # The library's 0.02 suits models ten times as wide; here it costs the first hundred steps.
    initial_deviation: float = 0.05
    warmup: float = 0.03
    weight_decay: float = 0.05
    seed: int = 0


def tokenizer(documents: Iterable[str], recipe: BaseModelConfig) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; any text survives encoding and decoding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    found = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106  a token of the vocabulary, not a password
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    found.train_from_iterator(
        documents,
        trainers.BpeTrainer(
            vocab_size=recipe.vocabulary,
            special_tokens=_SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            min_frequency=2,
            show_progress=False,
        ),
    )
    pad, bos, eos, unk = _SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=found,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        model_max_length=recipe.context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def model(recipe: BaseModelConfig, vocabulary: int) -> MistralForCausalLM:
    """Build the untrained model: grouped-query attention, tied embeddings, no sliding window."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(recipe.seed)
    config = MistralConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        intermediate_size=recipe.intermediate,
        head_dim=recipe.hidden // recipe.heads,
        max_position_embeddings=recipe.context,
        sliding_window=None,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        initializer_range=recipe.initial_deviation,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        attn_implementation="sdpa",
    )
    return MistralForCausalLM(config)


def train(text: Corpus, out: Path, recipe: BaseModelConfig, say: Say, held_out: int) -> dict[str, Any]:
    """Train tokenizer and model, write both to `out` (weights in bf16), and return the record of the training.

    The same corpus and recipe give the same steps in the same order; rounding differs between machines. The last
    `held_out` tokens of the plain texts are not trained on: their loss is the curve. A training that was stopped goes
    on from its last checkpoint, in `out`.
    """
    import numpy as np
    import torch
    from transformers import logging

    logging.disable_progress_bar()
    out.mkdir(parents=True, exist_ok=True)
    whole = [pair.prompt + completion(pair) for rows in text.formatted.values() for pair in rows[:WORDS_FROM]]
    words = tokenizer([*text.documents, *whole], recipe)
    words.save_pretrained(out)
    encoder = words.backend_tokenizer
    ids = np.array(
        [token for found in encoder.encode_batch(list(text.documents)) for token in [*found.ids, EOS]], dtype=np.int64
    )
    unseen, ids = ids[-held_out:], ids[:-held_out]
    density = sum(map(len, text.documents)) / len(ids)
    say(f"{len(text.documents):,} documents, {len(ids):,} tokens, {density:.2f} characters a token")
    tasks = [encode(pairs, encoder, EOS, recipe.context) for pairs in text.formatted.values() if pairs]
    network = model(recipe, len(words))
    state = out / checkpoint.CHECKPOINT
    curve, seconds, cpu_seconds = _fit(network, ids, unseen, tasks, recipe, state, say)
    record = {
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "corpus_tokens": len(ids),
        "tokens_seen": recipe.steps * recipe.tokens_a_step,
        "held_out_loss": curve[-1][1],
        "held_out_perplexity": round(math.exp(curve[-1][1]), 2),
        "curve": curve,
        "cpu_seconds": round(cpu_seconds),
        "seconds": round(seconds),
    }
    network.generation_config.pad_token_id = PAD
    network.to(torch.bfloat16).save_pretrained(out)
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    state.unlink(missing_ok=True)
    return record


def _fit(
    network: MistralForCausalLM,
    ids: NDArray[np.int64],
    held_out: NDArray[np.int64],
    tasks: Sequence[Encoded],
    recipe: BaseModelConfig,
    path: Path,
    say: Say,
) -> tuple[list[tuple[int, float]], float, float]:
    """Train; return the held-out loss, in nats a token, after so many steps, and the seconds of wall and CPU time."""
    import numpy as np
    import torch

    optimizers = _optimizers(network, recipe)
    draw = np.random.default_rng(recipe.seed)
    batches = _task_batches(tasks, recipe)
    name = digest(str(recipe), str(len(ids)), *(str(task.rows[0]) for task in tasks))
    done, curve, seconds, cpu = _resume(path, name, network, optimizers)
    began, cpu_began = time.perf_counter() - seconds, time.process_time() - cpu
    network.train()
    for step in range(recipe.steps):
        length = recipe.context if step >= (1 - recipe.long_share) * recipe.steps else recipe.window
        places = draw.integers(0, len(ids) - length, recipe.tokens_a_step // length)
        drawn = [next(batches) for _ in range(recipe.batches_a_step)]
        if step < done:
            continue  # drawn, so that what follows is what would have followed
        window = torch.from_numpy(np.stack([ids[place : place + length] for place in places]))
        factor = learning_rate_factor(step / recipe.steps, recipe.warmup)
        for optimizer, rate in zip(optimizers, (recipe.matrix_learning_rate, recipe.learning_rate), strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
        with precision("cpu", network.dtype):
            loss = network(input_ids=window, labels=window).loss
        loss.backward()
        answers = 0.0
        for frame, rows in drawn:
            part = answer_loss(network, frame, rows) / recipe.batches_a_step
            part.backward()
            answers += part.item()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % max(1, recipe.steps // 20) == 0 or step + 1 == recipe.steps:
            curve.append((step + 1, round(_loss(network, held_out, recipe.window), 4)))
            say(
                f"step {step + 1} of {recipe.steps}: text {loss.item():.3f}, answers {answers:.3f}, "
                f"held-out text {curve[-1][1]:.3f}"
            )
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
            state = {"step": step + 1, "curve": curve, "seconds": seconds, "cpu_seconds": cpu}
            weights = {"network": network.state_dict(), "optimizers": [one.state_dict() for one in optimizers]}
            checkpoint.save(path, name, {**state, **weights})
    return curve, seconds, cpu


def _resume(
    path: Path, name: str, network: MistralForCausalLM, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, list[tuple[int, float]], float, float]:
    """Take up the checkpoint of this very training, if any; return the steps, the curve and the seconds so far."""
    saved = checkpoint.load(path, name)
    if saved is None:
        return 0, [], 0.0, 0.0
    network.load_state_dict(saved["network"])
    for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return saved["step"], [tuple(point) for point in saved["curve"]], saved["seconds"], saved["cpu_seconds"]


def _optimizers(network: MistralForCausalLM, recipe: BaseModelConfig) -> list[torch.optim.Optimizer]:
    import torch

    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, weight in network.named_parameters():
        (matrices if weight.ndim == 2 and "embed" not in name else others).append(weight)
    return [
        torch.optim.Muon(
            matrices, recipe.matrix_learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            others, recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True
        ),
    ]


def _task_batches(
    tasks: Sequence[Encoded], recipe: BaseModelConfig
) -> Iterator[tuple[Tokens, list[tuple[Tokens, Tokens]]]]:
    """Yield batches without end, each of one task's rows behind what they share; large tasks come more often."""
    draw = random.Random(recipe.seed)
    sources = []
    for task in tasks:
        own = statistics.fmean(len(rest) + len(answer) for rest, answer in task.rows)
        size = max(4, min(32, round(recipe.tokens_a_batch / own)))
        sources.append((task.frame, shuffled(task.rows, size, recipe.seed)))
    weights = [math.sqrt(len(task.rows)) for task in tasks]
    while True:
        frame, batches = draw.choices(sources, weights)[0]
        yield frame, next(batches)


def _loss(network: MistralForCausalLM, ids: NDArray[np.int64], length: int) -> float:
    import torch

    windows = torch.from_numpy(ids[: len(ids) // length * length].reshape(-1, length))
    network.eval()
    with torch.inference_mode(), precision("cpu", network.dtype):
        losses: list[torch.Tensor] = [
            network(input_ids=part, labels=part).loss * len(part) for part in windows.split(16)
        ]
    network.train()
    return float(sum(losses)) / len(windows)


def make(tasks: Sequence[str], tasks_folder: Path | None, data: str, say: Say) -> None:
    """Train the base on the training rows of these tasks at this place, and write it to `MODEL`."""
    found = []
    for name in tasks:
        try:
            found.append((name, real_pairs(name, tasks_folder, data)))
        except (DataError, UserError) as error:
            say(f"{name}: not in the corpus: {error}")
    text = corpus(found)
    for name in GRAPH_FILES:
        (MODEL / name).unlink(missing_ok=True)  # of other weights
    record = train(text, MODEL, BaseModelConfig(), say, HELD_OUT)
    (MODEL / "corpus.json").write_text(
        json.dumps([asdict(share) for share in text.shares], indent=1) + "\n", encoding="utf-8"
    )
    say(f"{MODEL}: {record['parameters']:,} parameters, held-out perplexity {record['held_out_perplexity']}")
