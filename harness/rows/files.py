"""Rows of one split, read from local Parquet, CSV or JSONL files in bounded batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError

Row = dict[str, Any]
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one split. `read(columns)` starts from the first row each time and skips other columns' data."""

    columns: tuple[str, ...]
    read: Callable[[Iterable[str]], Iterator[Row]]


def parquet(paths: Sequence[Path]) -> Split:
    """Open Parquet files of one schema as one split.

    Raises:
        DataError: a file is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        try:
            columns = tuple(pq.read_schema(path).names)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: not a Parquet file: {error}") from None

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = [name for name in columns if name in set(wanted)]
        for path in paths:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH, columns=chosen):
                    yield from batch.to_pylist()

    return Split(columns, read)


def jsonl(path: Path) -> Iterator[Row]:
    """Read a JSONL file line by line.

    Raises:
        DataError: a line is not a JSON object in UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode().rstrip("\r\n"))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not valid JSON: {error.msg} at column {error.colno}") from None
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: not UTF-8 at byte {error.start + 1} of the line") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number}: expected a JSON object of columns, found {type(row).__name__}")
            yield row


def jsonl_splits(path: Path, name_of: Callable[[Row], str]) -> dict[str, Split]:
    """Open a JSONL file as splits, by the name that `name_of` gives each row; a row is read when it is needed.

    Raises:
        DataError: a line is not a JSON object in UTF-8.
    """
    columns: dict[str, dict[str, None]] = {}
    for row in jsonl(path):
        columns.setdefault(name_of(row), {}).update(dict.fromkeys(row))

    def split(name: str) -> Split:
        def read(wanted: Iterable[str]) -> Iterator[Row]:
            chosen = set(wanted)
            for row in jsonl(path):
                if name_of(row) == name:
                    yield {column: value for column, value in row.items() if column in chosen}

        return Split(tuple(columns[name]), read)

    return {name: split(name) for name in columns}


def local(path: Path, columns: Mapping[str, str]) -> Split:
    """Open a CSV, JSONL or Parquet file had by hand. `columns` maps our column names to the file's.

    Raises:
        DataError: the file is missing, of another kind, or lacks a mapped column.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    match path.suffix.lower():
        case ".parquet":
            split = parquet([path])
        case ".jsonl":
            split = jsonl_splits(path, lambda row: "").get("", Split((), lambda wanted: iter(())))
        case ".csv":
            split = _csv(path)
        case other:
            raise DataError(f"{path}: a '{other}' file cannot be read (expected .parquet, .jsonl or .csv)")
    return _renamed(path, split, columns)


def _csv(path: Path) -> Split:
    import pandas as pd

    try:
        # In one piece: pieces of a long file could disagree about a column's type.
        frame = pd.read_csv(path, keep_default_na=False, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {' '.join(str(error).split())}") from None
    frame.columns = frame.columns.map(str)
    names = tuple(frame.columns)

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = [name for name in names if name in set(wanted)]
        for start in range(0, len(frame), _BATCH):
            yield from frame[chosen].iloc[start : start + _BATCH].to_dict("records")  # type: ignore[misc]

    return Split(names, read)


def _renamed(path: Path, split: Split, columns: Mapping[str, str]) -> Split:
    lacking = [theirs for theirs in columns.values() if theirs not in split.columns]
    if lacking:
        raise DataError(f"{path}: no column '{lacking[0]}' (it has: {', '.join(split.columns)})")
    ours = {theirs: name for name, theirs in columns.items()}
    names = tuple(ours.get(name, name) for name in split.columns)

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        for row in split.read([columns.get(name, name) for name in wanted]):
            yield {ours.get(name, name): value for name, value in row.items()}

    return Split(names, read)
