"""`import harness`: the list of names, how fast it loads, the printed examples, and a running event loop."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import harness
from harness.commands.output import next_step
from tests.loopback import Loopback

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_names_are_these() -> None:
    assert harness.__all__ == [
        "BenchResults", "BusyError", "CapReached", "CustomAnswer", "CustomModel", "DataError", "Example",
        "HarnessError", "Interrupted", "Metric", "Model", "ModelEntry", "ModelPair", "Plugins", "PredictionScores",
        "Reply", "Request", "SpecError", "Task", "TaskFile", "UserError", "bench", "compare", "load_models",
        "load_task", "report", "score", "train",
    ]  # fmt: skip


@pytest.mark.parametrize("name", harness.__all__)
def test_each_name_is_there_and_documented(name: str) -> None:
    assert getattr(harness, name) is not None
    assert f"`{name}`" in PAGE.read_text()


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'bnch'"):
        harness.bnch  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    program = """
import sys
import harness
assert harness.__version__
loaded = {name.partition(".")[0] for name in sys.modules} & {
    "numpy", "pandas", "pydantic", "aiohttp", "httpx", "jinja2", "ruamel", "matplotlib", "scipy", "datasets", "click"
}
assert not loaded, loaded
assert [name for name in sys.modules if name.startswith("harness.")] == []
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("name", ["compare", "report", "score", "train"])
def test_a_function_with_the_name_of_a_package_stays_callable_when_the_package_is_imported(name: str) -> None:
    package = importlib.import_module(f"harness.{name}")
    assert getattr(harness, name) is package
    assert callable(package)
    assert inspect.signature(package) == inspect.signature(getattr(importlib.import_module("harness.api"), name))


def test_the_examples_of_the_page_run_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks[0].strip().splitlines()) <= 10
    exec("\n".join(blocks), {})
    printed = capsys.readouterr().out
    assert "tfidf beats majority" in printed
    assert "tfidf is better on 1 of 2 tasks, worse on 0" in printed
    assert "Estimate(value=0.5" in printed
    assert "reports/index.html" in printed


def test_bench_gives_what_the_command_prints() -> None:
    results = harness.bench("jigsaw", ["majority", "tfidf"], data="sample", say=lambda line: None)
    command = [sys.executable, "-m", "harness", "bench", "--task", "jigsaw", "--data", "sample"]
    command += ["--model", "majority", "--model", "tfidf"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert printed.endswith(f"{results}\n{next_step()}\n")


def test_bench_works_inside_a_running_event_loop(loopback: Loopback) -> None:
    Path("models.yaml").write_text(f"m: {{backend: openai, model: m, base_url: {loopback.url}/v1}}\n")

    async def cell() -> harness.BenchResults:
        return harness.bench("jigsaw", "m", data="sample", say=lambda line: None)

    results = asyncio.run(cell())
    assert [run.manifest.model for run in results.runs] == ["m"]
    assert int(results.frame["n"].iloc[0]) == 24


def test_a_mistake_is_an_error_of_the_project_inside_a_loop_too() -> None:
    async def cell() -> None:
        harness.bench("jigsw")

    with pytest.raises(harness.UserError, match="did you mean 'jigsaw'"):
        asyncio.run(cell())


def test_the_errors_are_one_family() -> None:
    for kind in (harness.UserError, harness.SpecError, harness.DataError, harness.CapReached, harness.Interrupted):
        assert issubclass(kind, harness.HarnessError)


def test_a_run_in_a_thread_of_its_own_needs_no_signals() -> None:
    found: list[harness.BenchResults] = []
    say = print
    thread = threading.Thread(target=lambda: found.append(harness.bench("jigsaw", "majority", data="sample", say=say)))
    thread.start()
    thread.join()
    assert found[0].runs


def test_an_interrupt_in_a_notebook_stops_the_run_and_keeps_its_answers(loopback: Loopback, tmp_path: Path) -> None:
    loopback.latency = 0.05
    Path("models.yaml").write_text(f"m: {{backend: openai, model: m, base_url: {loopback.openai_url}, concurrency: 1}}")
    program = """
import asyncio
import harness

async def cell():
    try:
        harness.bench("jigsaw", "m", data="sample")
    except harness.Interrupted:
        print("interrupted")

asyncio.new_event_loop().run_until_complete(cell())  # as a notebook's: without asyncio.run's own handling of Ctrl-C
"""
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while loopback.answered.total() < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    printed, _ = running.communicate(timeout=60)
    assert printed.endswith("interrupted\n")
    kept = len((tmp_path / "results" / "jigsaw" / "m" / "responses.jsonl").read_text().splitlines())
    assert 3 <= kept == loopback.answered.total() < 24


@pytest.mark.parametrize("base", ["smollm2-135m", "some/base"])
def test_train_has_the_commands_defaults(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.commands.train import command

    chosen: list[object] = []

    class Reached(Exception):
        pass

    def train(options: object, say: object) -> None:
        chosen.append(options)
        raise Reached

    monkeypatch.setattr(importlib.import_module("harness.train.train"), "train", train)
    with pytest.raises(Reached):
        harness.train("jigsaw", base, rank=4)
    with pytest.raises(Reached):
        command.main(["jigsaw", "--base", base, "--rank", "4"], standalone_mode=False)
    assert chosen[0] == chosen[1]
