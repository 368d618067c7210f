"""One training, from a task's name to an adapter with its card."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, UserError
from harness.models.local import CARD
from harness.models.proof import FINGERPRINT
from harness.rows.examples import load_examples
from harness.rows.origin import locate
from harness.rows.training import TrainingRows, load
from harness.shipped import TaskFolders
from harness.tasks.catalog import TaskFile, load_task
from harness.tasks.prompts import Prompts
from harness.train.card import Card, card, read, write
from harness.train.checkpoint import unfinished
from harness.train.outcome import HeldOut, advice, score_held_out
from harness.train.recipe import Engine, Hyperparameters
from harness.train.shrink import Shrunk, shrink

if TYPE_CHECKING:
    from harness.train.ludwig import Fitting

FIRST = 64
"""Of so many learned rows the shortest prompts are those of the fingerprint."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What a user asks of `harness train`.

    `out` is None for `adapters/<base>/<task>`, `train_on` for the task's own training rows, of which `rows` are the
    most that are learned. `score` asks the adapter rows that it did not learn; `fingerprint` writes what it answers
    first to eight prompts that it learned.
    """

    task: str
    base: str
    engine: Engine
    recipe: Hyperparameters
    data: str | None
    tasks_folder: TaskFolders
    out: Path | None = None
    gpu_per_hour: float | None = None
    train_on: Path | None = None
    rows: int | None = None
    score: bool = True
    fingerprint: bool = True

    @property
    def folder(self) -> Path:
        """Where the adapter goes."""
        return self.out or Path("adapters") / base_name(self.base) / self.task


def base_name(base: str) -> str:
    """Return the name of a base as a folder's: the last part of an id or a path.

    >>> base_name("mistralai/Mistral-7B-v0.1")
    'Mistral-7B-v0.1'
    """
    return re.sub(r"[^\w.-]+", "-", base.rstrip("/").rpartition("/")[2].removesuffix(".gguf")) or "base"


def train(options: TrainOptions, say: Callable[[str], None]) -> Card:
    """Train an adapter for a task, score it on rows that it did not learn, and return its card.

    Raises:
        UserError: the task has no training rows, the base cannot be loaded, or it does not fit.
        SpecError: the task's file is wrong.
        HarnessError: the engine failed.
    """
    file, rows, place = _rows(options, say)
    if options.engine == "ludwig" and not all(pair.prompt for pair in rows.pairs):
        raise UserError(f"{options.train_on}: rows of plain text need --engine peft")
    options = replace(options, recipe=_with_held(options.recipe, rows))
    if options.engine == "ludwig":  # which leaves rows out by its own rule
        options = replace(options, recipe=replace(options.recipe, longest=None))
    folder = options.folder
    if options.engine == "peft":
        from harness.train import peft

        trained = peft.train(options.base, rows.pairs, options.recipe, folder, say)
    else:
        from harness.train import ludwig

        fitting, config = _for_ludwig(options, file, rows)
        python = ludwig.environment(ludwig.ENVIRONMENT, say)
        trained = ludwig.train(python, config, fitting, options.recipe, folder, say)
    made = card(file, options.base, options.engine, options.recipe, place, rows, trained, options.gpu_per_hour)
    write(made, folder)
    (folder / FINGERPRINT).unlink(missing_ok=True)  # of what was there before
    if unfinished(folder):
        return made
    if options.fingerprint:
        _fingerprint(options, rows, made, say)
    held_out = _scored(options, file, rows, made, say) if options.score else None
    if held_out is not None:
        made = replace(made, held_out=held_out.as_json())
        write(made, folder)
    if advised := advice(options.recipe, trained.curve, trained.rows, trained.steps, held_out):
        say(advised)
    return made


def _fingerprint(options: TrainOptions, rows: TrainingRows, made: Card, say: Callable[[str], None]) -> None:
    """Write what the adapter answers first to short prompts that it learned, which every server has room for."""
    from harness.train.fingerprint import PROMPTS, write_fingerprint

    held = options.recipe.held(len(rows.pairs) - made.too_long)
    learned = dict.fromkeys(pair.prompt for pair in rows.pairs[held:][:FIRST] if pair.prompt)
    if not learned:
        return
    try:
        write_fingerprint(options.base, options.folder, sorted(learned, key=len)[:PROMPTS], say)
    except HarnessError as error:
        say(f"there is no fingerprint to prove it by: {error}")


def _scored(
    options: TrainOptions, file: TaskFile, rows: TrainingRows, made: Card, say: Callable[[str], None]
) -> HeldOut | None:
    """The adapter's score; None, for which the reason is said, where it cannot be asked."""
    held = options.recipe.held(len(rows.pairs) - made.too_long)
    learned = {pair.prompt or pair.target for pair in rows.pairs[held:]}
    alike = options.train_on is not None
    try:
        found = score_held_out(file, options.base, options.folder, options.data, learned, say, alike=alike)
    except HarnessError as error:
        say(f"it was not scored on rows that it did not learn: {error}")
        return None
    say(found.text())
    return found


