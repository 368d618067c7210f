"""An adapter of lower rank: for each layer the nearest matrix of that rank, by singular values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError
from harness.models.engines.adapter_files import LoraWeights, read_lora, write_lora

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Ranks before and after; `lost` is the share of the squared singular values that is gone, over all layers."""

    before: int
    after: int
    lost: float


def shrink(adapter: Path, rank: int, out: Path) -> Shrunk:
    """Write an adapter of a lower rank, the nearest to this one in the Frobenius norm (Eckart and Young, 1936).

    Raises:
        DataError: the adapter cannot be read.
        UserError: it has no higher rank.
    """
    lora = read_lora(adapter)
    if lora.rank <= rank:
        raise UserError(f"the adapter in {adapter} has rank {lora.rank}: --shrink takes a lower one")
    found, lost = truncated(lora, rank)
    write_lora(out, found)
    return Shrunk(lora.rank, rank, lost)


def truncated(lora: LoraWeights, rank: int) -> tuple[LoraWeights, float]:
    """Return an adapter cut to a rank, with alpha / rank as before, and the share of energy lost."""
    weights: dict[str, NDArray[np.float32]] = {}
    lost = total = 0.0
    for name, (a, b) in lora.pairs.items():
        small_a, small_b, values = _cut(a, b, rank)
        weights |= {f"{name}.lora_A.weight": small_a, f"{name}.lora_B.weight": small_b}
        lost += float((values[rank:] ** 2).sum())
        total += float((values**2).sum())
    alpha = lora.alpha * rank / lora.rank
    settings = {**lora.settings, "r": rank, "lora_alpha": int(alpha) if alpha.is_integer() else alpha}
    return LoraWeights(settings, weights), lost / total if total else 0.0


def _cut(
    a: NDArray[np.float32], b: NDArray[np.float32], rank: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The two factors of the nearest matrix of this rank to B·A, equally large, and all singular values of B·A.

    The matrix itself is never made: of B = QR and A' = PS only R·S', rank by rank, is decomposed.
    """
    import numpy as np

    left, inner_left = np.linalg.qr(b.astype(np.float64))
    right, inner_right = np.linalg.qr(a.astype(np.float64).T)
    u, values, v = np.linalg.svd(inner_left @ inner_right.T)
    root = np.sqrt(values[:rank])
    small_a = root[:, None] * (v[:rank] @ right.T)
    small_b = (left @ u[:, :rank]) * root
    return small_a.astype(np.float32), small_b.astype(np.float32), values.astype(np.float32)
