"""What every test may use: a server on a real socket, and an environment without keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.loopback import Loopback

# A busy machine makes any example slow once; how long a test takes is not what it says.
settings.register_profile("suite", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("suite")

_PREFIXES = ("OPENAI_", "LORAX_", "ANTHROPIC_", "VLLM_", "OLLAMA_", "OPENROUTER_", "AZURE_", "HF_", "HUGGING")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may depend on, or spend money with, a key, an address, a proxy or a fetched model of this machine."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("harness.cli.DOTENV", tmp_path / ".env")
    for name, value in {"LORA_LEADERBOARD_CACHE": str(tmp_path), "PIP_NO_INDEX": "1"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def _one_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of models as small as those of the tests wait for each other, in this process and in those it starts."""
    if request.node.get_closest_marker("local"):
        import torch

        torch.set_num_threads(1)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """A scriptable model server on 127.0.0.1: OpenAI chat, OpenAI completions and LoRAX generate."""
    with Loopback() as server:
        yield server
