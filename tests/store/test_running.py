"""What is on disk of a run that is under way, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.store import running as store
from harness.store.results import Response, ResponseLog
from harness.store.running import FOLDER, RunningPair, SoFar, read_running, running, size_of, so_far


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


def test_runs_are_those_whose_process_lives_the_first_started_first(tmp_path: Path) -> None:
    """Those of another version are left out, wherever they come."""
    pair = RunningPair("t", "m", 5, 4, 3)
    folder = tmp_path / FOLDER
    folder.mkdir()
    alive = {"10": os.getpid(), "08": os.getppid(), "09": os.getpid()}
    for hour, process in alive.items():
        described = {"process": process, "started": f"2026-01-01T{hour}:00:00+00:00", "pairs": [asdict(pair)]}
        (folder / f"{hour}.json").write_text(json.dumps(described))
    for name, text in (("a", "{"), ("b", "[]"), ("c", "{}"), ("d", '{"process": 1, "started": "", "pairs": [{}]}')):
        (folder / f"{name}.json").write_text(text)
        (folder / f"z{name}.json").write_text(text)
    found = read_running(tmp_path)
    assert [(run.process, run.started[11:13]) for run in found] == [(alive[hour], hour) for hour in ("08", "09", "10")]
    assert all(run.pairs == (pair,) for run in found)


def test_what_it_is_at_is_on_disk(tmp_path: Path) -> None:
    pairs = [RunningPair("t", "m", 5, 4, 3), RunningPair("t", "n", 2, 2, 0)]
    with running(tmp_path, "2026-01-01T08:00:00+00:00", pairs):
        assert [(run.started, run.pairs) for run in read_running(tmp_path)] == [
            ("2026-01-01T08:00:00+00:00", tuple(pairs))
        ]


def test_a_run_ends_also_where_another_is_there(tmp_path: Path) -> None:
    """Whether that began before or after it."""
    earlier, later = (tmp_path / FOLDER / f"{name}.json" for name in ("earlier", "later"))
    earlier.parent.mkdir()
    described = json.dumps({"process": os.getppid(), "started": "", "pairs": []})
    earlier.write_text(described)
    with running(tmp_path, "2026-01-01T08:00:00+00:00", []):
        later.write_text(described)
    assert sorted(earlier.parent.iterdir()) == [earlier, later]


@pytest.mark.parametrize(("size", "answers", "failed"), [(0, 3, 2), (1, 3, 1)])
def test_half_a_line_is_no_answer_yet_and_there_are_no_more_than_are_wanted(
    tmp_path: Path, size: int, answers: int, failed: int
) -> None:
    """What stood there before the run, here a line of failure, is not counted; answers beyond those wanted neither."""
    pair = RunningPair("t", "m", wanted=3, pending=2, size=0)
    assert (size_of(tmp_path, "t", "m"), so_far(tmp_path, pair)) == (0, SoFar(pair, 1, 0))
    folder = tmp_path / "t" / "m"
    with ResponseLog(folder) as log:
        log.append(Response("k0", "r0", "failed", error="no"))
        begun = size_of(tmp_path, "t", "m")
        assert begun == (folder / "responses.jsonl").stat().st_size
        log.append(Response("k1", "r1", "ok", 'it said "status": "failed"'))
        log.append(Response("k0", "r0", "failed", error="no"))
        log.append(Response("k2", "r2", "ok", "yes"))
    with (folder / "responses.jsonl").open("ab") as file:
        file.write(b'{"key": "k3", "status": "failed"')
    found = so_far(tmp_path, replace(pair, size=size * begun))
    assert (found.answers, found.failed) == (answers, failed)


def test_what_a_killed_run_has_left_may_be_removed_by_another_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / FOLDER / "1.json"
    left.parent.mkdir()
    left.write_text(json.dumps({"process": 1, "started": "", "pairs": []}))

    def ended(process: int) -> bool:
        left.unlink()
        return False

    monkeypatch.setattr(store, "_alive", ended)
    with running(tmp_path, "2026-01-01T09:00:00+00:00", []):
        assert not left.exists()
