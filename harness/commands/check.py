"""`harness check`: validate tasks before a model is asked."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("check")
@click.argument("tasks", nargs=-1, shell_complete=options.a_task)
@options.data
@options.unsafe_code
@options.tasks_folder
@options.code
def command(tasks: tuple[str, ...], data: str | None, tasks_folder: Path | None) -> int:
    """Validate tasks (default: all) against their rows.

    Shows row counts, the balance of labels, and three prompts with their targets.
    """
    from harness.check import check, describe
    from harness.errors import UserError
    from harness.tasks.catalog import task_names

    problems: list[str] = []
    for name in tasks or task_names(tasks_folder):
        checked = check(tasks_folder, name, data, strict=bool(tasks))
        print(describe(checked))
        print(f"  {f'{len(checked.problems)} problem(s)' if checked.problems else 'no problems found'}\n", flush=True)
        problems += checked.problems
    if problems:
        raise UserError("\n".join([f"{len(problems)} problem(s) found", *problems]))
    return 0
