"""Everything that can be wrong with a task, found before a model is asked."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeVar

from harness.ask.prepare import unreadable_gold
from harness.errors import HarnessError, UserError
from harness.hashing import row_id
from harness.models.baseline import majority
from harness.rows.evaluation import EvaluationRow, Subset, choose, identify, identity
from harness.rows.origin import Origin, locate
from harness.rows.training import training_rows
from harness.score.answers import read_gold
from harness.score.metrics.base import Metric
from harness.score.metrics.registry import build
from harness.score.metrics.text import dropped_scripts
from harness.score.scoring import score_rows
from harness.shipped import TaskFolders
from harness.store.results import Response
from harness.tasks.catalog import TaskFile, load_task
from harness.tasks.prompts import Prompts, question_hash
from harness.tasks.task import Task

MOST_LISTED = 5
"""Right answers that cannot be read are listed up to this many."""
SHOWN = 2000
"""Characters of a prompt that are shown."""
TOLERANCE = 1e-6
SIGMAS = 5.0
"""How far the score of shuffled answers may be from chance, in standard errors."""
MOST_DISTINCT, SHORTEST_TEXT = 0.98, 40
"""A column is shared by rows where at most this share of its values differ, and they are this long in characters."""
MOST_PROGRAMS = 60
"""Rows whose programs are run."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found: `problems` (none when the task is sound), and the facts to show."""

    name: str
    problems: tuple[str, ...]
    label: str = ""
    note: str | None = None
    subset: Subset | None = None
    training: int = 0
    balance: tuple[tuple[str, int], ...] = ()
    guarded: Guarded | None = None
    file: TaskFile | None = None
    shared: tuple[SharedColumn, ...] = ()


