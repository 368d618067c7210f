"""Figures and verdicts in words: each number, interval and sentence worded once, for every output."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.compare.gate import Check, power
from harness.compare.intervals import Estimate
from harness.compare.paired import Comparison, ModelPair
from harness.compare.seeds import SeedSpread
from harness.compare.standings import Lift, Standings

if TYPE_CHECKING:
    from harness.plan.plan import PairEstimate, Plan
    from harness.report.scoreboard import Offer, Scoreboard, TaskVerdict
    from harness.score.scoring import ScoredRun
    from harness.store.results import Manifest

INTERVALS = (
    "Intervals are 95 %: Wilson's for shares (accuracy, recall, F1) over the rows, positives or entities that count, "
    "and by the score's standard error where clusters or rare labels decide; otherwise BCa bootstrap."
)
"""How the intervals of scores are made."""
ABSENT = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


# Numbers


def absent(value: Any) -> bool:
    """Whether a cell of the long form holds nothing."""
    if value is None:
        return True
    try:
        return not bool(value == value)  # NaN alone differs from itself
    except TypeError:  # pandas' NA is neither
        return True


def number(value: Any, digits: int = 3) -> str:
    """A number with that many decimals; an en dash for None and NaN."""
    return ABSENT if absent(value) else f"{value:,.{digits}f}"


def count(value: Any) -> str:
    """A whole number with separators; an en dash when absent."""
    return ABSENT if absent(value) else f"{int(value):,}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, with a true minus; an en dash when there is none."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:+.{digits}f}".replace("-", MINUS)


def small(value: Any, unknown: str = ABSENT) -> str:
    """Seconds or USD: three decimals, and `<0.001` where 0.000 would hide that something was spent."""
    if absent(value):
        return unknown
    return "<0.001" if 0 < value < 0.0005 else number(value)


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def with_interval(row: Mapping[Hashable, Any]) -> str:
    """A score of the long form as `0.912 [0.893, 0.928]`."""
    return ABSENT if absent(row["score"]) else _bracketed(row["score"], row["low"], row["high"], 3)


def interval(found: Estimate | None, digits: int = 3) -> str:
    """An estimate as `0.912 [0.893, 0.928]`; an en dash when there is none."""
    return ABSENT if found is None or found.n == 0 else _bracketed(found.value, found.low, found.high, digits)


def _bracketed(value: float, low: float, high: float, digits: int) -> str:
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def signed_interval(low: float, high: float, digits: int = 3) -> str:
    """The interval of a difference as `+0.012 to +0.050`."""
    return f"{signed(low, digits)} to {signed(high, digits)}"


def percentiles(p50: float, p95: float) -> str:
    """A latency as `0.412 s, 95 % within 1.300 s`."""
    return f"{small(p50)} s, 95 % within {small(p95)} s"


# One comparison


def comparison(a: str, b: str, metric: str, found: Comparison, where: str = "") -> str:
    """The sentence for model `a` against model `b` on one task, without its full stop.

    `where` names the task if nothing else does.
    """
    match found.verdict:
        case "better":
            text = f"{a} beats {b}"
        case "worse":
            text = f"{a} loses to {b}"
        case "within the margin":
            text = f"{a} and {b} are equal within {found.margin:g}"
        case "cannot be told":
            text = f"whether {a} and {b} differ cannot be told"
        case _:
            text = f"{a} and {b} are not separable"
    why = f": {_and(lost_rows(a, b, found))}" if found.verdict == "cannot be told" else ""
    corrected = f" corrected for {found.comparisons:,} comparisons" if found.comparisons > 1 else ""
    numbers = [
        f"{signed(found.difference)} {metric}, 95 % interval {signed_interval(found.low, found.high)}, "
        f"{found.p}{corrected}, n = {found.n:,}{counted(found.rests_on)}"
    ]
    if found.reason:
        numbers.append(f"{found.reason}, from which nothing can be told")
    if found.over_answered:
        difference, rows = found.over_answered
        numbers.append(f"{signed(difference)} over the {rows:,} rows that both answered")
    if needed := rows_needed(found):
        numbers.append(f"about {needed} rows would separate a difference of this size")
    return f"{text}{where}{why} ({'; '.join(numbers)})"


def seeds(a: str, b: str, spread: SeedSpread) -> list[str]:
    """How much the runs of two models differ, and what the standard error of their difference is made of."""
    lines = []
    for name, scores, between in zip((a, b), spread.scores, spread.between, strict=True):
        text = f"{name}: {', '.join(map(number, scores))} {spread.metric}"
        if between is None:
            lines.append(f"{text}; a single run: what another one would score is not in the interval")
        else:
            lines.append(f"{text}; standard deviation between {plural(len(scores), 'run')} {number(between)}")
    errors = f"{number(spread.row_error)} over rows and {number(spread.seed_error)} over runs"
    return [*lines, f"standard error of the difference: {errors}"]


def counted(rests_on: str) -> str:
    """What decides an interval, behind its n; "" where it is the rows."""
    return f" ({rests_on})" if rests_on else ""


def lost_rows(a: str, b: str, found: Comparison) -> list[str]:
    """How many rows of each of two models have no answer."""
    return [unanswered(lost, f" of {name}") for name, lost in zip((a, b), found.lost, strict=True) if lost]


def unanswered(lost: int, of: str = "") -> str:
    """That so many rows have no answer; "" where all have one."""
    return f"{plural(lost, 'row')}{of} {'has' if lost == 1 else 'have'} no answer" if lost else ""


def rows_needed(found: Comparison) -> str:
    """How many rows would separate two models, with the range; "" where they are separated or these rows cannot say."""
    needed = found.rows_needed
    if found.verdict != "not separable" or needed is None:
        return ""
    return f"{needed.about:,} ({needed.least:,} to {needed.most:,})"


def against(found: Comparison, b: str) -> str:
    """The verdict on a model in a table whose caption names the other one."""
    return {
        "better": f"better than {b}",
        "worse": f"worse than {b}",
        "within the margin": f"equal to {b} within the margin",
        "not separable": f"not separable from {b}",
        "cannot be told": f"cannot be told from {b}",
    }[found.verdict]


def task_verdict(one: TaskVerdict, best: str = "") -> str:
    """The sentence below a task's table; `best` names its best model with the score, where that is a third one."""
    if len(one.models) < 2:
        return f"Only {one.models[0]} was asked; a comparison needs two models."
    a, b = one.models
    if one.found is None:
        return f"Nothing can be told: {one.apart}."
    return capital(comparison(a, b, one.metric, one.found)) + (f"; the best is {best}" if best else "") + "."


