"""`harness serve` as a process of its own, as a user starts and ends it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.models import tiny_gguf
from tests.serve.front import project

ROOT = Path(__file__).parents[2]


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "harness", "serve", "--models-file", str(folder / "models.yaml"), *arguments]


def environment(folder: Path) -> dict[str, str]:
    cache = {"LORA_LEADERBOARD_CACHE": str(folder / "cache"), "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT), **cache}


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its base_url."""
    process = subprocess.Popen(
        command(folder, "--port", "0", *arguments), env=environment(folder), cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.match(r"http://\S+", said)
        assert found, said + process.communicate()[1]
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def refused(folder: Path, *arguments: str) -> str:
    with subprocess.Popen(
        command(folder, *arguments), env=environment(folder) | {"PYTHONFAULTHANDLER": "1"}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # which shows where it hangs
            pytest.fail(process.communicate()[1])
    assert process.returncode == 2, out + err
    assert "Traceback" not in err
    return err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project(tmp_path)
    return tmp_path


def test_it_serves_until_it_is_told_to_end_and_takes_no_taken_port(folder: Path) -> None:
    with served(folder) as (process, url):
        body = {"model": "adapter1", "prompt": "1 2", "max_tokens": 2}
        assert httpx.post(f"{url}/completions", json=body, timeout=60).json()["model"] == "adapter1"
        port = url.removesuffix("/v1").rpartition(":")[2]
        assert f"port {port}: Address already in use; choose another with --port" in refused(folder, "--port", port)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def test_mistakes_are_one_message(folder: Path) -> None:
    assert "no model 'tinny'" in refused(folder, "--models", "tinny")
    assert "0.0.0.0 can be reached by others: choose a --token" in refused(folder, "--host", "0.0.0.0")
    assert "there is no address absent.invalid" in refused(folder, "--host", "absent.invalid", "--token", "t")
    assert "--base is for --print" in refused(folder, "--base", "org/base")
    broken = tiny_gguf.write_adapter(folder / "mine" / "broken", layers=3)
    assert "has a weight that its base has no layer for" in refused(folder, "--adapters", "mine")
    (broken / "adapter_model.safetensors").write_bytes(b"no weights")
    assert "broken cannot be read" in refused(folder, "--adapters", "mine")
    assert "there is no GGUF file" in refused(folder, "--models", _entry(folder, model="absent.gguf"))
    assert "absent has no adapter_config.json" in refused(folder, "--models", _entry(folder, adapter="absent"))


def _entry(folder: Path, **more: str) -> str:
    path = folder / "models.yaml"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps({**entries, "wrong": {**entries["tiny"], **more}}))
    return "wrong"


def test_the_command_of_another_engine_is_printed_with_what_it_would_refuse(folder: Path) -> None:
    settings = folder / "adapters" / "adapter2" / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "use_dora": True}))
    done = subprocess.run(
        command(folder, "--print", "vllm", "--base", "org/base"), env=environment(folder), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve org/base --enable-lora ")
    assert done.stderr == "warning: adapter2: left out of the command: DoRA is refused\n"
