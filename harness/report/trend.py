"""What the history of runs shows: a task's score by a model over time, what is superseded, and drops beyond chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.compare.intervals import Sample, estimate_all, two_sided
from harness.compare.paired import holm
from harness.compare.power import ALPHA
from harness.errors import UserError, nearest
from harness.report.words import signed, signed_interval, unanswered, with_interval
from harness.store.history import HISTORY, PastRun, append, read

if TYPE_CHECKING:
    import pandas as pd

    from harness.score.scoring import ScoredRun

DATE = 16
"""Characters of a time that are shown: to the minute."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A run that scores worse than the one before it beyond chance; difference and interval are of `after - before`."""

    before: PastRun
    after: PastRun
    difference: float
    low: float
    high: float
    p_value: float
    steps: int

    def __str__(self) -> str:
        return (
            f"{self.after.model} on {self.after.task}: {self.after.metric} is worse beyond chance since "
            f"{self.after.at[:DATE]}: {self.before.score:.3f} before, {self.after.score:.3f} after "
            f"({signed(self.difference)}, 95 % interval {signed_interval(self.low, self.high)}, p = {self.p_value:.2g}"
            f"{f' corrected for {self.steps} comparisons' if self.steps > 1 else ''})"
        )


@dataclass(frozen=True, slots=True)
class TrendCell:
    """A model on a task and kind of rows over time.

    `now` are the runs that can be compared with the last run of the task, in their order, `superseded` the others, each
    with the reason.
    """

    task: str
    kind: str
    model: str
    now: tuple[PastRun, ...]
    superseded: tuple[tuple[PastRun, str], ...]
    drops: tuple[Drop, ...]

    @property
    def runs(self) -> list[tuple[PastRun, str]]:
        """All runs by time, each with what has superseded it, "" where nothing has."""
        return sorted([*((run, "") for run in self.now), *self.superseded], key=lambda one: one[0].at)

    def as_json(self) -> dict[str, Any]:
        """The cell as JSON values."""
        return {
            "task": self.task,
            "kind": self.kind,
            "model": self.model,
            "runs": [{**asdict(run), "superseded": why} for run, why in self.runs],
            "drops": [
                {"before": drop.before.at, "after": drop.after.at, "difference": drop.difference, "low": drop.low,
                 "high": drop.high, "p_value": drop.p_value}
                for drop in self.drops
            ],
        }  # fmt: skip


def record(results: Path, runs: Sequence[ScoredRun], frame: pd.DataFrame) -> None:
    """Add scored runs to the history; `frame` is their long form."""
    main = frame[frame["is_main"]].to_dict("records") if runs else []
    append(results, (_past(run, row) for run, row in zip(runs, main, strict=True) if math.isfinite(row["score"])))


def looks(results: Path, runs: Sequence[ScoredRun]) -> dict[str, list[int]]:
    """Return for each task how many rows its models were scored on, where all these runs had several sizes and grew.

    Only complete runs with the same prompt, right answers, scoring and settings of the model count; the last number is
    that of now. With one earlier size, as after a trial on a few rows, the task is left out.
    """
    past: dict[tuple[str, str, str], list[PastRun]] = {}
    for one in read(results):
        past.setdefault((one.task, one.kind, one.model), []).append(one)
    found: dict[str, set[int]] = {}
    for run in runs:
        manifest, spec = run.manifest, run.manifest.spec
        now = (spec.asking_version, spec.answers_version, spec.scoring_version, manifest.settings)
        before = past.get((manifest.task, manifest.kind, manifest.model), [])
        sizes = {one.n for one in before if not one.incomplete and (*one.version, one.settings) == now}
        if len(smaller := {n for n in sizes if n < manifest.n}) > 1:
            found.setdefault(manifest.task, set()).update(smaller, {manifest.n})
    return {task: sorted(sizes) for task, sizes in found.items()}


def _past(run: ScoredRun, row: Mapping[Any, Any]) -> PastRun:
    manifest, spec = run.manifest, run.manifest.spec
    return PastRun(
        at=manifest.finished,
        task=manifest.task,
        kind=manifest.kind,
        model=manifest.model,
        metric=row["metric"],
        higher_is_better=row["higher_is_better"],
        score=row["score"],
        low=_finite(row["low"]),
        high=_finite(row["high"]),
        n=int(row["n"]),
        task_sha256=manifest.task_sha256,
        asking_version=spec.asking_version,
        answers_version=spec.answers_version,
        scoring_version=spec.scoring_version,
        rows=manifest.rows,
        settings=manifest.settings,
        incomplete=run.incomplete,
        git=manifest.git,
        versions=manifest.versions,
        lost=run.rows.unanswered,
        if_right=_if_right(run),
    )


def _if_right(run: ScoredRun) -> tuple[float, float | None, float | None] | None:
    """Score and interval with the rows that have no answer taken as right; None where every row has one."""
    metric = run.metrics[0]
    if metric.name not in run.rows.right:
        return None
    (found,) = estimate_all([Sample(metric, run.rows.right[metric.name], run.rows.clusters)])
    return found.value, _finite(found.low), _finite(found.high)


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None


