"""GGUF, llama.cpp's file format: a Llama unpacked for transformers, and LoRA adapters written for llama.cpp."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness.errors import DataError, UserError
from harness.hashing import digest, file_sha256
from harness.models.engines.adapter_files import read_lora
from harness.models.engines.known_bases import cache_folder, gguf_file, is_gguf
from harness.store.atomic import new_folder, replace_file

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader
    from numpy.typing import NDArray

LINEAR = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_TRANSFORMERS = {theirs: ours for ours, theirs in (LINEAR | _NORMS).items()}
_LORA = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])\.weight")
UNPACKING = 1  # how a file is unpacked; a change makes the folders of the cache again
CONTROL_TOKEN = 3  # llama.cpp's kind of token that is not text, such as an end


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a Llama decides the shapes of its linear layers, and how its rotary embedding is laid out."""

    layers: int
    width: int
    inner: int
    heads: int
    key_value_heads: int

    def linear(self, module: str) -> tuple[int, int]:
        """Return the inputs and outputs of a linear layer, by its name in transformers."""
        narrow = self.width // self.heads * self.key_value_heads
        return {
            "self_attn.k_proj": (self.width, narrow),
            "self_attn.v_proj": (self.width, narrow),
            "mlp.gate_proj": (self.width, self.inner),
            "mlp.up_proj": (self.width, self.inner),
            "mlp.down_proj": (self.inner, self.width),
        }.get(module, (self.width, self.width))


class Llama:
    """The metadata of a GGUF file that holds a Llama with a byte-level BPE tokenizer.

    Raises:
        UserError: the file cannot be read as that.
    """

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        try:
            self._reader: GGUFReader = GGUFReader(path)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise UserError(f"{path} is not a GGUF file: {error}") from None
        self._path = path
        architecture = self.value("general.architecture")
        if architecture != "llama":
            raise UserError(f"{path}: the architecture is {architecture}; only llama can be used here")
        self.shape = Shape(
            self.value("llama.block_count"),
            self.value("llama.embedding_length"),
            self.value("llama.feed_forward_length"),
            self.value("llama.attention.head_count"),
            self.value("llama.attention.head_count_kv"),
        )
        self.context: int = self.value("llama.context_length")

    def value(self, key: str) -> Any:
        """Return a value of the metadata.

        Raises:
            UserError: the file has none of this name.
        """
        field = self._reader.fields.get(key)
        if field is None:
            raise UserError(f"{self._path}: the GGUF file has no '{key}'")
        return field.contents()

    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the dequantised weights, with the names and the layout of transformers."""
        import numpy as np
        from gguf.quants import dequantize

        heads = {"attn_q": self.shape.heads, "attn_k": self.shape.key_value_heads}
        found = {}
        for tensor in self._reader.tensors:
            name, part = _transformers_name(tensor.name)
            weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            found[name] = np.ascontiguousarray(_to_halves(weight, heads[part]) if part in heads else weight)
        return found

    def config(self) -> dict[str, Any]:
        """Return the `config.json` of transformers."""
        shape = self.shape
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": len(self.value("tokenizer.ggml.tokens")),
            "hidden_size": shape.width,
            "intermediate_size": shape.inner,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_value_heads,
            "head_dim": shape.width // shape.heads,
            "max_position_embeddings": self.context,
            "rms_norm_eps": float(f"{self.value('llama.attention.layer_norm_rms_epsilon'):.6g}"),
            "rope_theta": float(self.value("llama.rope.freq_base")),
            "hidden_act": "silu",
            "tie_word_embeddings": not any(tensor.name == "output.weight" for tensor in self._reader.tensors),
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": self.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.value("tokenizer.ggml.eos_token_id"),
            "pad_token_id": self.value("tokenizer.ggml.padding_token_id"),
            "dtype": "float32",
        }

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer as llama.cpp applies it.

        The file says how text is cut before it is encoded by a name, `smollm`, that stands for: each digit alone, then
        byte-level words. transformers' own reader of GGUF leaves the digits out.

        Raises:
            UserError: it is another tokenizer.
        """
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

        kind = (self.value("tokenizer.ggml.model"), self.value("tokenizer.ggml.pre"))
        if kind != ("gpt2", "smollm"):
            raise UserError(f"{self._path}: the tokenizer is {'/'.join(kind)}; only gpt2/smollm can be unpacked")
        tokens = self.value("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self.value("tokenizer.ggml.merges")]
        words = Tokenizer(models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=merges))
        words.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        words.decoder = decoders.ByteLevel()
        kinds = self.value("tokenizer.ggml.token_type")
        control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
        words.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
        words.save(str(folder / "tokenizer.json"))
        special = {name: tokens[self.value(f"tokenizer.ggml.{name}_token_id")] for name in ("bos", "eos", "padding")}
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": special["bos"],
            "eos_token": special["eos"],
            "pad_token": special["padding"],
            "model_max_length": self.context,
            "clean_up_tokenization_spaces": False,
            "chat_template": self.value("tokenizer.chat_template"),
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


