"""A mirror is a folder of Parquet files in a fixed layout; test_hub.py shows that one written is one read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.rows import mirror
from harness.tasks.task import Dataset
from tests.rows.conftest import Make, parquet

ROW = {"text": "a", "label": "yes"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hub": "some/set"}, ["some__set/default/test.parquet"]),
        ({"hub": "conllpp"}, ["conllpp/default/test.parquet"]),
        ({"hub": "nyu-mll/glue", "config": "mnli"}, ["nyu-mll__glue/mnli/test.parquet"]),
        ({"hub": "some/set", "config": "a+b"}, ["some__set/a/test.parquet", "some__set/b/test.parquet"]),
        ({"hub": "some/set", "revision": "refs/convert/parquet"}, ["some__set/default/test.parquet"]),
    ],
)
def test_the_layout(spec: dict[str, str], expected: list[str]) -> None:
    assert mirror.paths(Path("m"), Dataset(**spec), "test") == [Path("m") / path for path in expected]


def test_both_configurations_are_read_one_after_the_other(tmp_path: Path) -> None:
    spec = Dataset(hub="some/set", config="b+a")
    parquet(tmp_path / "some__set/a/test.parquet", [{"text": "1"}])
    parquet(tmp_path / "some__set/b/test.parquet", [{"text": "2"}])
    split = mirror.split(tmp_path, spec, "test")
    assert split is not None
    assert list(split.read(["text"])) == [{"text": "2"}, {"text": "1"}]


def test_a_mirror_that_lacks_one_of_two_configurations_lacks_the_split(tmp_path: Path) -> None:
    parquet(tmp_path / "some__set/a/test.parquet", [ROW])
    assert mirror.split(tmp_path, Dataset(hub="some/set", config="a+b"), "test") is None


def test_a_task_without_a_hub_dataset_is_in_no_mirror(tmp_path: Path) -> None:
    assert mirror.split(tmp_path, Dataset(), "test") is None


@pytest.mark.usefixtures("offline")
def test_none_can_be_made_without_the_hub(make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="small: the Hugging Face hub cannot be reached"):
        mirror.write(make(), tmp_path / "mirror")
    assert not (tmp_path / "mirror").exists()


@pytest.mark.parametrize("dataset", [{}, {"hub": "some/set", "obtain": "Ask Kaggle.\n"}])
def test_none_can_be_made_of_what_is_not_on_the_hub(make: Make, tmp_path: Path, dataset: dict[str, str]) -> None:
    with pytest.raises(DataError) as found:
        mirror.write(make(dataset=dataset), tmp_path / "mirror")
    assert str(found.value) == "small's data is not on the hub" + ("\nAsk Kaggle." if dataset else "")
