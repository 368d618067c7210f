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
@options.truth
@options.recorded_rules
@options.tasks_folder
@options.code
def command(
    results: Path, out: Path, single_file: bool, truth: str | None, recorded_rules: bool, tasks_folder: Path | None
) -> int:
    """Build page, tables and plots from recorded answers.

    All answers are scored by the task files as they are now. Uses no network, data set or model.
    """
    from harness.report import write_report
    from harness.score.rules import chosen_rules
    from harness.teach.truth import scored_against

    def say(line: str) -> None:
        click.echo(line, err=True)

    rules = chosen_rules(tasks_folder, recorded=recorded_rules)
    with scored_against(results, truth, say, rules) as folder:
        for path in write_report(folder, out, say, rules, single_file=single_file):
            print(path)
    return 0
