"""`harness init`: the first files of a project of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

STARTER = Path(__file__).parents[1] / "starter"


@click.command("init")
@click.argument("folder", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default=Path())
def command(folder: Path) -> int:
    """Start a project in DIR (default: the current folder).

    Writes a models file, an example task with sample rows, and a .gitignore. A file that exists is never overwritten.
    """
    from harness.commands.output import invocation

    for path, text in _files().items():
        print(f"{'wrote' if _write(folder / path, text) else 'exists, not changed:'} {folder / path}")
    print("\nNext:")
    if folder != Path():
        print(f"  cd {shlex.quote(str(folder))}")
    program = invocation()
    print(
        f"  {program} check example                 # what the task asks, and whether it is correct\n"
        f"  {program} bench --task example          # ask the baselines its sample rows\n"
        f"  {program} report                        # the page: reports/index.html\n"
        "Then edit tasks/example.yaml and models.yaml, and put your labelled rows into data/."
    )
    return 0


def _files() -> dict[Path, str]:
    """The text of each file of a new project, by its path in it."""
    import json

    from harness.tasks.task import json_schema

    found = {path.relative_to(STARTER): path.read_text("utf-8") for path in sorted(STARTER.rglob("*.*"))}
    schema = json.dumps(json_schema(), indent=2) + "\n"
    ignored = (STARTER / "gitignore").read_text("utf-8")  # under this name git would follow it here
    return {**found, Path("tasks/task.schema.json"): schema, Path(".gitignore"): ignored}


def _write(path: Path, text: str) -> bool:
    """Write a file unless there is one; return whether it was written.

    Raises:
        UserError: it cannot be written.
    """
    from harness.errors import UserError

    try:
        if path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return True
