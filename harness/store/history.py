"""`results/history.jsonl`: one line for each run that was finished and scored, which no later run replaces.

It is here, beside the manifests, because every command that asks writes it; what a history shows is computed further
down (`report/trend.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from harness.errors import invalid, warn
from harness.store.atomic import LineFile, utf8

HISTORY = "history.jsonl"
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _utc(at: str) -> str:
    """A time as runs are stamped, in UTC, so that times are in order as texts."""
    known = datetime.fromisoformat(at)
    if known.utcoffset() == timedelta(0):
        return at
    return (known.replace(tzinfo=UTC) if known.tzinfo is None else known.astimezone(UTC)).isoformat()


Time = Annotated[str, AfterValidator(_utc)]


@dataclass(frozen=True, slots=True)
class PastRun:
    """One finished run on its task's first metric.

    `asking_version`, `answers_version` and `scoring_version` are those of the task (`harness.tasks.task.Task`), `rows`
    the fingerprint of the rows asked, `settings` the hash of the model's. `low` and `high` are None where the interval
    has no end. `incomplete` says why nothing can be told from the run, "" where something can. `lost` are the rows
    without an answer, which count as wrong; `if_right` are score, low and high with these taken as right.
    """

    at: Time
    task: str
    kind: str
    model: str
    metric: str
    higher_is_better: bool
    score: Finite
    low: Finite | None
    high: Finite | None
    n: Annotated[int, Field(ge=1)]
    task_sha256: str
    asking_version: str
    answers_version: str
    scoring_version: str
    rows: str
    settings: str
    incomplete: str
    git: dict[str, Any]
    versions: dict[str, str]
    lost: int = 0
    if_right: tuple[Finite, Finite | None, Finite | None] | None = None

    @property
    def version(self) -> tuple[str, str, str]:
        """What two runs must share for their scores to be of the same: prompt, right answers, and scoring."""
        return self.asking_version, self.answers_version, self.scoring_version


_RUN = TypeAdapter(PastRun)


def append(results: Path, runs: Iterable[PastRun]) -> None:
    """Add runs to the history, whatever other processes add meanwhile.

    Where it cannot be written there is a warning: the runs themselves are recorded already.
    """
    from filelock import FileLock

    lines = b"".join(utf8(json.dumps(asdict(run), ensure_ascii=False) + "\n") for run in runs)
    if not lines:
        return
    try:
        with FileLock(results / f".{HISTORY}.lock"), closing(LineFile(results / HISTORY)) as file:
            file.append(lines)
    except OSError as error:
        warn(f"{results / HISTORY}: these runs are not added to the history: {error.strerror}")


def read(results: Path) -> Iterator[PastRun]:
    """Yield all runs of the history as they were added; a damaged line is left out, with a warning."""
    path = results / HISTORY
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield _RUN.validate_python(json.loads(line))
            except ValidationError as error:
                warn(f"{path}:{number}: left out: {invalid(error)}")
            except (ValueError, RecursionError) as error:
                warn(f"{path}:{number}: left out: not valid JSON ({error})")
