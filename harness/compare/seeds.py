"""A model that was trained with several seeds, or asked with several prompts, as one model: rows and seeds both vary.

An interval over rows says what other rows could have given to this one training run. What another run could have given
is a second level, which several runs on the same rows show.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product, zip_longest

import numpy as np

from harness.compare.intervals import Sample, jackknife, quantile, resample_all, rests_on, too_few
from harness.compare.paired import (
    MARGIN,
    Comparison,
    ModelPair,
    by_task,
    corrected,
    counting,
    rivals,
    samples,
    scale,
    swap_p_value,
    unseen,
    why_apart,
)
from harness.compare.power import ALPHA
from harness.errors import UserError
from harness.score.metrics.base import FloatArray
from harness.score.scoring import ScoredRun

MOST_SEEDS = 1000
_CHOICE = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """The scores of the runs of `a` and of `b` on a task, with what their difference's standard error is made of.

    `between` is the standard deviation of the scores of each, None of a single run.
    """

    metric: str
    scores: tuple[tuple[float, ...], tuple[float, ...]]
    between: tuple[float | None, float | None]
    row_error: float
    seed_error: float


@dataclass(frozen=True, slots=True)
class SeedPair:
    """Two models of several runs each: what `ModelPair` says of their mean scores, and the spread on each task."""

    pair: ModelPair
    spreads: dict[str, SeedSpread]


def runs_of(name: str) -> tuple[str, ...]:
    """Return the models that a name with braces stands for: `lora-{1..3}` or `lora-{a,b}`; of another name itself.

    Raises:
        UserError: braces that stand for more than a thousand models.
    """
    parts = []
    pieces = _CHOICE.split(name)  # text, and behind it the first and last number of a choice, or its list
    for text, first, last, listed in zip_longest(*(pieces[at::4] for at in range(4))):
        parts.append([text])
        if listed:
            parts.append([one.strip() for one in listed.split(",")])
        elif first:
            low, high = sorted((int(first), int(last)))
            parts.append([str(number) for number in range(low, min(high, low + MOST_SEEDS) + 1)])
    if math.prod(map(len, parts)) > MOST_SEEDS:
        raise UserError(f"'{name}' stands for more than {MOST_SEEDS:,} models")
    return tuple(dict.fromkeys("".join(chosen) for chosen in product(*parts)))


def compare_seeds(
    runs: Iterable[ScoredRun], a: str, b: str, margin: float = MARGIN, *, across_prompts: bool = False
) -> SeedPair:
    """Compare the mean score of the runs of `a` with that of the runs of `b`; both may have braces.

    Rows and runs are crossed random effects: the variance of the difference is that over rows, of the mean over runs,
    and that between runs divided by their number, and its degrees of freedom are Satterthwaite's (F. E. Satterthwaite,
    Biometrics Bulletin 2, 1946). What rows and runs share counts twice, which is cautious.

    Raises:
        UserError: the two have no task together, or share a run.
    """
    names = [runs_of(one) for one in (a, b)]
    if both := set(names[0]) & set(names[1]):
        raise UserError(f"'{a}' and '{b}' both stand for '{min(both)}'")
    tasks = by_task(runs)
    found: dict[str, tuple[list[ScoredRun], list[ScoredRun]]] = {}
    apart = {}
    for task, of in tasks.items():
        ours, theirs = ([of[name] for name in some if name in of] for some in names)
        if not ours or not theirs:
            continue
        whys = [why_apart(ours[0], one, across_prompts=across_prompts) for one in [*ours[1:], *theirs]]
        missing = [name for some in names for name in some if name not in of]
        if missing:
            whys.append(f"{missing[0]} was not asked it")
        if reason := next(filter(None, whys), ""):
            apart[task] = reason
        else:
            found[task] = (ours, theirs)
    if not found and not apart:
        raise UserError(f"{a} and {b} were not asked one task together")
    across = tuple(task for task, (ours, theirs) in found.items() if any(why_apart(ours[0], x) for x in ours + theirs))
    others = max(1, rivals(tasks, found) - sum(len(some) - 1 for some in names))
    together = max(1, len(found)) * others
    compared = {task: _compared(*two, margin, together) for task, two in found.items()}
    verdicts = corrected([one for one, _ in compared.values()], others)
    return SeedPair(
        ModelPair(a, b, dict(zip(compared, verdicts, strict=True)), apart, others, across),
        {task: spread for task, (_, spread) in compared.items()},
    )


def _compared(
    ours: Sequence[ScoredRun], theirs: Sequence[ScoredRun], margin: float, together: int
) -> tuple[Comparison, SeedSpread]:
    """The comparison on a task, lost rows taken as wrong, with its bounds, and what it is made of."""
    metric = ours[0].metrics[0]
    margin *= scale(metric)
    clusters = next((run.rows.clusters for run in (*ours, *theirs) if run.rows.clusters is not None), None)

    both = [[samples(run.rows, metric, clusters) for run in runs] for runs in (ours, theirs)]
    worst, best = ([[two[case] for two in runs] for runs in both] for case in (0, 1))
    found, spread = _difference(worst[0], worst[1], margin, together)
    lost = tuple(sum(run.rows.unanswered for run in runs) for runs in (ours, theirs))
    if any(lost):
        bounds = (
            _difference(worst[0], best[1], margin, together)[0],
            _difference(best[0], worst[1], margin, together)[0],
        )
        found = replace(found, lost=(lost[0], lost[1]), bounds=bounds)
    return found, spread


def _difference(
    ours: Sequence[Sample], theirs: Sequence[Sample], margin: float, together: int
) -> tuple[Comparison, SeedSpread]:
    from scipy.special import stdtr  # half a second to import, and not every command compares

    metric, units = ours[0].metric, len(ours[0].units[0])
    fewest = min((*ours, *theirs), key=counting)
    seen = resample_all([one.units for one in (*ours, *theirs)], 1)
    sides = seen[: len(ours)], seen[len(ours) :]
    left_out: list[FloatArray] = [np.mean([one.left_out for one in side], axis=0) for side in sides]
    row_error = jackknife(left_out[0] - left_out[1])
    span = metric.high - metric.low
    confidence = 1 - ALPHA / together
    reach = unseen(fewest, confidence)
    if constant := row_error == 0 and math.isfinite(span):  # no row differs, of those that were asked
        row_error = reach / quantile(confidence)
    scores = tuple(tuple(one.value for one in side) for side in sides)
    between = tuple(float(np.std(side, ddof=1)) if len(side) > 1 else None for side in scores)
    parts = [(sd**2 / len(side), len(side) - 1) for sd, side in zip(between, scores, strict=True) if sd is not None]
    seed_error = math.sqrt(sum(part for part, _ in parts))
    error = math.hypot(row_error, seed_error)
    squares = sum(part**2 / degrees for part, degrees in [*parts, (row_error**2, max(1, units - 1))])
    degrees = error**4 / squares if squares else math.inf
    value = float(np.mean(scores[0]) - np.mean(scores[1]))
    p_value = 2 * float(stdtr(degrees, -abs(value) / error)) if error else float(value == 0)
    half = error * quantile(confidence, degrees)
    runs = " and ".join(f"{len(side)} runs" for side in scores if len(side) > 1)
    reason = too_few(fewest)
    if reason:  # of which nothing is claimed, whatever a test would say
        p_value, half = 1.0, 2 * span
    found = Comparison(
        value,
        max(value - half, -span),
        min(value + half, span),
        # Of skewed rows Student's distribution alone sees differences that are not there; an exact test does not.
        max(p_value, swap_p_value(_mean_rows(ours), _mean_rows(theirs))),
        ours[0].n,
        "not separable",
        None,
        margin,
        metric.higher_is_better,
        together,
        0.0 if constant and value == 0 else reach,
        error,
        ", ".join(filter(None, [runs, rests_on(fewest)])),
        reason,
    )
    return found, SeedSpread(metric.name, (scores[0], scores[1]), (between[0], between[1]), row_error, seed_error)


def _mean_rows(samples: Sequence[Sample]) -> Sample:
    """The rows of several runs as one: each row's mean over the runs."""
    return Sample(samples[0].metric, np.mean([one.stats for one in samples], axis=0), samples[0].clusters)
