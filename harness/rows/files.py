"""Rows of one split, read from local Parquet, CSV, TSV or JSONL files in bounded batches, or from a JSON array.

A value keeps its identity: a CSV cell is the text that stands there, a whole number is exact, a 32-bit float is the
decimal number it was written as.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError, warn
from harness.rows.arrow import rows_of

Row = dict[str, Any]
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one split. `read(columns)` starts from the first row each time and skips other columns' data."""

    columns: tuple[str, ...]
    read: Callable[[Iterable[str]], Iterator[Row]]


def filled(split: Split, column: str, value: Callable[[Row], str | None], needed: Iterable[str] = ()) -> Split:
    """Add a column to a split: the value of each row, from these columns of it; rows without one are left out."""

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        for row in split.read({*wanted, *needed} - {column}):
            if (text := value(row)) is not None:
                yield {**row, column: text}

    return Split((*split.columns, column), read)


def parquet(paths: Sequence[Path]) -> Split:
    """Open Parquet files of one schema as one split.

    Raises:
        DataError: a file is not Parquet, or (when it is read) holds a text that is not UTF-8.
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
                try:
                    yield from rows_of(file.iter_batches(_BATCH, columns=chosen))
                except UnicodeDecodeError as error:
                    raise DataError(f"{path}: a text is not UTF-8: {error}") from None

    return Split(columns, read)


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) != len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key '{repeated}' is listed twice in one object")
    return found


def _float(digits: str) -> float:
    found = float(digits)
    if math.isfinite(found) and (found or not re.match("[-0.]*[1-9]", digits)):
        return found
    raise ValueError(f"{digits:.40} is beyond the numbers that a float can hold; quote it as a text")


# A key that is listed twice and a number that becomes another are errors.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float)
_SPACE = " \t\r\n"


def _line_of_failure(text: str) -> int:
    """The line on which the first item of a JSON array begins that cannot be read."""
    place = text.find("[") + 1
    while True:
        while text[place : place + 1] in (",", *_SPACE):
            place += 1
        try:
            _, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return text.count("\n", 0, place) + 1


def jsonl(path: Path) -> Iterator[Row]:
    """Read a JSONL file line by line.

    Raises:
        DataError: a line is not a JSON object in UTF-8, or has a value that would be changed (see `_DECODER`).
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                row = _DECODER.decode(text.rstrip("\r\n"))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not valid JSON: {error.msg} at column {error.colno}") from None
            except UnicodeDecodeError as error:
                raise DataError(f"{path}:{number}: not UTF-8 at byte {error.start + 1} of the line") from None
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}:{number}: cannot be read: {error}") from None
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
        return _split_of(tuple(columns[name]), lambda: (row for row in jsonl(path) if name_of(row) == name))

    return {name: split(name) for name in columns}


def _split_of(columns: tuple[str, ...], rows: Callable[[], Iterable[Row]]) -> Split:
    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = set(wanted)
        return ({name: value for name, value in row.items() if name in chosen} for row in rows())

    return Split(columns, read)


@dataclass(frozen=True, slots=True)
class Form:
    """How a text file is written; None where the file itself shows it."""

    delimiter: str | None = None
    encoding: str | None = None


def local(path: Path, columns: Mapping[str, str], form: Form = Form()) -> Split:
    """Open a CSV, TSV, JSONL, JSON or Parquet file that the user provides.

    `columns` maps our column names to the file's. A CSV's delimiter, where `form` does not say it, is the one of
    `DELIMITERS` that divides the header and the record behind it.

    Raises:
        DataError: the file is missing, of another kind, cannot be read, or lacks a mapped column.
    """
    return renamed(_opened(path, form), columns, str(path))


DELIMITERS = ",;\t|"


def _opened(path: Path, form: Form) -> Split:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    match path.suffix.lower():
        case ".parquet":
            return parquet([path])
        case ".jsonl":
            return jsonl_splits(path, lambda row: "").get("", Split((), lambda wanted: iter(())))
        case ".json":
            return _json(path)
        case ".csv" | ".tsv" as suffix:
            encoding = form.encoding or _encoding(path)
            delimiter = form.delimiter or ("\t" if suffix == ".tsv" else _delimiter(path, encoding))
            return _csv(path, delimiter, encoding)
        case other:
            raise DataError(f"{path}: a '{other}' file cannot be read (expected .parquet, .jsonl, .json, .csv or .tsv)")


