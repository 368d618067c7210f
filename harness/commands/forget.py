"""`harness forget`: remove the recorded answers of one model to one task."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import options


@click.command("forget")
@click.argument("task", shell_complete=options.a_task_run)
@click.argument("model", shell_complete=options.a_model_run)
@options.results
def command(task: str, model: str, results: Path) -> int:
    """Remove the recorded answers of a model to a task.

    Its run and scores are removed as well. The next bench asks all rows again.
    """
    from harness.store.results import forget, read_responses

    answers = sum(line.status != "failed" for line in read_responses(results / task / model))
    removed = forget(results, task, model)
    for path in removed:
        print(f"removed {path}")
    if any(path.name == "batches.jsonl" for path in removed):
        print("batches that were not collected yet are removed as well; the vendor may still charge for them")
    print(f"{model} on {task}: {answers} answers removed")
    return 0
