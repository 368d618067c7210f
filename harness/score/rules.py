"""By which rule the answers to a task are scored: one for all models, for two rules in one verdict compare nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import UserError
from harness.shipped import TaskFolders
from harness.store.results import Manifest
from harness.tasks.catalog import load_task, task_files
from harness.tasks.task import Task

Rules = Callable[[Sequence[Manifest], Callable[[str], None]], list[Manifest]]
"""Gives each run the rule that it is scored by, the same for all runs of a task; the second argument gets notes."""


def recorded_rules(runs: Sequence[Manifest], say: Callable[[str], None]) -> list[Manifest]:
    """Each task by the rule that its last run was made with."""
    last = {run.task: run for run in sorted(runs, key=lambda run: run.finished)}
    return [ruled(run, last[run.task].spec) for run in runs]


RECORDED: Rules = recorded_rules


def current_rules(folder: TaskFolders) -> Rules:
    """Each task by its task file as it is now, in this folder or where tasks are found without one.

    A task without a file, or with one that cannot be read, which is said, is scored by the rule of its last run.
    """

    def rules(runs: Sequence[Manifest], say: Callable[[str], None]) -> list[Manifest]:
        present = {}
        files = task_files(folder)
        for task in dict.fromkeys(run.task for run in runs):
            if task not in files:
                continue
            try:
                present[task] = load_task(folder, task).task
            except UserError as error:
                say(f"{task}: scored by the rule of its last run, because its file cannot be read: {error}")
        return [ruled(run, present[run.task]) if run.task in present else run for run in recorded_rules(runs, say)]

    return rules


def ruled(run: Manifest, rule: Task) -> Manifest:
    """A run that is scored by this rule, whatever it was made with."""
    return run if run.spec == rule else run.model_copy(update={"spec": run.spec.scored_by(rule)})


def chosen_rules(folder: TaskFolders, *, recorded: bool) -> Rules:
    """The rules that a user asks for: recorded ones, or those of the task files."""
    return RECORDED if recorded else current_rules(folder)
