"""`harness demo` as a user starts, exports and misuses it; what its page does in a browser is tested beside."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from harness.errors import UserError
from harness.rows.evaluation import EvaluationRow
from harness.serve.demo import LONGEST_PROMPT, DemoOptions, _check
from harness.serve.side_by_side import right_answer, written_row
from harness.serve.space import export_space
from tests.commands.conftest import harness as harness
from tests.loopback import Loopback
from tests.models import tiny_gguf
from tests.serve import contest
from tests.serve.test_command import environment

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, loopback: Loopback, monkeypatch: pytest.MonkeyPatch) -> Path:
    contest.write(tmp_path, loopback)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def _no_gradio_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is found before a page is made; to import Gradio takes seconds."""
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))


@contextmanager
def started(command: list[str], folder: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that shows the page, and its address."""
    process = subprocess.Popen(
        command, env=environment(folder) | variables, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.match(r"(http://\S+) shows ", said)
        assert found, said + process.communicate()[1]
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def test_without_the_extra_it_is_named(folder: Path, harness: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for arguments in ((), ("--export", "space")):
        code, _, said = harness("demo", *arguments)
        assert code == 2
        assert "install the extra: pip install 'lora-leaderboard[demo]'" in said
    assert not (folder / "space").exists()


@pytest.mark.usefixtures("_no_gradio_needed")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "tinny"), "no model 'tinny' in models.yaml (did you mean 'tiny'?)"),
        (("--task", "colour"), "(did you mean 'colours'?)"),
        (("--data", "away"), "away: no such folder"),
        (("--model", "majority"), "'majority' has no model behind it"),
        (("--model", "away"), "no model can be reached; `harness models --check` says what each needs"),
        (("--export", "."), "is not an empty folder; name one that is new or empty with --export"),
        (("--export", "space", "--model", "served"), "'served' has `backend: openai`: a Space holds models with"),
        (("--export", "space", "--task", "colour"), "(did you mean 'colours'?)"),
        (("--export", "space", "--model", "lost"), "model 'lost': there is no GGUF file gone.gguf"),
    ],
)
def test_mistakes_are_one_message(folder: Path, harness: Command, arguments: tuple[str, ...], said: str) -> None:
    more = {
        "majority": {"backend": "baseline", "method": "majority"},
        "away": {"backend": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"},
        "lost": {"backend": "llamacpp", "model": "gone.gguf"},
    }
    entries = json.loads((folder / "models.yaml").read_text())
    (folder / "models.yaml").write_text(json.dumps(entries | more))
    code, _, error = harness("demo", *arguments)
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not (folder / "space").exists()


@pytest.mark.usefixtures("_no_gradio_needed")
def test_a_taken_port_is_told_before_models_are_loaded(folder: Path, harness: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, said = harness("demo", "--port", str(port))
    assert (code, said) == (2, f"error: port {port}: Address already in use; choose another with --port\n")


def test_a_server_that_cannot_be_reached_is_left_out_and_the_page_is_this_machines_only(
    folder: Path, loopback: Loopback
) -> None:
    entries = json.loads((folder / "models.yaml").read_text())
    away = {"backend": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    (folder / "models.yaml").write_text(json.dumps({"away": away, **entries}))
    command = [sys.executable, "-m", "harness", "demo", "--port", "0"]
    with subprocess.Popen(
        command, env=environment(folder), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("left out: away: no answer: nothing listens there")
        address = process.stdout.readline().split()[0]
        assert "Models side by side" in httpx.get(address).text
        assert httpx.get(address, headers={"Host": "elsewhere.example"}).status_code == 400
        upload = httpx.post(f"{address}/gradio_api/upload", files={"files": b"more than one byte"})
        assert upload.status_code == 413
        with httpx.stream("GET", f"{address}/gradio_api/heartbeat/a-page-that-stays-open", timeout=30):
            process.send_signal(signal.SIGTERM)
            out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (0, "", "")


def test_an_exported_space_runs_and_shows_its_page(folder: Path) -> None:
    files = export_space(DemoOptions(Path("models.yaml"), tasks=("colours",)), folder / "space")
    space = folder / "space"
    carried = ("adapter_config.json", "adapter_model.safetensors")
    assert {str(path.relative_to(space)) for path in files} == {
        "README.md", "app.py", "models.yaml", "requirements.txt", "tiny.gguf", "tasks/colours.yaml",
        "tasks/stories.yaml", "tasks/samples/colours.jsonl", "tasks/samples/stories.jsonl",
        *(f"adapters/tuned/colours/{name}" for name in carried),
    }  # fmt: skip
    assert contest.KEY not in "".join(path.read_text() for path in files if path.suffix in (".yaml", ".py", ".md"))
    _, front_matter, _ = (space / "README.md").read_text().split("---\n")
    settings = YAML(typ="safe").load(front_matter)
    assert (settings["sdk"], settings["app_file"]) == ("gradio", "app.py")
    assert (space / "requirements.txt").read_text().startswith("lora-leaderboard[demo]==")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    with started([sys.executable, str(space / "app.py")], elsewhere, GRADIO_SERVER_PORT="0") as (_, address):
        config = httpx.get(f"{address}/config").json()
    labels = [one["props"].get("label") for one in config["components"]]
    assert {"Task", "Example", "Prompt", "Right answer", "tiny", "tuned"} <= set(labels)
    assert "served" not in labels
    (task,) = (one["props"] for one in config["components"] if one["props"].get("label") == "Task")
    assert task["choices"] == [["colours", "colours"]]


def test_a_space_has_the_tasks_of_all_folders_and_no_base_in_place_of_another(folder: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "paints.yaml").write_bytes((folder / "tasks" / "colours.yaml").read_bytes())
    both = DemoOptions(Path("models.yaml"), tasks_folder=(folder / "tasks", more))
    assert {"colours.yaml", "paints.yaml"} <= {path.name for path in export_space(both, folder / "with both")}
    (tmp_path / "other").mkdir()
    tiny_gguf.write_base(tmp_path / "other" / "tiny.gguf", seed=5)
    bases = {"one": str(folder / "tiny.gguf"), "two": str(tmp_path / "other" / "tiny.gguf")}
    entries = {name: {"backend": "llamacpp", "model": place} for name, place in bases.items()}
    (tmp_path / "two.yaml").write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"model 'two': another model has a GGUF file of the name tiny\.gguf"):
        export_space(DemoOptions(tmp_path / "two.yaml"), folder / "of two")
    assert not (folder / "of two").exists()


EXAMPLE = EvaluationRow("1", "x" * (LONGEST_PROMPT + 1), ("y" * 2001,), {})


@pytest.mark.parametrize(
    ("models", "prompt", "gold", "said"),
    [
        (["tiny"], " \n", "red", "the prompt is empty"),
        ([], "?", "red", "choose a model"),
        (["tiny"], "z" * (LONGEST_PROMPT + 1), "", "the prompt has 20,001 characters; at most 20,000 are sent"),
        (["tiny"], "?", "z" * 2001, "the right answer has 2,001 characters; at most 2,000 are sent"),
    ],
)
def test_what_cannot_be_sent_is_told(models: list[Any], prompt: str, gold: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        _check(models, written_row(EXAMPLE, prompt, gold), EXAMPLE)


def test_an_example_of_the_data_may_be_longer_than_what_is_written() -> None:
    _check(["tiny"], written_row(EXAMPLE, EXAMPLE.prompt, right_answer(EXAMPLE)), EXAMPLE)  # type: ignore[list-item]
