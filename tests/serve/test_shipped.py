"""The shipped base and its adapters behind the front: the answers of `harness bench`, and proven."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.ask.run import BenchOptions, bench
from harness.store.results import read_manifests, read_responses
from tests.serve.front import Running

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.local  # the base is fetched, 98 MB, where it is not there yet


@pytest.fixture(autouse=True)
def _users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base is looked for on this machine, and may be fetched."""
    monkeypatch.delenv("LORA_LEADERBOARD_CACHE")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.chdir(ROOT)


def test_answers_are_those_of_this_process_and_the_adapters_are_proven(tmp_path: Path) -> None:
    tasks = ("ag_news", "glue_sst2")
    here = {"backend": "llamacpp", "model": "smollm2-135m", "threads": 1}
    adapters = str(ROOT / "adapters" / "smollm2-135m" / "{task}")
    entries = {"base": here, "here": {**here, "adapter": adapters, "base": "base"}}
    (tmp_path / "models.yaml").write_text(json.dumps(entries))
    with Running(tmp_path / "models.yaml") as running:
        served = {"backend": "openai", "base_url": running.url, "api": "completions", "concurrency": 8}
        both = {**entries, "there": {**served, "model": "{task}", "base": "base", "fingerprint": adapters}}
        (tmp_path / "both.yaml").write_text(json.dumps(both))
        said: list[str] = []
        options = BenchOptions(
            tasks, ("here", "there"), tmp_path / "both.yaml", ROOT / "tasks", tmp_path / "results", "sample"
        )
        bench(options, said.append)
    assert sum("there on" in line and ": proven: " in line for line in said) == len(tasks), said
    for task in tasks:
        found = {
            name: {row.row: row.completion for row in read_responses(tmp_path / "results" / task / name)}
            for name in ("here", "there")
        }
        assert len(found["here"]) >= 20
        assert None not in found["here"].values()
        assert found["there"] == found["here"]
    assert {run.model for run in read_manifests(tmp_path / "results")} == {"here", "there"}
