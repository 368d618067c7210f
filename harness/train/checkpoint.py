"""What lets a training go on after it was stopped for any reason: its state in one file, whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHECKPOINT = "checkpoint.pt"


def unfinished(adapter: Path) -> bool:
    """Whether the training of an adapter in a folder was stopped, and can be resumed, by either engine."""
    return (adapter / CHECKPOINT).exists() or (adapter / "ludwig").exists()


def save(path: Path, training: str, state: dict[str, Any]) -> None:
    """Write the state of a training; `training` is a hash of everything that decides its course."""
    import torch

    # Written beside and renamed, so that a checkpoint is whole or the one before it.
    torch.save({"training": training, **state}, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def load(path: Path, training: str, device: str = "cpu") -> dict[str, Any] | None:
    """Return the state of this training; None where there is none, that of another, or one that was cut."""
    import pickle

    import torch

    if not path.is_file():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return saved if saved["training"] == training else None
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
        return None  # a power loss may leave a file whose end was never written
