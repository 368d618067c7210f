"""Who beats whom, in words and marks: the page's reference, its verdict sentence, and ties with each task's best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.compare import Comparison, holm
from harness.pairs import Pair, by_task, compare_runs, same_rows
from harness.report.frame import verdicts
from harness.report.tables import plural
from harness.scoring import ScoredRun
from harness.standings import Standing, Standings, is_baseline, standings

MINUS = "\N{MINUS SIGN}"


class Contest:
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


def spent(contest: Contest, model: str, tasks: Sequence[str] | None = None) -> float | None:
    """USD that a model's answers to these tasks (default: to all it was asked) cost, None where one is not known."""
    costs = [run.usd for task, run in contest.runs_of(model).items() if tasks is None or task in tasks]
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known and len(known) == len(costs) else None


def equal(pair: Pair) -> int:
    """On how many tasks of a pair the two are equal within the margin."""
    return sum(found.verdict == "within the margin" for found in pair.tasks.values())


def challenger(contest: Contest) -> Standing | None:
    """The model that the headline sets against the reference: an adapter before other models before a baseline.

    Of several, the one with most wins less losses per task.
    """

    def order(row: Standing) -> tuple[int, float, str]:
        assert row.against is not None
        runs = contest.runs_of(row.model).values()
        place = 2 if is_baseline(runs) else 0 if any(run.manifest.model_settings.get("base") for run in runs) else 1
        return place, (row.against.lost - row.against.won) / len(row.against.tasks), row.model

    return min((row for row in contest.standings.models if row.against and row.against.tasks), key=order, default=None)


def headline(contest: Contest) -> str:
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


def size(contest: Contest) -> str:
    """By how much the model of the headline is ahead over several tasks, and how sure that is; "" for one task."""
    first = challenger(contest)
    if first is None or first.against is None or first.lead is None or len(first.against.tasks) == 1:
        return ""
    lead = first.lead
    points = f"{abs(100 * lead.value):.1f} points {'higher' if lead.value >= 0 else 'lower'}"
    interval = f"{signed(100 * lead.low, 1)} to {signed(100 * lead.high, 1)}"
    return f"In the mean of these tasks it scores {points} (95 % interval {interval})."


def sentences(contest: Contest) -> dict[str, str]:
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


def _one_task(a: str, b: str, where: str, metric: str, found: Comparison, corrected: str = "") -> str:
    interval = f"95 % interval {signed(found.low)} to {signed(found.high)}"
    needed = ""
    if found.verdict == "not separable" and found.rows_needed:
        needed = f"; about {found.rows_needed:,} rows would separate them"
    p = f"{found.p}{corrected}"
    numbers = f"{signed(found.difference)} {metric}, {interval}, {p}, n = {found.n:,}{needed}"
    match found.verdict:
        case "better":
            return f"{a} beats {b}{where} ({numbers})"
        case "worse":
            return f"{a} loses to {b}{where} ({numbers})"
        case "within the margin":
            return f"{a} and {b} are equal within {found.margin:g}{where} ({numbers})"
        case _:
            return f"{a} and {b} cannot be told apart{where} ({numbers})"


def _price(contest: Contest, pair: Pair) -> str:
    ours, theirs = (spent(contest, model, list(pair.tasks)) for model in (pair.a, pair.b))
    if not theirs or ours is None:
        return ""
    if ours == 0:
        return ", at no cost per answer"
    if theirs / ours >= 1.5:
        return f", at 1/{_figures(theirs / ours)} of the cost"
    return ", at about the same cost" if ours / theirs < 1.5 else f", at {_figures(ours / theirs)} times the cost"


def _figures(ratio: float) -> str:
    """Two figures, or all digits before the point when there are more."""
    return f"{ratio:.1f}".removesuffix(".0") if ratio < 10 else f"{ratio:,.0f}"


def small_print(contest: Contest) -> str:
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


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, with a true minus; an en dash when there is none."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    return f"{value:+.{digits}f}".replace("-", MINUS)
