"""`harness judge`: a tournament of recorded answers, before a judge."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from harness.commands import options


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in (value or "").split(",") if (name := part.strip())))


@click.command("judge")
@click.argument("tasks", nargs=-1, required=True, shell_complete=options.a_task_run, metavar="TASK...")
@click.option("--models", required=True, callback=_names, metavar="A,B,...", help="Contestants with recorded answers.")
@click.option(
    "--against", callback=_names, metavar="A,...", help="References: contestants are compared with these only."
)
@click.option("--judge", "name", required=True, help="The model that judges.", shell_complete=options.a_model)
@click.option("--reference", is_flag=True, help="Show the judge the reference of each row.")
@click.option("--budget", type=click.IntRange(min=1), default=None, help="Most verdicts to ask for.")
@click.option("--confirm", default=None, metavar="TASK", help="Compare the best two once more, on a task kept apart.")
@click.option("--allow-self", is_flag=True, help="Let a model judge its own answers.")
@options.max_usd
@options.rank
@options.models_file_as("--models-file")
@options.tasks_folder
@options.results
@options.json
@options.code
def command(
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    against: tuple[str, ...],
    name: str,
    reference: bool,
    budget: int | None,
    confirm: str | None,
    allow_self: bool,
    max_usd: float | None,
    anchor: str | None,
    control: tuple[str, ...],
    resamples: int,
    plot: Path | None,
    models_file: Path,
    tasks_folder: tuple[Path, ...],
    results: Path,
    as_json: bool,
) -> int:
    """Have a judge compare recorded answers in pairs, both orders, and rank the models.

    Rows are sampled in rounds: some for each pair, then only for neighbours whose order is still open. Verdicts that
    are recorded are not asked for again. Exit code 3 means that the judge could not be asked for all of them.
    """
    from harness.ask.progress import Interrupted
    from harness.commands.output import UNANSWERED, print_votes
    from harness.judge.analysis import findings
    from harness.judge.judge import JudgeOptions, judge
    from harness.models.entry import load_models

    chosen = JudgeOptions(
        tuple(dict.fromkeys(tasks)), models, name, models_file, tasks_folder, results, against, reference, budget,
        confirm, allow_self, max_usd,
    )  # fmt: skip

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    try:
        judged = judge(chosen, say)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    if not judged.votes and not judged.complete:
        print(f"no verdict was given: {judged.ended}", file=sys.stderr)
        return UNANSWERED
    entries = {entry.name: entry for entry in load_models(models_file, (), os.environ)}
    found = findings(judged.votes, (), entries, anchor=anchor, control=control, resamples=resamples, tournament=judged)
    print_votes(found, plot, as_json=as_json)
    return 0 if judged.complete else UNANSWERED
