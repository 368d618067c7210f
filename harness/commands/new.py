"""`harness new`: a task file proposed from rows."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("new")
@click.argument("name", metavar="TASK")
@click.option("--from", "rows", type=_FILE, required=True, help="CSV, TSV, JSONL, JSON or Parquet file of your rows.")
@click.option(
    "--test", "held_out", type=_FILE, default=None, help="File of the rows to evaluate, if in one of its own."
)
@click.option("--target", metavar="COLUMN", default=None, help="Column of the right answers. Default: by its name.")
@click.option(
    "--tasks", "tasks_folder", type=click.Path(file_okay=False, path_type=Path), default=Path("tasks"),
    show_default=True, help="Folder to write the task file to.",
)  # fmt: skip
@options.code
def command(name: str, rows: Path, held_out: Path | None, target: str | None, tasks_folder: Path) -> int:
    """Propose a task file from rows, and check it.

    Columns, labels, type of answer and metrics are taken from the data. Read the file before you rely on it: the prompt
    should say what the task is.
    """
    from harness.check import all_problems, check, describe
    from harness.commands.output import invocation
    from harness.errors import UserError
    from harness.proposal import propose
    from harness.store.atomic import replace_file
    from harness.tasks.catalog import NAME

    if not NAME.fullmatch(name):
        raise UserError(f"the name '{name}' may hold letters, digits, '.', '_' and '-' only")
    path = tasks_folder / f"{name}.yaml"
    if path.exists():
        raise UserError(f"{path} exists already; give the task another name")
    made = propose(name, rows, held_out, target, tasks_folder)
    replace_file(path, made.text)
    print("\n".join([f"wrote {path}", *(f"  {note}" for note in made.notes)]), end="\n\n")
    checked = check(tasks_folder, name, None, strict=True)
    print(describe(checked))
    if checked.problems:
        raise UserError(all_problems(checked.problems))
    print(f"\nNext: edit the prompt in {path}, then\n  {invocation()} bench --task {name}")
    return 0
