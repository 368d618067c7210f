"""What the runs of one kind show, found once for the page, the tables and the plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.report.contest import Contest, sentences
from harness.report.tables import KINDS
from harness.scoring import ScoredRun
from harness.slices import Slice, slices


@dataclass(frozen=True, slots=True)
class Findings:
    """The runs of one kind, how they stand to each other, and by task a verdict and the slices."""

    kind: str
    runs: Sequence[ScoredRun]
    contest: Contest
    sentences: Mapping[str, str]
    slices: Mapping[str, Sequence[Slice]]


def find(results: Path, runs: Sequence[ScoredRun]) -> list[Findings]:
    """The findings of each kind of runs there is, benchmark runs first.

    Raises:
        UserError: the rows of a run are not there any more.
    """
    of = {kind: [run for run in runs if run.manifest.kind == kind] for kind in KINDS}
    return [_of_kind(results, kind, chosen) for kind, chosen in of.items() if chosen]


def _of_kind(results: Path, kind: str, runs: Sequence[ScoredRun]) -> Findings:
    contest = Contest(runs)
    parts = {task: slices(results, list(found.values())) for task, found in contest.tasks.items()}
    return Findings(kind, runs, contest, sentences(contest), parts)
