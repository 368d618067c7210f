"""A sweep file as a pydantic model: the axes of a grid, and what a cell may use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import click
from pydantic import BeforeValidator, Field, model_validator

from harness.errors import SpecError, nearest
from harness.tasks.task import Category, Strict
from harness.tasks.yaml import Source, read, validate

_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")

OF_THE_GRID = {
    "task": "`tasks`", "base": "`bases`", "rows": "`rows`", "seed": "`seeds`", "data": "the option --data",
    "tasks": "the option --tasks",
}  # fmt: skip
"""Options of `harness train` that are axes of their own, or options of the sweep, each with where it belongs."""
NOT_OF_A_CELL = (
    "out", "dry_run", "shrink", "score", "train_on", "start", "fingerprint", "json", "plugin", "allow_code", "help",
)  # fmt: skip
"""Options of `harness train` that a cell has no use for, or that the sweep sets itself."""


def _amount(units: dict[str, int], expected: str, value: Any) -> Any:
    match = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or (match[2] not in units and match[2].upper() not in units):
        raise ValueError(f"expected {expected}")
    return float(match[1]) * units.get(match[2], units.get(match[2].upper(), 1))


def _bytes(value: Any) -> Any:
    return _amount(_BYTES, "a number with its unit, such as 3GB", value)


def _seconds(value: Any) -> Any:
    return _amount(_SECONDS, "a number with its unit, such as 90s, 30min or 2h", value)


def _distinct(values: Any) -> Any:
    for place, value in enumerate(values if isinstance(values, list) else ()):
        if value in values[:place]:
            raise ValueError(f"{value} is listed twice")
    return values


class TaskQuery(Strict):
    """The tasks by name, or all of a category."""

    names: list[str] | None = Field(None, min_length=1)
    category: Category | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"names": _distinct(value)}
        if not isinstance(value, dict) or value.keys() != {"category"}:
            raise ValueError("expected a list of names, or {category: …}")
        return value


Rows = Annotated[int, Field(ge=1)]


class Bench(Strict):
    """How the models are asked."""

    rows: Rows | None = Field(None, description="Evaluation rows; the task's number when absent.")


class Resources(Strict):
    """What one cell uses."""

    cpus: int = Field(1, ge=1, description="Threads of a cell.")
    gpus: float = Field(0, ge=0)
    memory: Annotated[float | None, BeforeValidator(_bytes)] = Field(None, gt=0, description="Bytes, such as 3GB.")
    timeout: Annotated[float | None, BeforeValidator(_seconds)] = Field(None, gt=0, description="Seconds, such as 2h.")


class Limit(Strict):
    """When no more cells are started."""

    hours: float | None = Field(None, gt=0)
    usd: float | None = Field(None, gt=0)


class SweepFile(Strict):
    """One sweep: every base with every task, number of training rows, seed and option of training."""

    bases: Annotated[list[str], BeforeValidator(_distinct)] = Field(min_length=1)
    tasks: TaskQuery
    rows: Annotated[list[Rows] | None, BeforeValidator(_distinct)] = Field(
        None, min_length=1, description="Training rows; all a task has when absent."
    )
    seeds: Annotated[list[int], BeforeValidator(_distinct)] = Field([0], min_length=1)
    train: dict[str, Any] = Field(default_factory=dict, description="Options of `harness train`; a list is an axis.")
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    bench: Bench = Field(default_factory=lambda: Bench())
    resources: Resources = Field(default_factory=lambda: Resources())
    limit: Limit = Field(default_factory=lambda: Limit())
    results: str = Field(min_length=1, description="A folder, or whatever fsspec opens: s3://bucket/prefix.")


def load_sweep(path: Path, options: Sequence[click.Parameter]) -> tuple[Source, SweepFile]:
    """Load a sweep file; `options` are those of `harness train`. The values of `train` become lists, in its order.

    Raises:
        SpecError: the file is wrong; names the line and the nearest valid choice.
    """
    source = read(path)
    found: SweepFile = validate(source, SweepFile)
    known = {_spelled(option): option for option in options if isinstance(option, click.Option)}
    problems: list[str] = []
    axes: dict[str, list[Any]] = {}
    for name, given in found.train.items():
        try:
            axes[name] = _axis(name, given, known)
        except (ValueError, click.BadParameter) as error:
            message = error.message if isinstance(error, click.BadParameter) else str(error)
            problems.append(source.problem(["train", name], message))
    if found.limit.usd is not None and "gpu_per_hour" not in found.train:
        problems.append(source.problem(["limit", "usd"], "a cost needs a price: set train.gpu_per_hour, USD an hour"))
    if problems:
        raise SpecError("\n".join(problems))
    return source, found.model_copy(update={"train": axes})


def _spelled(option: click.Option) -> str:
    """An option's name in a sweep file: `--learning-rate` is `learning_rate`."""
    return option.opts[0].lstrip("-").replace("-", "_")


def _axis(name: str, given: Any, known: dict[str, click.Option]) -> list[Any]:
    """The values of an option, each as the option takes it."""
    if name in OF_THE_GRID:
        raise ValueError(f"this is set by {OF_THE_GRID[name]}")
    if name in NOT_OF_A_CELL or name not in known:
        reason = "is not for a sweep" if name in NOT_OF_A_CELL else "is no option of `harness train`"
        raise ValueError(f"'{name}' {reason}{nearest(name, known.keys() - {*OF_THE_GRID, *NOT_OF_A_CELL})}")
    option, values = known[name], given if isinstance(given, list) else [given]
    if not values:
        raise ValueError("an empty list makes an empty grid; name a value, or leave the option out")
    converted = [_converted(option, value) for value in values]
    _distinct(converted)
    return converted


def _converted(option: click.Option, value: Any) -> Any:
    if option.multiple:
        parts = value if isinstance(value, list) else [value]
        return [option.type.convert(str(part), option, None) for part in parts]
    if isinstance(value, (list, dict, bool)) or value is None:
        raise ValueError(f"expected one value, found {value!r:.60}")
    return option.type.convert(str(value), option, None)