def capital(sentence: str) -> str:
    """A sentence with a capital, unless it begins with a model's name."""
    return f"W{sentence[1:]}" if sentence.startswith("whether ") else sentence


def verdicts(runs: Sequence[ScoredRun]) -> dict[str, str]:
    """The verdict on the two best models of each task, as `bench` prints it below the task's table."""
    from harness.report.scoreboard import two_best

    return {task: task_verdict(one) for task, one in two_best(runs).items()}


def recorded_earlier(models: Sequence[str]) -> str:
    """What is said where a table also holds models that this run did not ask."""
    return f"Asked the same rows earlier: {', '.join(models)}."


def task_verdicts(board: Scoreboard) -> dict[str, str]:
    """The sentence of each task of a report."""
    found = {}
    for task, one in board.verdicts().items():
        best = board.best[task]
        score = "" if best in one.models else f"{best} with {number(board.score(task, best))}"
        found[task] = task_verdict(one, score)
    return found


def gate_reason(check: Check, a: str, b: str) -> str:
    """Why model `a` passes or fails the gate against model `b` on a task."""
    found = check.found
    if found is None:
        return check.trouble
    if check.decided:
        told = f"a loss beyond {found.margin:g} is {'shown' if check.outcome == 'failed' else 'ruled out'}"
    else:
        lost = f": {_and(lost_rows(a, b, found))}" if any(found.lost) else ""
        told = f"cannot be told: a loss beyond {found.margin:g} is neither shown nor ruled out{lost}"
    can = power(found)
    rows = (
        f"rows like these pass an equal model in {can.passes_equal:.0%} of samples, and fail one that loses "
        f"{can.loss:g} in {can.fails_loss:.0%}"
    )
    across = ["the answers are to different prompts"] if check.across else []
    return "; ".join([told, comparison(a, b, check.metric, found), rows, *across])


# Several tasks


def tally(pair: ModelPair, total: str = "") -> str:
    """On how many tasks the first of two models wins, ties and loses; `total` names the tasks."""
    of = total or plural(len(pair.tasks), "task")
    untold = f", and on {pair.untold} it cannot be told" if pair.untold else ""
    if not pair.won and not pair.lost:
        return f"{pair.a} and {pair.b} are separable on 0 of {of}{untold}"
    if not pair.won:
        return f"{pair.a} loses to {pair.b} on {pair.lost} of {of}, ties {pair.tied}{untold}"
    return f"{pair.a} beats {pair.b} on {pair.won} of {of}, ties {pair.tied}, loses {pair.lost}{untold}"


