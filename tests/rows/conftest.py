"""A task over two columns, and rows for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.rows import hub
from harness.rows.files import Row, Split
from harness.tasks.catalog import TaskFile, load_task

Make = Callable[..., TaskFile]


def parquet(path: Path, rows: list[Row]) -> Path:
    """Write rows as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def in_memory(rows: Sequence[Row]) -> Split:
    """A split of these rows."""
    columns = tuple(dict.fromkeys(name for row in rows for name in row))

    def read(wanted: Iterable[str]) -> Iterator[Row]:
        chosen = set(wanted)
        return ({name: value for name, value in row.items() if name in chosen} for row in rows)

    return Split(columns, read)


def jsonl(path: Path, rows: Iterable[Row]) -> Path:
    """Write rows as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def make_in() -> Callable[..., TaskFile]:
    """Write `small.yaml` with these keys into a folder, and load it."""

    def make(folder: Path, **keys: Any) -> TaskFile:
        task = {
            "title": "Small",
            "category": "classification",
            "dataset": {"hub": "some/small", "splits": {"train": "train", "test": "test"}},
            "prompt": "Is {{ text }} fine?",
            "target": "{{ label }}",
            "answer": {"type": "label", "labels": ["yes", "no"]},
            "metrics": ["accuracy"],
            "max_tokens": 4,
            **keys,
        }
        # One key to a line, so that an error's line tells the key: JSON is YAML.
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in task.items())
        folder.mkdir(exist_ok=True)
        (folder / "small.yaml").write_text(lines, encoding="utf-8")
        return load_task(folder, "small")

    return make


@pytest.fixture
def make(make_in: Callable[..., TaskFile], tmp_path: Path) -> Make:
    """The same in a folder of the test's own, `tasks`."""
    return lambda **keys: make_in(tmp_path / "tasks", **keys)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Sample rows for the task: two to train on and one to test."""
    rows = [("a", "train"), ("b", "train"), ("sample", "test")]
    return jsonl(
        tmp_path / "tasks" / "samples" / "small.jsonl",
        [{"text": text, "label": "yes", "_split": split} for text, split in rows],
    )


@pytest.fixture(autouse=True)
def _ask_the_hub_anew() -> Iterator[None]:
    """Whether the hub can be reached is asked once a process; here once a test."""
    hub.reachable.cache_clear()
    yield
    hub.reachable.cache_clear()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
