"""From a sweep file to its cells, run: what `harness sweep` does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness.ask.progress import command
from harness.errors import BusyError, SpecError, UserError
from harness.sweep.cell import Work
from harness.sweep.file import SweepFile, load_sweep
from harness.sweep.grid import MOST_CELLS, Cell, cells_of, weight_bytes
from harness.sweep.places import SWEEP, Place
from harness.sweep.sweep import Ended, Progress, Say, Stopped, Threads, found_before, only, run_sweep
from harness.tasks.catalog import task_files
from harness.tasks.yaml import Source


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What a user asks of `harness sweep`."""

    file: Path
    jobs: int
    retry_failed: bool
    only: Sequence[str]
    yes: bool
    data: str | None
    tasks_folder: Path | None


def start(options: SweepOptions, train_options: Sequence[click.Parameter], say: Say) -> Ended:
    """Run a sweep to its end, or to its limit.

    Raises:
        UserError: a file, name or place is wrong; nothing was started.
        Stopped: by Ctrl-C.
    """
    source, sweep = load_sweep(options.file, train_options)
    place = Place(sweep.results)
    known = place.read([SWEEP]).get(SWEEP) or {}
    cells, tasks = cells_of(source, sweep, options.tasks_folder, options.data, say, known.get("tasks", {}))
    _fits(source, sweep)
    if len(cells) > MOST_CELLS and not options.yes:
        raise UserError(f"{source.path}: {len(cells):,} cells; more than {MOST_CELLS:,} need --yes")
    about = {"sweep": _compared(sweep), "data": options.data, "tasks": tasks}
    if known and not options.yes and (differs := _differences(known, about)):
        raise UserError(
            f"{sweep.results}: holds the results of another sweep file ({differs}): name another folder in `results`, "
            "or go on with --yes, which keeps all cells that are done"
        )
    works = only([_work(cell, sweep, options) for cell in cells], options.only)
    with _alone(place):
        place.write(SWEEP, about)
        progress = found_before(place, works, say)
        if options.retry_failed:
            progress.failed.clear()
        say(_summary(works, progress))
        workers = Threads(options.jobs, place)
        limit = sweep.limit

        def told(state: Progress, running: int, left: Sequence[Work], found: dict[str, Any]) -> None:
            say(_line(state, running, left, found))

        try:
            ended = run_sweep(works, progress, workers, limit.hours, limit.usd, say, told)
        except Stopped as stop:
            raise Stopped(f"{stop}; to go on, run\n  {command()}") from None
    for failure in ended.failed.values():
        say(f"failed: {failure['cell']}: {failure['reason']} ({place.url}/cells/{failure['cell']}/failed.json)")
    if ended.failed:
        say(f"{len(ended.failed)} cells failed; --retry failed runs them again")
    if ended.why:
        say(f"{ended.why}: {ended.left} cells are left; to go on, raise it and run the same command")
    return ended


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
    return Work(cell, data, str(folder.absolute()), uses.cpus, uses.timeout)


@contextlib.contextmanager
def _alone(place: Place) -> Iterator[None]:
    """Keep other sweeps out of a folder of results.

    Raises:
        BusyError: another one runs there.
    """
    if place.local is None:
        yield
        return
    from filelock import FileLock, Timeout

    place.local.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.local / ".lock", timeout=0):
            yield
    except Timeout:
        raise BusyError(f"{place.url}: another `harness sweep` runs on this folder") from None


def _summary(works: Sequence[Work], progress: Progress) -> str:
    tuned = sum(work.cell.tuned for work in works)
    failed = f", {len(progress.failed)} failed before" if progress.failed else ""
    return f"{tuned} cells and {len(works) - tuned} bases alone; {len(progress.done)} done before{failed}"


def _line(state: Progress, running: int, left: Sequence[Work], found: dict[str, Any]) -> str:
    score = found["scores"][0] if found.get("scores") else None
    if score is None:
        said = f"failed: {found['reason']}"
    else:
        said = f"{score['metric']} {score['score']:.3f} [{score['low']:.3f}, {score['high']:.3f}], n={score['n']}"
    counts = f"{len(state.done)} done, {running} running, {len(state.failed)} failed of {state.cells}"
    return f"{found['cell']}: {said} ({counts})"
