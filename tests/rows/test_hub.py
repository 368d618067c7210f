"""The hub through `datasets` itself, against a little hub on a real socket; and a hub that is not there."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from harness.rows import hub
from harness.rows.hub import CONVERTED
from harness.tasks.catalog import TaskFile
from harness.tasks.task import Dataset
from tests.rows.little_hub import LittleHub

ROOT = Path(__file__).parents[2]
TWO_CONFIGS = b"""---
configs:
- config_name: easy
  data_files: [{split: test, path: easy/test.parquet}, {split: train, path: easy/train.parquet}]
- config_name: hard
  data_files: [{split: test, path: hard/test.parquet}, {split: train, path: hard/train.parquet}]
---
"""


def content(*texts: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table({"text": texts, "label": [0] * len(texts)}), file)
    return file.getvalue()


def spoiled() -> bytes:
    """A file whose schema can be read and whose rows cannot."""
    good = content("a", "b")
    return good[:4] + bytes(60) + good[64:]


REPOSITORIES = {
    "some/plain": {
        "main": {
            "data/train-00000-of-00001.parquet": content("t"),
            "data/test-00000-of-00002.parquet": content("a", "b"),
            "data/test-00001-of-00002.parquet": content("c"),
        }
    },
    "some/configs": {
        "main": {
            "README.md": TWO_CONFIGS,
            "easy/train.parquet": content("t1"),
            "easy/test.parquet": content("1"),
            "hard/train.parquet": content("t2"),
            "hard/test.parquet": content("2"),
        }
    },
    "some/script": {
        "main": {"script.py": b"import datasets"},
        CONVERTED: {
            "first/test/0000.parquet": content("c"),
            "first/test/0001.parquet": content("d"),
            "first/train/0000.parquet": content("t"),
            "second/test/0000.parquet": content("e"),
        },
    },
    "some/gated": {"main": {}},
    "some/broken": {"main": {"data/test-00000-of-00001.parquet": b"nonsense"}},
    "some/lost": {"main": {"data/test-00000-of-00001.parquet": content("a")}},
    "some/spoiled": {"main": {"data/test-00000-of-00001.parquet": spoiled()}},
    "some/dropped": {CONVERTED: {}},
}

HAD = {
    "a data set of Parquet files": ({"hub": "some/plain"}, "test", "abc"),
    "its other split": ({"hub": "some/plain"}, "train", "t"),
    "one of two configurations": ({"hub": "some/configs", "config": "hard"}, "test", "2"),
    "both, one after the other": ({"hub": "some/configs", "config": "easy+hard"}, "test", "12"),
    "the converted branch": ({"hub": "some/script", "revision": CONVERTED, "config": "first"}, "test", "cd"),
    "all of the converted branch": ({"hub": "some/script", "revision": CONVERTED}, "train", "t"),
    "the converted branch, both": (
        {"hub": "some/script", "revision": CONVERTED, "config": "first+second"},
        "test",
        "cde",
    ),
    "a folder of Parquet files": ({"hub": "./set"}, "test", "f"),
    "an old name without an owner": ({"hub": "script", "revision": CONVERTED, "config": "second"}, "test", "e"),
}
NOT_HAD = {
    "no such data set": ({"hub": "no/body"}, "test", "'no/body' doesn't exist on the Hub or cannot be accessed"),
    "no such old name": ({"hub": "nobody"}, "test", "'nobody' doesn't exist on the Hub or cannot be accessed"),
    "no such revision": ({"hub": "some/plain", "revision": "v9"}, "test", "Revision 'v9' doesn't exist"),
    "no such split": ({"hub": "some/plain"}, "tset", """Unknown split "tset". Should be one of ['train', 'test']"""),
    "no such configuration": ({"hub": "some/configs", "config": "esay"}, "test", "Available: ['easy', 'hard']"),
    "a configuration needed": ({"hub": "some/configs"}, "test", "Please pick one among the available configs"),
    "a gated data set": ({"hub": "some/gated"}, "test", "is a gated dataset on the Hub. Visit the dataset page"),
    "a loading script": ({"hub": "some/script"}, "test", "Dataset scripts are no longer supported"),
    "a broken file": ({"hub": "some/broken"}, "test", "Either the file is corrupted or this is not a parquet file"),
    "a lost file": ({"hub": "some/lost"}, "test", "Entry Not Found"),
    "a converted branch not there": ({"hub": "some/plain", "revision": CONVERTED}, "test", "Revision Not Found"),
    "a converted split not there": ({"hub": "some/script", "revision": CONVERTED}, "tset", "data file"),
    "a gated one, converted": ({"hub": "some/gated", "revision": CONVERTED}, "test", "Cannot access gated repo"),
    "no such data set, converted": ({"hub": "no/body", "revision": CONVERTED}, "test", "Repository Not Found"),
    "a file with broken rows": ({"hub": "some/spoiled"}, "test", "deserialize"),
    "a connection that breaks": ({"hub": "some/dropped", "revision": CONVERTED}, "test", "disconnected"),
}
CASES = HAD | NOT_HAD
OFFLINE = """
import json, pathlib
from harness.rows.origin import locate
from harness.tasks.catalog import load_task
found = locate(load_task(pathlib.Path(), "small"), None)
print(json.dumps([{"place": found.place, "rows": list(found.splits["test"].read(["text"]))}]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, make_in: Callable[..., TaskFile]) -> dict[str, dict[str, Any]]:
    """What came of each case, and under `mirror` of mirroring a task; all of it asked in one process."""
    folder = tmp_path_factory.mktemp("hub")
    make_in(
        folder, dataset={"hub": "some/configs", "config": "easy+hard", "splits": {"train": "train", "test": "test"}}
    )
    (folder / "set").mkdir()
    (folder / "set" / "test.parquet").write_bytes(content("f"))
    old = {"script": "some/script"}
    with LittleHub(REPOSITORIES, old, gated="some/gated", lost="some/lost", dropped="some/dropped") as little:
        kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "tests.rows.ask_hub", str(folder)],
            input=json.dumps([{"spec": spec, "split": split} for spec, split, _ in CASES.values()]),
            env={**kept, "HF_ENDPOINT": little.url, "HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)},
            cwd=folder, text=True, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    kept |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    offline = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE],
        env=kept,
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )
    assert offline.returncode == 0, offline.stderr
    return dict(zip([*CASES, "mirror", "offline"], json.loads(done.stdout) + json.loads(offline.stdout), strict=True))