def lift(found: Lift) -> str:
    """What an adapter gains over the model it was tuned from."""
    mean = f"mean lift {signed(100 * found.mean.value, 1)} points, 95 % interval {points(found.mean)}"
    if found.left_out:
        mean += f" (without {', '.join(found.left_out)}, whose metric has no highest value)"
    return f"{tally(found.pair)}; {mean}."


def points(found: Estimate) -> str:
    """The interval of a mean difference in hundredths of the scale."""
    return signed_interval(100 * found.low, 100 * found.high, 1)


def headline(board: Scoreboard, a: str | None = None, b: str | None = None) -> str:
    """The verdict sentence on two models: those named, or the board's subject and reference."""
    a, b = a or board.subject, b or board.reference
    if a is None:
        if len(board.models) == 1:
            return f"Only {b} was asked; a comparison needs two models."
        reasons = sorted({why for row in board.standings.models if row.against for why in row.against.apart.values()})
        return f"Nothing can be told: {'; '.join(reasons) or f'no model was asked the same rows as {b}'}."
    pair = board.pair(a, b)
    if not pair.tasks:
        why = "; ".join(sorted(set(pair.apart.values()))) or f"{a} and {b} were not asked one task together"
        return f"Nothing can be told: {why}."
    if len(pair.tasks) == 1:
        ((task, found),) = pair.tasks.items()
        text = capital(comparison(a, b, board.metric(task).name, found, where=f" on {task}"))
    else:
        all_tasks = len(pair.tasks) == len(board.tasks)
        text = tally(pair, "" if all_tasks else f"the {plural(len(pair.tasks), 'task')} both were asked")
    return f"{text}{_price(board, a, b)}."


def _price(board: Scoreboard, a: str, b: str) -> str:
    ours, theirs = (board.standing(model).usd for model in (a, b))
    if ours is None or theirs is None or ours == theirs == 0:
        return ""
    return f", at {usd(1000 * ours)} against {usd(1000 * theirs)} per 1,000 rows"


def usd(value: float | None) -> str:
    """A price as `15.91 USD`, `0.011 USD` or `no cost`."""
    if value is None:
        return "cost not known"
    return "no cost" if value == 0 else f"{value:,.2f} USD" if value >= 1 else f"{small(value)} USD"


def lead(board: Scoreboard, a: str | None = None, b: str | None = None) -> str:
    """By how much one of two models is ahead over several tasks, and how sure that is; "" for one task."""
    a, b = a or board.subject, b or board.reference
    found = board.duel(a, b).lead if a else None
    if found is None or len(found.tasks) == 1:
        return ""
    value = 100 * found.difference.value
    size = f"{abs(value):.1f} points {'higher' if value >= 0 else 'lower'}"
    means = f"{number(found.scores[0])} against {number(found.scores[1])}"
    tasks = f"the {plural(len(found.tasks), 'task')} of both"
    return f"Its mean score over {tasks} is {size}: {means} (95 % interval {points(found.difference)})."


def small_print(board: Scoreboard, a: str | None = None, b: str | None = None) -> str:
    """What the verdict sentence means; "" where there is none."""
    a, b = a or board.subject, b or board.reference
    if len(board.models) == 1:
        return ""
    text = compared_with(board.standings) if b == board.reference else f"Compared with {b}, as chosen."
    if a is None:
        return text
    if len(board.models) > 2 and (a, b) == (board.subject, board.reference):
        text += " Of several models the sentence names an adapter first, then the one ahead most often."
    return f"{text} {won_or_lost(board.pair(a, b))}"


def averages(table: Standings) -> str:
    """Which tasks mean rank, mean score and USD per 1,000 rows are over, and which the mean score leaves out."""
    usd = "USD per 1,000 rows" if any(row.usd for row in table.models) else ""
    if not table.common:
        text = "No task was asked of every model on the same rows, so there is no mean rank and no mean score."
        return f"{text} USD per 1,000 rows are over all tasks of each model." if usd else text
    every = f"the {plural(len(table.common), 'task')} that every model was asked on the same rows"
    scaled = "each score divided by its metric's highest value"
    why = "their metric has no highest value or counts errors"
    rank = "Mean rank (1 is best)"
    if not table.averaged:
        text = f"{_listed(rank, usd)} over {every}. There is no mean score: {why}."
    elif table.left_out:
        score = _listed("mean score", usd).removesuffix(" are").removesuffix(" is")
        text = (
            f"{rank} is over {every}, {score} over {len(table.averaged)} of them, {scaled}; left out, because {why}: "
            f"{', '.join(table.left_out)}."
        )
    else:
        text = f"{_listed(rank, 'mean score', usd)} over {every}, {scaled}."
    return f"{text} Brackets hold 95 % intervals over those rows, which say nothing about other tasks."


