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
@options.json
@options.code
def command(tasks: tuple[str, ...], data: str | None, tasks_folder: tuple[Path, ...], as_json: bool) -> int:
    """Validate tasks (default: all) against their rows.

    Shows row counts, the balance of labels, and three prompts with their targets.
    """
    import json

    from harness.check import all_problems, check_all
    from harness.errors import UserError
    from harness.tasks.catalog import task_names

    problems: list[str] = []
    facts: list[dict[str, object]] = []
    for report in check_all(tasks_folder, tasks or tuple(task_names(tasks_folder)), data, strict=bool(tasks)):
        problems += report.problems
        if as_json:
            facts.append(report.facts)
            continue
        print(report.text)
        print(f"  {f'{len(report.problems)} problem(s)' if report.problems else 'no problems found'}\n", flush=True)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    if problems:
        raise UserError(all_problems(problems))
    return 0
