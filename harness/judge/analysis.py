"""What votes show, computed once for every output: rankings, the judges' faults, agreement, relations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.compare.intervals import NOTHING, Estimate, estimate
from harness.errors import UserError
from harness.judge.agreement import Agreement, agreements, family_preference
from harness.judge.family import related
from harness.judge.faults import Faults, clusters, faults
from harness.judge.judge import Judged
from harness.judge.ranking import RESAMPLES, Ranking, rank
from harness.judge.votes import Vote, Votes
from harness.models.entry import ModelEntry
from harness.score.metrics.base import Metric, needs_table

POOLED = "all tasks"
CHOOSING = "tasks of the tournament"


@dataclass(frozen=True)
class JudgeFindings:
    """What votes show: rankings by what they are over, each plain and with what is held equal; judges; agreement.

    `related` gives for each judge the contestants that it is related to and how, `preference` by how much it prefers
    them to what other judges or people say.
    """

    rankings: Mapping[str, Sequence[Ranking]]
    faults: Sequence[Faults] = ()
    agreements: Sequence[Agreement] = ()
    related: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    preference: Mapping[str, Estimate] = field(default_factory=dict)
    tournament: Judged | None = None

    @property
    def pooled(self) -> Ranking:
        """The plain ranking over all."""
        return next(iter(self.rankings.values()))[0]

    @property
    def sample(self) -> bool:
        """Whether the answers are to sample rows, as far as that is known."""
        return self.tournament is not None and self.tournament.sample

    @property
    def finals(self) -> dict[str, Estimate]:
        """The win rate of the winner against the runner-up, on the tasks that chose them and the one that confirms."""
        judged = self.tournament
        if judged is None or judged.finalists is None or judged.confirm is None:
            return {}
        parts = {CHOOSING: judged.votes, judged.confirm: judged.confirmed}
        return {name: win_rate(votes, *judged.finalists) for name, votes in parts.items()}


def win_rate(votes: Sequence[Vote], a: str, b: str) -> Estimate:
    """The share of wins of `a` against `b`, ties as half, in votes on the two; rows are resampled."""
    both = Votes.of(vote for vote in votes if {vote.first, vote.second} == {a, b}).read
    if not len(both):
        return NOTHING
    won = np.where(both.first == both.models.index(a), both.outcome, 1 - both.outcome)
    return estimate(Metric("win rate", needs_table), won[:, None], clusters=clusters(both.row))


def findings(
    votes: Sequence[Vote],
    people: Sequence[Vote] = (),
    entries: Mapping[str, ModelEntry] | None = None,
    *,
    anchor: str | None = None,
    control: Sequence[str] = (),
    resamples: int = RESAMPLES,
    tournament: Judged | None = None,
) -> JudgeFindings:
    """Rank models by votes, pooled and for each task, and say what the votes show of the judges.

    `people` are votes that judges are compared with, `entries` say who is related, `anchor` is as `rank` takes it, and
    `control` what is held equal in a second ranking: position, length.

    Raises:
        UserError: there is no vote, or the anchor cannot be ranked.
    """
    if not votes:
        raise UserError("there are no votes to rank by")
    gathered = Votes.of(votes)

    def rankings(some: Votes) -> list[Ranking]:
        known = anchor if anchor in some.models else None
        plain = rank(some, anchor=anchor, resamples=resamples)
        held = {name: name in control for name in ("position", "length")}
        return [plain, *([rank(some, anchor=known, resamples=resamples, **held)] if control else [])]

    tasks = gathered.tasks if len(gathered.tasks) > 1 else ()
    over = {POOLED if tasks else gathered.tasks[0] or POOLED: rankings(gathered)}
    over |= {task: rankings(Votes.of(vote for vote in votes if vote.task == task)) for task in tasks}
    kin = {judge: found for judge in gathered.judges if (found := related(judge, gathered.models, entries or {}))}
    everybody = [*votes, *people]
    return JudgeFindings(
        over,
        faults(gathered, resamples),
        agreements(votes, people) if people else (),
        kin,
        {judge: family_preference(judge, set(names), everybody) for judge, names in kin.items()},
        tournament,
    )
