"""Options that several commands share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)


Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completes(names: Callable[[dict[str, Any]], Iterable[str]]) -> Complete:
    """Return a completion callback: the names, found with the options typed so far, that start with the typed text."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[str]:
        from harness.errors import UserError

        try:
            return [name for name in names(ctx.params) if name.startswith(begun)]
        except UserError:  # a broken file is no reason to print into the line that is being typed
            return []

    return complete


def _task_names(given: dict[str, Any]) -> Iterable[str]:
    from harness.tasks.catalog import task_files

    return task_files(given.get("tasks_folder"))


def _model_names(given: dict[str, Any]) -> Iterable[str]:
    from harness.models.entry import model_names
    from harness.shipped import models_file

    return model_names(given.get("models_file") or models_file())


def _run_names(part: int) -> Callable[[dict[str, Any]], Iterable[str]]:
    """Names of tasks (0) or models (1) that have a recorded run."""

    def names(given: dict[str, Any]) -> Iterable[str]:
        folder = given.get("results") or Path("results")
        return sorted({path.relative_to(folder).parts[part] for path in folder.glob("*/*/run.json")})

    return names


a_task, a_model = _completes(_task_names), _completes(_model_names)
a_task_run, a_model_run = _completes(_run_names(0)), _completes(_run_names(1))


def _many(
    kind: str, default: str, complete: Complete, other: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    text = f"Name of a {kind}{other}; can be repeated. Default: {default}."
    return click.option(f"--{kind}", f"{kind}s", multiple=True, help=text, shell_complete=complete)


tasks = _many("task", "all", a_task)
models = _many("model", "all that can be asked", a_model, ", or openai:MODEL, anthropic:MODEL, http://HOST/v1#MODEL")
tasks_run = _many("task", "all that were run", a_task_run)
models_run = _many("model", "all that were run", a_model_run)

tasks_folder = click.option(
    "--tasks", "tasks_folder", type=_FOLDER, multiple=True,
    help="Folder of task files beside the shipped ones; can be repeated. Default: tasks/ of the current folder.",
)  # fmt: skip


def _or_shipped(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path:
    from harness.shipped import models_file

    return value or models_file()


def models_file_as(flag: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option that names the file of models, spelled like this."""
    return click.option(
        flag, "models_file", type=click.Path(dir_okay=False, path_type=Path), default=None, callback=_or_shipped,
        help="File of models. Default: models.yaml of the current folder, else the shipped one.",
    )  # fmt: skip


models_file = models_file_as("--models")
results = click.option("--results", type=_FOLDER, default=Path("results"), help="Folder of recorded answers.")
data = click.option(
    "--data", metavar="DIR|hub|sample", default=None,
    help="Source of the rows: the folder of a mirror, the hub, or the shipped sample rows. Default: the hub, or the "
    "sample rows when it cannot be reached.",
)  # fmt: skip
seed = click.option("--seed", type=int, default=0, help="Seed of the evaluation subset.")
rows = click.option(
    "--rows", type=click.IntRange(min=1), default=None, help="Rows per task, instead of the number in the task file."
)
training_rows = click.option(
    "--rows", type=click.IntRange(min=1), default=None,
    help="Most training rows. The first 100 are also the first of 300. Default: all, at most 20,000.",
)  # fmt: skip
json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, and nothing else.")


class Finite(click.FloatRange):
    """A number of a range; not "nan" or "inf", with which no limit is kept."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or a usage error."""
        found = super().convert(value, param, ctx)
        return found if math.isfinite(found) else self.fail(f"{value!r} is not a finite number.", param, ctx)


max_usd = click.option(
    "--max-usd", type=Finite(min=0), default=None, help="Stop before this run costs more than this many USD."
)
proof = click.option(
    "--proof/--no-proof", default=True, show_default=True,
    help="Before a server with a `fingerprint` is asked, see whether it applies the adapter.",
)  # fmt: skip
max_failures = click.option(
    "--max-failures", type=Finite(0, 1), default=0.02, show_default=True,
    help="Largest share of rows without an answer; above it a score is marked as incomplete.",
)  # fmt: skip
recorded_rules = click.option(
    "--recorded-rules", is_flag=True,
    help="Score by the answer format and metrics recorded with each task's last run, not by those of its file now.",
)  # fmt: skip
across_prompts = click.option(
    "--across-prompts", is_flag=True, help="Compare answers to different versions of a task's prompt, too."
)
truth = click.option(
    "--truth", metavar="MODEL", default=None, shell_complete=a_model_run,
    help="Take this model's recorded answers for the right ones, and those of the data for the answers of 'human'.",
)  # fmt: skip
kind = click.option(
    "--kind", type=click.Choice(["benchmark", "sample"]), default=None,
    help="Kind of rows. Default: benchmark rows if there are any, else sample rows.",
)  # fmt: skip


def _allow_unsafe(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    if value:
        from harness.score.metrics.sandbox import allow_unsafe

        allow_unsafe()
    return value


unsafe_code = click.option(
    "--unsafe-code", is_flag=True, expose_value=False, callback=_allow_unsafe,
    help="Run programs written by models even if no sandbox works here. They run with all your rights.",
)  # fmt: skip


def _load_plugins(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> None:
    if value and not ctx.resilient_parsing:  # which is set when a shell asks what could be typed
        from harness.plugins import load_file

        for path in value:
            load_file(path)


def _allow_scripts(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from harness.plugins import allow_scripts

        allow_scripts()


_allow_code = click.option(
    "--allow-code", is_flag=True, expose_value=False, is_eager=True, callback=_allow_scripts,
    help="Let task files name scripts of the evaluate library, or metrics of other users of the hub, that are run.",
)  # fmt: skip
_plugin = click.option(
    "--plugin", type=click.Path(path_type=Path), multiple=True, expose_value=False, is_eager=True,
    callback=_load_plugins, metavar="FILE.py",
    help="Run this Python file, which adds metrics, answer types or backends; can be repeated (docs/extending.md).",
)  # fmt: skip


def code(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that let a command run code which is not of this package."""
    return _plugin(_allow_code(command))


def _gathered(*parts: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Callable[..., int]]:
    """Pass these options to a command as one `BenchOptions`, its first argument, and the others unchanged."""

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def call(**given: Any) -> int:
            from dataclasses import fields

            from harness.ask.run import BenchOptions

            names = {field.name for field in fields(BenchOptions)} & given.keys()
            return command(BenchOptions(**{name: given.pop(name) for name in names}), **given)

        return functools.reduce(lambda made, part: part(made), reversed(parts), call)

    return decorate


_anchor = click.option(
    "--anchor", default=None, help="The model that has 1000 points. Default: the one with most votes."
)
_control = click.option(
    "--control", multiple=True, type=click.Choice(["position", "length"]),
    help="Show a second ranking with this held equal; can be repeated.",
)  # fmt: skip
_resamples = click.option(
    "--resamples",
    type=click.IntRange(min=100),
    default=1000,
    show_default=True,
    help="Resamples of rows for intervals.",
)
_plot = click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), default=None,
    help="Write the win rates of each two models as PATH.svg and PATH.png.",
)  # fmt: skip


def rank(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a ranking."""
    return _anchor(_control(_resamples(_plot(command))))


planned = _gathered(tasks, models, data, rows, seed, models_file, tasks_folder, results)
asked = _gathered(tasks, models, data, rows, seed, models_file, tasks_folder, results, max_usd, max_failures, proof)
asked_again = _gathered(tasks_run, models_run, models_file, tasks_folder, results, max_usd, max_failures, proof)
