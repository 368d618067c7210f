"""The history: one line for each finished run, kept beside those that others add, in order of time."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.errors import HarnessWarning
from harness.store.history import HISTORY, PastRun, append, read

RUN = PastRun(
    at="2026-01-02T08:00:00+00:00", task="t", kind="sample", model="m", metric="accuracy", higher_is_better=True,
    score=0.5, low=0.4, high=None, n=10, task_sha256="s", asking_version="a", answers_version="b", scoring_version="c",
    rows="r", settings="x", incomplete="", git={"commit": "é"}, versions={"python": "3.12"}, lost=1,
    if_right=(0.6, 0.5, None),
)  # fmt: skip


def test_runs_are_read_as_they_were_added(tmp_path: Path) -> None:
    later = replace(RUN, model="other", lost=0, if_right=None)
    append(tmp_path, [RUN])
    append(tmp_path, [])
    append(tmp_path, [later, RUN])
    assert list(read(tmp_path)) == [RUN, later, RUN]


def test_without_runs_there_is_no_history(tmp_path: Path) -> None:
    append(tmp_path, [])
    assert not (tmp_path / HISTORY).exists()
    assert list(read(tmp_path)) == []


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2026-01-02T08:00:00+00:00", "2026-01-02T08:00:00+00:00"),
        ("2026-01-02T08:00:00Z", "2026-01-02T08:00:00Z"),
        ("2026-01-02T08:00:00", "2026-01-02T08:00:00+00:00"),
        ("2026-01-02T00:30:00+01:00", "2026-01-01T23:30:00+00:00"),
    ],
)
def test_times_are_those_of_utc(tmp_path: Path, written: str, utc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the machine's own time is another."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "America/New_York")
        time.tzset()
        try:
            append(tmp_path, [replace(RUN, at=written)])
            assert [run.at for run in read(tmp_path)] == [utc]
        finally:
            elsewhere.undo()
            time.tzset()


def test_a_damaged_line_is_named_and_left_out(tmp_path: Path) -> None:
    append(tmp_path, [RUN, replace(RUN, n=0), replace(RUN, score=math.nan)])
    with (tmp_path / HISTORY).open("a") as file:
        file.write("{\n")
    append(tmp_path, [RUN])
    with pytest.warns(HarnessWarning) as found:
        assert list(read(tmp_path)) == [RUN, RUN]
    assert [str(one.message).split(":")[1] for one in found] == ["2", "3", "4"]


def test_a_line_of_an_earlier_version_has_lost_no_row(tmp_path: Path) -> None:
    earlier = {name: value for name, value in asdict(RUN).items() if name not in {"lost", "if_right"}}
    (tmp_path / HISTORY).write_text(json.dumps(earlier) + "\n")
    assert list(read(tmp_path)) == [replace(RUN, lost=0, if_right=None)]


@pytest.mark.skipif(sys.platform != "linux", reason="open files are listed in /proc")
def test_adding_leaves_no_file_open(tmp_path: Path) -> None:
    append(tmp_path, [RUN])
    assert not any(path.resolve() == tmp_path / HISTORY for path in Path("/proc/self/fd").iterdir())


def test_a_history_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / HISTORY).mkdir()
    with pytest.warns(HarnessWarning, match="these runs are not added to the history: Is a directory"):
        append(tmp_path, [RUN])
