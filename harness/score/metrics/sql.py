"""Execution of SQL answers: in a process of its own, so that a query can take neither time nor memory without end."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.score.metrics.base import Example, Metric, of_share, recipes
from harness.tasks.task import SqlAnswer

SECONDS = 10.0
"""For one answer, or the gold queries of a row; a thousand times what a query of WikiSQL takes."""


def execution_accuracy(answer: SqlAnswer) -> Metric:
    """Share of rows whose query gives the same result as a gold query on the row's table. Range [0, 1].

    Both run in an in-memory SQLite database with the row's table under the name "table". Results are compared as
    multisets of rows. Where the gold query itself orders (an ORDER BY in a subquery does not), they are compared in
    order; rows that its ORDER BY does not tell apart may come in any order, and any of them may be those that its LIMIT
    lets through. Whole numbers are compared exactly, others to 15 digits, texts without case. Queries are read-only and
    limited in steps, rows, bytes and time; one that fails or exceeds a limit is wrong. Rows that come without table
    rows, or whose gold query fails, cannot be judged and do not count. Two queries that both find nothing agree, as in
    WikiSQL's own scorer (V. Zhong et al., arXiv 1709.00103, 2017).
    """

    def stats(example: Example) -> tuple[float, float]:
        golds = [gold for gold in example.gold if gold is not None]
        right = _ENGINE.judge(example.fields.get(answer.table), golds, example.answer)
        return (0.0, 0.0) if right is None else (float(right), 1.0)

    return of_share("execution_accuracy", stats, "judged rows", lambda s: (s[..., 0], s[..., 1]), scorable=1)


class _Engine:
    """The process that runs queries (`sql_engine.py`), started when it is first needed and again after it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._lock = threading.Lock()
        atexit.register(self.close)

    def judge(self, table: Any, golds: Sequence[str], answer: str | None) -> bool | None:
        """Return whether an answer's result is right, None where no gold query can be run.

        What ends the process, or takes too long, is the fault of the query that it was running.
        """
        given = json.dumps({"table": table, "golds": golds, "answer": answer}, default=_plain).encode() + b"\n"
        with self._lock:
            process = self._running()
            try:
                assert process.stdin is not None
                process.stdin.write(given)
                process.stdin.flush()
            except OSError:
                self.close()
                return None
            if not self._next(process):
                return None
            return self._next(process) is True

    def close(self) -> None:
        """End the process."""
        process, self._process, self._said = self._process, None, b""
        if process is not None:
            process.kill()
            process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.score.metrics.sql_engine"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # a Ctrl-C is for the command
            )
            self._next(self._process, 60.0)
        return self._process

    def _next(self, process: subprocess.Popen[bytes], seconds: float | None = None) -> bool | None:
        """The next line that the process writes, None where none comes; then it is ended."""
        assert process.stdout is not None
        end = time.monotonic() + (SECONDS if seconds is None else seconds)
        while b"\n" not in self._said:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
            part = os.read(process.stdout.fileno(), 4096) if ready else b""
            if not part:
                self.close()
                return None
            self._said += part
        line, _, self._said = self._said.partition(b"\n")
        return bool(json.loads(line))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value.tolist() if hasattr(value, "tolist") else str(value)


_ENGINE = _Engine()
RECIPES = recipes({"sql"}, execution_accuracy)