@lru_cache
def shape_of(path: Path) -> Shape:
    """Return the shape of a Llama in a GGUF file; to read one takes seconds, so it is kept in the user's cache.

    Raises:
        UserError: the file holds something else.
    """
    found = path.stat() if path.is_file() else None
    known = cache_folder() / "shapes" / f"{path.stem}-{digest(repr(found and (found.st_size, found.st_mtime_ns)))}.json"
    try:
        return Shape(**json.loads(known.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        shape = Llama(path).shape
    replace_file(known, json.dumps(asdict(shape)))
    return shape


def base_folder(name: str, say: Callable[[str], None]) -> str:
    """Return what transformers loads a base model by: a GGUF file is unpacked, once, into the user's cache.

    Any other name is returned as it is.

    Raises:
        UserError: there is no such GGUF file, it cannot be fetched, or it holds something else.
    """
    if not is_gguf(name):
        return name
    path = gguf_file(name, say)
    folder = cache_folder() / "unpacked" / f"{path.stem}-{file_sha256(path)[:12]}-{UNPACKING}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            say(f"unpacking {path.name} for transformers, once, into {folder}")
            unpack(path, folder)
    return str(folder)


def unpack(path: Path, folder: Path) -> None:
    """Write a Llama of a GGUF file as a folder that transformers loads: the dequantised weights in float32.

    The folder is there whole or not at all.

    Raises:
        UserError: the file holds something else.
    """
    from safetensors.numpy import save_file

    llama = Llama(path)
    config = llama.config()
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with new_folder(folder) as part:
        save_file(dict(llama.weights()), part / "model.safetensors", metadata={"format": "pt"})
        (part / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        (part / "generation_config.json").write_text(json.dumps(ends, indent=1), encoding="utf-8")
        llama.write_tokenizer(part)


def write_adapter(folder: Path, shape: Shape, out: Path) -> None:
    """Write a PEFT adapter as llama.cpp's LoRA file, in float16.

    llama.cpp ends the whole process when a tensor's name or shape is not the base's, so they are checked here.

    Raises:
        DataError: the adapter cannot be read, is not plain LoRA, or is of another base.
    """
    import gguf
    import numpy as np

    lora = read_lora(folder)
    heads = {"self_attn.q_proj": shape.heads, "self_attn.k_proj": shape.key_value_heads}
    if not math.isfinite(lora.alpha) or lora.alpha == 0:  # llama.cpp takes 0 for 1
        raise DataError(f"the adapter in {folder} has the lora_alpha {lora.alpha}, expected a number other than 0")
    beside = out.with_name(out.name + ".new")
    writer = gguf.GGUFWriter(beside, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", lora.alpha)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, weight in sorted(lora.weights.items()):
        layer, module, matrix = _lora_place(folder, name, weight.shape, shape, lora.rank)
        if matrix == "B" and module in heads:
            weight = _to_pairs(weight, heads[module])
        with np.errstate(over="ignore"):
            half = weight.astype(np.float16)
        if not np.isfinite(half).all():
            raise DataError(f"the adapter in {folder} has weights that are no numbers, or too large: {name}")
        writer.add_tensor(f"blk.{layer}.{LINEAR[module]}.weight.lora_{matrix.lower()}", half)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    beside.replace(out)


def _lora_place(folder: Path, name: str, found: tuple[int, ...], shape: Shape, rank: int) -> tuple[int, str, str]:
    """The layer, the module and the matrix of a weight, whose shape must be the base's."""
    place = _LORA.fullmatch(name)
    if place is None or place[2] not in LINEAR or int(place[1]) >= shape.layers:
        raise DataError(f"the adapter in {folder} has a weight that its base has no layer for: {name}")
    inputs, outputs = shape.linear(place[2])
    expected = (rank, inputs) if place[3] == "A" else (outputs, rank)
    if found != expected:
        raise DataError(
            f"the adapter in {folder} is of another base: {name} has the shape {found}, expected {expected}"
        )
    return int(place[1]), place[2], place[3]


def _transformers_name(name: str) -> tuple[str, str]:
    """A tensor's name in transformers, and what part of a layer it is."""
    whole = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in whole:
        return whole[name], ""
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{_TRANSFORMERS[part]}.weight", part


# A rotary embedding turns pairs of a head's places: in transformers one of the first half with one of the second, in
# llama.cpp neighbours. So the rows of q's and k's weights have another order.
def _to_halves(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows in llama.cpp's order, in that of transformers."""
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def _to_pairs(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows in the order of transformers, in llama.cpp's."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)
