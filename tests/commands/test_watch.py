"""`harness bench --watch`: a page on loopback that fills while a real, slow server answers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.store.running import FOLDER, RunningPair, read_running, running, so_far
from tests.commands.test_open import get
from tests.loopback import Loopback
from tests.runs import Small

ROOT = Path(__file__).parents[2]


def start(small: Small, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", *arguments, "--results", str(small.results)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SSH_CONNECTION": "no desktop", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, cwd=small.folder, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def until(true: Callable[[], bool]) -> None:
    for _ in range(400):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that within 20 s")


@pytest.fixture
def slow(small: Small) -> Iterator[Small]:
    """A project whose one model takes half a second for a row, one after the other."""
    with Loopback(latency=0.5) as server:
        small.model("slow", server.openai_url, concurrency=1)
        yield small


def bench(small: Small, *more: str) -> subprocess.Popen[str]:
    given = [f"--{name}={small.folder / place}" for name, place in (("tasks", "tasks"), ("models", "models.yaml"))]
    return start(small, "bench", "--data", "sample", *given, *more)


def address_in(process: subprocess.Popen[str]) -> str:
    """The address that a run says on standard error."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
            return found[0]
    raise AssertionError("no address was said")


def shown(page: str) -> tuple[int, int]:
    found = re.search(r"<h1>(\d+) of (\d+) answers so far</h1>", page)
    assert found, page
    return int(found[1]), int(found[2])


def test_the_page_fills_while_answers_arrive_and_says_nothing_final_before_the_end(slow: Small) -> None:
    with bench(slow, "--watch") as process:
        address = address_in(process)
        until(lambda: "answers so far</h1>" in get(address, "/")[1])
        status, first = get(address, "/")
        assert status == 200
        until(lambda: shown(get(address, "/")[1])[0] > shown(first)[0])
        done, wanted = shown(get(address, "/")[1])
        assert 0 < done < wanted
        assert "accuracy" not in first
        assert not re.search(r"better|wins|loses", re.sub("who is better is said when", "", first))
        assert get(address, "/", host="evil.example")[0] == 403
        assert get(address, "/../models.yaml")[0] == 404
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "slow" in out  # the table of the run
    with pytest.raises(OSError):  # noqa: PT011  refused or reset, as the system has it
        get(address, "/")
    assert not (slow.results / FOLDER).exists()


def test_a_model_that_has_finished_has_its_score_while_others_are_asked(slow: Small, loopback: Loopback) -> None:
    slow.model("quick", loopback.openai_url)
    with bench(slow, "--watch") as process:
        address = address_in(process)
        scored = r"<td>{}</td>(?:(?!</tr>).)*<td>\w+ [01]\.\d+ \[[^<]*, 40 rows</td>"
        until(lambda: bool(re.search(scored.format("quick"), get(address, "/")[1])))
        assert not re.search(scored.format("slow"), get(address, "/")[1])
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_another_process_can_watch_a_run_and_is_stopped_by_ctrl_c(slow: Small) -> None:
    with bench(slow) as asking:
        until(lambda: bool(read_running(slow.results)))
        with start(slow, "open", "--watch") as watching:
            assert watching.stdout is not None
            address = watching.stdout.readline().strip()
            assert shown(get(address, "/")[1])[1] > 0
            asking.kill()
            asking.wait()
            assert "No run is under way" in get(address, "/")[1]
            watching.send_signal(signal.SIGINT)
            assert watching.wait(timeout=20) == 0


def test_json_stays_alone_on_standard_output(small: Small, loopback: Loopback) -> None:
    small.model("quick", loopback.openai_url)
    with bench(small, "--watch", "--json") as process:
        out, err = process.communicate(timeout=60)
    assert json.loads(out)["results"]
    assert "live: http://127.0.0.1:" in err


def test_failed_answers_are_counted_apart(tmp_path: Path) -> None:
    pair = RunningPair("t", "m", wanted=5, pending=4, size=0)
    path = tmp_path / "t" / "m" / "responses.jsonl"
    assert so_far(tmp_path, pair).answers == 1
    path.parent.mkdir(parents=True)
    lines = [{"status": "ok", "completion": 'a "status": "failed" b'}, {"status": "failed"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"status": "ok')
    found = so_far(tmp_path, pair)
    assert (found.answers, found.failed) == (3, 1)


def test_what_a_killed_run_left_is_no_run(tmp_path: Path) -> None:
    with running(tmp_path, "2026-01-01T00:00:00Z", []):
        assert [run.process for run in read_running(tmp_path)] == [os.getpid()]
        (path,) = (tmp_path / FOLDER).iterdir()
        killed = subprocess.Popen([sys.executable, "-c", ""])
        killed.wait()
        left = path.with_name(f"{killed.pid}.json")
        left.write_text(path.read_text().replace(str(os.getpid()), str(killed.pid)))
        assert [run.process for run in read_running(tmp_path)] == [os.getpid()]
        path.with_name("1.json").write_text("{")
        assert [run.process for run in read_running(tmp_path)] == [os.getpid()]
    assert read_running(tmp_path) == []
    with running(tmp_path, "2026-01-01T00:00:00Z", []):
        assert not left.exists()
