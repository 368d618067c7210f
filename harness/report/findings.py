"""What the runs of one kind show, found once for the page, the tables and the plots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.compare.intervals import Estimate, estimate_all
from harness.compare.paired import (
    Comparison,
    ModelPair,
    by_task,
    compare_runs,
    corrected,
    holm,
    same_rows,
)
from harness.compare.slices import Slice, slices
from harness.compare.standings import Standing, Standings, is_baseline, standings
from harness.report.words import _figures, _one_task, _sentence, plural, signed
from harness.rows.origin import KINDS
from harness.score.scoring import ScoredRun

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Findings:
    """The runs of one kind, how they stand to each other, and by task a verdict and the slices."""

    kind: str
    runs: Sequence[ScoredRun]
    contest: Scoreboard
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
    contest = Scoreboard(runs)
    parts = {task: slices(results, list(found.values())) for task, found in contest.tasks.items()}
    return Findings(kind, runs, contest, sentences(contest), parts)


class Scoreboard:
    """The runs of one kind by task and model, with their standings against the page's reference."""

    def __init__(self, runs: Sequence[ScoredRun]) -> None:
        self.tasks = by_task(runs)
        self.models = sorted({run.manifest.model for run in runs})
        self.standings: Standings = standings(runs)
        self.reference = self.standings.reference
        self.best = {task: _best(runs) for task, runs in self.tasks.items()}
        self.tied = _tied(self.tasks, self.best)

    def runs_of(self, model: str) -> dict[str, ScoredRun]:
        """The runs of a model by task."""
        return {task: runs[model] for task, runs in self.tasks.items() if model in runs}

    def against(self, model: str) -> Mapping[str, Comparison]:
        """A model against the reference by task, with Holm's correction; empty for the reference itself."""
        found = next(row.against for row in self.standings.models if row.model == model)
        return found.tasks if found else {}


def _best(runs: Mapping[str, ScoredRun]) -> str:
    """The model with the best score, the first by name of several."""

    def order(model: str) -> tuple[float, str]:
        value = round(score(runs[model]), 12) if runs[model].rows.ids else -math.inf
        return -value if runs[model].metrics[0].higher_is_better else value, model

    return min(runs, key=order)


def _tied(tasks: Mapping[str, Mapping[str, ScoredRun]], best: Mapping[str, str]) -> dict[str, set[str]]:
    """By task the models that are not worse than its best one beyond chance, with Holm over all but the best."""
    tested: list[tuple[str, str]] = []
    others: dict[str, int] = {}
    for task, runs in tasks.items():
        leader = runs[best[task]]
        comparable = [m for m, run in runs.items() if run is not leader and same_rows(run, leader)]
        others[task] = len(comparable)
        tested += [(task, model) for model in comparable if not _far_apart(runs[model], leader)]
    compared = compare_runs([(tasks[task][model], tasks[task][best[task]]) for task, model in tested])
    found: dict[str, set[str]] = {task: set() for task in tasks}
    for task in tasks:
        family = [(model, one) for (of, model), one in zip(tested, compared, strict=True) if of == task]
        certain = [0.0] * (others[task] - len(family))
        p_values = holm([*certain, *(one.p_value for _, one in family)])[len(certain) :]
        level = zip(family, p_values, strict=True)
        found[task] = {model for (model, one), p in level if not p < 0.05 or one.difference == 0}
    return found


def _far_apart(a: ScoredRun, b: ScoredRun) -> bool:
    """Whether two runs on the same rows differ by so many standard errors that no test is needed to know it.

    Seven, on a metric with one statistic a row and 100 rows or more: this spares most of the bootstraps.
    """
    metric = a.metrics[0]
    if metric.kind != "mean" or len(a.rows.ids) < 100 or a.rows.stats[metric.name].shape[1] != 1:
        return False
    gaps = (a.rows.stats[metric.name] - b.rows.stats[metric.name])[:, 0]
    return bool(abs(gaps.mean()) > 7 * gaps.std(ddof=1) / math.sqrt(len(gaps)) > 0)


def spent(contest: Scoreboard, model: str, tasks: Sequence[str] | None = None) -> float | None:
    """USD that a model's answers to these tasks (default: to all it was asked) cost, None where one is not known."""
    costs = [run.usd for task, run in contest.runs_of(model).items() if tasks is None or task in tasks]
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known and len(known) == len(costs) else None


def equal(pair: ModelPair) -> int:
    """On how many tasks of a pair the two are equal within the margin."""
    return sum(found.verdict == "within the margin" for found in pair.tasks.values())


def challenger(contest: Scoreboard) -> Standing | None:
    """The model that the headline sets against the reference: an adapter before other models before a baseline.

    Of several, the one with most wins less losses per task.
    """

    def order(row: Standing) -> tuple[int, float, str]:
        assert row.against is not None
        runs = contest.runs_of(row.model).values()
        place = 2 if is_baseline(runs) else 0 if any(run.manifest.model_settings.get("base") for run in runs) else 1
        return place, (row.against.lost - row.against.won) / len(row.against.tasks), row.model

    return min((row for row in contest.standings.models if row.against and row.against.tasks), key=order, default=None)


