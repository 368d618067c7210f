"""Which rows a run uses: hub, local mirror, files had by hand, or the shipped samples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.errors import DataError, nearest
from harness.rows import hub, mirror
from harness.rows.files import Form, Split, filled, jsonl_splits, local, renamed
from harness.tasks.catalog import TaskFile

Kind = Literal["benchmark", "sample"]
KINDS: tuple[Kind, ...] = ("benchmark", "sample")
Place = Literal["hub", "mirror", "files", "sample"]
SPLIT_COLUMN = "_split"


@dataclass(frozen=True, slots=True)
class Origin:
    """The splits of a task at one place, by our names for them. `note` says why these are sample rows.

    In the splits of `lacking` the column is empty that a teacher is to write. Where it has, for those rows of the
    evaluated split that are there then, `teacher` is its name.
    """

    place: Place
    splits: Mapping[str, Split]
    note: str | None = None
    lacking: frozenset[str] = frozenset()
    teacher: str | None = None

    @property
    def kind(self) -> Kind:
        """Scores of different kinds never share a table."""
        return "sample" if self.place == "sample" else "benchmark"

    def label(self, rows: int) -> str:
        """How tables name these rows."""
        place = f"sample (n={rows})" if self.kind == "sample" else f"benchmark ({self.place})"
        return place if self.teacher is None else f"{place}, right answers by {self.teacher}"


def locate(file: TaskFile, data: str | None, *, strict: bool = True, splits: Collection[str] = ()) -> Origin:
    """Find the rows of a task.

    `data` is "hub", "sample", a mirror's folder, or None for the hub with the sample rows as a fallback. With
    `strict` unset, a mirror or hub that lacks this one task is no error either: sample rows stand in, with a note. A
    folder that does not exist always is one. `splits` are opened, where they exist, beside those the task itself uses.

    Raises:
        DataError: the rows cannot be had from there.
    """
    return _with_gaps(file, _locate(file, data, strict, splits))


def _with_gaps(file: TaskFile, origin: Origin) -> Origin:
    """The rows with an empty column, where they lack the one that a teacher is to write."""
    column = file.task.teacher.answer if file.task.teacher else ""
    lacking = frozenset(name for name, split in origin.splits.items() if column and column not in split.columns)
    gaps = {name: filled(origin.splits[name], column, lambda row: "") for name in lacking}
    return replace(origin, splits={**origin.splits, **gaps}, lacking=lacking)


def _locate(file: TaskFile, data: str | None, strict: bool, splits: Collection[str]) -> Origin:
    if data == "sample":
        return _samples(file, None)
    if data not in (None, "hub"):
        if not Path(data).is_dir():
            raise DataError(f"{data}: no such folder{nearest(data, ['hub', 'sample'])}")
        if file.task.dataset.hub is None:
            data = None  # no mirror can hold it, so asking for one is no reason to refuse the rows there are
    try:
        if data is None or data == "hub":
            return _from_hub(file, splits)
        return _from_mirror(file, Path(data), splits)
    except DataError as error:
        if data is not None and strict:
            raise
        # The first line is the reason; what may follow tells how to get the data, which `--data hub` shows.
        return _samples(file, str(error).splitlines()[0])


def _from_hub(file: TaskFile, more: Collection[str]) -> Origin:
    spec = file.task.dataset
    if spec.files:
        folder = file.source.path.parent
        try:
            form = Form(spec.delimiter, spec.encoding)
            splits = {name: local(folder / path, spec.columns, form) for name, path in spec.files.items()}
            return Origin("files", _required(file, splits, str(folder)))
        except DataError as error:
            raise DataError(f"{error}{_how(file)}") from None
    if spec.hub is None or spec.obtain:
        raise DataError(f"{file.name}'s data is not on the hub{_how(file)}")
    if not (hub.reachable() or hub.cached(spec)):
        raise DataError("the Hugging Face hub cannot be reached")
    return Origin("hub", _required(file, _open(file, lambda name: hub.split(spec, name), more), "dataset.splits"))


def _how(file: TaskFile) -> str:
    """How to get the data by hand, on a line of its own."""
    obtain = file.task.dataset.obtain
    return f"\n{obtain.strip()}" if obtain else ""


def _from_mirror(file: TaskFile, folder: Path, more: Collection[str]) -> Origin:
    spec = file.task.dataset
    splits = _open(file, lambda name: mirror.split(folder, spec, name), more)
    evaluated = spec.splits.get(file.task.evaluation.split, file.task.evaluation.split)
    return Origin("mirror", _required(file, splits, str(mirror.paths(folder, spec, evaluated)[0])))


def _open(file: TaskFile, find: Callable[[str], Split | None], more: Collection[str]) -> dict[str, Split]:
    spec = file.task.dataset
    shots = file.task.shots
    wanted = {file.task.evaluation.split, file.task.training.split, *more} | ({shots.split} if shots else set())
    found = {ours: find(theirs) for ours, theirs in spec.splits.items() if ours in wanted}
    return {
        name: renamed(split, spec.columns, f"{spec.hub}, split '{spec.splits[name]}'")
        for name, split in found.items()
        if split is not None
    }


def _required(file: TaskFile, splits: dict[str, Split], place: str) -> dict[str, Split]:
    wanted = file.task.evaluation.split
    if wanted not in splits:
        raise DataError(f"{file.name}: no rows of split '{wanted}' ({place})")
    return splits


def _samples(file: TaskFile, note: str | None) -> Origin:
    if not file.samples.is_file():
        raise DataError(f"{note + '; and ' if note else ''}{file.samples}: no sample rows are shipped for {file.name}")
    splits = jsonl_splits(file.samples, lambda row: str(row.pop(SPLIT_COLUMN, "")))
    return Origin("sample", _required(file, splits, str(file.samples)), note)
