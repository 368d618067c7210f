"""A LoRA adapter's files are read and written without torch, and what is more than plain LoRA is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError
from harness.models.engines.adapter_files import CONFIG, WEIGHTS, LoraWeights, read_lora, write_lora
from tests.models import tiny_gguf


def test_what_is_written_is_read_again_rounded_to_bfloat16(tmp_path: Path) -> None:
    made = tiny_gguf.lora()
    write_lora(tmp_path, made)
    found = read_lora(tmp_path)
    assert found.settings == made.settings
    assert found.weights.keys() == made.weights.keys()
    for name, weight in made.weights.items():
        assert np.abs(found.weights[name] - weight).max() <= np.abs(weight).max() / 256
    assert (tmp_path / WEIGHTS).stat().st_size < 2 * sum(weight.size for weight in made.weights.values()) + 10_000


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_transposed_array_is_written_as_the_matrix_that_it_is(tmp_path: Path, dtype: str) -> None:
    made = tiny_gguf.lora()
    write_lora(tmp_path / "as it is", made, dtype)
    turned = {name: np.asfortranarray(weight) for name, weight in made.weights.items()}
    write_lora(tmp_path / "turned", LoraWeights(made.settings, turned), dtype)
    assert (tmp_path / "turned" / WEIGHTS).read_bytes() == (tmp_path / "as it is" / WEIGHTS).read_bytes()


def test_bfloat16_rounds_to_the_nearest(tmp_path: Path) -> None:
    made = tiny_gguf.lora(rank=1)
    name = next(iter(made.weights))
    made.weights[name].flat[:4] = (1.0, 1 + 1 / 256, 1 + 3 / 256, -1 - 1 / 1024)  # two ties, which go to the even one
    write_lora(tmp_path, made)
    assert read_lora(tmp_path).weights[name].flat[:4].tolist() == [1.0, 1.0, 1 + 1 / 64, -1.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use_dora": True}, "is not plain LoRA: it has use_dora"),
        ({"rank_pattern": {"q_proj": 2}}, "is not plain LoRA: it has rank_pattern"),
        ({"bias": "all"}, "is not plain LoRA: it has peft_type LORA, bias all"),
        ({"peft_type": "IA3"}, "is not plain LoRA: it has peft_type IA3"),
        ({"r": None}, "cannot be read: TypeError"),
    ],
)
def test_more_than_plain_lora_is_refused(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    tiny_gguf.write_adapter(tmp_path)
    settings = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(settings | change))
    with pytest.raises(DataError, match=reason):
        read_lora(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_weights_that_are_damaged(content: bytes, tmp_path: Path) -> None:
    tiny_gguf.write_adapter(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_lora(tmp_path)


def test_a_folder_without_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the adapter in .* cannot be read: FileNotFoundError"):
        read_lora(tmp_path)


def test_a_file_without_weights_is_no_adapter(tmp_path: Path) -> None:
    made = tiny_gguf.lora()
    write_lora(tmp_path, LoraWeights(made.settings, {}))
    with pytest.raises(DataError, match=f"{WEIGHTS} holds no LoRA weights"):
        read_lora(tmp_path)
