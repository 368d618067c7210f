"""The models of one kind of runs beside each other: every figure and verdict over several tasks, computed once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.compare.intervals import Estimate
from harness.compare.paired import Comparison, ModelPair, by_task, compare_model_pairs, scale
from harness.compare.standings import Lead, Standing, Standings, gain, is_baseline, lead, scores_of, standings
from harness.score.metrics.base import FloatArray, Metric
from harness.score.scoring import ScoredRun

UNTIMED = ("baseline", "recorded")
"""Backends whose time is a fit's or a look-up's, not a user's wait."""
EXAMPLE_SERVER = 1.0
"""USD an hour that the break-even table starts from when no model names what its server costs."""
REFERENCES = 8
"""Up to so many models can be chosen as the reference; of more, the best by mean rank."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model's mean score and its price over the same tasks; `usd` is per 1,000 rows, None if not known.

    `frontier`: no other model is both at least as good and at most as expensive, and better in one of the two.
    """

    model: str
    score: Estimate
    usd: float | None
    frontier: bool = False


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds per answer: median, 95th percentile, and over how many answers.

    `ttft` is the median time to the first token, `tpot` that for each further one; None where nothing was streamed.
    """

    model: str
    p50: float
    p95: float
    n: int
    ttft: float | None = None
    tpot: float | None = None


@dataclass(frozen=True, slots=True)
class Latencies:
    """The latency of each timed model, fastest first, over all its answers to `tasks`: those that all of them have.

    `tasks` is empty where there is no such task; then it is over whatever each model was asked.
    """

    tasks: tuple[str, ...]
    models: tuple[Latency, ...]


@dataclass(frozen=True, slots=True)
class DuelLine:
    """One task of a duel: the comparison, and the first model's gain with its interval in hundredths of the scale.

    A gain is positive where the first model is better, whichever way the metric goes. It is None where the metric has
    no highest value: such differences have no place beside others.
    """

    task: str
    metric: str
    found: Comparison
    gain: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class Duel:
    """One model against another over the tasks that both were asked, the largest gain first.

    `usd` are their prices per 1,000 rows, None where one is not known, and `priced` the tasks of the prices.
    """

    pair: ModelPair
    lines: tuple[DuelLine, ...]
    lead: Lead | None
    usd: tuple[float | None, float | None]
    priced: int


@dataclass(frozen=True, slots=True)
class Overall:
    """What plots show of the models of one kind over all tasks: plain values, which another process can be handed."""

    standings: Standings
    offers: tuple[Offer, ...]
    latencies: Latencies
    duel: Duel | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """All models in the order of the table; a model's place is its colour in every plot."""
        return tuple(row.model for row in self.standings.models)


@dataclass(frozen=True, slots=True)
class Totals:
    """What a model was asked in all: rows, how many have no valid answer, and USD, None where a price is not known."""

    tasks: int
    rows: int
    unanswered: int
    usd: float | None
    base: str | None
    recorded: bool
    incomplete: bool


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """The one comparison that a table of a task is read for: two models, or the only one there is.

    `found` is the comparison, and None where nothing can be told, for the reason in `apart`.
    """

    models: tuple[str, ...]
    metric: str
    found: Comparison | None
    apart: str = ""


