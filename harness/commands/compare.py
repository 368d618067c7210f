"""`harness compare`: two models on the same rows, task by task, with the rows that separate them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
@click.option(
    "--confirm",
    "fresh",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="Results of a bench with another --seed: compare on its rows, too, leaving out those asked before.",
)
@options.truth
@options.across_prompts
@options.recorded_rules
@options.tasks_folder
@options.results
@options.code
def command(
    a: str,
    b: str,
    tasks: tuple[str, ...],
    kind: str | None,
    fresh: Path | None,
    truth: str | None,
    across_prompts: bool,
    recorded_rules: bool,
    tasks_folder: Path | None,
    results: Path,
) -> int:
    """Compare models A and B on each task that both have run.

    Prints the verdict and the ten rows on which they differ most.

    All answers are scored by the task file as it is now. p-values and intervals are corrected for all models that are
    recorded and all tasks.
    """
    from harness.compare.confirmation import confirm
    from harness.compare.deciding_rows import deciding_rows
    from harness.compare.paired import compare_recorded, recorded_runs
    from harness.report.words import compared as tally
    from harness.score.rules import chosen_rules
    from harness.teach.truth import scored_against

    rules = chosen_rules(tasks_folder, recorded=recorded_rules)

    def say(line: str) -> None:
        click.echo(line, err=True)

    def scored(folder: Path) -> list[ScoredRun]:
        return recorded_runs(folder, tasks, (a, b), kind, rules, say)

    with scored_against(results, truth, say, rules) as folder:
        runs = scored(folder)
        compared, both = compare_recorded(runs, a, b, across_prompts=across_prompts)
        for task, found in compared.tasks.items():
            first, second = both[task, a], both[task, b]
            rows = deciding_rows(folder, first, second)
            print(block(found, first, second, rows, across=task in compared.across), end="\n\n")
    print(tally(compared))
    if fresh is not None:
        with scored_against(fresh, truth, say, rules) as folder:
            print("\n" + confirmed(confirm(runs, scored(folder), a, b), both))
    return 0


def confirmed(found: ModelPair, both: Mapping[tuple[str, str], ScoredRun]) -> str:
    """The verdicts on rows that had no part in picking the model."""
    from harness.report.words import capital, comparison, family

    lines = ["On fresh rows:"]
    for task, one in found.tasks.items():
        metric = both[task, found.a].metrics[0].name if (task, found.a) in both else "score"
        lines.append(f"  {task}: {capital(comparison(found.a, found.b, metric, one))}.")
    lines += [f"  {task}: nothing can be told: {why}" for task, why in found.apart.items()]
    return "\n".join([*lines, family(found)])


def block(found: Comparison, a: ScoredRun, b: ScoredRun, rows: Sequence[RowDifference], *, across: bool) -> str:
    """The verdict on a task and the rows that decide it, each at most 100 characters wide."""
    from harness.report.words import capital, comparison, number, shortened, signed, version
    from harness.score.metrics.base import only_mean
    from harness.store.results import LABELS_ONLY

    manifest, metric = a.manifest, a.metrics[0]
    names = [manifest.model, b.manifest.model]
    scores = [number(float(metric.summary(run.rows.stats[metric.name].mean(axis=0)))) for run in (a, b)]
    lines = [
        f"{manifest.task}: {manifest.spec.title}, {manifest.source}, "
        f"{version((run.manifest.spec.asking_version for run in (a, b)), [manifest.spec.scoring_version])}",
        f"{names[0]} {scores[0]}, {names[1]} {scores[1]} {metric.name}",
        f"{capital(comparison(names[0], names[1], metric.name, found))}.",
    ]
    if across:
        lines.append(f"{names[0]} and {names[1]} were asked with different prompts or limits.")
    if a.manifest.labels_only != b.manifest.labels_only:
        lines.append(f"{(a if a.manifest.labels_only else b).manifest.model}: {LABELS_ONLY}")
    if not rows:
        return "\n".join([*lines, "  no row is scored differently"])
    by_row = metric.summary is only_mean
    width = max(len("reference"), *map(len, names))
    for row in rows:
        by_how_much = signed(row.difference) if by_row else f"changes the difference by {signed(row.difference, 4)}"
        lines.append(f"  row {row.row}: {f'{names[0]} ' if by_row else ''}{by_how_much}")
        shown = [
            ("prompt", shortened(row.prompt, WIDTH - width - 6, end=True)),
            ("reference", shortened(" | ".join(row.references), WIDTH - width - 6)),
            (names[0], _answer(row.answer_a, row.status_a, WIDTH - width - 6)),
            (names[1], _answer(row.answer_b, row.status_b, WIDTH - width - 6)),
        ]
        lines += [f"    {name:{width}}  {text}" for name, text in shown]
    return "\n".join(lines)


def _answer(text: str | None, status: str, width: int) -> str:
    from harness.report.words import shortened

    if not text:
        return f"[{status}]" if status != "ok" else "(empty)"
    mark = "" if status == "ok" else f"[{status}] "
    return mark + shortened(text, width - len(mark))