@dataclass(frozen=True, slots=True)
class SharedColumn:
    """A column of the prompt whose values repeat: so many in so many evaluated rows, in the mean of that length."""

    name: str
    values: int
    rows: int
    length: float


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` shows of one task: as text, as facts, and its problems."""

    text: str
    facts: dict[str, object]
    problems: tuple[str, ...]


def check_all(folder: TaskFolders, names: Sequence[str], data: str | None, *, strict: bool) -> Iterator[Report]:
    """Check tasks as `check` does and yield what is to be shown of each, in their order.

    Several are checked at once, one on each core, where processes can be forked; each reads and renders all rows.
    """
    each = partial(_report, folder, data, strict)
    workers = min(len(names), len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1)
    if workers < 2:
        yield from map(each, names)
        return
    # Forked, so that plugins and what the command line allows hold in them, too.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:
        try:
            yield from pool.map(each, names)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _report(folder: TaskFolders, data: str | None, strict: bool, name: str) -> Report:
    checked = check(folder, name, data, strict=strict)
    return Report(describe(checked), as_facts(checked), checked.problems)


def check(folder: TaskFolders, name: str, data: str | None, *, strict: bool) -> Checked:
    """Check one task against its rows and return all that is wrong with it at once."""
    problems: list[str] = []

    def attempt(step: Callable[[], T]) -> T | None:
        try:
            return step()
        except UserError as error:
            problems.extend(str(error).splitlines())
            return None

    file = attempt(lambda: load_task(folder, name))
    if file is None:
        return Checked(name, tuple(problems))
    for index, spec in enumerate(file.task.metrics):
        try:
            build(spec, file.task.answer)
        except HarnessError as error:
            problems.append(file.source.problem(["metrics", index], str(error)))
    prompts = attempt(lambda: Prompts(file))
    origin = attempt(lambda: locate(file, data, strict=strict))
    if prompts is None or origin is None:
        return Checked(name, tuple(problems))
    subset = attempt(lambda: choose(file, prompts, origin))
    evaluated = [row.id for row in subset.rows] if subset else []
    split = origin.splits.get(file.task.training.split)
    own = split is not None and split is not origin.splits[file.task.evaluation.split]
    training = (attempt(lambda: training_rows(file, prompts, origin, evaluated)) if subset or own else None) or ([], [])
    if subset is not None:
        problems += _unreadable(file, [(row.id, row.references) for row in subset.rows], "evaluation row")
        problems += _unreadable(file, [(str(n), (target,)) for n, target in enumerate(training[1])], "training row")
        references = (reference for row in subset.rows for reference in row.references)
        if dropped := dropped_scripts(file.task.metrics, references):
            problems.append(file.source.problem(["metrics"], dropped))
    guarded = None
    if subset is not None and not problems:
        rows = subset.rows
        guarded = attempt(lambda: guard(file.task, rows, training[1]))
        problems += [file.source.problem([], problem) for problem in guarded.problems] if guarded else []
    return Checked(
        name=name,
        problems=tuple(problems),
        label=origin.label(len(subset.rows)) if subset else origin.place,
        note=origin.note,
        subset=subset,
        training=len(training[0]),
        balance=_balance(file, subset) if subset else (),
        guarded=guarded,
        file=file,
        shared=(attempt(lambda: shared_columns(file, prompts, origin, evaluated)) if subset else None) or (),
    )


def shared_columns(
    file: TaskFile, prompts: Prompts, origin: Origin, evaluated: Collection[str]
) -> tuple[SharedColumn, ...]:
    """The columns of the prompt that hold a text, as a passage or a document, which several evaluated rows share."""
    values: dict[str, list[str]] = {name: [] for name in sorted(prompts.prompt_columns)}
    lengths = dict.fromkeys(values, 0)
    left = set(evaluated)
    for row in origin.splits[file.task.evaluation.split].read(identity(file, prompts)):
        if (name := identify(file, prompts, row)) in left:
            left.discard(name)
            for column, seen in values.items():
                seen.append(row_id(row, [column]))
                lengths[column] += len(str(row.get(column)))
    found = [
        SharedColumn(column, len(set(seen)), len(seen), lengths[column] / max(len(seen), 1))
        for column, seen in values.items()
    ]
    return tuple(
        sorted(
            (one for one in found if one.values <= MOST_DISTINCT * one.rows and one.length >= SHORTEST_TEXT),
            key=lambda one: -one.length,
        )
    )


def _unreadable(file: TaskFile, rows: list[tuple[str, tuple[str, ...]]], what: str) -> list[str]:
    """Right answers that are not understood: a label outside the set, a number that is none."""
    first: dict[str, str] = {}
    times: Counter[str] = Counter()
    for name, references in rows:
        for reference in references:
            first.setdefault(reference, name)
            times[reference] += 1
    problems = []
    for text, count in times.most_common():  # each text once: labels repeat by the thousand
        try:
            read_gold(text, file.task.answer)
        except ValueError as error:
            where = f"{what} {first[text]}" + (f" and {count - 1} more" if count > 1 else "")
            problems.append(unreadable_gold(file, where, text, error))
    return problems[:MOST_LISTED]


def _balance(file: TaskFile, subset: Subset) -> tuple[tuple[str, int], ...]:
    if file.task.answer.type != "label":
        return ()
    counts = Counter(row.references[0] for row in subset.rows)
    return tuple(counts.most_common())


def _contradicted(subset: Subset) -> list[list[str]]:
    """The ids of evaluated rows that ask the same and have other right answers."""
    rows: dict[str, list[str]] = {}
    for row in subset.rows:
        rows.setdefault(question_hash(row.prompt), []).append(row.id)
    return [ids for ids in rows.values() if len(ids) > 1]


def all_problems(problems: Sequence[str]) -> str:
    """Return problems as the text of one error: how many, and each in a line of its own."""
    return "\n".join([f"{len(problems)} problem(s) found", *problems])


def as_facts(checked: Checked) -> dict[str, object]:
    """Return what was found as plain values: what `describe` shows, without the prompts."""
    subset = checked.subset
    rows = None
    if subset is not None:
        rows = {
            "evaluated": len(subset.rows),
            "in_split": subset.total,
            "repeated": subset.repeated,
            "in_training": subset.in_training,
            "training": checked.training,
            "training_from_evaluated_split": subset.borrowed,
        }
    return {
        "task": checked.name,
        "problems": list(checked.problems),
        "source": checked.label,
        "rows": rows,
        "labels": dict(checked.balance),
        "leaderboard_scores": None if checked.guarded is None else _known_scores(checked.guarded),
        "shared_columns": [asdict(one) for one in checked.shared],
    }


def describe(checked: Checked) -> str:
    """Return the facts as text: row counts, what was dropped, label balance, three prompts with their targets."""
    subset = checked.subset
    if subset is None:
        return checked.name
    lines = [
        f"{checked.name}: {checked.label}" + (f" ({checked.note})" if checked.note else ""),
        f"  {len(subset.rows)} rows evaluated of {subset.total} in the split; dropped: {subset.repeated} repeated, "
        f"{subset.in_training} also in the training split",
        f"  {checked.training} {'other rows of the split' if subset.borrowed else 'training rows'} to fit baselines on",
    ]
    contradicted = _contradicted(subset)
    if contradicted:
        lines.append(
            f"  {len(contradicted)} prompt{'s' if len(contradicted) > 1 else ''} evaluated more than once with "
            f"different right answers, first rows {' and '.join(contradicted[0][:2])}"
        )
    if checked.balance:
        total = sum(count for _, count in checked.balance)
        shares = ", ".join(f"{label} {count} ({count / total:.0%})" for label, count in checked.balance[:20])
        lines.append(f"  labels: {shares}" + (" …" if len(checked.balance) > 20 else ""))
    if checked.guarded:
        lines.append(f"  {_guards(checked.guarded)}")
    lines += _clusters(checked, subset)
    for row in subset.rows[:3]:
        lines.append(f"  --- row {row.id}")
        lines += [f"  | {line}" for line in _shortened(row.prompt).splitlines()]
        lines.append(f"  target: {' || '.join(row.references)}")
    return "\n".join(lines)


def _clusters(checked: Checked, subset: Subset) -> list[str]:
    """How many clusters the rows form, or which column they could be told from."""
    named = checked.file.task.evaluation.cluster if checked.file else None
    if named is not None:
        return [f"  {len({row.cluster for row in subset.rows}):,} clusters of rows by {named}"]
    return [
        f"  {one.rows:,} rows share {one.values:,} values of {one.name}: rows with the same one are not independent; "
        f"consider evaluation: {{cluster: {one.name}}}"
        for one in checked.shared[:1]
    ]


def _known_scores(guarded: Guarded) -> dict[str, float]:
    scores = {
        "gold answers": guarded.gold,
        "empty": guarded.empty,
        "majority": guarded.majority,
        "shuffled gold": guarded.shuffled,
    }
    return {name: score for name, score in scores.items() if score is not None}


def _guards(guarded: Guarded) -> str:
    shown = ", ".join(f"{name} {score:.3f}" for name, score in _known_scores(guarded).items())
    return (
        f"leaderboard score of {shown}; 95th percentile of characters: prompt {guarded.prompt_p95:,}, "
        f"target {guarded.target_p95:,}"
    )


def _shortened(prompt: str) -> str:
    if len(prompt) <= SHOWN:
        return prompt
    return f"{prompt[: SHOWN // 2]}\n[… {len(prompt) - SHOWN:,} characters …]\n{prompt[-SHOWN // 2 :]}"


@dataclass(frozen=True, slots=True)
class Guarded:
    """Leaderboard scores of answers whose score is known beforehand, and 95th percentiles of lengths in characters.

    `majority` is the score of the baseline of that name, None where answers are not labels or there are no training
    rows; `gold` and `shuffled` are None for a task whose targets are no answers.
    `problems` says what is not as it should be.
    """

    gold: float | None
    empty: float
    shuffled: float | None
    majority: float | None
    prompt_p95: int
    target_p95: int
    problems: tuple[str, ...]


def guard(task: Task, rows: Sequence[EvaluationRow], training: Sequence[str] = (), seed: int = 0) -> Guarded:
    """Score gold, empty, majority and shuffled gold answers on the leaderboard metric, and measure lengths.

    `training` are the training targets, the most frequent of which is the majority's answer. Answers that are programs
    are run for the first 60 rows only.

    Raises:
        UserError: the metric needs a package that is not installed.
    """
    if task.answer.type == "code":
        rows = rows[:MOST_PROGRAMS]
    metric = build(task.metrics[0], task.answer)
    targets = [row.references[0] for row in rows]
    score = _scorer(task, metric, rows)
    shuffled = list(targets)
    random.Random(seed).shuffle(shuffled)
    labels = Counter(targets) if task.answer.type == "label" else None
    gold = score(targets)  # also of targets that are no answers: the metric must be able to score a text
    found = Guarded(
        gold=gold if task.shows_answer else None,
        empty=score([""] * len(rows)),
        shuffled=score(shuffled) if task.shows_answer else None,
        majority=score([majority(training)("")] * len(rows)) if labels and training else None,
        prompt_p95=_p95([len(row.prompt) for row in rows]),
        target_p95=_p95([len(target) for target in targets]),
        problems=(),
    )
    constant = score([labels.most_common(1)[0][0]] * len(rows)) if labels else None
    problems = [*_scores(task, metric, found), *_rates(metric, labels, found, constant), *_empty_prompts(rows)]
    return replace(found, problems=tuple(problems))


def _scorer(task: Task, metric: Metric, rows: Sequence[EvaluationRow]) -> Callable[[Sequence[str]], float]:
    def score(completions: Sequence[str]) -> float:
        responses = ((Response(row.id, row.id, "ok", text),) for row, text in zip(rows, completions, strict=True))
        stats = score_rows(task, (metric,), zip(rows, responses, strict=True)).stats[metric.name]
        return metric.of(stats)

    return score


def _scores(task: Task, metric: Metric, found: Guarded) -> list[str]:
    best = metric.best if task.ceiling is None else task.ceiling
    unanswered = metric.unanswered
    problems = []
    if found.gold is not None and math.isfinite(best) and abs(found.gold - best) > TOLERANCE:
        problems.append(f"the right answers score {found.gold:.4f} {metric.name}, expected {best:g} (see `ceiling`)")
    if math.isfinite(unanswered) and abs(found.empty - unanswered) > TOLERANCE:
        problems.append(f"empty answers score {found.empty:.4f} {metric.name}, expected {unanswered:g}")
    if found.gold is None or math.isfinite(unanswered):
        return problems
    gain = found.gold - found.empty if metric.higher_is_better else found.empty - found.gold
    if gain <= 0:
        problems.append(
            f"the right answers score {found.gold:.4f} {metric.name}, no better than empty ones ({found.empty:.4f}); "
            "is higher_is_better right?"
        )
    return problems


def _rates(metric: Metric, labels: Counter[str] | None, found: Guarded, constant: float | None) -> list[str]:
    """Accuracy of a constant and of a shuffled answer is known from the labels' shares alone."""
    if labels is None or metric.name != "accuracy" or constant is None or found.shuffled is None:
        return []
    n = labels.total()
    shares = [count / n for count in labels.values()]
    chance = sum(share * share for share in shares)
    spread = math.sqrt(chance * (1 - chance) / n)
    problems = []
    if abs(constant - max(shares)) > TOLERANCE:
        problems.append(f"the most frequent label scores {constant:.4f}, but its share is {max(shares):.4f}")
    if abs(found.shuffled - chance) > SIGMAS * spread + 1 / n:
        problems.append(f"shuffled right answers score {found.shuffled:.4f}, far from chance ({chance:.4f})")
    return problems


def _empty_prompts(rows: Sequence[EvaluationRow]) -> list[str]:
    """Prompts that hold nothing but what all prompts share: the row's text never reached the model."""
    if len(rows) < 2:
        return []
    prompts = [row.prompt for row in rows]
    # The first and last in order share the least, so what they share, all share.
    start = len(os.path.commonprefix([min(prompts), max(prompts)]))  # noqa: RUF071  characters are what is meant
    backwards = [prompt[start:][::-1] for prompt in prompts]
    end = len(os.path.commonprefix([min(backwards), max(backwards)]))  # noqa: RUF071
    empty = [row.id for row in rows if not row.prompt[start : len(row.prompt) - end].strip()]
    if not empty:
        return []
    return [f"{len(empty)} prompts show no text of their row, first row {empty[0]}"]


def _p95(lengths: Sequence[int]) -> int:
    return sorted(lengths)[min(len(lengths) - 1, math.ceil(0.95 * len(lengths)) - 1)]
