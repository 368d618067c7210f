"""An adapter's card: how it was made, as JSON for programs, as a README for people, and its losses as a plot."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.compare.intervals import Estimate
from harness.errors import DataError
from harness.models.local import CARD
from harness.printable import printable
from harness.report.words import interval
from harness.rows.training import TrainingRows
from harness.store.provenance import git_state
from harness.tasks.catalog import TaskFile
from harness.train.recipe import Curve, Hyperparameters, Trained

_MODEL_CARD = """---
base_model: {base}
library_name: peft
tags: [lora]
---
# {task} on {base}

A LoRA adapter for `tasks/{task}.yaml`, made by `harness train`.

|  |  |
|---|---|
| rows | {rows} of {place}, none of them evaluated |
| validation loss | {loss:.4f} nats a token of the answers, at step {step} of {steps} |
{held_out}| engine | {engine} |
| hardware | {hardware} |
| hours | {hours:.3f}{cpu}{cost} |
{pruned}{shrunk}
`card.json` holds the hyper-parameters, the losses and the hashes of task and prompt.

![losses](losses.svg)
"""

_HELD_OUT = "| {metric} on {n} rows of split '{split}' that it did not learn | {score} |\n"
_PRUNED = "| prompts | without the fixed text that `card.json` holds under `prune`, as `harness` then asks them |\n"
_SHRUNK = "| rank | {}, cut to {} by singular values; {:.1%} of their squares lost |\n"


@dataclass(frozen=True, slots=True)
class Card:
    """How an adapter was made.

    `hours` are of wall time, `cpu_minutes` of processor time, both with those of the adapter it began with; `usd`
    needs a price of the machine. `prune` is what was taken out of the prompts it learned. `shrunk_to` is the rank that
    the adapter was cut to afterwards, and `energy_lost` the share of its squared singular values that this cost.
    `held_out` is its score before that, on rows that it did not learn.
    """

    task: str
    task_sha256: str
    prompt_hash: str
    base: str
    engine: str
    recipe: dict[str, Any]
    data: str
    training_fingerprint: str
    borrowed_from: str | None
    rows: int
    too_long: int
    also_evaluated: int
    longest_tokens: int
    step: int
    steps: int
    curve: dict[str, list[float]]
    hardware: str
    hours: float
    cpu_minutes: float | None
    usd: float | None
    versions: dict[str, str]
    git: dict[str, Any]
    shrunk_to: int | None = None
    energy_lost: float | None = None
    held_out: dict[str, Any] | None = None
    prune: dict[str, Any] | None = None


def card(
    file: TaskFile, base: str, engine: str, recipe: Hyperparameters, data: str, rows: TrainingRows, trained: Trained,
    gpu_per_hour: float | None,
) -> Card:  # fmt: skip
    """Return the card of an adapter that was trained just now."""
    before = _before(Path(recipe.start)) if recipe.start else None
    hours = trained.seconds / 3600 + (before.hours if before else 0)
    cpu_minutes = None
    if trained.cpu_seconds is not None:
        cpu_minutes = round(trained.cpu_seconds / 60 + (before.cpu_minutes or 0 if before else 0), 3)
    return Card(
        task=file.name,
        task_sha256=file.sha256,
        prompt_hash=file.prompt_hash,
        base=base,
        engine=engine,
        recipe=asdict(recipe) | {"start": recipe.start and Path(recipe.start).name},
        data=data,
        training_fingerprint=rows.fingerprint,
        borrowed_from=rows.borrowed_from,
        rows=trained.rows,
        too_long=trained.too_long,
        also_evaluated=rows.dropped,
        longest_tokens=trained.longest,
        step=trained.step,
        steps=trained.steps,
        curve=asdict(trained.curve),
        hardware=f"{trained.device}, {platform.machine()}, {os.cpu_count()} cores",
        hours=round(hours, 4),
        cpu_minutes=cpu_minutes,
        usd=None if gpu_per_hour is None else round(hours * gpu_per_hour, 4),
        versions={"lora-leaderboard": __version__, "python": platform.python_version(), **trained.versions},
        git=git_state(Path.cwd()),
        prune=rows.prune.as_json() if rows.prune else None,
    )


def _before(start: Path) -> Card | None:
    """The card of the adapter that a training began with; None where it was not trained here, or is a merge."""
    path = start / CARD
    merged = path.is_file() and "parents" in json.loads(path.read_text(encoding="utf-8"))
    return read(start) if path.is_file() and not merged else None


def read(adapter: Path) -> Card:
    """Return the card in an adapter's folder.

    Raises:
        DataError: there is none, or something else.
    """
    path = adapter / CARD
    try:
        return Card(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a card as `harness train` writes it: {error}") from None


def write(found: Card, folder: Path) -> None:
    """Write `card.json`, `README.md` and `losses.svg` into an adapter's folder."""
    (folder / CARD).write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    cost = "" if found.usd is None else f", {found.usd:.2f} USD"
    held_out = ""
    if found.held_out is not None:
        score = Estimate(**found.held_out["score"])
        held_out = _HELD_OUT.format_map(found.held_out | {"n": score.n, "score": interval(score)})
    cpu = "" if found.cpu_minutes is None else f", {found.cpu_minutes:.1f} CPU-minutes"
    shrunk = "" if found.shrunk_to is None else _SHRUNK.format(found.recipe["rank"], found.shrunk_to, found.energy_lost)
    text = _MODEL_CARD.format(
        task=found.task,
        base=found.base,
        rows=found.rows,
        place=found.data,
        loss=min(found.curve["validation"]),
        step=found.step,
        steps=found.steps,
        engine=found.engine,
        hardware=found.hardware,
        hours=found.hours,
        cost=cost,
        cpu=cpu,
        held_out=held_out,
        shrunk=shrunk,
        pruned=_PRUNED if found.prune else "",
    )
    (folder / "README.md").write_text(printable(text), encoding="utf-8")
    _plot(Curve(**found.curve), found.step, folder / "losses.svg")  # type: ignore[arg-type]


def _plot(curve: Curve, kept: int, path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for name, values, colour in (
        ("training", curve.training, "#0072b2"),
        ("validation", curve.validation, "#d55e00"),
    ):
        axes.plot(curve.steps, values, color=colour, marker=".")
        axes.annotate(f" {name}", (curve.steps[-1], values[-1]), color=colour, va="center")
    axes.axvline(kept, color="grey", linestyle=":", linewidth=1)
    axes.set_xlabel("step (dotted: the weights that were kept)")
    axes.set_ylabel("loss, nats a token")
    axes.margins(x=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": "lora-leaderboard"}):
        figure.savefig(path, metadata={"Date": None})
