"""`harness gate`: an exit code that says whether a model may replace another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.commands import options

if TYPE_CHECKING:
    from harness.compare.gate import Check

WORSE = 100
UNTOLD = 1


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
@click.option(
    "--undecided",
    type=click.Choice(["pass", "fail"]),
    default=None,
    help="What a task counts as where a loss beyond the margin is neither shown nor ruled out. Default: exit code 1.",
)
@click.option("--strict", "undecided", flag_value="fail", help="Short for --undecided fail.")
@options.across_prompts
@options.recorded_rules
@options.tasks_folder
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), default=None, help="Write a JUnit file as well."
)
@options.results
@options.json
@options.code
def command(
    model: str,
    against: str,
    allowed: str,
    tasks: tuple[str, ...],
    kind: str | None,
    undecided: Literal["pass", "fail"] | None,
    across_prompts: bool,
    recorded_rules: bool,
    tasks_folder: tuple[Path, ...],
    junit: Path | None,
    results: Path,
    as_json: bool,
) -> int:
    """Fail when MODEL is shown to be worse than another by more than the margin.

    Exit code 0 when that is ruled out on every task, 100 when it is shown on one, 1 when it cannot be told.

    The 95 % interval of the difference decides: all of it must lie on one side of the margin. No model is asked; both
    must have run.
    """
    from harness.compare.gate import gate, margin
    from harness.compare.paired import recorded_runs
    from harness.errors import HarnessError
    from harness.report.junit import junit as junit_document
    from harness.score.rules import chosen_rules

    try:
        share = margin(allowed)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--margin") from None
    try:
        rules = chosen_rules(tasks_folder, recorded=recorded_rules)
        runs = recorded_runs(results, tasks, (model, against), kind, rules, lambda line: click.echo(line, err=True))
        checks = gate(runs, model, against, share, undecided, tasks, across_prompts=across_prompts)
        if junit is not None:
            _write(junit, junit_document(checks, model, against))
    except HarnessError as error:
        # Not exit code 2: with two numbers a pipeline can distinguish a gate that failed to run from a worse model.
        print(f"error: {error}", file=sys.stderr)
        return UNTOLD
    print(document(checks, model, against) if as_json else text(checks, model, against))
    outcomes = {check.outcome for check in checks}
    return WORSE if "failed" in outcomes else 0 if outcomes == {"passed"} else UNTOLD


def text(checks: list[Check], model: str, against: str) -> str:
    """One line for each task, and how many passed."""
    from harness.report.words import gate_reason, plural

    width = max(len(check.task) for check in checks)
    lines = [f"{check.outcome:9}  {check.task:{width}}  {gate_reason(check, model, against)}" for check in checks]
    passed = sum(check.outcome == "passed" for check in checks)
    return "\n".join([*lines, f"{passed} of {plural(len(checks), 'task')} passed"])


def document(checks: list[Check], model: str, against: str) -> str:
    """The checks as one JSON document."""
    import json
    from dataclasses import asdict

    from harness.report.words import gate_reason

    shown = [{**asdict(check), "reason": gate_reason(check, model, against)} for check in checks]
    return json.dumps({"model": model, "against": against, "checks": shown}, ensure_ascii=False)


def _write(path: Path, content: str) -> None:
    from harness.errors import UserError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