class TestLoad:
    @pytest.mark.parametrize("case", HAD)
    def test_rows_are_had_from(self, outcomes: dict[str, Any], case: str) -> None:
        expected = [{"text": text} for text in HAD[case][2]]
        assert outcomes[case] == {"columns": ["text", "label"], "rows": expected}

    @pytest.mark.parametrize("case", NOT_HAD)
    def test_an_error_with_its_reason_comes_of(self, outcomes: dict[str, Any], case: str) -> None:
        spec, split, reason = NOT_HAD[case]
        message = outcomes[case]["error"]
        assert message.startswith(f"{spec['hub']}: split '{split}' cannot be loaded from the hub: ")
        assert reason in message
        assert "\n" not in message

    def test_a_task_without_a_hub_dataset_has_nothing_to_load(self) -> None:
        with pytest.raises(DataError, match="the task names no hub dataset"):
            hub.load(Dataset(), "test")


def test_a_mirror_holds_what_the_hub_holds(outcomes: dict[str, Any]) -> None:
    done = outcomes["mirror"]
    assert done["written"] == [
        f"mirror/some__configs/{config}/{split}.parquet" for split in ("train", "test") for config in ("easy", "hard")
    ]
    assert done["left"] == []
    assert done["places"] == ["hub", "mirror"]
    rows = {"train": [{"text": "t1"}, {"text": "t2"}], "test": [{"text": "1"}, {"text": "2"}]}
    assert done["rows"] == [rows, rows]


def test_without_the_hub_the_cache_of_datasets_serves_what_was_loaded_before(outcomes: dict[str, Any]) -> None:
    assert outcomes["offline"] == {"place": "hub", "rows": [{"text": "1"}, {"text": "2"}]}


class TestCached:
    @pytest.mark.parametrize(
        ("folder", "name", "found"),
        [
            ("some___plain", "some/plain", True),
            ("owner___some_data", "owner/SomeData", True),
            ("ag_news", "ag_news", True),
            ("some___other", "some/plain", False),
        ],
    )
    def test_is_what_has_a_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, name: str, found: bool
    ) -> None:
        (tmp_path / "datasets" / folder).mkdir(parents=True)
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        assert not hub.cached(Dataset(hub=name)), "without HF_HUB_OFFLINE, datasets would ask the hub first"
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert hub.cached(Dataset(hub=name)) == found
        assert not hub.cached(Dataset(hub=name, revision=CONVERTED))


@pytest.fixture
def listening() -> socket.socket:
    """A socket that takes connections and never answers."""
    return socket.create_server(("127.0.0.1", 0))


class TestReachable:
    def test_a_hub_that_answers_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with LittleHub({}, {}) as little:
            monkeypatch.setenv("HF_ENDPOINT", little.url)
            assert hub.reachable()

    @pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
    def test_with_hf_hub_offline_it_is_not_and_is_not_even_asked(
        self, monkeypatch: pytest.MonkeyPatch, listening: socket.socket, word: str
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("HF_HUB_OFFLINE", word)
        with listening:
            assert not hub.reachable()
            listening.setblocking(False)
            with pytest.raises(BlockingIOError):
                listening.accept()

    @pytest.mark.parametrize("word", ["0", "", "no"])
    def test_other_words_do_not_mean_offline(self, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
        with LittleHub({}, {}) as little:
            monkeypatch.setenv("HF_ENDPOINT", little.url)
            monkeypatch.setenv("HF_HUB_OFFLINE", word)
            assert hub.reachable()

    @pytest.mark.parametrize("address", ["http://127.0.0.1:9", "", "not an address", "http://[", "http://name.invalid"])
    def test_a_hub_that_is_not_there_is_not(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
        assert not hub.reachable()

    def test_a_hub_that_hangs_is_given_up(self, monkeypatch: pytest.MonkeyPatch, listening: socket.socket) -> None:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
        with listening:
            assert not hub.reachable()