def _and(parts: Sequence[str]) -> str:
    return " and ".join(parts)


def _listed(*names: str) -> str:
    """`a is`, `a and b are`, `a, b and c are`; names that are empty are left out."""
    given = [name for name in names if name]
    *first, last = given
    return f"{', '.join(first)} and {last} are" if first else f"{last} is"


def won_or_lost(pair: ModelPair | None) -> str:
    """What a win is, and over which family it is one."""
    return (
        "Won or lost means a difference beyond chance: paired tests on the same rows at 5 %. "
        f"{family(pair)} A tie is any other result: equality was shown only where the tables say so."
    )


def family(pair: ModelPair | None) -> str:
    """Which comparisons p-values and intervals are corrected for; without a pair, in general."""
    if pair is None:
        over = "all comparisons of one model with the others on the tasks of both"
    elif pair.comparisons == 1:
        return "The p-value and interval are of one comparison, and so not corrected."
    elif pair.rivals == 1:
        over = plural(pair.comparisons, "comparison")
    else:
        tasks = plural(len(pair.tasks), "task")
        over = f"{plural(pair.comparisons, 'comparison')}, of one model with each of {pair.rivals} others on {tasks}"
    return (
        f"P-values and intervals are corrected for {over} (Holm's correction over the tasks, Bonferroni's over the "
        "models)."
    )


def compared_with(table: Standings) -> str:
    """Which model the others are compared with, and why."""
    return f"Compared with {table.reference}, {table.why}."


def frontier(offers: Sequence[Offer]) -> str:
    """The models that no other one beats at the same cost or less."""
    names = [offer.model for offer in offers if offer.frontier]
    return f"On the frontier, where a better mean score costs more: {', '.join(names) or 'none'}."


def latency_tasks(tasks: Sequence[str]) -> str:
    """What the latencies are over."""
    if not tasks:
        return "Median and 95th percentile of all answers of a model; the models were timed on different tasks."
    return f"Median and 95th percentile of all answers to the {plural(len(tasks), 'task')} that every timed model has."


def compared(pair: ModelPair) -> str:
    """What `harness compare` says last."""
    lines = [f"{tally(pair)}.", family(pair)] if pair.tasks else []
    if pair.rivals > 1 and pair.won + pair.lost:
        lines.append(CONFIRM)
    return "\n".join([*lines, *(f"{task}: nothing can be told: {why}" for task, why in pair.apart.items())])


CONFIRM = (
    "A model picked from several is best confirmed on fresh rows: `harness bench --seed 1 --results fresh` for both, "
    "then `harness compare` with `--confirm fresh`."
)
"""What is said where one of several models was compared."""


# Where figures come from


def asked(board: Scoreboard) -> str:
    """What was asked and when, in a line: `2026-11-30: 6 models, 36 tasks, 216,000 answers`."""
    made = [run.manifest for runs in board.tasks.values() for run in runs.values()]
    days = sorted(m.finished[:10] for m in made)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    size = f"{plural(len(board.models), 'model')}, {plural(len(board.tasks), 'task')}"
    return f"{when}: {size}, {plural(sum(m.n for m in made), 'answer')}"


def signature(run: ScoredRun, score: str) -> str:
    """A line to paste under a figure, so that another can be known to be of the same kind.

    Like sacrebleu's (M. Post, A Call for Clarity in Reporting BLEU Scores, 2018): what was asked of whom, and all that
    decides the score.
    """
    manifest, spec = run.manifest, run.manifest.spec
    facts = {
        "task": manifest.task,
        "model": manifest.model,
        "rows": f"{manifest.source}, {manifest.rows}",
        "n": manifest.n,
        "seed": manifest.seed,
        "prompt": manifest.prompt_hash,
        "asked": spec.asking_version,
        "scored": spec.scoring_version,
        "version": manifest.versions.get("lora-leaderboard", ABSENT),
    }
    return "|".join([f"{run.metrics[0].name} {score}", *(f"{name}:{value}" for name, value in facts.items())])


def version(asking: Iterable[str], scoring: Iterable[str]) -> str:
    """The versions of a task: of what was asked, and of the rule that answers are scored by."""
    asked, scored = (", ".join(sorted(set(versions))) for versions in (asking, scoring))
    return f"asked {asked}, scored {scored}"


def incomplete(model: str, why: str) -> str:
    """What is said of a run that has no verdict and no rank."""
    return f"{model} is incomplete ({why}): no verdict, no rank."


