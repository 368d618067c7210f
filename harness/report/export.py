"""Recorded runs as one Parquet file: a line for each answer of each run, with the scores of its row."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
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
    columns += [
        ("input_tokens", whole),
        ("output_tokens", whole),
        *((SCORE + name, number) for name in sorted(metrics)),
    ]
    schema = pa.schema(columns)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    # Prompts are the same for all models of a task: the dictionary of a row group must have room for them.
    settings = {"compression": "zstd", "dictionary_pagesize_limit": DICTIONARY}
    try:
        with pq.ParquetWriter(part, schema, **settings) as file:

            def add(runs: Sequence[ScoredRun], answered: Sequence[Iterable[AnsweredRow]], longest: int) -> int:
                written = 0
                for lines in _pieces(runs, answered, longest):
                    file.write_table(pa.Table.from_pylist(lines, schema))
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
    runs: Sequence[ScoredRun], answered: Sequence[Iterable[AnsweredRow]], longest: int
) -> Iterator[list[dict[str, Any]]]:
    """The lines of runs on the same rows: all runs on the first thousand rows or fewer, then all on the next."""
    size = max(1, min(ROWS_AT_ONCE, TEXT_AT_ONCE // max(1, longest * len(runs))))
    written = [_lines(*pair) for pair in zip(runs, answered, strict=True)]
    while lines := [line for run in written for line in islice(run, size)]:
        yield lines


def _lines(run: ScoredRun, answered: Iterable[AnsweredRow]) -> Iterator[dict[str, Any]]:
    manifest = run.manifest
    scores = {SCORE + metric.name: run.rows.stats[metric.name][:, 0].tolist() for metric in _by_row(run.metrics)}
    each = ((index, row, *one) for index, (row, of_row) in enumerate(answered) for one in enumerate(of_row))
    for index, row, sample, response in each:
        yield {
            "task": manifest.task,
            "model": manifest.model,
            "kind": manifest.kind,
            "source": manifest.source,
            "row": row.id,
            "sample": sample,
            "prompt": _text(row.prompt),
            "references": [_text(reference) for reference in row.references],
            "completion": _text(response.completion) if response and response.status != "failed" else None,
            "status": run.rows.statuses[index],
            **{name: getattr(response, name, None) for name in TIMES},
            "input_tokens": response.input_tokens if response else None,
            "output_tokens": response.output_tokens if response else None,
            **{name: values[index] for name, values in scores.items()},
        }


def _text(text: str) -> str:
    """A text that Parquet can carry: half a surrogate pair, which JSON may hold, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