def headline(contest: Scoreboard) -> str:
    """The verdict sentence of the page."""
    first, b = challenger(contest), contest.reference
    if first is None or first.against is None:
        if len(contest.models) == 1:
            return f"Only {b} was asked; a comparison needs two models."
        return f"No model was asked the same rows as {b}; a comparison needs that."
    a, pair = first.model, first.against
    if len(pair.tasks) == 1:
        ((task, found),) = pair.tasks.items()
        metric = contest.tasks[task][a].metrics[0].name
        return _one_task(a, b, f" on {task}", metric, found) + _price(contest, pair) + "."
    all_tasks = len(pair.tasks) == len(contest.tasks)
    total = f"{len(pair.tasks)} tasks" if all_tasks else f"the {len(pair.tasks)} tasks both were asked"
    if pair.tied == len(pair.tasks):
        text = f"{a} and {b} differ beyond chance on none of {total}"
    elif not pair.won:
        text = f"{a} loses to {b} on {pair.lost} of {total}, ties {pair.tied}"
    else:
        text = f"{a} beats {b} on {pair.won} of {total}, ties {pair.tied}, loses {pair.lost}"
    return text + _price(contest, pair) + "."


def size(contest: Scoreboard) -> str:
    """By how much the model of the headline is ahead over several tasks, and how sure that is; "" for one task."""
    first = challenger(contest)
    if first is None or first.against is None or first.lead is None or len(first.against.tasks) == 1:
        return ""
    lead = first.lead
    points = f"{abs(100 * lead.value):.1f} points {'higher' if lead.value >= 0 else 'lower'}"
    interval = f"{signed(100 * lead.low, 1)} to {signed(100 * lead.high, 1)}"
    return f"In the mean of these tasks it scores {points} (95 % interval {interval})."


def sentences(contest: Scoreboard) -> dict[str, str]:
    """For each task the verdict on the model of the headline and the reference, or on the two best without these."""
    first, b = challenger(contest), contest.reference
    compared = first.against.tasks if first and first.against else {}
    found = verdicts([run for task, runs in contest.tasks.items() if task not in compared for run in runs.values()])
    for task, one in compared.items():
        assert first is not None
        runs, best = contest.tasks[task], contest.best[task]
        metric = runs[best].metrics[0]
        text = _one_task(first.model, b, "", metric.name, one, " after Holm" if len(compared) > 1 else "")
        if best not in (first.model, b):
            text += f"; the best is {best} with {score(runs[best]):.3f}"
        found[task] = text + "."
    return found


def score(run: ScoredRun) -> float:
    """A run's score on the leaderboard's metric."""
    metric = run.metrics[0]
    return float(metric.summary(run.rows.stats[metric.name].mean(axis=0)))


def _price(contest: Scoreboard, pair: ModelPair) -> str:
    ours, theirs = (spent(contest, model, list(pair.tasks)) for model in (pair.a, pair.b))
    if not theirs or ours is None:
        return ""
    if ours == 0:
        return ", at no cost per answer"
    if theirs / ours >= 1.5:
        return f", at 1/{_figures(theirs / ours)} of the cost"
    return ", at about the same cost" if ours / theirs < 1.5 else f", at {_figures(ours / theirs)} times the cost"


def small_print(contest: Scoreboard) -> str:
    """What the verdict sentence means; "" where there is none."""
    first = challenger(contest)
    if len(contest.models) == 1:
        return ""
    told = f"Compared with {contest.reference}, {contest.standings.why}."
    if first is None or first.against is None:
        return told
    if len(contest.models) > 2:
        told += " Of several models the sentence names an adapter first, then the one ahead most often."
    return (
        f"{told} Won or lost means a difference beyond chance: paired tests on the same rows at 5 %, with Holm's "
        f"correction over {plural(len(first.against.tasks), 'task')}. A tie is any other result: equality was shown "
        "only where the tables say so."
    )


UNTIMED = ("baseline", "recorded")
"""Backends whose time is a fit's or a look-up's, not a user's wait."""


def long_frame(runs: Sequence[ScoredRun]) -> pd.DataFrame:
    """Return one row for each run and metric, in the order of the runs; absent figures are None."""
    import pandas as pd

    # All at once, because runs on the same number of rows share the work of their intervals.
    scores = iter(estimate_all([(metric, run.rows.stats[metric.name]) for run in runs for metric in run.metrics]))
    return pd.DataFrame([row for run in runs for row in _rows(run, scores)])


