"""A GGUF file is unpacked for transformers, and an adapter of the unpacked weights is written for llama.cpp."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError, UserError
from harness.models.engines import gguf
from harness.models.engines.adapter_files import LoraWeights, read_lora, write_lora
from harness.models.engines.gguf import Llama, _to_halves, _to_pairs, base_folder, shape_of, unpack, write_adapter
from tests.models import tiny_gguf

TEXTS = ("no abab 12 yes", " 2026-11-29 and 1,234.5 x", "naïve café 日本 \n\n\ttabs  and   spaces")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write_base(tmp_path_factory.mktemp("base") / "tiny.gguf")


class TestReading:
    def test_the_shape(self, base: Path) -> None:
        assert shape_of(base) == tiny_gguf.SHAPE
        assert Llama(base).context == tiny_gguf.CONTEXT

    def test_weights_have_the_names_of_transformers(self, base: Path) -> None:
        weights = Llama(base).weights()
        assert len(weights) == 2 + 9 * tiny_gguf.SHAPE.layers
        assert weights["model.layers.1.mlp.down_proj.weight"].shape == (64, 96)
        assert weights["model.layers.0.self_attn.k_proj.weight"].shape == (32, 64)
        assert {"model.embed_tokens.weight", "model.norm.weight"} <= weights.keys()

    @pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all, but long enough to be one" * 9])
    def test_what_is_no_gguf_file(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.gguf").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.gguf is not a GGUF file"):
            Llama(tmp_path / "x.gguf")

    @given(heads=st.integers(1, 8), half=st.integers(1, 6), columns=st.integers(1, 4))
    def test_the_two_orders_of_a_rotary_embedding_are_each_others_inverse(
        self, heads: int, half: int, columns: int
    ) -> None:
        weight = np.arange(heads * 2 * half * columns).reshape(-1, columns)
        assert (_to_halves(_to_pairs(weight, heads), heads) == weight).all()
        first_head = _to_pairs(weight, heads)[: 2 * half, 0] // columns
        assert first_head.tolist() == [place for pair in range(half) for place in (pair, pair + half)]


class TestUnpacking:
    def test_the_folder_is_whole(self, base: Path, tmp_path: Path) -> None:
        unpack(base, tmp_path / "out")
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {
            "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert (config["num_key_value_heads"], config["rope_theta"], config["tie_word_embeddings"]) == (2, 1e4, True)
        assert config["rms_norm_eps"] == 1e-5

    def test_each_digit_is_a_token_of_its_own(self, base: Path, tmp_path: Path) -> None:
        from tokenizers import Tokenizer

        unpack(base, tmp_path / "out")
        words = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
        assert words.encode("12 ab no").tokens == ["1", "2", "Ġa", "b", "Ġ", "no"]
        assert words.encode(f"no{tiny_gguf.END}").ids[-1] == 2
        assert all(words.decode(words.encode(text).ids) == text for text in TEXTS)

    def test_another_tokenizer_is_refused(self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        value = Llama.value
        monkeypatch.setattr(Llama, "value", lambda self, key: "llama-bpe" if key.endswith(".pre") else value(self, key))
        with pytest.raises(UserError, match="the tokenizer is gpt2/llama-bpe; only gpt2/smollm can be unpacked"):
            unpack(base, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_it_is_done_once(self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path))
        said: list[str] = []
        folder = base_folder(str(base), said.append)
        assert Path(folder).is_relative_to(tmp_path)
        assert len(said) == 1
        monkeypatch.setattr(gguf, "unpack", None)
        assert base_folder(str(base), said.append) == folder
        assert len(said) == 1

    def test_a_name_of_the_hub_is_left_as_it_is(self) -> None:
        assert base_folder("some/model", print) == "some/model"


class TestAdapters:
    def test_every_matrix_has_its_place(self, tmp_path: Path) -> None:
        from gguf import GGUFReader

        lora = tiny_gguf.lora(rank=4)
        write_lora(tmp_path, lora)
        write_adapter(tmp_path, tiny_gguf.SHAPE, tmp_path / "out.gguf")
        read = GGUFReader(tmp_path / "out.gguf")
        tensors = {tensor.name: tensor.data for tensor in read.tensors}
        assert len(tensors) == len(lora.weights)
        assert read.fields["adapter.lora.alpha"].contents() == 8
        down = lora.weights["base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"]
        assert np.abs(tensors["blk.1.ffn_down.weight.lora_b"] - down).max() < 0.01
        query = lora.weights["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"]
        assert np.abs(tensors["blk.0.attn_q.weight.lora_b"] - _to_pairs(query, 4)).max() < 0.01
        assert [path.name for path in tmp_path.glob("*.new")] == []

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"model.layers.0.mlp.gate_proj": "model.layers.7.mlp.gate_proj"}, "that its base has no layer for"),
            ({"mlp.up_proj": "mlp.fc"}, "that its base has no layer for"),
            ({"model.layers.0.mlp.gate_proj": "lm_head"}, "that its base has no layer for"),
        ],
    )
    def test_a_layer_that_the_base_does_not_have(self, change: dict[str, str], message: str, tmp_path: Path) -> None:
        (old, new), lora = *change.items(), tiny_gguf.lora()
        write_lora(tmp_path, LoraWeights(lora.settings, {k.replace(old, new): v for k, v in lora.weights.items()}))
        with pytest.raises(DataError, match=message):
            write_adapter(tmp_path, tiny_gguf.SHAPE, tmp_path / "out.gguf")
        assert not (tmp_path / "out.gguf").exists()

    def test_a_shape_that_is_not_the_bases(self, tmp_path: Path) -> None:
        wider: dict[str, Any] = {"width": 128, "heads": 8}
        write_lora(tmp_path, tiny_gguf.lora())
        shape = gguf.Shape(2, inner=96, key_value_heads=2, **wider)
        expected = r"is of another base: .*down_proj\.lora_B\.weight has the shape \(64, 4\), expected \(128, 4\)"
        with pytest.raises(DataError, match=expected):
            write_adapter(tmp_path, shape, tmp_path / "out.gguf")


@pytest.mark.parametrize("weight", [float("nan"), float("-inf"), 1e6])
def test_weights_that_are_no_numbers_in_float16_are_refused(tmp_path: Path, weight: float) -> None:
    folder = tiny_gguf.write_adapter(tmp_path / "adapter")
    lora = read_lora(folder)
    name, first = next(iter(lora.weights.items()))
    write_lora(folder, replace(lora, weights={**lora.weights, name: np.full_like(first, weight)}), "float32")
    with pytest.raises(DataError, match=r"not finite numbers|has weights that are no numbers, or too large"):
        write_adapter(folder, tiny_gguf.SHAPE, tmp_path / "out.gguf")


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 0])
def test_a_scale_that_llama_cpp_cannot_keep_is_refused(tmp_path: Path, alpha: float) -> None:
    folder = tiny_gguf.write_adapter(tmp_path / "adapter")
    lora = read_lora(folder)
    write_lora(folder, replace(lora, settings={**lora.settings, "lora_alpha": alpha}))
    with pytest.raises(DataError, match=f"has the lora_alpha {float(alpha)}"):  # llama.cpp takes 0 for 'no scale': 1
        write_adapter(folder, tiny_gguf.SHAPE, tmp_path / "out.gguf")
