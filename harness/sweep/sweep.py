"""A sweep: cells that are not done yet are started as places for them are free, until all are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field, ValidationError

from harness.errors import HarnessError, UserError, nearest
from harness.sweep.cell import DONE, FAILED, Processes, Work, run_cell
from harness.sweep.places import CELLS, Place, done_cells

Say = Callable[[str], None]


class Workers(Protocol):
    """What runs cells: processes of this machine, or a cluster."""

    def room(self) -> int:
        """How many cells it can run at once."""
        ...

    def start(self, work: Work) -> None:
        """Start a cell."""
        ...

    def finished(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Wait so long at most, and yield what became of the cells that ended, as their JSON says."""
        ...

    def stop(self) -> None:
        """End all cells that run."""
        ...


class Threads:
    """Cells on this machine: one thread waits for the processes of each.

    Args:
        jobs: How many at once.
        place: Where their folders go. One of this machine is worked in, so that a stopped training goes on there.
    """

    def __init__(self, jobs: int, place: Place) -> None:
        self._jobs, self._place = jobs, place
        self._pool = ThreadPoolExecutor(jobs)
        self._processes = Processes()
        self._running: set[Future[dict[str, Any]]] = set()

    def room(self) -> int:
        """As many as jobs."""
        return self._jobs

    def start(self, work: Work) -> None:
        """Start a cell."""
        self._running.add(self._pool.submit(run_at, work, self._place, self._processes))

    def finished(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Wait so long at most, and yield what became of the cells that ended."""
        done, self._running = wait(self._running, seconds, FIRST_COMPLETED)
        yield from (future.result() for future in done)

    def stop(self) -> None:
        """End all cells that run."""
        self._processes.stop()
        self._pool.shutdown()


def run_at(work: Work, place: Place, processes: Processes) -> dict[str, Any]:
    """Run a cell in its folder at a place: there, if that is on this machine, else in one that is then copied."""
    if place.local:
        return run_cell(work, place.local / CELLS / work.cell.name, processes)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="harness-cell-") as name:
        folder = Path(name) / work.cell.name
        found = run_cell(work, folder, processes)
        try:
            place.put(folder, work.cell.name, DONE if (folder / DONE).is_file() else FAILED)
        except UserError as error:
            return {"cell": work.cell.name, **work.cell.point, "reason": str(error), "last_lines": []}
        return found


@dataclass
class SweepProgress:
    """What has become of the cells of a sweep so far."""

    cells: int
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def left(self, works: Sequence[Work]) -> list[Work]:
        """The cells that are neither done nor failed."""
        return [work for work in works if work.cell.name not in self.done and work.cell.name not in self.failed]

    @property
    def usd(self) -> float:
        """What finished cells cost, where a price is known."""
        return sum(found.get("usd") or 0.0 for found in self.done.values())

    def add(self, found: dict[str, Any]) -> None:
        """Count a cell that ended."""
        (self.failed if "reason" in found else self.done)[found["cell"]] = found


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sweep ended: what each cell's `done.json` or `failed.json` says, and why others were not started."""

    done: Mapping[str, dict[str, Any]]
    failed: Mapping[str, dict[str, Any]]
    left: int
    why: str | None


class SweepStopped(HarnessError):
    """The user stopped a sweep."""

    exit_code = 130


class _Score(BaseModel):
    metric: str
    score: float | None
    low: float | None
    high: float | None
    n: int


class _Done(BaseModel):
    """What is read of `done.json`, which someone may have edited."""

    cell: str
    task: str
    base: str
    rows: int | None
    train: dict[str, Any]
    scores: list[_Score] = Field(min_length=1)
    seconds: dict[Literal["train", "bench", "rest"], float]
    usd: float | None


class _Failed(BaseModel):
    """What is read of `failed.json`."""

    cell: str
    reason: str


def _says(kind: type[BaseModel], found: Any) -> bool:
    try:
        kind.model_validate(found)
    except ValidationError:
        return False
    return True


def found_before(place: Place, works: Sequence[Work], say: Say) -> SweepProgress:
    """Return what earlier starts have finished, by one listing of the results.

    Raises:
        UserError: the results cannot be reached.
    """
    listing = place.listing()
    done, broken = done_cells(listing, {work.cell.name: work.files for work in works})
    failed = {work.cell.name for work in works} & {cell for cell, files in listing.items() if FAILED in files}
    failed -= done | broken
    ended = [(cell, DONE) for cell in done] + [(cell, FAILED) for cell in failed]
    read = place.read_listed({f"{CELLS}/{cell}/{name}": listing[cell][name] for cell, name in ended})

    def saying(name: str, cells: set[str], kind: type[_Done | _Failed]) -> dict[str, dict[str, Any]]:
        every = {cell: read.get(f"{CELLS}/{cell}/{name}") for cell in cells}
        return {cell: dict(says) for cell, says in every.items() if says and _says(kind, says) and says["cell"] == cell}

    progress = SweepProgress(len(works), saying(DONE, done, _Done), saying(FAILED, failed, _Failed))
    for cell in sorted(broken):
        say(f"{cell}: {DONE} is there, but not all files of the cell; it is run again")
    for cell in sorted(done - progress.done.keys()):
        say(f"{cell}: {DONE} does not say what the cell scored; it is run again")
    return progress


def run_sweep(
    works: Sequence[Work], progress: SweepProgress, workers: Workers, hours: float | None, usd: float | None, say: Say,
    told: Callable[[SweepProgress, int, Sequence[Work], dict[str, Any]], None],
) -> Ended:  # fmt: skip
    """Run the cells that are neither done nor failed; `told` is called with each one that ends.

    Raises:
        Stopped: by Ctrl-C; the cells that ran are ended, and go on with the next start.
    """
    waiting = progress.left(works)
    running: dict[str, Work] = {}
    why: str | None = None
    try:
        while running or (waiting and why is None):
            why = why or _limit(progress, hours, usd)
            while waiting and why is None and len(running) < workers.room():
                work = waiting.pop(0)
                running[work.cell.name] = work
                workers.start(work)
            for found in workers.finished(1.0) if running else ():
                running.pop(found["cell"])
                progress.add(found)
                told(progress, len(running), [*running.values(), *waiting], found)
    except KeyboardInterrupt:
        say("stopping: the cells that run are ended")
        workers.stop()
        raise SweepStopped(
            f"stopped: {len(progress.done)} of {progress.cells} cells are done, {len(running)} were running"
        ) from None
    workers.stop()
    return Ended(progress.done, progress.failed, len(waiting), why if waiting else None)


def _limit(progress: SweepProgress, hours: float | None, usd: float | None) -> str | None:
    """Which limit is reached, if one is."""
    if hours is not None and time.monotonic() - progress.began >= hours * 3600:
        return f"limit.hours ({hours:g}) is reached"
    if usd is not None and progress.usd >= usd:
        return f"limit.usd ({usd:g}) is reached"
    return None


def only(works: Sequence[Work], wanted: Sequence[str]) -> list[Work]:
    """Return the cells that these `axis=value` name: those of one axis are alternatives.

    Raises:
        UserError: an axis or a value is not known.
    """
    rules: dict[str, set[str]] = {}
    for rule in (part for text in wanted for part in text.split(",")):
        axis, _, value = rule.partition("=")
        axes = {name for work in works for name in work.cell.point}
        if axis not in axes or not value:
            raise UserError(f"--only {rule}: expected axis=value{nearest(axis, axes)}")
        values = {str(work.cell.point.get(axis)) for work in works if work.cell.point.get(axis) is not None}
        if value not in values:
            raise UserError(f"--only {rule}: no cell has this {axis}{nearest(value, values)}")
        rules.setdefault(axis, set()).add(value)

    def chosen(work: Work) -> bool:
        return all(str(work.cell.point.get(axis)) in values for axis, values in rules.items())

    kept = [work for work in works if chosen(work)]
    pairs = {(work.cell.task, work.cell.base) for work in kept}
    bases = [
        work for work in works if not work.cell.tuned and work not in kept and (work.cell.task, work.cell.base) in pairs
    ]
    return [*bases, *kept]
