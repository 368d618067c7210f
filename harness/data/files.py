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


def in_memory(rows: Sequence[Row]) -> Split:
    """Hold a few rows, such as the shipped samples."""
    columns = tuple(dict.fromkeys(name for row in rows for name in row))

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = set(wanted)
        return ({name: value for name, value in row.items() if name in chosen} for row in rows)

    return Split(columns, read)


def jsonl(path: Path) -> list[Row]:
    """Read a JSONL file whole.

    Raises:
        DataError: a line is not a JSON object in UTF-8.
    """
    rows: list[Row] = []
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
            rows.append(row)
    return rows


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
            split = in_memory(jsonl(path))
        case ".csv":
            split = in_memory(_csv(path))
        case other:
            raise DataError(f"{path}: a '{other}' file cannot be read (expected .parquet, .jsonl or .csv)")
    return _renamed(path, split, columns)


def _csv(path: Path) -> list[Row]:
    import pandas as pd

    try:
        # In one piece: pieces of a long file could disagree about a column's type.
        frame = pd.read_csv(path, keep_default_na=False, low_memory=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {' '.join(str(error).split())}") from None
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


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
