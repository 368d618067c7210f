"""`harness check`: find what is wrong with tasks before a model is asked."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("check")
@click.argument("tasks", nargs=-1, shell_complete=options.a_task)
@options.data
@options.unsafe_code
@options.tasks_folder
@options.plugin
def command(tasks: tuple[str, ...], data: str | None, tasks_folder: Path | None) -> int:
    """Validate tasks (default: all) against their rows.

    Shows three prompts with their targets, counts and balance.
    """
    from harness.check import check, describe
    from harness.errors import UserError
    from harness.tasks.catalog import task_names

    problems: list[str] = []
    for name in tasks or task_names(tasks_folder):
        checked = check(tasks_folder, name, data, strict=bool(tasks))
        print(describe(checked))
        print(f"  {'sound' if not checked.problems else f'{len(checked.problems)} problem(s)'}\n", flush=True)
        problems += checked.problems
    if problems:
        raise UserError("\n".join([f"{len(problems)} problem(s) found", *problems]))
    return 0
