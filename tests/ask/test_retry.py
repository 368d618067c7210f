"""Asking again: only what failed, on the rows of the last run, and nothing that was not begun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.ask.run import retry
from harness.errors import UserError
from harness.store.results import Manifest, read_manifests
from tests.loopback import FAULTS, Fault, Loopback, healthy
from tests.runs import ROWS, TASK, Small


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def again(small: Small, said: list[str] | None = None, **changes: Any) -> list[Manifest]:
    say: Callable[[str], None] = said.append if said is not None else lambda line: None
    return retry(replace(small.options, data=None, **changes), say)


def every(nth: int) -> Callable[[str, int], Fault | None]:
    """The server's plan by which every nth row can never be answered."""
    return lambda prompt, attempt: FAULTS["invalid"] if int(prompt.split()[2]) % nth == 0 else None


def test_only_the_failed_rows_are_asked_again(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    loopback.plan = every(4)
    small.bench()
    before = loopback.asked.copy()
    loopback.plan = healthy
    (manifest,) = again(small)
    asked = {prompt for prompt, count in (loopback.asked - before).items() if count}
    assert len(asked) == ROWS / 4
    assert all(int(prompt.split()[2]) % 4 == 0 for prompt in asked)
    assert manifest.asked == ROWS / 4
    assert not again(small)


def test_the_rows_are_those_of_the_last_run_without_its_data(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    loopback.plan = every(1)
    (first,) = small.bench(rows=10, seed=3)
    (small.folder / "tasks" / "samples" / "small.jsonl").unlink()
    before, loopback.plan = loopback.asked.copy(), healthy
    (second,) = again(small)
    assert sum((loopback.asked - before).values()) == 10
    changing = {"started", "finished", "seconds", "asked", "trouble", "incomplete", "stopped", "versions", "git"}
    assert second.model_dump(exclude=changing) == first.model_dump(exclude=changing)
    assert (first.incomplete, second.incomplete) == (True, False)


def test_no_new_pair_is_begun(small: Small, loopback: Loopback) -> None:
    small.task("other")
    small.model("m", loopback.openai_url)
    loopback.plan = every(4)
    small.bench(tasks=("small",))
    small.model("new", loopback.openai_url)
    loopback.plan = healthy
    assert [(run.task, run.model) for run in again(small)] == [("small", "m")]
    assert {(run.task, run.model) for run in read_manifests(small.results)} == {("small", "m")}


def test_a_whole_run_is_left_alone(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    small.bench()
    asked = loopback.asked.copy()
    said: list[str] = []
    assert again(small, said) == []
    assert loopback.asked == asked
    assert said == ["every row of these runs has an answer"]


@pytest.mark.parametrize("change", ["model", "prompt"])
def test_what_has_changed_since_is_left_to_bench(small: Small, loopback: Loopback, change: str) -> None:
    small.model("m", loopback.openai_url)
    loopback.plan = every(4)
    small.bench()
    asked = loopback.asked.copy()
    if change == "model":
        small.model("m", loopback.openai_url, temperature=1)
    else:
        small.task(text=TASK.replace("one word", "a word"))
    said: list[str] = []
    assert again(small, said) == []
    assert loopback.asked == asked
    assert any("have changed since; run `harness bench`" in line for line in said)


def test_a_model_that_left_the_file_is_named(small: Small, loopback: Loopback) -> None:
    small.model("model-1", loopback.openai_url)
    loopback.plan = every(4)
    small.bench()
    del small.models["model-1"]
    small.model("model-2", loopback.openai_url)
    said: list[str] = []
    assert again(small, said) == []
    assert "did you mean 'model-2'?" in said[-1]


def test_only_the_pairs_that_are_named_are_asked(small: Small, loopback: Loopback) -> None:
    for name in ("a", "b"):
        small.model(name, loopback.openai_url)
    loopback.plan = every(4)
    small.bench()
    loopback.plan = healthy
    assert [run.model for run in again(small, models=("b",))] == ["b"]
    with pytest.raises(UserError, match=r"no run of model 'c' in .* \(choose from: a, b\)"):
        again(small, models=("c",))


def test_without_runs_there_is_nothing_to_retry(small: Small) -> None:
    small.model("m", "http://localhost:1/v1")
    with pytest.raises(UserError, match="no runs are recorded here"):
        again(small)
