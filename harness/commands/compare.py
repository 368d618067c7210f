"""`harness compare`: two models on the same rows, task by task, with the rows that tell them apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.compare.deciding_rows import RowDifference
    from harness.compare.paired import Comparison, ModelPair
    from harness.score.scoring import ScoredRun

WIDTH = 100


@click.command("compare")
@click.argument("a", shell_complete=options.a_model_run)
@click.argument("b", shell_complete=options.a_model_run)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    shell_complete=options.a_task_run,
    help="A task by name; again for more. Default: all that both have run.",
)
@options.kind
@options.results
@options.code
def command(a: str, b: str, tasks: tuple[str, ...], kind: str | None, results: Path) -> int:
    """Print the verdict between models A and B on each task.

    With the ten rows that tell them apart most.

    Both must have run. p-values are corrected for the number of tasks.
    """
    from harness.compare.deciding_rows import deciding_rows
    from harness.compare.paired import compare_recorded

    compared, both = compare_recorded(results, a, b, tasks, kind)
    for task, found in compared.tasks.items():
        first, second = both[task, a], both[task, b]
        print(block(found, first, second, deciding_rows(results, first, second)), end="\n\n")
    print(summary(compared))
    return 0


def block(found: Comparison, a: ScoredRun, b: ScoredRun, rows: Sequence[RowDifference]) -> str:
    """The verdict on one task and the most telling rows, at most 100 characters wide."""
    from harness.score.metrics.base import only_mean
    from harness.store.results import LABELS_ONLY

    manifest, metric = a.manifest, a.metrics[0]
    scores = [float(metric.summary(run.rows.stats[metric.name].mean(axis=0))) for run in (a, b)]
    lines = [
        f"{manifest.task}: {manifest.spec.title}, {manifest.source}",
        f"{manifest.model} {scores[0]:.3f}, {b.manifest.model} {scores[1]:.3f} {metric.name}: {verdict(found)}",
    ]
    if a.manifest.labels_only != b.manifest.labels_only:
        lines.append(f"{(a if a.manifest.labels_only else b).manifest.model}: {LABELS_ONLY}")
    if not rows:
        return "\n".join([*lines, "  no row is scored differently"])
    names, by_row = [manifest.model, b.manifest.model], metric.summary is only_mean
    width = max(len("reference"), *map(len, names))
    for row in rows:
        told = f"{names[0]} {row.difference:+.3f}" if by_row else f"moves the difference by {row.difference:+.4f}"
        lines.append(f"  row {row.row}: {told}")
        references = " | ".join(row.references)
        shown = [
            ("prompt", shortened(row.prompt, WIDTH - width - 6, end=True)),
            ("reference", shortened(references, WIDTH - width - 6)),
            (names[0], _answer(row.answer_a, row.status_a, WIDTH - width - 6)),
            (names[1], _answer(row.answer_b, row.status_b, WIDTH - width - 6)),
        ]
        lines += [f"    {name:{width}}  {text}" for name, text in shown]
    return "\n".join(lines)


def verdict(found: Comparison) -> str:
    """`better (+0.031, 95 % interval +0.012 to +0.050, p = 0.0012, n = 1,000)`, after Holm."""
    needed = ""
    if found.verdict == "not separable" and found.rows_needed:
        needed = f"; about {found.rows_needed:,} rows would separate them"
    return (
        f"{found.verdict} ({found.difference:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}, "
        f"{found.p}, n = {found.n:,}{needed})"
    )


def summary(compared: ModelPair) -> str:
    """How many tasks were won, tied and lost, and what could not be compared."""
    count = len(compared.tasks)
    tasks = "1 task" if count == 1 else f"{count} tasks"
    text = (
        f"{compared.a} is better than {compared.b} on {compared.won} of {tasks}, worse on {compared.lost}; "
        f"{compared.tied} cannot be told apart (p-values after Holm's correction)."
    )
    if compared.apart:
        text += f"\nAsked different rows, and so left out: {', '.join(compared.apart)}."
    return text


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


def _answer(text: str | None, status: str, width: int) -> str:
    if not text:
        return f"[{status}]" if status != "ok" else "(empty)"
    mark = "" if status == "ok" else f"[{status}] "
    return mark + shortened(text, width - len(mark))
