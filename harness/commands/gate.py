"""`harness gate`: an exit code that says whether a model may replace another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.compare.gate import Check
    from harness.score.scoring import ScoredRun

WORSE = 100
BROKEN = 1


@click.command("gate")
@click.argument("model", shell_complete=options.a_model_run)
@click.option(
    "--against",
    required=True,
    metavar="MODEL",
    shell_complete=options.a_model_run,
    help="Model that it would replace.",
)
@click.option(
    "--margin", "allowed", default="2pp", show_default=True, metavar="1pp|1%|0.01", help="Loss that is acceptable."
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    shell_complete=options.a_task_run,
    help="A task by name; again for more. Default: all that MODEL has run.",
)
@options.kind
@click.option("--strict", is_flag=True, help="Fail unless a loss beyond the margin is ruled out.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write a JUnit file as well."
)
@options.results
@options.code
def command(
    model: str,
    against: str,
    allowed: str,
    tasks: tuple[str, ...],
    kind: str | None,
    strict: bool,
    junit: Path | None,
    results: Path,
) -> int:
    """Fail when MODEL is shown to be worse than another.

    Exit code 0 when it is not, 100 when it is, 1 when that cannot be decided.

    Worse means on at least one task: beyond chance, and by more than the margin. No model is asked; both must have run.
    """
    from harness.compare.gate import gate, margin
    from harness.errors import HarnessError
    from harness.report.junit import junit as document

    try:
        share = margin(allowed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--margin") from None
    try:
        checks = gate(_runs(results, tasks, (model, against), kind), model, against, share, strict, tasks)
        if junit is not None:
            _write(junit, document(checks, model, against))
    except HarnessError as error:
        # Not exit code 2: with two numbers a pipeline can distinguish a gate that failed to run from a worse model.
        print(f"error: {error}", file=sys.stderr)
        return BROKEN
    print(text(checks, model, against))
    outcomes = {check.outcome for check in checks}
    return WORSE if "failed" in outcomes else BROKEN if "error" in outcomes else 0


def text(checks: list[Check], model: str, against: str) -> str:
    """One line for each task, and how many passed."""
    from harness.report.words import gate_reason, plural

    width = max(len(check.task) for check in checks)
    lines = [f"{check.outcome:6}  {check.task:{width}}  {gate_reason(check, model, against)}" for check in checks]
    passed = sum(check.outcome == "passed" for check in checks)
    return "\n".join([*lines, f"{passed} of {plural(len(checks), 'task')} passed"])


def _runs(results: Path, tasks: tuple[str, ...], models: tuple[str, str], kind: str | None) -> list[ScoredRun]:
    from harness.compare.paired import of_kind
    from harness.score.scoring import score_run
    from harness.store.results import chosen_runs

    return [score_run(results, run) for run in of_kind(chosen_runs(results, tasks, models), kind)]


def _write(path: Path, content: str) -> None:
    from harness.errors import UserError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
