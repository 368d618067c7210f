"""Through a real server of somebody else's, `transformers serve`, a model answers as it does in this process.

So the right adapter was asked for and applied, the prompt arrived whole, and nothing of an answer was lost.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from harness.store.results import Response, read_manifests, read_responses, read_rows
from tests.train import tiny

ROOT = Path(__file__).parents[2]
TASKS = ("glue_sst2", "ag_news")
ROWS = 8

# What the libraries say to each other of their next versions is not for us.
pytestmark = [pytest.mark.local, pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, and an adapter of it for each task."""
    folder = tmp_path_factory.mktemp("models")
    tiny.base(folder / "base", context=2048)
    for seed, task in enumerate(TASKS):
        tiny.adapter(folder / "base", folder / task, seed=seed)
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the base as `base`, and each task's adapter under the name of the task."""
    folder = tmp_path_factory.mktemp("served")
    serve_whole(folder / "base", models / "base")
    for task in TASKS:
        serve_whole(folder / task, models / "base", models / task)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    with (
        (folder / "log.txt").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(port, process, folder / "log.txt")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def serve_whole(folder: Path, base: Path, adapter: Path | None = None) -> None:
    """Make a folder that the server takes for a model; with an adapter, that of the base lies beside the adapter's."""
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, folder / name)
    (folder / "model.safetensors").symlink_to(base / "model.safetensors")
    for path in adapter.glob("adapter_*") if adapter else ():
        shutil.copyfile(path, folder / path.name)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server is well; fail with its last words when it has ended, or says nothing for two minutes."""
    for _ in range(1200):
        if process.poll() is not None:
            break
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/health")  # it has no list of models to ask for: those are of the hub
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    pytest.fail(f"transformers serve did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def results(server: str, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `harness bench` recorded of base and adapters, asked through the server and in this process."""
    folder = tmp_path_factory.mktemp("project")
    served = {"backend": "openai", "base_url": server, "api": "completions", "concurrency": 2, "timeout": 120}
    local = {"backend": "local", "model": str(models / "base")}
    entries = {
        "served-base": {**served, "model": "base"},
        "served-lora": {**served, "model": "{task}"},
        "local-base": local,
        "local-lora": {**local, "adapter": f"{models}/{{task}}"},
    }
    (folder / "models.yaml").write_text(json.dumps(entries))
    command = [sys.executable, "-m", "harness", "bench", "--data", "sample", "--rows", str(ROWS)]
    command += ["--tasks", str(ROOT / "tasks"), *(f"--task={task}" for task in TASKS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results"


def completions(results: Path, task: str, model: str) -> dict[str, str]:
    """The answers of a model by row, none of which failed."""
    responses: list[Response] = list(read_responses(results / task / model))
    assert {response.status for response in responses} <= {"ok", "truncated"}
    return {response.row: response.completion for response in responses}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", ["base", "lora"])
def test_every_row_is_answered_as_in_this_process(results: Path, task: str, model: str) -> None:
    runs = {(run.task, run.model): run for run in read_manifests(results)}
    asked = {row.id for row in read_rows(results, task, runs[task, f"served-{model}"].rows)}
    served = completions(results, task, f"served-{model}")
    assert set(served) == asked
    assert len(asked) == ROWS
    assert served == completions(results, task, f"local-{model}")


@pytest.mark.parametrize("task", TASKS)
def test_an_adapter_answers_otherwise_than_its_base(results: Path, task: str) -> None:
    assert completions(results, task, "served-lora") != completions(results, task, "served-base")
