"""Files and folders that are written whole or not at all, whatever stops the writing."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.store.atomic import LineFile, new_folder, replace_file, utf8


@pytest.mark.parametrize("there", [False, True], ids=["absent", "empty"])
def test_a_folder_is_there_once_all_is_written(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "new" / "out"
    if there:
        out.mkdir(parents=True)
    with new_folder(out) as part:
        (part / "file").write_text("whole")
        assert not (out / "file").exists()
    assert (out / "file").read_text() == "whole"
    assert list(out.parent.iterdir()) == [out]


def test_after_an_error_nothing_is_left_of_a_folder(tmp_path: Path) -> None:
    def write() -> None:
        with new_folder(tmp_path / "out") as part:
            (part / "file").write_text("half")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(UserError, match="out: cannot be written"), new_folder(out):
        pass
    assert list(tmp_path.rglob("*")) == [out, out / "mine"]


def test_a_file_of_lines_is_readable_by_all_unless_it_is_to_be_private(tmp_path: Path) -> None:
    usual = os.umask(0o022)
    try:
        for name, arguments, mode in (("a", (), 0o644), ("b", (0o600,), 0o600)):
            LineFile(tmp_path / name, *arguments).close()
            assert (tmp_path / name).stat().st_mode & 0o777 == mode
    finally:
        os.umask(usual)


@pytest.mark.parametrize("length", [1, 1 << 16, (1 << 16) + 1, 200_000])
@pytest.mark.parametrize("whole", [b"", b"\n", b"one\ntwo\n"])
def test_half_a_line_is_dropped_on_opening_however_long_it_is(tmp_path: Path, whole: bytes, length: int) -> None:
    path = tmp_path / "lines"
    path.write_bytes(whole + b"x" * length)
    LineFile(path).close()
    assert path.read_bytes() == whole


@pytest.fixture
def _ten_bytes() -> Iterator[None]:
    """No file may grow beyond ten bytes."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.mark.usefixtures("_ten_bytes")
def test_a_line_that_does_not_fit_is_an_error_and_nothing_of_it_stays(tmp_path: Path) -> None:
    lines = LineFile(tmp_path / "lines")
    lines.append(b"one\n")
    with pytest.raises(OSError, match="File too large"):
        lines.append(b"longer than that\n")
    lines.append(b"two\n")
    lines.close()
    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\n"


def test_a_file_that_ends_with_a_line_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n")
    os.utime(path, (1000, 1000))
    LineFile(path).close()
    assert (path.read_bytes(), path.stat().st_mtime) == (b"one\n", 1000)


def test_lines_are_appended_whatever_another_has_appended(tmp_path: Path) -> None:
    lines = LineFile(tmp_path / "lines")
    lines.append(b"one\n")
    with (tmp_path / "lines").open("ab") as other:
        other.write(b"two\n")
    lines.append(b"three\n")
    lines.close()
    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\nthree\n"
    with pytest.raises(OSError, match="Bad file descriptor"):
        lines.append(b"four\n")


def test_a_file_that_was_deleted_meanwhile_is_named(tmp_path: Path) -> None:
    lines = LineFile(tmp_path / "lines")
    (tmp_path / "lines").unlink()
    with pytest.raises(FileNotFoundError, match=f"the file has been deleted: '{tmp_path}/lines'"):
        lines.append(b"one\n")
    lines.close()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for text in ("ä\n", "b\ud800"):
        replace_file(path, text)
        assert path.read_bytes() == utf8(text)
        assert list(path.parent.iterdir()) == [path]
    assert utf8("ä\ud800") == b"\xc3\xa4\\ud800"


def test_a_file_that_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(UserError, match=f"{tmp_path}/file: cannot be written: Is a directory"):
        replace_file(tmp_path / "file", "text")


def test_a_device_that_is_full_is_said_to_be(tmp_path: Path) -> None:
    """Nothing of it can be cut off, which would be another error."""
    (tmp_path / "lines").symlink_to("/dev/full")
    lines = LineFile(tmp_path / "lines")
    with pytest.raises(OSError, match="No space left on device"):
        lines.append(b"one\n")
    lines.close()
