"""Runs that are under way, as `results/_running/<process>.json` while they ask: what is asked, and how far it is.

How far follows from the answers on disk, so that another process can watch a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.store.atomic import replace_file
from harness.store.results import RESPONSES

FOLDER = "_running"
_FAILED = b'"status": "failed"'  # in JSON no text of an answer can hold these bytes: its quotes are escaped


@dataclass(frozen=True, slots=True)
class RunningPair:
    """One model on one task: `wanted` answers, of which `pending` were missing when its file had `size` bytes."""

    task: str
    model: str
    wanted: int
    pending: int
    size: int


@dataclass(frozen=True, slots=True)
class Running:
    """A run that a process is at. `started` is an ISO date and time, UTC."""

    process: int
    started: str
    pairs: tuple[RunningPair, ...]


_RUNNING = TypeAdapter(Running)


@dataclass(frozen=True, slots=True)
class SoFar:
    """How many answers of a pair there are by now, of so many; `failed` of them are errors in place of an answer."""

    pair: RunningPair
    answers: int
    failed: int


@contextlib.contextmanager
def running(results: Path, started: str, pairs: Sequence[RunningPair]) -> Iterator[None]:
    """Say on disk that this process asks these pairs, as long as the context lasts."""
    for path, found in _files(results):
        if not _alive(found.process):  # it was killed
            path.unlink(missing_ok=True)
    path = results / FOLDER / f"{os.getpid()}.json"
    replace_file(path, json.dumps(asdict(Running(os.getpid(), started, tuple(pairs)))) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another run is there
            path.parent.rmdir()


def read_running(results: Path) -> list[Running]:
    """Return the runs that are under way in a folder of results, in the order they were started."""
    return sorted((found for _, found in _files(results) if _alive(found.process)), key=lambda found: found.started)


def size_of(results: Path, task: str, model: str) -> int:
    """Return the bytes of answers that a pair has now."""
    path = results / task / model / RESPONSES
    return path.stat().st_size if path.is_file() else 0


def so_far(results: Path, pair: RunningPair) -> SoFar:
    """Return how far a pair is, from the lines that came to its answers since the run began."""
    done = failed = 0
    with contextlib.suppress(FileNotFoundError), (results / pair.task / pair.model / RESPONSES).open("rb") as file:
        file.seek(pair.size)
        for line in file:
            if line.endswith(b"\n"):
                done += 1
                failed += _FAILED in line
    return SoFar(pair, min(pair.wanted, pair.wanted - pair.pending + done), failed)


def _files(results: Path) -> Iterator[tuple[Path, Running]]:
    for path in (results / FOLDER).glob("*.json"):
        with contextlib.suppress(OSError, ValidationError):  # it has just ended, or is of another version
            yield path, _RUNNING.validate_json(path.read_bytes())


def _alive(process: int) -> bool:
    if sys.platform == "win32":  # where this question would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True
