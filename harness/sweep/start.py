"""From a sweep file to its cells, run: what `harness sweep` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ValidationError

from harness.ask.progress import command
from harness.errors import SpecError, UserError
from harness.models.engines.known_bases import KNOWN, weight_bytes
from harness.shipped import TaskFolders
from harness.sweep.cell import Work
from harness.sweep.estimate import SweepPlan, left_seconds, plan
from harness.sweep.file import SweepFile, load_sweep
from harness.sweep.grid import MOST_CELLS, Cell, cells_of, grid_size, tasks_of
from harness.sweep.places import SWEEP, Place
from harness.sweep.sweep import Ended, Say, SweepProgress, SweepStopped, Threads, Workers, found_before, only, run_sweep
from harness.tasks.catalog import task_files
from harness.tasks.yaml import Source


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What a user asks of `harness sweep`; `ray` is None without it, "" where it names no address."""

    file: Path
    jobs: int
    ray: str | None
    retry_failed: bool
    only: Sequence[str]
    yes: bool
    data: str | None
    tasks_folder: TaskFolders


@dataclass(frozen=True, slots=True)
class _Opened:
    """A sweep whose file was read and checked."""

    sweep: SweepFile
    place: Place
    works: Sequence[Work]
    about: dict[str, Any]


def start(options: SweepOptions, train_options: Sequence[click.Parameter], say: Say) -> Ended:
    """Run a sweep to its end, or to its limit.

    Raises:
        UserError: a file, name or place is wrong; nothing was started.
        Stopped: by Ctrl-C.
    """
    opened = _opened(options, train_options, say)
    place, works, limit = opened.place, opened.works, opened.sweep.limit
    cells = {work.cell.name: work.cell for work in works}
    with place.alone():
        place.write(SWEEP, opened.about)
        progress = _before(opened, options, say)
        say(_summary(works, progress))
        if not progress.left(works):
            return _said(Ended(progress.done, progress.failed, 0, None), place, say)
        workers = _workers(options, opened.sweep, place)

        def told(state: SweepProgress, running: int, left: Sequence[Work], found: dict[str, Any]) -> None:
            known = [(cells[name], done) for name, done in state.done.items()]
            say(_line(state, running, left_seconds(left, known), workers.room(), found))

        try:
            return _said(run_sweep(works, progress, workers, limit.hours, limit.usd, say, told), place, say)
        except SweepStopped as stop:
            raise SweepStopped(f"{stop}; to go on, run\n  {command()}") from None


def planned(options: SweepOptions, train_options: Sequence[click.Parameter], say: Say) -> SweepPlan:
    """Return what is left of a sweep, and how long it will take.

    Raises:
        UserError: as `start`.
        HarnessError: the trial failed.
    """
    opened = _opened(options, train_options, say)
    progress = _before(opened, options, say)
    cells = {work.cell.name: work.cell for work in opened.works}
    finished = [(cells[name], found) for name, found in progress.done.items()]
    return plan(opened.works, progress.left(opened.works), finished, options.jobs)


def _before(opened: _Opened, options: SweepOptions, say: Say) -> SweepProgress:
    progress = found_before(opened.place, opened.works, say)
    if options.retry_failed:
        progress.failed.clear()
    return progress


def _opened(options: SweepOptions, train_options: Sequence[click.Parameter], say: Say) -> _Opened:
    source, sweep = load_sweep(options.file, train_options)
    place = Place(sweep.results)
    known = _known(place)
    _fits(source, sweep)
    files = tasks_of(source, sweep, options.tasks_folder)
    if (count := grid_size(sweep, len(files))) > MOST_CELLS and not options.yes:
        raise UserError(f"{source.path}: {count:,} cells; more than {MOST_CELLS:,} need --yes")
    cells, tasks = cells_of(source, sweep, files, options.data, say, known.get("tasks", {}))
    about = {"sweep": _compared(sweep), "data": options.data, "tasks": tasks}
    if known and not options.yes and (differs := _differences(known, about)):
        raise UserError(
            f"{sweep.results}: holds the results of another sweep file ({differs}): name another folder in `results`, "
            "or go on with --yes, which keeps all cells that are done"
        )
    works = only([_work(cell, sweep, options) for cell in cells], options.only)
    return _Opened(sweep, place, works, about)


class _Rows(BaseModel):
    sha256: str
    data: str | None
    rows: int
    fingerprint: str
    first: dict[int, str]


class _About(BaseModel):
    sweep: dict[str, Any]
    data: str | None
    tasks: dict[str, _Rows]


