"""`harness forget`: what it removes, what it leaves, and when it refuses."""

from __future__ import annotations

import pytest

from harness.store.results import ResponseLog
from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.runs import ROWS, Small


@pytest.fixture
def recorded(small: Small, loopback: Loopback) -> Small:
    """A project with runs of two models."""
    for name in ("model-1", "model-2"):
        small.model(name, loopback.openai_url)
    small.bench()
    return small


def test_a_pair_goes_with_all_that_is_recorded_of_it(harness: Command, recorded: Small, loopback: Loopback) -> None:
    results = str(recorded.results)
    folder = recorded.results / "small" / "model-1"
    code, out, _ = harness("forget", "small", "model-1", "--results", results)
    assert code == 0
    assert out.splitlines() == [
        f"removed {folder / 'responses.jsonl'}",
        f"removed {folder / 'run.json'}",
        f"model-1 on small: {ROWS} answers removed",
    ]
    assert not folder.exists()
    assert sorted(path.name for path in (recorded.results / "small").iterdir()) == ["_rows", "model-2"]
    asked = sum(loopback.asked.values())
    recorded.bench()
    assert sum(loopback.asked.values()) == asked + ROWS


def test_batches_are_forgotten_and_said_to_be(harness: Command, recorded: Small) -> None:
    batches = recorded.results / "small" / "model-1" / "batches.jsonl"
    batches.write_text('{"file": "file-1", "asked": ["x"]}\n')
    code, out, _ = harness("forget", "small", "model-1", "--results", str(recorded.results))
    assert code == 0
    assert f"removed {batches}" in out
    assert "batches that were not collected yet are removed as well" in out
    assert not batches.exists()


def test_what_is_not_ours_stays(harness: Command, recorded: Small) -> None:
    kept = recorded.results / "small" / "model-1" / "notes" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert harness("forget", "small", "model-1", "--results", str(recorded.results))[0] == 0
    assert [path for path in (recorded.results / "small" / "model-1").rglob("*") if path.is_file()] == [kept]


@pytest.mark.parametrize(
    ("task", "model", "message"),
    [
        ("smal", "model-1", "nothing is recorded of task 'smal' in {results} (did you mean 'small'?)"),
        ("small", "model-3", "nothing is recorded of model 'model-3' on small (did you mean "),
        ("small", "_rows", "nothing is recorded of model '_rows' on small"),
        ("small", "../small/model-1", "nothing is recorded of model '../small/model-1' on small"),
    ],
)
def test_only_a_recorded_pair_can_be_forgotten(
    harness: Command, recorded: Small, task: str, model: str, message: str
) -> None:
    before = sorted(recorded.results.rglob("*"))
    code, out, err = harness("forget", task, model, "--results", str(recorded.results))
    assert (code, out) == (2, "")
    assert message.format(results=recorded.results) in err
    assert sorted(recorded.results.rglob("*")) == before


def test_a_pair_that_is_being_asked_is_not_forgotten(harness: Command, recorded: Small) -> None:
    folder = recorded.results / "small" / "model-1"
    with ResponseLog(folder):
        code, _, err = harness("forget", "small", "model-1", "--results", str(recorded.results))
    assert code == 2
    assert "another process is asking this model" in err
    assert (folder / "responses.jsonl").is_file()
