"""What a training came to: the adapter's score on rows that it did not learn, and what to change where it is poor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.ask.prepare import PreparedTask
from harness.ask.run import BenchOptions, ask_pairs
from harness.compare.intervals import Estimate, first_score
from harness.errors import HarnessError, UserError
from harness.models.engines.known_bases import is_gguf
from harness.models.entry import BaselineModel, LlamaCppModel, LocalModel, ModelEntry
from harness.report.words import interval, number, plural
from harness.rows.evaluation import EvaluationRow, choose
from harness.rows.origin import locate
from harness.rows.overlap import Evaluated, own_text
from harness.rows.training import learnable_rows
from harness.score.scoring import score_all
from harness.store.results import write_rows
from harness.tasks.catalog import TaskFile
from harness.tasks.prompts import Prompts
from harness.train.recipe import MOST_VALIDATION, Curve, Hyperparameters

SCORED = 100
"""Rows that a new adapter is scored on, at most."""
HARDLY = 0.9
"""A loss that ends above this share of what it began with has hardly fallen."""
VALIDATION = "validation"
_TRAINED, _MAJORITY = "trained", "majority"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The score of an adapter by its task's first metric, on rows of a split that it did not learn.

    `majority` is the score of the most frequent right answer on the same rows.
    """

    metric: str
    higher_is_better: bool
    score: Estimate
    majority: float
    split: str

    @property
    def above_majority(self) -> bool:
        """Whether even the worse end of the interval is better than the majority's score."""
        return self.score.low > self.majority if self.higher_is_better else self.score.high < self.majority

    def as_json(self) -> dict[str, Any]:
        """As the adapter's card holds it."""
        return asdict(self)

    def text(self) -> str:
        """The score as one line."""
        rows = plural(self.score.n, "row")
        return (
            f"{self.metric} {interval(self.score)} on {rows} of split '{self.split}' that it did not learn, none of "
            f"them evaluated; always the most frequent answer: {number(self.majority)}"
        )


def entry_of(name: str, base: str, adapter: Path) -> ModelEntry:
    """Return a model that is an adapter in this process."""
    settings = {"model": base, "adapter": str(adapter)}
    if is_gguf(base):
        return ModelEntry(name, LlamaCppModel(backend="llamacpp", **settings), ())
    return ModelEntry(name, LocalModel(backend="local", **settings), ())


def prepared_rows(
    file: TaskFile, data: str | None, most: int, results: Path, learned: Collection[str] = (), *, alike: bool = False
) -> tuple[PreparedTask, str]:
    """Store rows to choose or judge an adapter by, and return the task with them and the split that they are of.

    They are rows that may be learned, so that no evaluated one is among them, of the split `validation` where the data
    has one. Those whose prompt is in `learned` are left out, with `alike` also those that share 13 words in sequence
    with one.

    Raises:
        UserError: there are none.
    """
    prompts, origin = Prompts(file), locate(file, data, splits=[VALIDATION])
    own = VALIDATION in origin.splits and file.task.evaluation.split != VALIDATION
    split = VALIDATION if own else file.task.training.split
    seen = len(learned) + MOST_VALIDATION if learned else 0
    rows = learnable_rows(file, prompts, origin, most + seen, VALIDATION if own else None)
    # The rows that decided which weights are kept come first: they are asked only where there are no others.
    found = _unlearned(rows, learned, alike=alike)[-most:]
    if not found:
        raise UserError(f"{file.name}: there is no row of split '{split}' that was not learned")
    subset = replace(choose(file, prompts, origin), rows=())
    return PreparedTask(file, prompts, origin, subset, write_rows(results, file.name, found), len(found)), split


def _unlearned(rows: Sequence[EvaluationRow], learned: Collection[str], *, alike: bool) -> list[EvaluationRow]:
    if not alike:
        return [row for row in rows if row.prompt not in learned]
    prompts = [row.prompt for row in rows]
    known, own = Evaluated([*learned], prompts), own_text(prompts)
    return [row for row in rows if known.why(row.prompt, own(row.prompt)) is None]


def score_held_out(
    file: TaskFile, base: str, adapter: Path, data: str | None, learned: Collection[str], say: Callable[[str], None], *,
    alike: bool = False,
) -> HeldOut:  # fmt: skip
    """Ask an adapter rows that it did not learn, and score its answers. What is recorded meanwhile is deleted.

    Args:
        file: The task.
        base: Known name, GGUF file, folder or hub id.
        adapter: Its folder.
        data: Where the rows are, as for `harness bench`.
        learned: The prompts that the adapter learned.
        say: Told of progress.
        alike: Whether these may be worded otherwise than the task words them, so that their own words decide.

    Raises:
        UserError: there are no such rows.
        HarnessError: the adapter could not be asked, or not all of them.
    """
    with TemporaryDirectory(prefix="harness-train-") as made:
        folder, problems = Path(made), list[str]()
        task, split = prepared_rows(file, data, min(SCORED, file.task.evaluation.rows), folder, learned, alike=alike)
        say(f"asking it {plural(task.n, 'row')} of split '{split}' that it did not learn ...")
        entries = [
            entry_of(_TRAINED, base, adapter),
            ModelEntry(_MAJORITY, BaselineModel(backend="baseline", method="majority"), ()),
        ]
        options = BenchOptions((), (), folder, None, folder, data)
        manifests = ask_pairs([(task, entry) for entry in entries], options, problems.append)
        runs = {run.manifest.model: run for run in score_all(folder, manifests, problems.append)}
        if runs.keys() != {_TRAINED, _MAJORITY} or any(run.manifest.incomplete for run in runs.values()):
            raise HarnessError("; ".join(problems) or "not every row was answered")
    metric = runs[_TRAINED].metrics[0]
    majority = first_score(runs[_MAJORITY]).value
    return HeldOut(metric.name, metric.higher_is_better, first_score(runs[_TRAINED]), majority, split)


def advice(recipe: Hyperparameters, curve: Curve, rows: int, steps: int, held_out: HeldOut | None) -> str | None:
    """Return what to change where a training did not come to much, with the reason; None where it did.

    Args:
        recipe: By which it was trained.
        curve: Its losses.
        rows: Rows that were learned.
        steps: Updates that were made.
        held_out: The adapter's score, where it is known.
    """
    began, best = max(curve.training[0], curve.validation[0]), min(curve.validation)
    reasons = []
    if best > HARDLY * began:
        reasons.append(f"the loss hardly fell (from {number(began)} to {number(best)} nats a token)")
    if held_out is not None and not held_out.above_majority:
        reasons.append(f"its {held_out.metric} is not clearly better than always the most frequent answer")
    if not reasons:
        return None
    rate = f"higher --learning-rate (it was {recipe.learning_rate:g})"
    if curve.validation[-1] > best / HARDLY:
        rate = f"lower --learning-rate (it was {recipe.learning_rate:g}, and the validation loss rose at the end)"
    return (
        f"warning: {' and '.join(reasons)}. What may help: more training rows ({rows:,} were learned), "
        f"more --epochs ({plural(steps, 'update')} of {recipe.rows_per_update} rows were made), a {rate}, "
        "or a larger base"
    )
