"""`harness forget`: remove what is recorded of one model on one task."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("forget")
@click.argument("task", shell_complete=options.a_task_run)
@click.argument("model", shell_complete=options.a_model_run)
@options.results
def command(task: str, model: str, results: Path) -> int:
    """Remove the answers of a model on a task.

    With the run and the scores; the next bench asks all of it again.
    """
    from harness.store.results import forget, read_responses

    answers = sum(line.status != "failed" for line in read_responses(results / task / model))
    removed = forget(results, task, model)
    for path in removed:
        print(f"removed {path}")
    if any(path.name == "batches.jsonl" for path in removed):
        print("batches that were not collected yet are forgotten, too; the vendor may charge for them")
    print(f"{model} on {task}: {answers} answers forgotten")
    return 0
