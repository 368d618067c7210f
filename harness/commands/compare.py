"""`harness compare`: two models on the same rows, task by task, with the rows that separate them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.compare.deciding_rows import RowDifference
    from harness.compare.paired import ModelPair
    from harness.compare.seeds import SeedPair
    from harness.score.scoring import ScoredRun

WIDTH = 100
ACROSS = "{} and {} were asked with different prompts or limits."


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
@click.option(
    "--rows",
    "most",
    type=click.IntRange(min=0),
    default=None,
    help="Also show this many of the rows that separate them most. Default: 10 of a single task, none of several.",
)
@options.truth
@options.across_prompts
@options.recorded_rules
@options.tasks_folder
@options.results
@options.json
@options.code
def command(
    a: str,
    b: str,
    tasks: tuple[str, ...],
    kind: str | None,
    fresh: Path | None,
    most: int | None,
    truth: str | None,
    across_prompts: bool,
    recorded_rules: bool,
    tasks_folder: tuple[Path, ...],
    results: Path,
    as_json: bool,
) -> int:
    """Compare models A and B on each task that both have run.

    All answers are scored by the task file as it is now. p-values and intervals are corrected for all models that are
    recorded and all tasks. A name with braces stands for several training runs of one model, as in 'lora-seed{1..3}':
    their mean is compared, and the interval is over rows and runs.
    """
    from harness.compare.confirmation import confirm
    from harness.compare.deciding_rows import MOST, deciding_rows
    from harness.compare.paired import compare_recorded, recorded_runs
    from harness.compare.seeds import compare_seeds, runs_of
    from harness.errors import UserError
    from harness.report.words import compared as tally
    from harness.score.rules import chosen_rules
    from harness.teach.truth import scored_against

    rules = chosen_rules(tasks_folder, recorded=recorded_rules)

    def say(line: str) -> None:
        click.echo(line, err=True)

    names = [*runs_of(a), *runs_of(b)]

    def scored(folder: Path) -> list[ScoredRun]:
        return recorded_runs(folder, tasks, names, kind, rules, say)

    if names != [a, b]:
        if fresh is not None or most:
            raise UserError(f"--confirm and --rows are for two single runs; name one of each in place of '{a}', '{b}'")
        with scored_against(results, truth, say, rules) as folder:
            several = compare_seeds(scored(folder), a, b, across_prompts=across_prompts)
        print(seeds_document(several) if as_json else seeds_text(several))
        return 0
    with scored_against(results, truth, say, rules) as folder:
        runs = scored(folder)
        compared, both = compare_recorded(runs, a, b, across_prompts=across_prompts)
        shown = most if most is not None else MOST if len(compared.tasks) == 1 else 0
        rows = {task: deciding_rows(folder, both[task, a], both[task, b], shown) for task in compared.tasks if shown}
    again = None
    if fresh is not None:
        with scored_against(fresh, truth, say, rules) as folder:
            again = confirm(runs, scored(folder), a, b, across_prompts=across_prompts)
    if as_json:
        print(document(compared, both, rows, again))
        return 0
    for task in compared.tasks:
        print(verdict(compared, both[task, a], both[task, b]), end="\n\n")
    print(tally(compared))
    if again is not None:
        print("\n" + confirmed(again, both))
    for task, found in rows.items():
        print("\n" + block(found, both[task, a], both[task, b]))
    return 0


def document(
    compared: ModelPair,
    both: Mapping[tuple[str, str], ScoredRun],
    rows: Mapping[str, Sequence[RowDifference]],
    fresh: ModelPair | None,
) -> str:
    """The comparison as one JSON document, each verdict with its sentence."""
    import json
    from dataclasses import asdict

    from harness.report.words import comparison, family

    def tasks(pair: ModelPair) -> dict[str, object]:
        found = {}
        for task, one in pair.tasks.items():
            ran = [both[task, model] for model in (pair.a, pair.b) if (task, model) in both]
            metric = ran[0].metrics[0].name if ran else "score"
            scores = {} if pair is fresh else {"scores": {run.manifest.model: run.score for run in ran}}
            sentence = comparison(pair.a, pair.b, metric, one)
            found[task] = {"metric": metric, **scores, **asdict(one), "sentence": sentence}
        return {"tasks": found, "not_compared": dict(pair.apart), "comparisons": pair.comparisons}

    whole = {"a": compared.a, "b": compared.b, **tasks(compared), "family": family(compared)}
    if rows:
        whole["rows"] = {task: [asdict(row) for row in found] for task, found in rows.items()}
    if fresh is not None:
        whole["confirmed"] = tasks(fresh)
    return json.dumps(whole, ensure_ascii=False)


def seeds_document(found: SeedPair) -> str:
    """The comparison of models of several runs as one JSON document."""
    import json
    from dataclasses import asdict

    from harness.compare.seeds import runs_of
    from harness.report.words import comparison, family

    pair = found.pair
    names = [*runs_of(pair.a), *runs_of(pair.b)]
    tasks = {}
    for task, one in pair.tasks.items():
        spread = asdict(found.spreads[task])
        scores = dict(zip(names, [score for side in spread.pop("scores") for score in side], strict=True))
        sentence = comparison(pair.a, pair.b, spread["metric"], one)
        tasks[task] = {"scores": scores, **spread, **asdict(one), "sentence": sentence}
    told = {"tasks": tasks, "not_compared": dict(pair.apart), "comparisons": pair.comparisons}
    return json.dumps({"a": pair.a, "b": pair.b, **told, "family": family(pair)}, ensure_ascii=False)


def seeds_text(found: SeedPair) -> str:
    """The verdict on each task over several runs, and how much these differ."""
    from harness.report.words import capital, comparison, seeds
    from harness.report.words import compared as tally

    pair = found.pair
    lines = []
    for task, one in pair.tasks.items():
        lines.append(f"{task}: {capital(comparison(pair.a, pair.b, found.spreads[task].metric, one))}.")
        lines += [f"  {line}" for line in seeds(pair.a, pair.b, found.spreads[task])]
        if task in pair.across:
            lines.append("  " + ACROSS.format(pair.a, pair.b))
        lines.append("")
    return "\n".join([*lines, tally(pair)])


def confirmed(found: ModelPair, both: Mapping[tuple[str, str], ScoredRun]) -> str:
    """The verdicts on rows that had no part in picking the model."""
    from harness.report.words import capital, comparison, family

    lines = ["On fresh rows:"]
    for task, one in found.tasks.items():
        metric = both[task, found.a].metrics[0].name if (task, found.a) in both else "score"
        lines.append(f"  {task}: {capital(comparison(found.a, found.b, metric, one))}.")
    lines += [f"  {task}: nothing can be told: {why}" for task, why in found.apart.items()]
    return "\n".join([*lines, family(found)])


def verdict(compared: ModelPair, a: ScoredRun, b: ScoredRun) -> str:
    """Scores and verdict on a task."""
    from harness.report.words import capital, comparison, number, version
    from harness.store.results import LABELS_ONLY

    manifest, metric = a.manifest, a.metrics[0]
    names = [manifest.model, b.manifest.model]
    scores = [number(run.score) for run in (a, b)]
    lines = [
        f"{manifest.task}: {manifest.spec.title}, {manifest.source}, "
        f"{version((run.manifest.spec.asking_version for run in (a, b)), [manifest.spec.scoring_version])}",
        f"{names[0]} {scores[0]}, {names[1]} {scores[1]} {metric.name}",
        f"{capital(comparison(names[0], names[1], metric.name, compared.tasks[manifest.task]))}.",
    ]
    if manifest.task in compared.across:
        lines.append(ACROSS.format(*names))
    if a.manifest.labels_only != b.manifest.labels_only:
        lines.append(f"{(a if a.manifest.labels_only else b).manifest.model}: {LABELS_ONLY}")
    return "\n".join(lines)


def block(rows: Sequence[RowDifference], a: ScoredRun, b: ScoredRun) -> str:
    """The rows that separate two models on a task, each line at most 100 characters wide."""
    from harness.report.words import plural, shortened, signed
    from harness.score.metrics.base import only_mean

    if not rows:
        return f"{a.manifest.task}: no row is scored differently"
    names = [a.manifest.model, b.manifest.model]
    by_row = a.metrics[0].summary is only_mean
    width = max(len("reference"), *map(len, names))
    lines = [f"{a.manifest.task}: the {plural(len(rows), 'row')} that separate{'s' * (len(rows) == 1)} them most"]
    for row in rows:
        by_how_much = signed(row.difference) if by_row else f"changes the difference by {signed(row.difference, 4)}"
        lines.append(f"  row {row.row}: {f'{names[0]} ' if by_row else ''}{by_how_much}")
        shown = [
            ("input", shortened(row.input, WIDTH - width - 6)),
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