class Scoreboard:
    """The runs of one kind by task and model, with their standings, costs, latencies and verdicts.

    Two models have one verdict on a task wherever they are compared: their pair's (`harness.compare.paired.corrected`).
    An incomplete run has none, and comes after all others. `subject` and `reference` are the two models of the
    headline; either is chosen where it is not named or did not run.
    """

    def __init__(self, runs: Sequence[ScoredRun], subject: str | None = None, reference: str | None = None) -> None:
        self.tasks = by_task(runs)
        self.models = sorted({run.manifest.model for run in runs})
        scores = scores_of(runs)
        self._subject = subject if subject in self.models else None
        named = reference if reference in self.models else None
        self.standings: Standings = standings(runs, named, scores=scores)
        if named is None and self.standings.reference == self._subject and len(self.models) > 1:
            others = standings([run for run in runs if run.manifest.model != self._subject], scores=scores)
            self.standings = standings(runs, others.reference, scores=scores)
        self.reference = self.standings.reference
        self.ranked = {task: ranked(found.values()) for task, found in self.tasks.items()}
        self.best = {task: found[0].manifest.model for task, found in self.ranked.items()}
        self.offers = _offers(self.standings)
        self.latencies = latencies(self.tasks)
        self._pairs = {(row.model, self.reference): row.against for row in self.standings.models if row.against}
        self._compare(runs)

    @property
    def overall(self) -> Overall:
        """What plots show over all tasks."""
        first = self.subject
        duel = self.duel(first, self.reference) if first else None
        return Overall(self.standings, self.offers, self.latencies, duel)

    def runs_of(self, model: str) -> dict[str, ScoredRun]:
        """The runs of a model by task."""
        return {task: runs[model] for task, runs in self.tasks.items() if model in runs}

    def score(self, task: str, model: str) -> float:
        """A model's score on the leaderboard metric of a task."""
        return self.tasks[task][model].score

    def metric(self, task: str) -> Metric:
        """The leaderboard metric of a task."""
        return self.ranked[task][0].metrics[0]

    def standing(self, model: str) -> Standing:
        """The line of a model in the standings."""
        return next(row for row in self.standings.models if row.model == model)

    def against(self, model: str) -> Mapping[str, Comparison]:
        """A model against the reference by task; empty for the reference itself."""
        found = self.standing(model).against
        return found.tasks if found else {}

    def is_top(self, task: str, model: str) -> bool:
        """Whether no model scores higher on a task that several were asked."""
        runs = self.tasks[task]
        return (
            len(runs) > 1
            and not runs[model].incomplete
            and _order(runs[model])[:2] == _order(runs[self.best[task]])[:2]
        )

    def is_tied(self, task: str, model: str) -> bool:
        """Whether a model is not shown to be worse than the best one of a task, which is another one."""
        best = self.best[task]
        return model != best and self._verdict(task, model, best) in ("within the margin", "not separable", "better")

    def _verdict(self, task: str, a: str, b: str) -> str | None:
        """How model `a` compares with model `b` on a task, None where they were asked different rows."""
        found = self.pair(a, b).tasks.get(task)
        return found.verdict if found else None

    def pair(self, a: str, b: str) -> ModelPair:
        """Model `a` against model `b`, of which one is a reference, or the best of a task."""
        return self._pairs[a, b] if (a, b) in self._pairs else self._pairs[b, a].turned

    def duel(self, a: str, b: str) -> Duel:
        """Model `a` against model `b` with all that is shown of the two."""
        pair = self.pair(a, b)
        lines = [DuelLine(task, self.metric(task).name, one, self._gain(task, one)) for task, one in pair.tasks.items()]
        lines.sort(key=lambda line: (line.gain is None, -(line.gain or (0.0,))[0], line.task))
        prices = [None if (usd := self.standing(model).usd) is None else 1000 * usd for model in (a, b)]
        found = lead(self.tasks, pair)
        return Duel(pair, tuple(lines), found, (prices[0], prices[1]), len(self.standings.priced))

    def _gain(self, task: str, found: Comparison) -> tuple[float, float, float] | None:
        metric = self.metric(task)
        if not math.isfinite(metric.high):
            return None
        share = gain(found, scale(metric))
        return 100 * share.value, 100 * share.low, 100 * share.high

    @property
    def references(self) -> list[str]:
        """The models that a reader can choose as the reference, the best first."""
        order = [row.model for row in self.standings.models]
        if len(order) <= REFERENCES:
            return order
        return [model for model in order if model == self.reference or order.index(model) < REFERENCES - 1]

    def totals(self, model: str) -> Totals:
        """What a model was asked in all, and what that cost."""
        runs = list(self.runs_of(model).values())
        known = [run.usd for run in runs if run.usd is not None]
        settings = [run.manifest.model_settings for run in runs]
        return Totals(
            len(runs),
            sum(run.manifest.n for run in runs),
            sum(run.manifest.n - run.rows.counts()["ok"] for run in runs),
            math.fsum(known) if len(known) == len(runs) else None,
            next((base for one in settings if (base := one.get("base"))), None),
            any(one.get("backend") == "recorded" for one in settings),
            any(run.incomplete for run in runs),
        )

    @property
    def subject(self) -> str | None:
        """The model that the headline sets against the reference, None where none can be compared with it.

        The one that was named; else an adapter before other models before a shipped demonstration before a baseline,
        and of several the one with most wins less losses per task.
        """
        if self._subject and self._subject != self.reference:
            return self._subject

        def order(row: Standing) -> tuple[int, float, str]:
            assert row.against is not None
            runs = self.runs_of(row.model).values()
            settings = [run.manifest.model_settings for run in runs]
            if is_baseline(runs):
                place = 3
            elif any(one.get("demonstration") for one in settings):
                place = 2
            else:
                place = 0 if any(one.get("base") or one.get("adapter") for one in settings) else 1
            return place, (row.against.lost - row.against.won) / len(row.against.tasks), row.model

        compared = [row for row in self.standings.models if row.against and row.against.tasks]
        return min(compared, key=order).model if compared else None

    def verdicts(self) -> dict[str, TaskVerdict]:
        """For each task the model of the headline against the reference, or the two best where these have not run."""
        first = self.subject
        compared = self.pair(first, self.reference).tasks if first else {}
        found = {}
        for task, runs in self.ranked.items():
            if first and task in compared:
                found[task] = TaskVerdict((first, self.reference), runs[0].metrics[0].name, compared[task])
            else:
                found[task] = _of_two_best(task, runs, self._pairs)
        return found

    def _compare(self, runs: Sequence[ScoredRun]) -> None:
        """Compare every model with each reference and the best one of each task, where that has not been done yet."""
        wanted = [(run.manifest.model, self.best[run.manifest.task]) for run in runs] + _two_best(self.ranked)
        wanted += [(model, reference) for reference in self.references for model in self.models]
        new = list(dict.fromkeys(two for two in wanted if two[0] != two[1] and two not in self._pairs))
        new = [two for two in new if two[::-1] not in self._pairs and (two[::-1] not in new or two < two[::-1])]
        self._pairs |= zip(new, compare_model_pairs(runs, new), strict=True)


