"""A comparison once more, on rows that had no part in picking the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.compare.paired import ModelPair, compare_models
from harness.score.scoring import ScoredRun


def confirm(
    earlier: Sequence[ScoredRun], later: Sequence[ScoredRun], a: str, b: str, *, across_prompts: bool = False
) -> ModelPair:
    """Compare two models on the rows of `later` runs that are in none of the `earlier` ones of the same task.

    The two were named before these rows were asked, so that nothing is corrected but the number of tasks. A task
    without a fresh row is `apart`.
    """
    seen: dict[str, set[str]] = {}
    for run in earlier:
        seen.setdefault(run.manifest.task, set()).update(run.rows.ids)
    fresh, stale = [], {}
    for run in later:
        known = seen.get(run.manifest.task, set())
        places = [place for place, name in enumerate(run.rows.ids) if name not in known]
        if places:
            fresh.append(replace(run, rows=run.rows.chosen(places), rivals=frozenset()))
        else:
            stale[run.manifest.task] = "every row was asked before; there is no fresh one"
    found = compare_models(fresh, a, b, across_prompts=across_prompts)
    return replace(found, apart={**found.apart, **stale})
