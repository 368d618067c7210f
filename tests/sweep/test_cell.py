"""One cell in its folder, with real processes; the training itself is in test_cluster.py."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.sweep.cell import Processes, Work, run_cell
from tests.models import tiny_gguf
from tests.sweep.cells import CELL, ROOT, WORK, tuned


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Work:
    path = tiny_gguf.write_base(tmp_path_factory.mktemp("base") / "one.gguf")
    return replace(WORK, base=str(path), cell=replace(CELL, base=str(path)))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_base_is_asked_and_its_folder_says_all(base: Work, tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    found = run_cell(base, folder, Processes())
    assert found == read(folder / "done.json")
    assert (found["kind"], found["rows"], found["seed"], found["adapter_sha256"]) == ("base", None, None, None)
    main = found["scores"][0]
    assert (main["metric"], main["n"]) == ("accuracy", 3)
    assert main["low"] <= main["score"] <= main["high"]
    assert all((folder / name).is_file() for name in base.files)

    by_hand = (folder / "commands.txt").read_text()
    again = subprocess.run(["bash", "-ec", by_hand], capture_output=True, text=True, check=True)
    assert [one["score"] for one in json.loads(again.stdout)["results"]] == [one["score"] for one in found["scores"]]


def test_a_cell_that_cannot_be_asked_says_why_and_goes_on_when_it_can(base: Work, tmp_path: Path) -> None:
    broken = tmp_path / "one.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    found = run_cell(replace(base, base=str(broken)), tmp_path / "cell", Processes())
    assert found == read(tmp_path / "cell" / "failed.json")
    assert (found["step"], found["exit_code"], found["out_of_memory"]) == ("bench", 3, False)
    assert " bench --task glue_sst2 " in found["command"]
    assert 0 < len(found["last_lines"]) <= 50
    assert not (tmp_path / "cell" / "done.json").exists()
    assert "reason" not in run_cell(base, tmp_path / "cell", Processes())
    assert not (tmp_path / "cell" / "failed.json").exists()


def test_a_cell_that_takes_too_long_is_ended(base: Work, tmp_path: Path) -> None:
    found = run_cell(replace(base, timeout=0.2), tmp_path, Processes())
    assert found["reason"] == "not done after the 0.2 s of resources.timeout"


def test_a_cell_whose_process_is_killed_names_the_signal(base: Work, tmp_path: Path) -> None:
    processes = Processes()
    found: list[dict[str, Any]] = []
    cell = threading.Thread(target=lambda: found.append(run_cell(base, tmp_path, processes)))
    cell.start()
    while not processes.running:
        time.sleep(0.01)
    os.killpg(next(iter(processes.running)).pid, signal.SIGKILL)
    cell.join()
    assert (found[0]["signal"], found[0]["out_of_memory"]) == ("SIGKILL", False)


def test_a_base_that_cannot_be_asked_is_named_with_the_reason(base: Work, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_text("no model")
    found = run_cell(replace(base, base=str(tmp_path / "bad.gguf")), tmp_path / "cell", Processes())
    assert re.match(r"exit code 3: not scored: base on glue_sst2: .*cannot load .*bad\.gguf", found["reason"])


def test_a_full_disk_is_the_failure_of_its_cell(base: Work, tmp_path: Path) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    found = run_cell(base, tmp_path, Processes())
    assert "No space left on device" in found["reason"]
    assert read(tmp_path / "failed.json")["reason"] == found["reason"]


def test_a_disk_that_fills_while_answers_are_recorded_is_the_failure_of_its_cell(base: Work, tmp_path: Path) -> None:
    answers = tmp_path / "results" / "glue_sst2" / "base"
    answers.mkdir(parents=True)
    (answers / "responses.jsonl").symlink_to("/dev/full")
    found = run_cell(base, tmp_path, Processes())
    assert found["step"] == "bench"
    assert "cannot be written (No space left on device)" in found["reason"]
    assert not (tmp_path / "done.json").exists()
    (answers / "responses.jsonl").unlink()
    assert run_cell(base, tmp_path, Processes())["scores"][0]["n"] == 3


def test_the_commands_end_with_the_process_that_started_them() -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel of Linux does this")
    program = "from harness.sweep.cell import Processes; Processes().run(['/bin/sh', '-c', 'echo $$; sleep 60'], None)"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not Path(f"/proc/{child}/cmdline").exists() or Path(f"/proc/{child}/cmdline").read_bytes() == b"":
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} goes on alone")


def test_options_become_the_command_as_a_user_types_it() -> None:
    work = tuned(train={"learning_rate": 0.001, "target": ["q_proj", "v_proj"], "gpu_per_hour": 1.5})
    typed = " ".join(work.commands["train"][1:])
    assert typed.startswith("-m harness train glue_sst2 --base one.gguf --rows 5 --learning-rate 0.001 --target q_proj")
    assert "--target v_proj --gpu-per-hour 1.5 --seed 0 --out adapter" in typed


def test_a_cell_uses_as_many_threads_as_it_has_processors() -> None:
    assert WORK.environment["OMP_NUM_THREADS"] == "1"
    assert json.loads(replace(WORK, cpus=2).models)["base"]["threads"] == 2