def _known(place: Place) -> dict[str, Any]:
    """What an earlier start wrote of its sweep file; nothing where that was torn or is something else."""
    found: Any = place.read([SWEEP]).get(SWEEP)
    try:
        _About.model_validate(found)
    except ValidationError:
        return {}
    return dict(found)


def _said(ended: Ended, place: Place, say: Say) -> Ended:
    """Say how a sweep ended."""
    for failure in ended.failed.values():
        say(f"failed: {failure['cell']}: {failure['reason']} ({place.url}/cells/{failure['cell']}/failed.json)")
    if ended.failed:
        say(f"{len(ended.failed)} cells failed; --retry failed runs them again")
    if ended.why:
        say(f"{ended.why}: {ended.left} cells are left; to go on, raise it and run the same command")
    return ended


def _workers(options: SweepOptions, sweep: SweepFile, place: Place) -> Workers:
    if options.ray is None:
        return Threads(options.jobs, place)
    from harness.sweep.cluster import Cluster

    return Cluster(options.ray or os.environ.get("RAY_ADDRESS") or None, place, sweep.resources, options.jobs)


def _compared(sweep: SweepFile) -> dict[str, Any]:
    """What of a sweep file makes it another one: all but what its cells may use, and when to stop."""
    return sweep.model_dump(mode="json", exclude={"limit", "resources", "results"})


def _differences(known: Any, about: dict[str, Any]) -> str:
    before = {**known.get("sweep", {}), "data": known.get("data")}
    after = {**about["sweep"], "data": about["data"]}
    return "; ".join(
        f"{name}: {before.get(name)!r:.60} there, {after.get(name)!r:.60} here"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )


def _fits(source: Source, sweep: SweepFile) -> None:
    """Refuse a base whose weights alone are more than a cell may use."""
    most = sweep.resources.memory
    for place, base in enumerate(sweep.bases):
        size = weight_bytes(base) if most is not None else None
        if size is not None and most is not None and size > most:
            message = f"'{base}' has {size / 1e9:.2g} GB of weights, more than resources.memory ({most / 1e9:.2g} GB)"
            raise SpecError(source.problem(["bases", place], message))


def _work(cell: Cell, sweep: SweepFile, options: SweepOptions) -> Work:
    folder = task_files(options.tasks_folder)[cell.task].parent
    data = options.data
    if data not in (None, "hub", "sample"):
        data = str(Path(data).absolute())
    uses = sweep.resources
    place = Path(cell.base).expanduser()
    base = cell.base if cell.base in KNOWN or not place.exists() else str(place.absolute())
    return Work(cell, base, data, str(folder.absolute()), uses.cpus, uses.timeout)


def _summary(works: Sequence[Work], progress: SweepProgress) -> str:
    tuned = sum(work.cell.tuned for work in works)
    failed = f", {len(progress.failed)} failed before" if progress.failed else ""
    return f"{tuned} cells and {len(works) - tuned} bases alone; {len(progress.done)} done before{failed}"


def _line(state: SweepProgress, running: int, left: float | None, at_once: int, found: dict[str, Any]) -> str:
    """What became of a cell, and how far the sweep is; `left` are the seconds of the other cells, if known."""
    from harness.report.words import with_interval

    score = found["scores"][0] if found.get("scores") else None
    said = f"{score['metric']} {with_interval(score)}, n={score['n']}" if score else f"failed: {found['reason']}"
    counts = f"{len(state.done)} of {state.cells} done, {running} running, {len(state.failed)} failed"
    eta = "" if left is None else f", about {left / at_once / 60:.0f} min left"
    cost = f", {state.usd:.2f} USD" if state.usd else ""
    return f"{found['cell']}: {said} ({counts}{eta}{cost})"


def table(ended: Ended) -> str:
    """Return the score of every finished cell as a table, by task, base and point of the grid."""
    from tabulate import tabulate

    from harness.report.words import with_interval

    cells = sorted(ended.done.values(), key=lambda one: (one["task"], one["base"], one["rows"] or 0, one["cell"]))
    options = list(dict.fromkeys(name for cell in cells for name in cell["train"]))
    lines = [
        {
            "task": cell["task"], "base": cell["base"], "rows": cell["rows"], "seed": cell["seed"],
            **{name: cell["train"].get(name) for name in options},
            "metric": cell["scores"][0]["metric"], "score": with_interval(cell["scores"][0]),
            "n": cell["scores"][0]["n"],
        }
        for cell in cells
    ]  # fmt: skip
    return tabulate(lines, headers="keys", disable_numparse=True, missingval="–")
