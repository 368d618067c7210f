"""How an adapter is trained: the hyper-parameters that both engines understand."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.models.engines.known_bases import is_gguf, weight_bytes

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
        epochs: Passes over the training rows, where `steps` does not say. None: one, or as many as `USUAL_UPDATES`
            take, at most `MOST_EPOCHS`.
        rank: Of the LoRA matrices; their scale is `alpha` / `rank`.
        rows_per_update: Rows whose mean gradient makes one update.
        batch: Most rows of one pass through the model, which changes the time and memory that an update takes, and not
            what is learned; None: as many as fit.
        warmup: Share of the steps over which the learning rate rises; after it comes half a cosine.
        bits: 4 or 8 to quantise the frozen base, which needs CUDA; None not to.
        validation: Share of the training rows, at most `MOST_VALIDATION`, on which the best moment is found. None: a
            twentieth, or as much more as makes `LEAST_VALIDATION` rows, at most a fifth.
        longest: Most tokens of a row, prompt and answer; longer rows are left out. None: what the model reads.
        start: Folder of a LoRA adapter to go on from, whose rank and modules are kept.
        checkpoints: Adapters kept on the way, at equal distances, the last one after the last step.
    """

    epochs: float | None = 3.0
    steps: int | None = None
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    target_modules: tuple[str, ...] = ATTENTION
    learning_rate: float = 2e-4
    warmup: float = 0.03
    rows_per_update: int = 16
    batch: int | None = None
    bits: int | None = None
    validation: float | None = None
    longest: int | None = None
    start: str | None = None
    seed: int = 0
    checkpoints: int = 0

    def updates(self, rows: int) -> int:
        """Return the number of updates for so many training rows."""
        once = rows / self.rows_per_update
        usual = max(once, min(USUAL_UPDATES, MOST_EPOCHS * once)) if self.epochs is None else self.epochs * once
        return self.steps or max(1, math.ceil(usual))

    def held(self, rows: int) -> int:
        """Return how many of so many rows, the first, are for validation."""
        usual = max(rows // 20, min(LEAST_VALIDATION, rows // 5))
        return min(MOST_VALIDATION, usual if self.validation is None else int(self.validation * rows))

    def evaluate_every(self, rows: int, held: int) -> int:
        """Return the updates between two evaluations: no more rows are evaluated than are trained on meanwhile."""
        return max(1, self.updates(rows) // EVALUATIONS, math.ceil(held / self.rows_per_update))

    def kept_steps(self, steps: int) -> tuple[int, ...]:
        """Return the steps after which an adapter is kept, of so many in all."""
        return tuple(sorted({round(steps * (place + 1) / self.checkpoints) for place in range(self.checkpoints)} - {0}))


LORA_LAND = Hyperparameters()
# For a base of a few hundred million parameters: its weights have to move further, and more of them.
SMALL_BASE = Hyperparameters(
    epochs=None, dropout=0.0, target_modules=ALL_LINEAR, learning_rate=1e-3, warmup=0.04, longest=1_024
)

LEAST_VALIDATION, MOST_VALIDATION = 64, 200
EVALUATIONS = 8
USUAL_UPDATES, MOST_EPOCHS = 60, 6

SMALL = 1_000_000_000
"""Parameters of a small base, at most. How many a base has is known from the bytes of its weights, else its name."""
_BYTES_PER_PARAMETER, _OF_GGUF = 2.0, 0.6
_IN_NAME = re.compile(r"(?<![\d.a-z])(\d+(?:\.\d+)?)([mb])(?![a-z\d])", re.IGNORECASE)


def recipe_for(base: str, **given: Any) -> Hyperparameters:
    """Return the hyper-parameters for a base: those given, else the defaults for its size; alpha is twice the rank.

    Raises:
        UserError: the base is a GGUF file that is not there.
    """
    usual = SMALL_BASE if is_small(base) else LORA_LAND
    return replace(usual, **{"alpha": 2 * given.get("rank", usual.rank), **given})


def is_small(base: str) -> bool:
    """Return whether a base has at most a billion parameters, as near as its files or its name tell.

    >>> is_small("HuggingFaceTB/SmolLM2-360M"), is_small("mistralai/Mistral-7B-v0.1"), is_small("some/base")
    (True, False, False)

    Raises:
        UserError: it is a GGUF file that is not there.
    """
    if size := weight_bytes(base):
        return size / (_OF_GGUF if is_gguf(base) else _BYTES_PER_PARAMETER) <= SMALL
    named = _IN_NAME.search(base.rstrip("/").rpartition("/")[2])
    return named is not None and float(named[1]) * (1e9 if named[2] in "bB" else 1e6) <= SMALL


def rows_per_update(recipe: Mapping[str, Any]) -> int:
    """Return the rows of an update in a recipe as a card holds it; older ones have a batch, and how many made one."""
    return int(recipe["rows_per_update"] if "rows_per_update" in recipe else recipe["batch"] * recipe["accumulate"])


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