def ranked(runs: Iterable[ScoredRun]) -> list[ScoredRun]:
    """The runs of one task, the best first, the names deciding between equal scores, incomplete ones last."""
    return sorted(runs, key=_order)


def _order(run: ScoredRun) -> tuple[bool, float, str]:
    value = round(run.score, 12) if run.rows.ids else -math.inf
    return bool(run.incomplete), -value if run.metrics[0].higher_is_better else value, run.manifest.model


def two_best(runs: Sequence[ScoredRun]) -> dict[str, TaskVerdict]:
    """For each task its two best models, compared as everywhere."""
    order = {task: ranked(found.values()) for task, found in by_task(runs).items()}
    asked = _two_best(order)
    pairs = dict(zip(asked, compare_model_pairs(runs, asked), strict=True))
    return {task: _of_two_best(task, found, pairs) for task, found in order.items()}


def _two_best(order: Mapping[str, Sequence[ScoredRun]]) -> list[tuple[str, str]]:
    two = [tuple(run.manifest.model for run in runs[:2]) for runs in order.values() if len(runs) > 1]
    return list(dict.fromkeys((a, b) for a, b in two))


def _of_two_best(task: str, runs: Sequence[ScoredRun], pairs: Mapping[tuple[str, str], ModelPair]) -> TaskVerdict:
    """The verdict on the first two runs of a task; `pairs` may hold them the other way round."""
    metric = runs[0].metrics[0].name
    if len(runs) < 2:
        return TaskVerdict((runs[0].manifest.model,), metric, None)
    a, b = (run.manifest.model for run in runs[:2])
    if (a, b) not in pairs:
        a, b = b, a
    return TaskVerdict((a, b), metric, pairs[a, b].tasks.get(task), pairs[a, b].apart.get(task, ""))


def _offers(table: Standings) -> tuple[Offer, ...]:
    """The models by mean score and price, the best first; none where there is no mean score."""
    found = [
        Offer(row.model, row.macro, None if row.usd is None else 1000 * row.usd)
        for row in table.models
        if row.macro is not None
    ]
    marked = [replace(offer, frontier=_on_frontier(offer, found)) for offer in found]
    return tuple(sorted(marked, key=lambda offer: (-offer.score.value, offer.model)))


def _on_frontier(offer: Offer, offers: Sequence[Offer]) -> bool:
    if offer.usd is None:
        return False
    return not any(
        other.usd is not None
        and other.usd <= offer.usd
        and other.score.value >= offer.score.value
        and (other.usd < offer.usd or other.score.value > offer.score.value)
        for other in offers
    )


def server_price(board: Scoreboard) -> float | None:
    """USD an hour of the most expensive server that a model of these runs names, None when none does."""
    rates = [
        rate
        for runs in board.tasks.values()
        for run in runs.values()
        if (rate := run.manifest.model_settings.get("gpu_per_hour")) is not None
    ]
    return float(max(rates)) if rates else None


def break_even(server_per_hour: float, usd_per_1000_rows: float) -> float:
    """Rows an hour above which a server at this price is cheaper than paying per row."""
    return 1000 * server_per_hour / usd_per_1000_rows


def latencies(tasks: Mapping[str, Mapping[str, ScoredRun]]) -> Latencies:
    """How long each model takes to answer, over the tasks on which every model that was timed has answers."""
    timed = {task: {m: run for m, run in runs.items() if is_timed(run)} for task, runs in tasks.items()}
    models = sorted({model for runs in timed.values() for model in runs})
    common = tuple(task for task, runs in timed.items() if len(runs) == len(models)) if models else ()
    found = [
        _latency(model, [timed[task][model] for task in common or timed if model in timed[task]]) for model in models
    ]
    return Latencies(common, tuple(sorted(found, key=lambda one: (one.p50, one.model))))


def _latency(model: str, runs: Sequence[ScoredRun]) -> Latency:
    seconds = np.concatenate([run.latencies for run in runs])
    p50, p95 = percentiles(seconds)
    return Latency(model, p50, p95, len(seconds), _median([r.ttft for r in runs]), _median([r.tpot for r in runs]))


def is_timed(run: ScoredRun) -> bool:
    """Whether the seconds of a run are those that a user would wait."""
    return bool(len(run.latencies)) and run.manifest.model_settings.get("backend") not in UNTIMED


def percentiles(seconds: FloatArray) -> tuple[float, float]:
    """Median and 95th percentile."""
    p50, p95 = np.percentile(seconds, [50, 95])
    return float(p50), float(p95)


def _median(seconds: Sequence[FloatArray]) -> float | None:
    known = np.concatenate(seconds)
    return float(np.median(known)) if len(known) else None
