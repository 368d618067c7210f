"""`harness collect`: a teacher's answers to the rows that may be learned."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.commands import options


@click.command("collect")
@click.argument("task", shell_complete=options.a_task)
@click.option(
    "--teacher", required=True, metavar="MODEL|column:NAME", shell_complete=options.a_model,
    help="A model of the models file, or a column of the data that holds a teacher's answers.",
)  # fmt: skip
@click.option(
    "--rows", type=click.IntRange(min=1), help="The first so many rows, by hash. Default: all, 20,000 at most."
)
@click.option(
    "--split", metavar="NAME",
    help="Split of the rows, such as train or validation. Default: the one that is trained on. Answers on rows of the "
    "evaluated split are kept apart and never learned.",
)  # fmt: skip
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Answers to each row.")
@click.option("--temperature", type=options.Finite(min=0), help="Instead of the one of the teacher's entry.")
@options.data
@options.models_file
@options.tasks_folder
@options.results
@options.max_usd
@options.json
@options.code
def command(
    task: str, teacher: str, rows: int | None, split: str | None, repeat: int, temperature: float | None,
    data: str | None, models_file: Path, tasks_folder: tuple[Path, ...], results: Path, max_usd: float | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Ask a teacher the rows that may be learned, and set its answers beside the right ones.

    Rows come in the order of their hash, so a larger --rows asks only what is new. To resume, run the same command.
    """
    from harness.ask.run import BenchOptions
    from harness.commands.output import UNANSWERED
    from harness.report.label_tables import label_tables
    from harness.report.tables import score_points
    from harness.report.words import interval, small
    from harness.score.scoring import score_all
    from harness.store.results import answered_rows
    from harness.teach.collect import collect

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    chosen = BenchOptions((task,), (teacher,), models_file, tasks_folder, results, data, rows, max_usd=max_usd)
    done = collect(chosen, say, split=split, repeat=repeat, temperature=temperature)
    if done.stopped:
        say(done.stopped)
    scored = score_all(results, [done.run], say)
    first, manifest = scored[0] if scored else None, done.run
    points = score_points(first.metrics, first.rows) if first and not done.written else {}
    statuses = [run.rows.counts() for run in scored]
    usd = None if any(run.usd is None for run in scored) else sum(run.usd or 0.0 for run in scored)
    if as_json:
        metrics = {name: {"score": one.value, "low": one.low, "high": one.high} for name, one in points.items()}
        made = {"folder": str(done.folder), "task": task, "teacher": teacher, "n": manifest.n}
        print(json.dumps({**made, "statuses": statuses, "usd": usd, "metrics": metrics}))
    else:
        for counts in statuses:
            say(f"n = {manifest.n:,}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count))
        say(f"USD: {small(usd, 'unknown')}")
        if points:
            say("against the right answers of the data:")
        for name, one in points.items():
            say(f"  {name:<28} {interval(one)}")
        for text in label_tables(manifest.spec, answered_rows(results, manifest), manifest.thinking):
            say(f"\n{text}")
        say(f"\n{done.folder}")
    # What has not answered a single row is not scored.
    return UNANSWERED if done.stopped or not scored or any(counts["failed"] for counts in statuses) else 0