def shrink_trained(folder: Path, rank: int) -> Shrunk:
    """Cut an adapter to a lower rank where it lies, and say so in its card, if it has one.

    Raises:
        DataError: there is no adapter, or its card cannot be read.
        UserError: it has no higher rank.
    """
    made = read(folder) if (folder / CARD).is_file() else None
    cut = shrink(folder, rank, folder)
    (folder / FINGERPRINT).unlink(missing_ok=True)  # of what was not cut
    if made is not None:
        write(replace(made, shrunk_to=rank, energy_lost=round(cut.lost, 4)), folder)
    return cut


def configuration(options: TrainOptions, say: Callable[[str], None]) -> dict[str, Any]:
    """Return what would be trained: Ludwig's configuration, or the recipe of the PEFT engine with its rows.

    Raises:
        UserError: as `train`, as far as it can be known before.
    """
    from dataclasses import asdict

    file, rows, _ = _rows(options, say)
    options = replace(options, recipe=_with_held(options.recipe, rows))
    if options.engine == "ludwig":
        return _for_ludwig(options, file, rows)[1]
    return {"base": options.base, **asdict(options.recipe), "rows": len(rows.pairs), "out": str(options.folder)}


def _rows(options: TrainOptions, say: Callable[[str], None]) -> tuple[TaskFile, TrainingRows, str]:
    file = load_task(options.tasks_folder, options.task)
    origin = locate(file, options.data)
    if options.train_on is not None:
        rows = load_examples(file, Prompts(file), origin, options.train_on)
        left_out = f", {rows.dropped} left out because evaluated rows say the same" if rows.dropped else ""
        taught = f", answers of {', '.join(rows.teachers)}" if rows.teachers else ""
        say(f"{file.name}: {len(rows.pairs)} training rows ({options.train_on}{taught}){left_out}")
        return file, rows, f"{options.train_on.name}{taught}"
    rows = load(file, Prompts(file), origin, options.rows)
    left_out = f", {rows.dropped} left out because they are evaluated" if rows.dropped else ""
    borrowed = " (of the evaluated split, rows that are not evaluated)" if rows.borrowed_from else ""
    note = f"; {origin.note}" if origin.note else ""
    place = "sample" if origin.kind == "sample" else origin.place
    say(f"{file.name}: {len(rows.pairs)} training rows ({place}{note}){borrowed}{left_out}")
    return file, rows, place


def _with_held(recipe: Hyperparameters, rows: TrainingRows) -> Hyperparameters:
    """The recipe with the share of validation rows that stand first among these, where they say how many do."""
    if not rows.held:
        return recipe
    return replace(recipe, validation=(rows.held + 0.5) / len(rows.pairs))  # half a row more against rounding


def _for_ludwig(options: TrainOptions, file: TaskFile, rows: TrainingRows) -> tuple[Fitting, dict[str, Any]]:
    from harness.train import ludwig

    base = ludwig.read_base(options.base)
    fitting = ludwig.fitting(base, rows.pairs)
    return fitting, ludwig.configuration(base, options.recipe, fitting, file.task.max_tokens)
