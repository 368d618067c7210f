"""The cells of a sweep: the points of its grid, each with all that determines it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import SpecError, UserError, nearest
from harness.hashing import digest, digest_all
from harness.models.engines.known_bases import KNOWN, is_gguf
from harness.models.local import fingerprint
from harness.rows.origin import locate
from harness.rows.training import NoTrainingRows, load
from harness.shipped import TaskFolders
from harness.sweep.file import SweepFile
from harness.tasks.catalog import TaskFile, load_task, task_names
from harness.tasks.prompts import Prompts
from harness.tasks.yaml import Source
from harness.train.recipe import Hyperparameters, recipe_for
from harness.train.train import base_name

MOST_CELLS = 5_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid: a base tuned on some rows of a task, or (`rows` and `seed` None) the base itself.

    Attributes:
        name: Of its folder: readable, with a hash of all that determines the cell.
        train: Options of `harness train`, as a sweep file spells them.
        learned: Fingerprint of the split that training rows come from, as an adapter's card holds it.
    """

    name: str
    base: str
    task: str
    task_sha256: str
    rows: int | None
    seed: int | None
    train: Mapping[str, Any]
    bench_rows: int | None
    learned: str | None

    @property
    def tuned(self) -> bool:
        """Whether an adapter is trained."""
        return self.rows is not None

    @property
    def point(self) -> dict[str, Any]:
        """Where the cell stands on each axis."""
        return {"base": self.base, "task": self.task, "rows": self.rows, "seed": self.seed, **self.train}


@dataclass(frozen=True, slots=True)
class Learnable:
    """The training rows of a task: how many, the split's fingerprint, and that of the first so many."""

    rows: int
    fingerprint: str
    first: Mapping[int, str]


def cells_of(
    source: Source, sweep: SweepFile, files: Sequence[TaskFile], data: str | None, say: Callable[[str], None],
    known: Mapping[str, Any],
) -> tuple[list[Cell], dict[str, Any]]:  # fmt: skip
    """Return the cells of a sweep on these tasks, and what is known of their rows: the next start's `known`.

    The bases' own cells come first. `say` is told which tasks have no training rows, or fewer than asked for.

    Raises:
        SpecError: a base is not known, or no cell is left.
        UserError: rows cannot be loaded.
    """
    bases = {base: base_hash(source, place, base) for place, base in enumerate(sweep.bases)}
    learnable: dict[str, Learnable] = {}
    for file in files:
        try:
            learnable[file.name] = _learnable(file, sweep, data, known.get(file.name))
        except NoTrainingRows as error:
            say(f"{error}; it is left out")
            continue
        if over := [rows for rows in sweep.rows or () if rows > learnable[file.name].rows]:
            say(f"{file.name}: {learnable[file.name].rows} training rows, fewer than {', '.join(map(str, over))}")
    points = [
        (file, base, rows, seed, dict(train))
        for file in files if file.name in learnable
        for base in sweep.bases
        for rows in _sizes(sweep, learnable[file.name].rows)
        for seed in sweep.seeds
        for train in _options(sweep)
    ]  # fmt: skip
    kept = _without_excluded(source, sweep, points)
    if not kept:
        raise SpecError(source.problem([], "no cell is left: every one is excluded, or its task has no training rows"))
    pairs = dict.fromkeys((file.name, base) for file, base, *_ in kept)
    by_name = {file.name: file for file in files}
    cells = [_cell(by_name[task], base, bases[base], None, None, {}, sweep, learnable[task]) for task, base in pairs]
    cells += [
        _cell(file, base, bases[base], rows, seed, train, sweep, learnable[file.name])
        for file, base, rows, seed, train in kept
    ]
    _distinct(source, cells)
    found = {
        file.name: {
            "sha256": file.sha256,
            "data": data,
            "rows": one.rows,
            "fingerprint": one.fingerprint,
            "first": dict(one.first),
        }
        for file in files
        if (one := learnable.get(file.name))
    }
    return cells, found


def _distinct(source: Source, cells: Sequence[Cell]) -> None:
    """See to it that no two points of the grid are one cell, whose folder they would share."""
    by_name: dict[str, Cell] = {}
    for cell in cells:
        other = by_name.setdefault(cell.name, cell)
        if other is not cell:
            axis = next(axis for axis, value in cell.point.items() if value != other.point[axis])
            place = ["bases"] if axis == "base" else ["train", axis]
            same = f"{other.point[axis]} and {cell.point[axis]} are the same cell: leave one of them out"
            raise SpecError(source.problem(place, same))


def grid_size(sweep: SweepFile, tasks: int) -> int:
    """Return how many points the grid has on so many tasks, those that are excluded among them."""
    axes = [sweep.bases, sweep.seeds, *sweep.train.values()]
    return tasks * max(1, len(sweep.rows or ())) * math.prod(map(len, axes))


