"""Recorded runs as one Parquet file: a line for each answer of each run, with the scores of its row."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice, repeat
from pathlib import Path
from typing import Any, Protocol

from harness.errors import UserError
from harness.score.metrics.base import Metric, only_mean
from harness.score.metrics.registry import build_all
from harness.score.rules import RECORDED, Rules
from harness.score.scoring import ScoredRun, score_run
from harness.store.results import AnsweredRow, answered_rows, chosen_runs, read_rows

ROWS_AT_ONCE = 1000
DICTIONARY = 64 * 1024 * 1024
TEXT_AT_ONCE = 128 * 1024 * 1024
SCORE = "score_"
TIMES = ("latency_s", "ttft_s", "tpot_s")


def export(results: Path, tasks: Sequence[str], models: Sequence[str], out: Path, rules: Rules = RECORDED) -> int:
    """Write the recorded runs of these tasks and models (empty: of all) to a Parquet file; return its number of rows.

    The columns are task, model, kind, source, row, sample (which of its answers, from 0), prompt, references,
    completion, status, latency_s, ttft_s, tpot_s, input_tokens, output_tokens, and `score_<metric>` for every metric
    that scores rows one by one, empty where a task does not use it; status and scores are the row's. The times are in
    seconds, those of tokens only where answers were streamed.
    Memory holds a thousand rows at a time, with the answers of all runs that were asked them.

    Raises:
        UserError: a name is unknown, there is no run, or the file cannot be written.
    """
    runs = rules(chosen_runs(results, tasks, models), lambda line: None)
    names = {metric.name for run in runs for metric in _by_row(build_all(run.spec.metrics, run.spec.answer))}
    written = 0
    with rows_file(out, names) as add:
        for (task, rows), group in groupby(runs, key=lambda run: (run.task, run.rows)):
            scored = [score_run(results, run) for run in group]
            longest = max((len(row.prompt) for row in read_rows(results, task, rows)), default=0)
            written += add(scored, [answered_rows(results, run.manifest) for run in scored], longest)
    return written


class _Add(Protocol):
    """Adds runs on the same rows, each with its rows and answers; `longest` are the characters of the longest prompt.

    Returns the number of lines.
    """

    def __call__(self, runs: Sequence[ScoredRun], answered: Sequence[Iterable[AnsweredRow]], longest: int) -> int: ...


@contextmanager
def rows_file(out: Path, metrics: Collection[str]) -> Iterator[_Add]:
    """A Parquet file of runs, there once the block has ended without an error; `metrics` has all that score rows.

    Raises:
        UserError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, whole, number = pa.string(), pa.int64(), pa.float64()
    columns = [(name, text) for name in ("task", "model", "kind", "source", "row", "prompt")]
    columns[5:5] = [("sample", whole)]
    columns += [("references", pa.list_(text)), ("completion", text), ("status", text)]
    columns += [(name, number) for name in TIMES]
    columns += [("input_tokens", whole), ("output_tokens", whole)]
    ordered = sorted(metrics)
    schema = pa.schema(columns + [(SCORE + name, number) for name in ordered])
    part = out.with_name(f".{out.name}.{os.getpid()}")
    # Prompts are the same for all models of a task: the dictionary of a row group must have room for them.
    settings = {"compression": "zstd", "dictionary_pagesize_limit": DICTIONARY}
    try:
        with pq.ParquetWriter(part, schema, **settings) as file:

            def add(runs: Sequence[ScoredRun], answered: Sequence[Iterable[AnsweredRow]], longest: int) -> int:
                written = 0
                for lines in _pieces(runs, answered, longest, ordered):
                    arrays = [
                        pa.array(column, of) for column, of in zip(zip(*lines, strict=True), schema.types, strict=True)
                    ]
                    file.write_table(pa.Table.from_arrays(arrays, schema=schema))
                    written += len(lines)
                return written

            yield add
        os.replace(part, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def row_metrics(runs: Iterable[ScoredRun]) -> set[str]:
    """The names of the metrics that have a column in `rows_file`."""
    return {metric.name for run in runs for metric in _by_row(run.metrics)}


def _by_row(metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics whose score of a set is the mean of the rows' scores."""
    return [metric for metric in metrics if metric.kind != "corpus" and metric.summary is only_mean]


def _pieces(
    runs: Sequence[ScoredRun], answered: Sequence[Iterable[AnsweredRow]], longest: int, metrics: Sequence[str]
) -> Iterator[list[tuple[Any, ...]]]:
    """The lines of runs on the same rows: all runs on the first thousand rows or fewer, then all on the next."""
    size = max(1, min(ROWS_AT_ONCE, TEXT_AT_ONCE // max(1, longest * len(runs))))
    written = [_lines(*pair, metrics) for pair in zip(runs, answered, strict=True)]
    while lines := [line for run in written for line in islice(run, size)]:
        yield lines


def _lines(run: ScoredRun, answered: Iterable[AnsweredRow], metrics: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The values of each answer in the order of the columns."""
    manifest = run.manifest
    same = (manifest.task, manifest.model, manifest.kind, manifest.source)
    by_row = {metric.name for metric in _by_row(run.metrics)}
    statuses = run.rows.statuses
    scores = [
        run.rows.stats[name][:, 0].tolist() if name in by_row else repeat(None, len(statuses)) for name in metrics
    ]
    scores_of_row = zip(*scores, strict=True) if scores else repeat((), len(statuses))
    for (row, of_row), status, values in zip(answered, statuses, scores_of_row, strict=True):
        prompt, references = _text(row.prompt), [_text(reference) for reference in row.references]
        for sample, response in enumerate(of_row):
            yield (
                *same, row.id, sample, prompt, references,
                _text(response.completion) if response and response.status != "failed" else None,
                status,
                *(getattr(response, name, None) for name in TIMES),
                response.input_tokens if response else None,
                response.output_tokens if response else None,
                *values,
            )  # fmt: skip


def _text(text: str) -> str:
    """A text that Parquet can carry: half a surrogate pair, which JSON may hold, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
