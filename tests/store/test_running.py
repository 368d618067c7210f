"""What is on disk of a run that is under way, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from harness.store.results import Response, ResponseLog
from harness.store.running import FOLDER, RunningPair, read_running, running, size_of, so_far


def test_a_run_is_there_as_long_as_it_lasts(tmp_path: Path) -> None:
    with running(tmp_path, "2026-01-01T08:00:00+00:00", []):
        assert [run.process for run in read_running(tmp_path)] == [os.getpid()]
    assert list(tmp_path.iterdir()) == []


def test_a_run_ends_also_where_its_file_was_removed(tmp_path: Path) -> None:
    with running(tmp_path, "2026-01-01T08:00:00+00:00", []):
        (tmp_path / FOLDER / f"{os.getpid()}.json").unlink()
    assert list(tmp_path.iterdir()) == []


def test_only_answers_since_the_run_began_are_counted(tmp_path: Path) -> None:
    with ResponseLog(tmp_path / "t" / "m") as log:
        log.append(Response("k0", "r0", "failed", error="no"))
        log.append(Response("k1", "r1", "ok", "yes"))
        pair = RunningPair("t", "m", wanted=5, pending=4, size=size_of(tmp_path, "t", "m"))
        log.append(Response("k0", "r0", "ok", "yes"))
        log.append(Response("k2", "r2", "failed", error="no"))
        log.append(Response("k3", "r3", "ok", "no"))
    found = so_far(tmp_path, pair)
    assert (found.answers, found.failed) == (4, 1)


def test_what_a_killed_run_has_left_is_no_run_and_the_next_one_removes_it(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / FOLDER / f"{ended.pid}.json"
    left.parent.mkdir()
    left.write_text(json.dumps({"process": ended.pid, "started": "2026-01-01T08:00:00+00:00", "pairs": []}))
    assert read_running(tmp_path) == []
    with running(tmp_path, "2026-01-01T09:00:00+00:00", []):
        assert not left.exists()
