"""Where results go: a folder, and a bucket on loopback."""

from __future__ import annotations

import logging
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import BusyError, UserError
from harness.sweep.places import Place, done_cells
from tests.sweep.cells import tuned, write_finished

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries about each other
WORK = tuned()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def environment(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch, server: str, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place(str(tmp_path / "results"))
    import boto3

    boto3.client("s3", endpoint_url=server).create_bucket(Bucket=tmp_path.name.replace("_", "-")[:60].strip("-"))
    return Place(f"s3://{tmp_path.name.replace('_', '-')[:60].strip('-')}/some/prefix")


def put(place: Place, folder: Path) -> None:
    if not (folder / "done.json").exists():
        write_finished(WORK, folder)
    if place.local:  # which cells work in
        shutil.copytree(folder, place.local / "cells" / WORK.cell.name, dirs_exist_ok=True)
    else:
        place.put(folder, WORK.cell.name, "done.json")


def test_a_cell_that_was_put_is_done(place: Place, tmp_path: Path) -> None:
    assert place.listing() == {}
    put(place, tmp_path / "cell")
    put(place, tmp_path / "cell")  # a second time nothing is nested
    assert set(place.listing()[WORK.cell.name]) == set(WORK.files)
    assert done_cells(place.listing(), {WORK.cell.name: WORK.files}) == ({WORK.cell.name}, set())
    name = f"cells/{WORK.cell.name}/done.json"
    assert place.read([name, "nothing.json"])[name]["cell"] == WORK.cell.name


@pytest.mark.parametrize("place", ["bucket"], indirect=True)  # in a folder the cell itself sees to it
def test_a_cell_that_failed_when_it_ran_again_is_no_longer_done(place: Place, tmp_path: Path) -> None:
    put(place, tmp_path / "cell")
    (tmp_path / "cell" / "done.json").unlink()
    (tmp_path / "cell" / "failed.json").write_text("{}")
    place.put(tmp_path / "cell", WORK.cell.name, "failed.json")
    assert place.listing()[WORK.cell.name].keys() == {*WORK.files, "failed.json"} - {"done.json"}


def test_a_cell_that_lacks_a_file_is_not_done(place: Place, tmp_path: Path) -> None:
    write_finished(WORK, tmp_path / "cell")
    (tmp_path / "cell" / "adapter" / "adapter_model.safetensors").unlink()
    put(place, tmp_path / "cell")
    assert done_cells(place.listing(), {WORK.cell.name: WORK.files}) == (set(), {WORK.cell.name})


def test_a_file_that_is_empty_torn_or_not_there_is_left_out(place: Place, tmp_path: Path) -> None:
    for name, text in {"whole": '{"cell": 1}', "empty": "", "torn": '{"cell'}.items():
        if place.local:
            place.local.mkdir(exist_ok=True)
            (place.local / name).write_text(text)
        else:
            place._files.pipe_file(f"{place.root}/{name}", text.encode())
    assert place.read(["whole", "empty", "torn", "nothing"]) == {"whole": {"cell": 1}}


def test_a_file_that_is_there_but_cannot_be_read_is_not_taken_for_one_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").mkdir()
    with pytest.raises(UserError, match="cannot be read: IsADirectoryError"):
        Place(str(tmp_path)).read(["sweep.json"])


@pytest.mark.parametrize("place", ["bucket"], indirect=True)
def test_a_bucket_is_asked_once_for_each_file_and_later_only_for_those_that_changed(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def asked() -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, "werkzeug"):
            files = {f"cells/{cell}/done.json": listed["done.json"] for cell, listed in place.listing().items()}
            assert place.read_listed(files) == {name: {"at": name} for name in files if name != torn} | changed
        lines = [record.getMessage() for record in caplog.records]
        assert not any("HEAD " in line for line in lines)
        return sorted(found[1] for line in lines if (found := re.search(r"GET \S*/cells/(cell\d+)/", line)))

    torn, changed = "cells/cell3/done.json", dict[str, Any]()
    for number in range(12):
        place.write(f"cells/cell{number}/done.json", {"at": f"cells/cell{number}/done.json"})
    place._files.pipe_file(f"{place.root}/{torn}", b"{")
    assert asked() == sorted(f"cell{number}" for number in range(12))
    assert asked() == ["cell3"], "which the index cannot hold"
    changed["cells/cell7/done.json"] = {"at": "another time"}
    place.write("cells/cell7/done.json", changed["cells/cell7/done.json"])
    assert asked() == ["cell3", "cell7"]
    place.write("index.json", [])
    assert asked() == sorted(f"cell{number}" for number in range(12))


def test_what_others_write_meanwhile_is_listed(place: Place, tmp_path: Path) -> None:
    assert place.listing() == {}
    put(Place(place.url), tmp_path / "cell")
    assert WORK.cell.name in place.listing()


def test_only_one_sweep_at_a_time_writes_there(place: Place) -> None:
    with place.alone(), pytest.raises(BusyError, match="another `harness sweep` runs"), Place(place.url).alone():
        pass
    with place.alone():
        pass


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "bucket does not exist|NoSuchBucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint URL"),
        ({"AWS_ACCESS_KEY_ID": None}, "credentials"),
    ],
    ids=["no such bucket", "unreachable", "no credentials"],
)
def test_a_bucket_that_cannot_be_used_is_one_message(
    environment: pytest.MonkeyPatch, changed: dict[str, str | None], message: str
) -> None:
    for name, value in changed.items():
        environment.setenv(name, value) if value else environment.delenv(name)
    place = Place("s3://no-such-bucket/ranks")
    with pytest.raises(UserError, match=message) as error:
        _begin(place)
    assert str(error.value).startswith("s3://no-such-bucket/ranks: ")


def _begin(place: Place) -> None:
    """What a sweep does at a place before anything else."""
    place.read(["sweep.json"])
    place.write("sweep.json", {})


@pytest.mark.parametrize(
    ("url", "package", "message"),
    [
        ("s4://bucket", None, "s4://bucket: cannot be opened: Protocol not known: s4"),
        ("s3://bucket", "s3fs", "s3://bucket: Install s3fs to access S3; install the extra: pip install '.*[sweep]'"),
        ("gs://bucket", "gcsfs", "gs://bucket: Please install gcsfs to access Google Storage$"),
    ],
)
def test_an_unknown_place_or_a_missing_package_is_one_message(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str | None, message: str
) -> None:
    from fsspec.registry import _registry

    if package:
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        Place(url)


def test_a_place_where_nothing_can_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/folder"):
        with pytest.raises(UserError, match="cannot be written: "), Place(str(tmp_path / name)).alone():
            pass


@pytest.mark.parametrize("place", ["bucket"], indirect=True)
def test_a_bucket_is_free_again_a_minute_after_its_sweep_was_killed(place: Place) -> None:
    place.write("running.json", {"at": time.time() - 20})
    with pytest.raises(BusyError, match=r"; if it was killed, they are free in (40|[123]\d) s"), place.alone():
        pass
    for stale in ({"at": time.time() - 61}, {}, []):
        place.write("running.json", stale)
        with place.alone():
            assert place.read(["running.json"])["running.json"]["at"] > time.time() - 10
