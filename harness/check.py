"""Everything that can be wrong with a task, found before a model is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.answers import read
from harness.data.origin import locate
from harness.data.subset import Subset, choose, training_rows
from harness.errors import HarnessError, UserError, nearest
from harness.guards import Guarded, guard
from harness.metrics.registry import build
from harness.prompts import Prompts
from harness.spec.catalog import TaskFile, load_task

MOST_LISTED = 5
SHOWN = 2000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found: `problems` (none when the task is sound), and the facts a reader wants to see."""

    name: str
    problems: tuple[str, ...]
    label: str = ""
    note: str | None = None
    subset: Subset | None = None
    training: int = 0
    balance: tuple[tuple[str, int], ...] = ()
    guarded: Guarded | None = None
    file: TaskFile | None = None


def check(folder: Path, name: str, data: str | None, *, strict: bool) -> Checked:
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
    training = attempt(lambda: training_rows(file, prompts, origin, evaluated)) or ([], [])
    if subset is not None:
        problems += _unreadable(file, [(row.id, row.references) for row in subset.rows], "evaluation row")
        problems += _unreadable(file, [(str(n), (target,)) for n, target in enumerate(training[1])], "training row")
    guarded = None
    if subset is not None and not problems:
        rows = subset.rows
        guarded = attempt(lambda: guard(file.task, rows))
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
    )


def _unreadable(file: TaskFile, rows: list[tuple[str, tuple[str, ...]]], what: str) -> list[str]:
    """Right answers that the task's own extraction does not accept: a label outside the set, a number that is none."""
    answer = file.task.answer
    bad: Counter[str] = Counter()
    where: dict[str, str] = {}
    for name, references in rows:
        for reference in references:
            if read(reference, answer) is None:
                bad[reference] += 1
                where.setdefault(reference, name)
    labels = getattr(answer, "labels", None) or []
    return [
        file.source.problem(
            ["target"],
            f"'{text:.60}' is no valid {answer.type} ({count} times, first in {what} {where[text]})"
            + nearest(text, labels),
        )
        for text, count in bad.most_common(MOST_LISTED)
    ]


def _balance(file: TaskFile, subset: Subset) -> tuple[tuple[str, int], ...]:
    if file.task.answer.type != "label":
        return ()
    counts = Counter(row.references[0] for row in subset.rows)
    return tuple(counts.most_common())


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
    if checked.balance:
        total = sum(count for _, count in checked.balance)
        shares = ", ".join(f"{label} {count} ({count / total:.0%})" for label, count in checked.balance[:20])
        lines.append(f"  labels: {shares}" + (" …" if len(checked.balance) > 20 else ""))
    if checked.guarded:
        lines.append(f"  {_guards(checked.guarded)}")
    for row in subset.rows[:3]:
        lines.append(f"  --- row {row.id}")
        lines += [f"  | {line}" for line in _shortened(row.prompt).splitlines()]
        lines.append(f"  target: {' || '.join(row.references)}")
    return "\n".join(lines)


def _guards(guarded: Guarded) -> str:
    majority = "" if guarded.majority is None else f", majority {guarded.majority:.3f}"
    return (
        f"leaderboard score of gold answers {guarded.gold:.3f}, empty {guarded.empty:.3f}{majority}, "
        f"shuffled gold {guarded.shuffled:.3f}; 95th percentile of characters: prompt {guarded.prompt_p95:,}, "
        f"target {guarded.target_p95:,}"
    )


def _shortened(prompt: str) -> str:
    if len(prompt) <= SHOWN:
        return prompt
    return f"{prompt[: SHOWN // 2]}\n[… {len(prompt) - SHOWN:,} characters …]\n{prompt[-SHOWN // 2 :]}"