def _rows(run: ScoredRun, scores: Iterator[Estimate]) -> Iterable[dict[str, Any]]:
    manifest, rows = run.manifest, run.rows
    answered = rows.answered()
    timed = len(run.latencies) and manifest.model_settings.get("backend") not in UNTIMED
    p50, p95 = np.percentile(run.latencies, [50, 95]) if timed else (math.nan, math.nan)
    for index, metric in enumerate(run.metrics):
        stats = rows.stats[metric.name]
        score = next(scores)
        yield {
            "task": manifest.task,
            "title": manifest.spec.title,
            "category": manifest.spec.category,
            "model": manifest.model,
            "metric": metric.name,
            "is_main": index == 0,
            "metric_kind": metric.kind,
            "higher_is_better": metric.higher_is_better,
            "score": score.value,
            "low": score.low,
            "high": score.high,
            "n": score.n if metric.scorable is None else int(stats[:, metric.scorable].sum()),
            "score_answered": _point(metric.summary, stats[answered]),
            "n_answered": int(answered.sum()),
            **{str(status): count for status, count in rows.counts().items()},
            "source": manifest.source,
            "kind": manifest.kind,
            "p50_s": float(p50),
            "p95_s": float(p95),
            "input_tokens": run.input_tokens,
            "output_tokens": run.output_tokens,
            "usd": run.usd,
            "base": manifest.model_settings.get("base"),
            "backend": manifest.model_settings.get("backend"),
            "labels_only": manifest.labels_only,
        }


def _point(summary: Any, stats: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    return float(summary(stats.mean(axis=0))) if len(stats) else math.nan


def verdicts(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """Return for each task a sentence on its two best models: which leads, by how much, and how sure that is.

    With several tasks the p-values are Holm's over them.
    """
    best = {task: _ranked(list(found.values()))[:2] for task, found in by_task(runs).items()}
    comparable = [task for task, two in best.items() if len(two) == 2 and same_rows(*two)]
    compared = corrected(compare_runs([(best[task][0], best[task][1]) for task in comparable]))
    found = dict(zip(comparable, compared, strict=True))
    note = " after Holm" if len(found) > 1 else ""
    return {
        task: _verdict([run.manifest.model for run in two], two[0], found.get(task), note) for task, two in best.items()
    }


def _ranked(runs: Sequence[ScoredRun]) -> list[ScoredRun]:
    """The runs of one task, the best first."""

    def score(run: ScoredRun) -> float:
        metric = run.metrics[0]
        return float(metric.summary(run.rows.stats[metric.name].mean(axis=0)))

    return sorted(runs, key=score, reverse=runs[0].metrics[0].higher_is_better)


def _verdict(models: Sequence[str], first: ScoredRun, found: Comparison | None, note: str) -> str:
    if len(models) < 2:
        return f"Only {models[0]} was asked; a comparison needs two models."
    if found is None:
        return f"{models[0]} and {models[1]} were asked different rows; run bench again for both."
    return _sentence(models[0], models[1], first.metrics[0].name, found, note)


EXAMPLE_SERVER = 1.0
"""USD an hour that the break-even table starts from when no model names what its server costs."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model's macro average and its price over the same tasks; `usd` is per 1,000 rows, None if not known.

    `frontier`: no other model is both at least as good and at most as dear, and better in one of the two.
    """

    model: str
    score: float
    usd: float | None
    frontier: bool = False


@dataclass(frozen=True, slots=True)
class Market:
    """The offers over the tasks that every model was asked; empty when there is no such task."""

    tasks: tuple[str, ...]
    offers: tuple[Offer, ...]


def market(contest: Scoreboard) -> Market:
    """Compare models by macro average and by price, over the tasks of the macro average."""
    table = contest.standings
    tasks = tuple(task for task in table.common if task not in table.left_out)
    found = []
    for row in table.models:
        if row.macro is None:
            return Market((), ())
        usd = _usd([contest.tasks[task][row.model] for task in tasks])
        found.append(Offer(row.model, row.macro.value, usd))
    marked = [replace(offer, frontier=_on_frontier(offer, found)) for offer in found]
    return Market(tasks, tuple(sorted(marked, key=lambda offer: (-offer.score, offer.model))))


def _usd(runs: Sequence[ScoredRun]) -> float | None:
    """USD per 1,000 rows, each task counting the same as in the score; None where the cost of one is not known."""
    known = [1000 * run.usd / len(run.rows.ids) for run in runs if run.usd is not None]
    return sum(known) / len(known) if known and len(known) == len(runs) else None


def server_price(contest: Scoreboard) -> float | None:
    """USD an hour of the dearest server that a model of these runs names, None when none does."""
    rates = [
        rate
        for runs in contest.tasks.values()
        for run in runs.values()
        if (rate := run.manifest.model_settings.get("gpu_per_hour")) is not None
    ]
    return float(max(rates)) if rates else None


def break_even(server_per_hour: float, usd_per_1000_rows: float) -> float:
    """Rows an hour above which a server at this price is cheaper than paying per row."""
    return 1000 * server_per_hour / usd_per_1000_rows


def _on_frontier(offer: Offer, offers: Sequence[Offer]) -> bool:
    if offer.usd is None:
        return False
    return not any(
        other.usd is not None
        and other.usd <= offer.usd
        and other.score >= offer.score
        and (other.usd < offer.usd or other.score > offer.score)
        for other in offers
    )
