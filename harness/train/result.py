"""What a training gives, whichever engine did it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Curve:
    """Losses in nats a token of the answers: of training since the last point, and of the validation rows."""

    steps: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gave. `step` is that of the weights that were kept, those of the lowest validation loss.

    `steps` were made; `device` is `cpu`, or the kind of the GPU with its name.
    """

    curve: Curve
    step: int
    steps: int
    rows: int
    too_long: int
    longest: int
    seconds: float
    device: str
    versions: dict[str, str]