def total_usd(costs: Sequence[float | None]) -> str:
    """What several runs cost together, and of how many that is not known."""
    known = [cost for cost in costs if cost is not None]
    unknown = len(costs) - len(known)
    if not known:
        return "not known"
    return f"{small(sum(known))} USD" + (f", not known of {plural(unknown, 'run')}" if unknown else "")


def dataset(manifest: Manifest) -> str:
    """Which data set a run's rows are from."""
    if manifest.kind == "sample":
        return "rows written for this project"
    found = manifest.dataset
    config = f"/{found['config']}" if found.get("config") else ""
    revision = found.get("revision") or "no revision pinned"
    return f"{found.get('hub') or 'local files'}{config} @ {revision}, split {found.get('split', ABSENT)}"


def commit(manifest: Manifest) -> str:
    """At which commit of the project a run was made."""
    found = manifest.git
    return (
        f"{str(found['commit'])[:12]}{' with changes' if found.get('dirty') else ''}" if found.get("commit") else ABSENT
    )


# Plans


DETECTABLE = "Smallest difference that the rows show (80 % power, 5 % two-sided; –: none):"
"""What stands above a plan's table of tasks."""


def plan_sources(plan: Plan) -> list[str]:
    """Lines that say what the estimates of a plan rest on, and what is not known."""
    served = [pair for pair in plan.pairs if pair.price_by]
    lines = [*plan.notes]
    if plan.unpriced:
        lines.insert(
            0, f"USD does not include {', '.join(plan.unpriced)}: set a price or gpu_per_hour in the models file"
        )
    if served:
        lines = [
            f"tokens in by {_by_source(served, 'input_by')}",
            f"tokens out from {_by_source(served, 'output_by')}",
            f"prices from {_by_source(served, 'price_by')}",
            f"minutes at the limits of each endpoint, by {_by_source(served, 'minutes_by')}",
            *lines,
        ]
    return lines


def _by_source(pairs: Iterable[PairEstimate], figure: str) -> str:
    """Each source of a figure with the models it is used for."""
    models: dict[str, dict[str, None]] = {}
    for pair in pairs:
        models.setdefault(getattr(pair, figure), {})[pair.model] = None
    return "; ".join(f"{source} ({', '.join(found)})" for source, found in models.items())


# Texts of strangers


def shortened(text: str, width: int, *, end: bool = False) -> str:
    """One line of at most that many characters, the middle of a text left out, or all but its end."""
    # A model's answer may hold codes that a terminal would obey.
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
    if len(line) <= width:
        return line
    if end:
        return "\N{HORIZONTAL ELLIPSIS}" + line[-(width - 1) :]
    tail = width // 3
    return f"{line[: width - tail - 1]}\N{HORIZONTAL ELLIPSIS}{line[-tail:]}"


def looked_at(task: str, rows: Sequence[int]) -> str:
    """The warning for a task whose runs were scored again and again as rows were added."""
    before = " and ".join(f"{n:,}" for n in rows[:-1])
    return (
        f"{task}: scored on {before} rows before these {rows[-1]:,}; a verdict that is looked for as rows are added is "
        "found by chance too often. Choose --rows beforehand, or confirm it on fresh rows (harness compare --confirm)"
    )


def doubts(runs: Sequence[ScoredRun]) -> list[str]:
    """Return a sentence for all that makes the answers of runs doubtful, and for what was paid in vain."""
    said = {(run.manifest.task, run.manifest.kind, run.manifest.model): run for run in runs}
    lines = []
    for run in runs:
        manifest, found = run.manifest, run.doubts
        who = f"{manifest.model} on {manifest.task}"
        if found.failures:
            reasons = "; ".join(f"{count:,} × {example}" for count, example in found.failures)
            lines.append(f"{who}: {plural(sum(count for count, _ in found.failures), 'row')} failed: {reasons}")
        for name, count in found.others:
            lines.append(
                f"{who}: {count:,} of {manifest.n:,} rows were answered by {name}, not by {manifest.asked_for}"
            )
        if found.cut:
            lines.append(
                f"{who}: the server has cut the prompt of {plural(found.cut, 'row')}, by its count of their tokens "
                "(status truncated_prompt); give it a longer context"
            )
        base = said.get((manifest.task, manifest.kind, str(manifest.model_settings.get("base"))))
        if base and base.manifest.rows == manifest.rows and base.doubts.said == found.said and len(run.latencies):
            lines.append(f"{who}: all {manifest.n:,} answers are those of {base.manifest.model}, byte for byte")
        if run.lost_usd and run.usd is not None:
            lines.append(
                f"{who}: of the {small(run.usd)} USD {small(run.lost_usd)} were lost on attempts without an answer"
            )
    return lines