def _json(path: Path) -> Split:
    """A file that is one JSON array of objects, which is read whole."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        hint = "; name a file with one object a line .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}:{error.lineno}: not valid JSON: {error.msg} at column {error.colno}{hint}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start + 1}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{_line_of_failure(text)}: cannot be read: {error}") from None
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a JSON array of objects, found {type(rows).__name__}")
    for place, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: item {place}: expected an object of columns, found {type(row).__name__}")
    return _split_of(tuple(dict.fromkeys(name for row in rows for name in row)), lambda: rows)


def _encoding(path: Path) -> str:
    """The encoding of a text file, by its first bytes and by whether all of it is UTF-8."""
    import codecs

    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            warn(f"{path}: not UTF-8; it is read as Windows-1252. `dataset.encoding` in the task file says otherwise")
            return "cp1252"
    return "utf-8-sig"


def _delimiter(path: Path, encoding: str) -> str:
    """The character that divides the header and the first record into most fields, as many in both; else the header."""

    def fields(delimiter: str) -> tuple[bool, int]:
        try:
            widths = [len(cells) for _, cells in itertools.islice(_records(path, delimiter, encoding), 2)]
        except DataError:
            return False, 0
        header = widths[0] if widths else 0
        return header > 1 and len(set(widths)) == 1, header

    return max(DELIMITERS, key=fields)


def _csv(path: Path, delimiter: str, encoding: str) -> Split:
    header = next(_records(path, delimiter, encoding), None)
    if header is None:
        raise DataError(f"{path}: not a CSV file: it is empty")
    names = tuple(header[1])
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{path}:{header[0]}: column '{repeated[0]}' is listed twice in the header")
    shown = {",": "comma", ";": "semicolon", "\t": "tab"}.get(delimiter, f"'{delimiter}'")

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = [(place, name) for place, name in enumerate(names) if name in set(wanted)]
        records = _records(path, delimiter, encoding)
        next(records)
        for line, cells in records:
            if len(cells) != len(names):
                raise DataError(
                    f"{path}:{line}: expected {len(names)} fields as in the header, found {len(cells)} "
                    f"(a {shown} inside a field needs quotes around the field)"
                )
            yield {name: cells[place] for place, name in chosen}

    return Split(names, read)


def _records(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, each with the line it starts on; blank lines are skipped."""
    csv.field_size_limit(sys.maxsize)  # a field may be a whole contract
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, strict=True, delimiter=delimiter)
        line = 1
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
        except UnicodeError as error:
            raise DataError(f"{path}: not a CSV file in {encoding}: {error}") from None
        except csv.Error as error:
            raise DataError(f"{path}:{line}: not valid CSV: {error}") from None


def renamed(split: Split, columns: Mapping[str, str], place: str) -> Split:
    """Give columns our names. `columns` maps our names to the file's; a file's column may get several.

    Raises:
        DataError: a mapped column is missing at `place`.
    """
    if not columns:
        return split
    lacking = [theirs for theirs in columns.values() if theirs not in split.columns]
    if lacking:
        raise DataError(f"{place}: no column '{lacking[0]}' (it has: {', '.join(split.columns)})")
    mapped = set(columns.values())
    ours: dict[str, list[str]] = {}
    for name, theirs in columns.items():
        ours.setdefault(theirs, []).append(name)
    for name in split.columns:
        if name not in mapped and name not in columns:
            ours[name] = [name]
    names = tuple(name for theirs in split.columns for name in ours.get(theirs, []))

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = set(wanted)
        needed = {theirs: [name for name in ours[theirs] if name in chosen] for theirs in ours}
        needed = {theirs: names for theirs, names in needed.items() if names}
        for row in split.read(needed):
            yield {name: value for theirs, value in row.items() for name in needed.get(theirs, [])}

    return Split(names, read)
