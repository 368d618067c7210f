"""`harness sweep` as a user types it, as far as no training is needed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.sweep.cell import DONE
from harness.sweep.places import Place
from tests.commands.conftest import Command, harness
from tests.models import tiny_gguf
from tests.sweep.cells import ROOT

__all__ = ["harness"]
FILE: dict[str, Any] = {
    "bases": ["one.gguf"], "tasks": ["glue_sst2"], "rows": [5], "bench": {"rows": 3}, "results": "runs",
}  # fmt: skip
Sweep = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path / "cache"))
    tiny_gguf.write_base(tmp_path / "one.gguf")
    return tmp_path


def write(folder: Path, **changed: Any) -> None:
    (folder / "sweep.yaml").write_text(json.dumps({**FILE, **changed}, indent=1))


@pytest.fixture
def sweep(folder: Path, harness: Command) -> Sweep:
    def run(*arguments: str, **changed: Any) -> tuple[int, str, str]:
        write(folder, **changed)
        return harness("sweep", "sweep.yaml", "--data", "sample", "--tasks", str(ROOT / "tasks"), *arguments)

    return run


def finish(folder: Path) -> list[Path]:
    """Write the files of all cells of the sweep, as if it had run, and return their folders."""
    from dataclasses import replace

    from harness.sweep.cell import Work
    from tests.sweep.cells import WORK, write_finished

    known = json.loads((folder / "runs" / "names.json").read_text())
    made = []
    for name, tuned in known:
        cell = replace(WORK.cell, name=name, rows=5 if tuned else None, seed=0 if tuned else None)
        work: Work = replace(WORK, cell=cell)
        write_finished(work, folder / "runs" / "cells" / name)
        made.append(folder / "runs" / "cells" / name)
    return made


def finished_sweep(folder: Path, **changed: Any) -> list[Path]:
    """Write a sweep's file and the files of all its cells, and return their folders: the base's first."""
    from harness.commands.train import command as train
    from harness.sweep.start import SweepOptions, _opened

    write(folder, **changed)
    options = SweepOptions(Path("sweep.yaml"), 1, None, False, (), False, "sample", ROOT / "tasks")
    opened = _opened(options, train.params, lambda line: None)
    (folder / "runs").mkdir()
    names = [(work.cell.name, work.cell.tuned) for work in opened.works]
    (folder / "runs" / "names.json").write_text(json.dumps(names))
    opened.place.write("sweep.json", opened.about)
    return finish(folder)


@pytest.fixture
def finished(sweep: Sweep, folder: Path) -> list[Path]:
    """The folders of a base's cell and of a tuned one, both done."""
    return finished_sweep(folder)


def test_what_is_done_is_not_run_again(finished: list[Path], sweep: Sweep) -> None:
    before = [path.stat().st_mtime_ns for path in sorted(Path("runs/cells").rglob("*"))]
    code, out, _ = sweep("--json")
    found = json.loads(out)
    assert (code, found["failed"], found["left"]) == (0, [], 0)
    assert {cell["cell"] for cell in found["done"]} == {path.name for path in finished}
    assert [path.stat().st_mtime_ns for path in sorted(Path("runs/cells").rglob("*"))] == before
    code, out, _ = sweep()
    assert "1 cells and 1 bases alone; 2 done before" in out
    assert "glue_sst2  one.gguf  5       0       accuracy  0.500 [0.200, 0.800]  10" in out


def test_a_plan_of_finished_cells_leaves_nothing(finished: list[Path], sweep: Sweep) -> None:
    code, out, _ = sweep("--plan")
    assert code == 0
    assert out.startswith("2 cells, 2 done, 0 left: 0.00 hours")


def test_a_failed_cell_is_not_run_again_unless_asked(folder: Path, sweep: Sweep) -> None:
    """Two seeds: what is left is timed by the tuned cell that is done, so the plan needs no trial, nor PyTorch."""
    _, cell, _ = finished_sweep(folder, seeds=[0, 1])
    (cell / DONE).unlink()
    (cell / "failed.json").write_text(json.dumps({"cell": cell.name, "reason": "exit code 1"}))
    code, out, _ = sweep(seeds=[0, 1])
    assert code == 3
    assert f"failed: {cell.name}: exit code 1" in out
    assert "--retry failed runs them again" in out
    code, out, _ = sweep("--plan", "--retry", "failed", seeds=[0, 1], limit={"hours": 1})
    assert "1 left" in out


def test_a_done_cell_without_its_files_is_said(finished: list[Path], sweep: Sweep) -> None:
    (finished[0] / "results" / "glue_sst2" / "base" / "responses.jsonl").unlink()
    (finished[1] / "failed.json").write_text("{}")
    code, out, err = sweep("--only", "base=one.gguf", "--json", limit={"hours": 1e-9})
    assert (code, json.loads(out)["left"]) == (3, 1)
    assert f"{finished[0].name}: done.json is there, but not all files of the cell; it is run again" in err


