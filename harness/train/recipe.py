"""How an adapter is trained: the hyper-parameters that both engines understand."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.models.engines.known_bases import is_gguf

Engine = Literal["ludwig", "peft"]

ALL = "all-linear"
"""As PEFT has it: every linear layer but the head, whatever their names; alone in `target_modules`."""
ATTENTION = ("q_proj", "v_proj")
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """LoRA hyper-parameters. The defaults are the published recipe of LoRA Land (`results/published/training.csv`).

    Attributes:
        steps: Updates of the weights; None: as many as `epochs` take.
        epochs: Passes over the training rows, where `steps` does not say.
        rank: Of the LoRA matrices; their scale is `alpha` / `rank`.
        batch: Rows of one pass through the model; `accumulate` passes make one update.
        warmup: Share of the steps over which the learning rate rises; after it comes half a cosine.
        bits: 4 or 8 to quantise the frozen base, which needs CUDA; None not to.
        validation: Share of the training rows, at most `MOST_VALIDATION`, on which the best moment is found.
        longest: Most tokens of a row, prompt and answer; longer rows are left out. None: what the model reads.
        start: Folder of a LoRA adapter to go on from, whose rank and modules are kept.
        checkpoints: Adapters kept on the way, at equal distances, the last one after the last step.
    """

    epochs: float = 3.0
    steps: int | None = None
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    target_modules: tuple[str, ...] = ATTENTION
    learning_rate: float = 2e-4
    warmup: float = 0.03
    batch: int = 1
    accumulate: int = 16
    bits: int | None = None
    validation: float = 0.05
    longest: int | None = None
    start: str | None = None
    seed: int = 0
    checkpoints: int = 0

    def updates(self, rows: int) -> int:
        """Return the number of updates for so many training rows."""
        return self.steps or max(1, math.ceil(self.epochs * rows / (self.batch * self.accumulate)))

    def evaluate_every(self, rows: int, held: int) -> int:
        """Return the updates between two evaluations: no more rows are evaluated than are trained on meanwhile."""
        return max(1, self.updates(rows) // EVALUATIONS, math.ceil(held / (self.batch * self.accumulate)))

    def kept_steps(self, steps: int) -> tuple[int, ...]:
        """Return the steps after which an adapter is kept, of so many in all."""
        return tuple(sorted({round(steps * (place + 1) / self.checkpoints) for place in range(self.checkpoints)} - {0}))


LORA_LAND = Hyperparameters()
# For a base of a hundred million parameters, trained on a CPU: its weights have to move further, and more of them.
SMALL_BASE = Hyperparameters(
    epochs=1.0, dropout=0.0, target_modules=ALL_LINEAR, learning_rate=1e-3, warmup=0.04, batch=16, accumulate=1,
    longest=1_024,
)  # fmt: skip


MOST_VALIDATION = 200
EVALUATIONS = 8


def recipe_for(base: str, **given: Any) -> Hyperparameters:
    """Return the hyper-parameters for a base: those given, else the defaults for its kind; alpha is twice the rank."""
    usual = SMALL_BASE if is_gguf(base) else LORA_LAND
    return replace(usual, **{"alpha": 2 * given.get("rank", usual.rank), **given})


def engine_for(base: str) -> Engine:
    """Return the engine that trains on a base unless another is named: Ludwig reads no GGUF file."""
    return "peft" if is_gguf(base) else "ludwig"


def learning_rate_factor(done: float, warmup: float) -> float:
    """Return the learning rate's factor when this share of the steps is done: linear warm-up, then half a cosine."""
    if done < warmup:
        return done / warmup
    return (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2


@dataclass(slots=True)
class Curve:
    """Losses in nats a token of the answers: of training since the last point, and of the validation rows."""

    steps: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gave. `step` is that of the weights that were kept, those of the lowest validation loss.

    `steps` were made in `seconds` of wall time and `cpu_seconds` of processor time, None where it is not known;
    `device` is `cpu`, or the kind of the GPU with its name.
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
    cpu_seconds: float | None = None
