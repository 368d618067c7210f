"""Whole runs of `harness bench` in a process of their own: killed, interrupted, out of disk, out of money."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.models import batch
from harness.store.results import read_responses
from tests.loopback import FAULTS, Loopback, always
from tests.loopback_vendors import KEY, BatchServer

ROOT = Path(__file__).parents[2]
TASK = """\
title: Small
category: classification
dataset: {splits: {train: train, test: test}}
prompt: "Is {{ text }} fine?"
target: "{{ label }}"
answer: {type: label, labels: [yes, no]}
metrics: [accuracy]
max_tokens: 4
"""
ROWS = 120


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server that takes its time, so that a run can be met half-way."""
    with Loopback(latency=0.02) as running:
        yield running


class Project:
    """A folder with one task of 120 rows, a models file and results."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.started: list[subprocess.Popen[str]] = []
        self.results = folder / "results"
        samples = folder / "tasks" / "samples"
        samples.mkdir(parents=True)
        (folder / "tasks" / "small.yaml").write_text(TASK)
        rows = [{"text": f"row {number}", "label": "yes", "_split": "test"} for number in range(ROWS)]
        (samples / "small.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def model(self, name: str, server: Loopback | BatchServer, **settings: Any) -> None:
        """Add a model to the models file."""
        entry = {"backend": "openai", "base_url": server.openai_url, "model": name, "concurrency": 4, **settings}
        with (self.folder / "models.yaml").open("a") as file:
            file.write(f"{name}: {json.dumps(entry)}\n")

    def start(self, *options: str, **how: Any) -> subprocess.Popen[str]:
        """Start `harness bench` on everything in the folder."""
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "harness", "bench", "--data", "sample", "--json", *options]
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
        )
        self.started.append(process)
        return process

    def run(self, *options: str) -> tuple[int, str, str]:
        """Run it to the end, in this process, which saves the start; return exit code, stdout and stderr."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setenv("HF_HUB_OFFLINE", "1")
            patch.setattr(sys, "argv", ["harness", "bench", "--data", "sample", "--json", *options])
            with pytest.raises(SystemExit) as stop:
                main()
        return stop.value.code, *self.capture.readouterr()  # type: ignore[return-value]

    def lines(self, model: str = "m") -> list[dict[str, Any]]:
        """The whole lines of a model's answers."""
        path = self.results / "small" / model / "responses.jsonl"
        text = path.read_text() if path.is_file() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def manifest(self, model: str = "m") -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads((self.results / "small" / model / "run.json").read_text())["sample"]
        return manifest


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Project]:
    made = Project(tmp_path, capsys)
    yield made
    for process in made.started:
        with process:
            process.kill()


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process; return its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other threads or processes bring about."""
    for _ in range(4000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen within 20 seconds")


def test_system_prompt_and_examples_are_sent_as_messages_and_change_the_key(server: Loopback, project: Project) -> None:
    def written(task: str) -> None:
        (project.folder / "tasks" / "small.yaml").write_text(TASK + task)

    samples = project.folder / "tasks" / "samples" / "small.jsonl"
    samples.write_text(
        "".join(
            json.dumps({"text": f"row {n}", "label": "yes", "_split": "train" if n < 5 else "test"}) + "\n"
            for n in range(10)
        )
    )
    project.model("m", server)
    project.model("plain", server, api="completions")
    written("system: Be brief.\nshots: {n: 2}\n")
    assert project.run("--task", "small")[0] == 0
    bodies = [request.body for request in server.received]
    chats = [body["messages"] for body in bodies if "messages" in body]
    assert {tuple(message["role"] for message in chat) for chat in chats} == {
        ("system", "user", "assistant", "user", "assistant", "user")
    }
    assert {chat[0]["content"] for chat in chats} == {"Be brief."}
    assert len({json.dumps(chat[1:-1]) for chat in chats}) == 1
    last = {chat[-1]["content"] for chat in chats}
    assert last == {f"Is row {n} fine?" for n in range(5, 10)}
    texts = [body["prompt"] for body in bodies if "prompt" in body]
    shots = "\n\n".join(f"{chats[0][i]['content']} {chats[0][i + 1]['content']}" for i in (1, 3))
    assert set(texts) == {f"Be brief.\n\n{shots}\n\n{prompt}" for prompt in last}
    count = len(server.received)
    assert project.run("--task", "small")[0] == 0
    assert len(server.received) == count, "nothing is asked twice"
    written("")
    assert project.run("--task", "small")[0] == 0
    assert len(server.received) == count + 10, "without them it is another question"


def test_kill_9_again_and_again_asks_each_answered_row_once(server: Loopback, project: Project) -> None:
    project.model("m", server)
    recorded: set[str] = set()
    for share in (0.2, 0.5, 0.8):
        process = project.start()
        until(lambda goal=int(share * ROWS): len(project.lines()) >= goal)  # type: ignore[misc]
        process.kill()
        process.communicate()
        recorded = {line["row"] for line in project.lines()}
    assert len(recorded) < ROWS
    code, out, _ = project.run()
    assert code == 0
    assert json.loads(out)["results"][0]["statuses"]["ok"] == ROWS
    assert len(project.lines()) == len({line["row"] for line in project.lines()}) == ROWS
    assert len(server.asked) == ROWS
    # Only what was on its way when the process was killed is asked again.
    twice = {prompt: count for prompt, count in server.asked.items() if count > 1}
    assert len(twice) <= 3 * 4
    assert set(twice.values()) <= {2, 3, 4}


def test_a_half_written_line_is_dropped_and_its_row_asked_again(server: Loopback, project: Project) -> None:
    project.model("m", server)
    project.run()
    path = project.results / "small" / "m" / "responses.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert project.run()[0] == 0
    assert len(project.lines()) == ROWS
    assert sum(server.asked.values()) == ROWS + 1


def test_a_second_process_is_refused_while_the_first_is_asking(server: Loopback, project: Project) -> None:
    server.latency = 2.0
    project.model("m", server)
    first = project.start()
    until(lambda: bool(server.asked))
    code, out, err = project.run()
    server.latency = 0.0
    assert (code, out) == (2, "")
    assert "another process is asking this model" in err
    assert end(first)[0] == 0
    assert server.asked == server.answered
    assert sum(server.asked.values()) == ROWS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_waits_for_what_is_in_flight(server: Loopback, project: Project, number: int) -> None:
    server.latency = 0.1
    project.model("m", server)
    process = project.start()
    until(lambda: len(project.lines()) >= 10)
    process.send_signal(number)
    code, out, err = end(process)
    assert (code, out) == (130, "")
    assert "stopping: waiting for" in err
    assert "-m harness bench --data sample --json" in err.splitlines()[-1]
    assert 10 <= len(project.lines()) < ROWS
    assert sum(server.asked.values()) == sum(server.answered.values()) == len(project.lines())
    assert project.manifest()["stopped"] == "interrupted"
    assert project.manifest()["incomplete"]
    server.latency = 0.0
    assert project.run()[0] == 0
    assert set(server.asked.values()) == {1}
    assert not project.manifest()["incomplete"]


def test_the_second_signal_does_not_wait(server: Loopback, project: Project) -> None:
    server.plan = lambda prompt, attempt: FAULTS["hang"] if len(server.answered) >= 20 else None
    project.model("m", server, timeout=600)
    process = project.start()
    until(lambda: len(server.answered) == 20 and len(server.asked) == 24)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("stopping" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 130
    assert len(project.lines()) == 20


def test_an_interrupt_does_not_spoil_what_a_finished_model_has(server: Loopback, project: Project) -> None:
    project.model("m", server)
    project.run()
    before = project.manifest()
    with Loopback(plan=always("hang")) as hanging:
        project.model("late", hanging, timeout=0.5)
        process = project.start()
        until(lambda: bool(hanging.asked))
        process.send_signal(signal.SIGINT)
        assert end(process)[0] == 130
    assert {**project.manifest(), "started": "", "finished": "", "seconds": 0, "asked": 0} == {
        **before, "started": "", "finished": "", "seconds": 0, "asked": 0
    }  # fmt: skip
    # Its timed-out attempts may have been paid for, so they are recorded; nothing is told from such a run.
    late = json.loads((project.results / "small" / "late" / "run.json").read_bytes())["sample"]
    assert late["incomplete"]
    assert {response.status for response in read_responses(project.results / "small" / "late")} == {"failed"}


def test_a_file_that_may_not_grow_stops_the_asking(server: Loopback, project: Project) -> None:
    server.answer = lambda prompt: "yes" * 1000
    project.model("m", server)

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))

    code, out, err = end(project.start(preexec_fn=small_files))
    assert (code, out) == (1, "")
    assert "the answers of m on small cannot be written (File too large)" in err
    assert "answers so far are saved" in err
    kept = len(project.lines())
    assert 0 < kept < ROWS
    assert sum(server.asked.values()) - kept <= 4
    assert project.run()[0] == 0
    assert len(project.lines()) == ROWS
    assert sum(server.asked.values()) <= ROWS + 4


def test_a_disk_that_fills_up_loses_nothing_that_was_paid_for(server: Loopback, project: Project) -> None:
    project.results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(project.results)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        server.answer = lambda prompt: "yes" * 1500
        project.model("m", server)
        code, out, err = project.run()
        assert (code, out) == (1, "")
        assert "cannot be written (No space left on device)" in err
        assert len(project.lines()) == sum(server.asked.values()) < ROWS
        subprocess.run([*mount[:4], "remount,size=4m", *mount[5:]], check=True)
        assert project.run()[0] == 0
        assert server.asked == Counter(f"Is row {number} fine?" for number in range(ROWS))
    finally:
        subprocess.run(["umount", "--lazy", str(project.results)], check=True)


def test_a_results_folder_that_disappears_is_noticed(server: Loopback, project: Project) -> None:
    project.model("m", server)
    process = project.start()
    until(lambda: len(project.lines()) >= 10)
    shutil.rmtree(project.results)
    code, _, err = end(process)
    assert code == 1
    assert "cannot be written" in err
    assert sum(server.asked.values()) < ROWS


def test_a_results_folder_that_cannot_be_written_costs_nothing(server: Loopback, project: Project) -> None:
    project.model("m", server)
    project.results.mkdir()
    (project.results / "small").write_text("a file where a folder should be")
    code, _, err = project.run()
    assert code == 2
    assert "cannot be written" in err
    assert not server.asked


def test_one_refused_model_leaves_the_table_of_the_others(server: Loopback, project: Project) -> None:
    with Loopback(plan=always("unauthorized")) as refusing:
        project.model("m", server)
        project.model("refused", refusing)
        code, out, err = project.run()
    assert code == 3
    assert "gave up refused on small: HTTP 401: wrong key" in err
    statuses = {entry["model"]: entry["statuses"] for entry in json.loads(out)["results"]}
    assert statuses["m"]["ok"] == ROWS
    assert "refused" not in statuses, "a model that has answered nothing has no accuracy"
    assert "not scored: refused on small: it has answered no row" in err


def test_an_address_without_its_version_is_said(server: Loopback, project: Project) -> None:
    project.model("m", server, base_url=server.url)
    code, _, err = project.run()
    assert code == 3
    (gave_up,) = [line for line in err.splitlines() if line.startswith("gave up m on small: HTTP 404")]
    assert gave_up.endswith("(asked for /chat/completions; base_url usually ends with /v1)")


def test_the_manifest_counts_the_trouble_and_says_when_a_score_is_incomplete(
    server: Loopback, project: Project
) -> None:
    broken = {f"Is row {number} fine?" for number in range(4)}
    server.plan = lambda prompt, attempt: (
        FAULTS["invalid"] if prompt in broken else FAULTS["throttle"] if attempt == 0 and "row 99 " in prompt else None
    )
    project.model("m", server)
    code, out, _ = project.run()
    assert code == 3
    assert json.loads(out)["results"][0]["statuses"]["failed"] == 4
    assert project.manifest()["trouble"] == {"rejected": 4, "throttled": 1}
    assert project.manifest()["incomplete"], "4 of 120 rows are more than the 2 % that may fail"
    assert project.run("--max-failures", "0.05")[0] == 3
    assert not project.manifest()["incomplete"]


def test_the_cap_on_spending_is_never_passed_and_the_rest_can_follow(server: Loopback, project: Project) -> None:
    # Each prompt has 4 tokens and each answer 1; the worst case is 19 characters / 3 + 1 and 4 tokens.
    project.model("m", server, price={"input": 100, "output": 1000})
    each = (4 * 100 + 1 * 1000) / 1e6
    code, out, err = project.run("--max-usd", str(50 * each))
    assert code == 3
    assert "to resume, raise --max-usd" in err
    asked = sum(server.asked.values())
    assert 40 <= asked <= 50
    assert json.loads(out)["results"][0]["usd"] == pytest.approx(asked * each)
    assert project.manifest()["incomplete"]
    assert project.run("--max-usd", "1")[0] == 0
    assert server.asked == Counter(f"Is row {number} fine?" for number in range(ROWS))


def test_a_batch_takes_all_rows_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "Pace", partial(batch.Pace, poll=0.01, longest_poll=0.02))
    with BatchServer() as server:
        server.answer = lambda prompt: "yes"
        project.model("m", server, batch=True, timeout=0.01, api_key=KEY)
        code, out, err = project.run()
        assert server.sizes() == [ROWS], err
    assert code == 0, err
    assert json.loads(out)["results"][0]["statuses"]["ok"] == ROWS


def test_the_first_signal_leaves_batches_to_the_next_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with BatchServer() as server:
        server.answer = lambda prompt: "yes"
        server.hold = True
        project.model("m", server, batch=True, api_key=KEY)
        process = project.start()
        until(lambda: "in_progress" in {found.status for found in server.batches.values()})
        process.send_signal(signal.SIGINT)
        code, out, err = end(process)
        assert (code, out) == (130, "")
        assert f"not waiting for {ROWS} rows in batches; the next run collects them from the vendor" in err
        assert f"stopped: 0 answers of this run are saved, {ROWS} are left; to resume, run" in err
        assert not project.lines()
        server.hold = False
        monkeypatch.setattr(batch, "Pace", partial(batch.Pace, poll=0.01, longest_poll=0.02))
        code, _, err = project.run()
        assert server.sizes() == [ROWS], err
    assert code == 0, err
    assert {line.get("latency_s") for line in project.lines()} == {None}


def test_a_cap_of_nothing_asks_nothing(server: Loopback, project: Project) -> None:
    project.model("m", server, price={"input": 1, "output": 1})
    code, out, err = project.run("--max-usd", "0")
    assert (code, json.loads(out)) == (3, {"results": []})
    assert "the next request could pass the limit of 0 USD" in err
    assert not server.asked
    assert not (project.results / "small" / "m" / "run.json").exists()


def test_a_cap_refuses_what_it_cannot_count_before_anything_is_asked(server: Loopback, project: Project) -> None:
    project.model("counted", server, price={"input": 1, "output": 1})
    project.model("m", server)
    code, _, err = project.run("--max-usd", "1")
    assert code == 2
    assert "--max-usd cannot count m, whose price is not known; in models.yaml give it 'price: {" in err
    assert not server.asked
    assert project.run("--max-usd", "1", "--model", "counted")[0] == 0


def test_the_hours_of_ones_own_server_are_counted_and_capped(server: Loopback, project: Project) -> None:
    project.model("m", server, gpu_per_hour=3600, timeout=1)
    code, out, err = project.run("--max-usd", "1.1")
    assert code == 3
    assert "the next request could pass the limit of 1.1 USD" in err
    spent = json.loads(out)["results"][0]["usd"]
    assert 0 < spent < 1.1
    assert project.run()[0] == 0
    assert project.manifest()["price"] == {"source": "gpu_per_hour", "price": None, "per_hour": 3600.0}


@pytest.mark.parametrize("limit", ["nan", "inf", "-1"])
def test_a_cap_that_is_no_number_is_refused(project: Project, limit: str) -> None:
    code, _, err = project.run("--max-usd", limit)
    assert code == 2
    assert "--max-usd" in err