@pytest.mark.parametrize(
    ("arguments", "changed", "message"),
    [
        ((), {"seeds": list(range(6000))}, "6,000 cells; more than 5,000 need --yes"),
        ((), {"resources": {"memory": "1KB"}}, "sweep.yaml:3: bases.0: 'one.gguf' has"),
        ((), {"rows": [6]}, "runs: holds the results of another sweep file (rows: [5] there, [6] here)"),
        (("--only", "task=ag_news"), {}, "--only task=ag_news: no cell has this task"),
        (("--only", "tsk=ag_news"), {}, "expected axis=value (did you mean 'task'?)"),
        (("--retry", "all"), {}, "'all' is not 'failed'"),
        ((), {"results": "sweep.yaml"}, "error: sweep.yaml: cannot be read: NotADirectoryError"),
        ((), {"results": "s3://"}, "error: s3://: "),
    ],
)
def test_a_mistake_is_one_message(
    finished: list[Path], sweep: Sweep, arguments: tuple[str, ...], changed: dict[str, Any], message: str
) -> None:
    code, _, err = sweep(*arguments, **changed)
    assert code == 2
    assert message in err


def test_two_sweeps_do_not_share_a_folder(finished: list[Path], sweep: Sweep) -> None:
    with Place("runs").alone():
        code, _, err = sweep()
    assert (code, err) == (2, "error: runs: another `harness sweep` runs on these results\n")


def test_an_address_where_no_ray_answers_is_said_soon(finished: list[Path], sweep: Sweep) -> None:
    pytest.importorskip("ray")
    (finished[0] / DONE).unlink()
    code, _, err = sweep("--ray", "127.0.0.1:9")
    assert (code, err) == (2, "error: --ray 127.0.0.1:9: no Ray answers there: [Errno 111] Connection refused\n")
    code, _, err = sweep("--ray", "nowhere")
    assert (code, err) == (2, "error: --ray nowhere: expected host:port, such as 10.0.0.5:6379, or auto\n")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_accepts_and_says_nothing_is_not_waited_for_without_end(
    finished: list[Path], folder: Path, scheme: str
) -> None:
    """In a process of its own, which must end: Ray's client goes on in a thread."""
    pytest.importorskip("ray")
    (finished[0] / DONE).unlink()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        program = (
            "from harness.cli import main; from harness.sweep import cluster; cluster.SECONDS_TO_ANSWER = 1; main()"
        )
        arguments = ["sweep", "sweep.yaml", "--data", "sample", "--tasks", str(ROOT / "tasks"), "--ray", address]
        ended = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, timeout=120
        )
    assert ended.returncode == 2
    assert f"error: --ray {address}: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_ray_the_extra_is_named(finished: list[Path], sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    (finished[0] / DONE).unlink()
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = sweep("--ray")
    assert (code, err) == (2, "error: --ray needs the extra `sweep`: pip install 'lora-leaderboard[sweep]'\n")


def test_a_node_says_what_it_lacks(tmp_path: Path) -> None:
    from dataclasses import replace

    from harness import __version__
    from harness.sweep.cluster import lacking
    from tests.sweep.cells import WORK

    assert lacking(replace(WORK, data="/nowhere"), "0.0") == [
        f"lora-leaderboard {__version__} is installed, the sweep was started with 0.0",
        f"{ROOT / 'tasks' / 'glue_sst2.yaml'}: another task file than where the sweep was started",
        "the data of glue_sst2 are missing: /nowhere: no such folder (choose from: hub, sample)",
    ]


def test_ctrl_c_ends_the_cells_and_prints_the_line_that_goes_on(folder: Path) -> None:
    write(folder)
    command = [sys.executable, "-m", "harness", "sweep", "sweep.yaml", "--data", "sample"]
    running = subprocess.Popen(
        [*command, "--tasks", str(ROOT / "tasks")], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not list(folder.glob("runs/cells/*/bench.json")):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped: 0 of 2 cells are done, 1 were running; to go on, run\n  " in err
    assert err.rstrip().endswith(f"-m harness sweep sweep.yaml --data sample --tasks {ROOT / 'tasks'}")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"sweep": [], "tasks": []}', '{"sweep": {}, "data": null, "tasks": {"glue_sst2": 5}}']
)
def test_what_an_earlier_start_wrote_may_be_torn(folder: Path, sweep: Sweep, text: str) -> None:
    finished_sweep(folder)
    (folder / "runs" / "sweep.json").write_text(text)
    code, out, err = sweep()
    assert (code, "2 done before" in out + err) == (0, True), err
    assert json.loads((folder / "runs" / "sweep.json").read_text())["sweep"]["bases"] == ["one.gguf"]
