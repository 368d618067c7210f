"""`harness report`: the page, tables and plots from what is recorded."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("report")
@options.results
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports"),
    help="Folder to write the report to.",
)
@click.option("--single-file", is_flag=True, help="Put all rows into index.html instead of into files beside it.")
@click.option("--subject", metavar="MODEL", shell_complete=options.a_model_run, help="The model that is judged.")
@click.option(
    "--against", metavar="MODEL", shell_complete=options.a_model_run,
    help="The reference. Default: the most expensive model, else the best baseline.",
)  # fmt: skip
@options.models_run
@options.tasks_run
@options.truth
@options.recorded_rules
@options.tasks_folder
@options.code
def command(
    results: Path, out: Path, single_file: bool, subject: str | None, against: str | None, models: tuple[str, ...],
    tasks: tuple[str, ...], truth: str | None, recorded_rules: bool, tasks_folder: tuple[Path, ...],
) -> int:  # fmt: skip
    """Build page, tables and plots from recorded answers.

    All answers are scored by the task files as they are now. Uses no network, data set or model.
    """
    import gc

    from harness.report import Shown, write_report
    from harness.score.rules import chosen_rules
    from harness.teach.truth import scored_against

    def say(line: str) -> None:
        click.echo(line, err=True)

    rules = chosen_rules(tasks_folder, recorded=recorded_rules)
    gc.disable()  # hundreds of thousands of answers are no garbage: going through them takes a tenth of the time
    try:
        with scored_against(results, truth, say, rules) as folder:
            shown = Shown(models, tasks, subject, against)
            for path in write_report(folder, out, say, rules, single_file=single_file, shown=shown):
                print(path)
    finally:
        gc.enable()
    return 0