def history(results: Path, task: str | None = None, model: str | None = None) -> list[TrendCell]:
    """Return the cells of a history, of all tasks and models or of these, by task, kind and model.

    Raises:
        UserError: there is no history, or none of this task or model.
    """
    found = cells(read(results))
    if not found:
        raise UserError(
            f"{results / HISTORY}: no runs are listed here; each `harness bench` adds its own when it is finished"
        )
    for name, wanted in (("task", task), ("model", model)):
        known = {str(getattr(cell, name)) for cell in found}
        if wanted is not None and wanted not in known:
            raise UserError(f"{results / HISTORY}: no run of {name} '{wanted}'{nearest(wanted, known)}")
    chosen = [cell for cell in found if task in (None, cell.task) and model in (None, cell.model)]
    if not chosen:
        raise UserError(f"{results / HISTORY}: {model} has no run on {task}")
    return chosen


def cells(runs: Iterable[PastRun]) -> list[TrendCell]:
    """Group runs into cells; what a run is compared with is the last run of its task on the same kind of rows."""
    of_task: dict[tuple[str, str], list[PastRun]] = {}
    for run in runs:
        of_task.setdefault((run.task, run.kind), []).append(run)
    found = []
    for (task, kind), listed in sorted(of_task.items()):
        ordered = sorted(listed, key=lambda run: run.at)
        last = ordered[-1]
        for model in sorted({run.model for run in ordered}):
            own = [run for run in ordered if run.model == model]
            now = tuple(run for run in own if run.version == last.version)
            past = tuple((run, _superseded(run, last)) for run in own if run.version != last.version)
            found.append(TrendCell(task, kind, model, now, past, tuple(_drops(now))))
    return found


def _superseded(run: PastRun, last: PastRun) -> str:
    """What has changed in a task since a run, in words."""
    changed = [
        name
        for name, one, other in (
            ("prompt", run.asking_version, last.asking_version),
            ("right answers", run.answers_version, last.answers_version),
            ("scoring", run.scoring_version, last.scoring_version),
        )
        if one != other
    ]
    if "right answers" in changed and "scoring" in changed:  # which follows from it
        changed.remove("scoring")
    return f"superseded: another {' and '.join(changed)}"


def _drops(runs: Sequence[PastRun]) -> Iterator[Drop]:
    """The runs that are worse than the complete run before them beyond chance, and whatever their lost rows had been.

    Answers of past runs are not kept, so the two scores are compared as independent ones, which is cautious on the same
    rows: by the interval of a difference of R. G. Newcombe (Statistics in Medicine 17, 1998, method 10), and Holm's
    correction over the steps of the cell.
    """
    told = [run for run in runs if not run.incomplete and run.low is not None and run.high is not None]
    steps = list(pairwise(told))
    differences = [_difference(before, after) for before, after in steps]
    p_values = holm([max(_p_of_drop(before, run) for run in (after, _at_best(after))) for before, after in steps])
    for (before, after), (value, low, high), p_value in zip(steps, differences, p_values, strict=True):
        if p_value < ALPHA:
            yield Drop(before, after, value, low, high, p_value, len(steps))


def _at_best(run: PastRun) -> PastRun:
    """A run with its lost rows taken as right."""
    if run.if_right is None or None in run.if_right:
        return run
    score, low, high = run.if_right
    return replace(run, score=score, low=low, high=high)


def _p_of_drop(before: PastRun, after: PastRun) -> float:
    value, low, high = _difference(before, after)
    return _two_sided_p(value, low, high, two_sided(0.95)) if (value < 0) == after.higher_is_better else 1.0


def _difference(before: PastRun, after: PastRun) -> tuple[float, float, float]:
    assert before.low is not None
    assert before.high is not None
    assert after.low is not None
    assert after.high is not None
    value = after.score - before.score
    low = value - math.hypot(after.score - after.low, before.high - before.score)
    high = value + math.hypot(after.high - after.score, before.score - before.low)
    return value, low, high


def _two_sided_p(value: float, low: float, high: float, z: float) -> float:
    """The level at which the interval's end towards 0 would reach it, by the normal distribution."""
    reach = (high - value if value < 0 else value - low) / z
    return math.erfc(abs(value) / reach / math.sqrt(2)) if reach > 0 else float(value == 0)


def table(found: Sequence[TrendCell]) -> str:
    """The cells as text: a table for each, and a line for each drop."""
    from tabulate import tabulate

    blocks = []
    for cell in found:
        rows = [
            {
                "finished": run.at[:DATE],
                run.metric: with_interval({"score": run.score, "low": run.low, "high": run.high}),
                "n": f"{run.n:,}",
                "asked": run.asking_version,
                "scored": run.scoring_version,
                "commit": str(run.git.get("commit", ""))[:12] + (" with changes" if run.git.get("dirty") else ""),
                "": "; ".join(filter(None, [why, run.incomplete or unanswered(run.lost)])),
            }
            for run, why in cell.runs
        ]
        shown = tabulate(rows, headers="keys", disable_numparse=True)
        drops = [f"{drop}." for drop in cell.drops]
        blocks.append("\n".join([f"{cell.task}, {cell.model} ({cell.kind} rows)", shown, *drops]))
    return "\n\n".join(blocks)