def tasks_of(source: Source, sweep: SweepFile, folder: TaskFolders) -> list[TaskFile]:
    """Return the tasks of a sweep.

    Raises:
        SpecError: one is not known, or its file is wrong.
    """
    if sweep.tasks.names is None:
        every = [load_task(folder, name) for name in task_names(folder)]
        chosen = [file for file in every if file.task.category == sweep.tasks.category]
        if not chosen:
            raise SpecError(source.problem(["tasks", "category"], f"no task is of '{sweep.tasks.category}'"))
        return chosen
    files, problems = [], []
    for place, name in enumerate(sweep.tasks.names):
        try:
            files.append(load_task(folder, name))
        except SpecError:
            raise
        except UserError as error:
            problems.append(source.problem(["tasks", place], str(error)))
    if problems:
        raise SpecError("\n".join(problems))
    return files


def base_hash(source: Source, place: int, base: str) -> str:
    """Return what stands for a base's weights: a hash of its files, or the id of the hub.

    Raises:
        SpecError: it is neither a known name, nor a file or folder that is there, nor an id.
    """
    if base in KNOWN:
        return KNOWN[base].sha256
    if found := fingerprint(Path(base)):
        return found
    if base.count("/") != 1 or base.startswith(("/", ".", "~")) or is_gguf(base):
        known = nearest(base, KNOWN)
        raise SpecError(source.problem(["bases", place], f"no base '{base}': no known name, file, folder or id{known}"))
    return base


def _learnable(file: TaskFile, sweep: SweepFile, data: str | None, known: Any) -> Learnable:
    """The training rows of a task; what an earlier start found of the same task file and sizes is not read again."""
    if known and known["sha256"] == file.sha256 and known["data"] == data:
        first = {int(rows): found for rows, found in known["first"].items()}
        if first.keys() >= set(_sizes(sweep, known["rows"])):
            return Learnable(known["rows"], known["fingerprint"], first)
    rows = load(file, Prompts(file), locate(file, data))
    sizes = _sizes(sweep, len(rows.pairs))
    first = {
        size: digest_all(part for pair in rows.pairs[:size] for part in (pair.prompt, pair.target)) for size in sizes
    }
    return Learnable(len(rows.pairs), rows.fingerprint, first)


def _sizes(sweep: SweepFile, rows: int) -> list[int]:
    """The numbers of training rows of a task that has so many; those above are one."""
    return list(dict.fromkeys(min(size, rows) for size in sweep.rows or [rows]))


def _options(sweep: SweepFile) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*sweep.train.values()):
        yield dict(zip(sweep.train, values, strict=True))


def _without_excluded(
    source: Source, sweep: SweepFile, points: Sequence[tuple[TaskFile, str, int, int, dict[str, Any]]]
) -> list[tuple[TaskFile, str, int, int, dict[str, Any]]]:
    """The points that no rule of `exclude` names; a rule's value is one of an axis, or a list of them."""
    axes = ["base", "task", "rows", "seed", *sweep.train]
    used: set[int] = set()
    kept = []
    for place, rule in enumerate(sweep.exclude):
        for name in rule:
            if name not in axes:
                raise SpecError(source.problem(["exclude", place, name], f"no axis '{name}'{nearest(name, axes)}"))
    for point in points:
        file, base, rows, seed, train = point
        at = {"base": base, "task": file.name, "rows": rows, "seed": seed, **train}
        hit = {
            place
            for place, rule in enumerate(sweep.exclude)
            if rule and all(at[name] in (value if isinstance(value, list) else [value]) for name, value in rule.items())
        }
        used |= hit
        if not hit:
            kept.append(point)
    for place, _ in enumerate(sweep.exclude):
        if place not in used:
            raise SpecError(
                source.problem(["exclude", place], "this excludes no cell; each key names a value of an axis")
            )
    return kept


def _cell(
    file: TaskFile, base: str, weights: str, rows: int | None, seed: int | None, train: dict[str, Any],
    sweep: SweepFile, learnable: Learnable,
) -> Cell:  # fmt: skip
    parts = [base_name(base), file.name]
    made = [file.sha256, weights, str(sweep.bench.rows), learnable.fingerprint]
    if rows is None:
        parts.append("base")
    else:
        decides = {name: value for name, value in train.items() if name != "gpu_per_hour"}
        varied = {name: value for name, value in decides.items() if len(sweep.train[name]) > 1}
        parts += [f"rows{rows}", f"seed{seed}", *(f"{name}{_readable(value)}" for name, value in varied.items())]
        # The whole recipe, so that a cell is another one when a default changes.
        made += [json.dumps(decides, sort_keys=True), str(recipe_of(base, decides)), str(seed), learnable.first[rows]]
    return Cell(
        name="-".join([*parts, digest(*made)[:8]]),
        base=base,
        task=file.name,
        task_sha256=file.sha256,
        rows=rows,
        seed=seed,
        train=train,
        bench_rows=sweep.bench.rows,
        learned=learnable.fingerprint if rows is not None else None,
    )


def _readable(value: Any) -> str:
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(character if character.isalnum() or character in "+.-" else "_" for character in text)


def recipe_of(base: str, train: Mapping[str, Any]) -> Hyperparameters:
    """Return the hyper-parameters that these options of a sweep file give."""
    given = {name: value for name, value in train.items() if name not in ("engine", "target", "gpu_per_hour")}
    if "bits" in given:
        given["bits"] = int(given["bits"])
    if "target" in train:
        given["target_modules"] = tuple(train["target"])
    return recipe_for(base, **given)
