"""An adapter of lower rank is the nearest there is, and says what was lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.errors import DataError, UserError
from harness.models.engines.adapter_files import LoraWeights, read_lora
from harness.train.shrink import shrink, truncated
from tests.models import tiny_gguf


def products(lora: LoraWeights) -> dict[str, NDArray[np.float64]]:
    """What each layer's weight is changed by."""
    scale = lora.alpha / lora.rank
    return {name: scale * b.astype(np.float64) @ a for name, (a, b) in lora.pairs.items()}


@given(rank=st.integers(1, 5), seed=st.integers(0, 1000))
def test_it_is_the_best_of_its_rank(rank: int, seed: int) -> None:
    whole = tiny_gguf.lora(rank=6, seed=seed, layers=1)
    found, lost = truncated(whole, rank)
    assert (found.rank, found.alpha / found.rank) == (rank, whole.alpha / whole.rank)
    missing = total = 0.0
    for name, change in products(whole).items():
        u, values, v = np.linalg.svd(change, full_matrices=False)
        best = (u[:, :rank] * values[:rank]) @ v[:rank]
        assert np.abs(products(found)[name] - best).max() < 1e-4
        missing, total = missing + (values[rank:] ** 2).sum(), total + (values**2).sum()
    assert lost == pytest.approx(missing / total, rel=1e-4)


def test_nothing_is_lost_where_the_rank_was_not_used(tmp_path: Path) -> None:
    whole = tiny_gguf.lora(rank=4)
    unused = {
        name: np.concatenate([weight[:2], 0 * weight[2:]]) if "lora_A" in name else weight
        for name, weight in whole.weights.items()
    }
    whole = LoraWeights(whole.settings, unused)
    found, lost = truncated(whole, 2)
    assert lost == pytest.approx(0, abs=1e-9)
    for name, change in products(whole).items():
        assert np.abs(products(found)[name] - change).max() < 1e-4


def test_it_is_written_as_an_adapter(tmp_path: Path) -> None:
    tiny_gguf.write_adapter(tmp_path / "whole", rank=4)
    cut = shrink(tmp_path / "whole", 2, tmp_path / "cut")
    assert (cut.before, cut.after) == (4, 2)
    assert 0 < cut.lost < 0.5
    found = read_lora(tmp_path / "cut")
    assert (found.settings["r"], found.settings["lora_alpha"]) == (2, 4)
    assert all(min(weight.shape) == 2 for weight in found.weights.values())


def test_a_rank_that_is_not_lower(tmp_path: Path) -> None:
    tiny_gguf.write_adapter(tmp_path, rank=4)
    with pytest.raises(UserError, match="has rank 4: --shrink takes a lower one"):
        shrink(tmp_path, 4, tmp_path)


def test_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        shrink(tmp_path, 2, tmp_path)
