"""A run says what it was made with, and never guesses."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.store.provenance import git_state, versions


@pytest.fixture(autouse=True)
def _look_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The state is found once a process; here once a test, and whatever git's own variables say."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git_state.cache_clear()
    yield
    git_state.cache_clear()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, as working directory."""
    for name, value in (("NAME", "n"), ("EMAIL", "e@example.org")):
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("a")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-q", "-m", "m", "--no-gpg-sign"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_versions_are_those_of_python_and_of_what_can_move_a_score() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    for name in ("scikit-learn", "rouge-score", "sacrebleu", "datasets"):
        assert found[name] == version(name)
    assert found["lora-leaderboard"] == version("lora-leaderboard")


def test_a_package_that_is_not_installed_is_left_out_of_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.provenance._PACKAGES", ("no-such-package", "numpy"))
    versions.cache_clear()
    try:
        assert versions().keys() == {"python", "numpy"}
    finally:
        versions.cache_clear()


def test_a_ctrl_c_meant_for_the_run_does_not_reach_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets signals of its own session only."""
    git = checkout / "bin" / "git"
    git.parent.mkdir()
    git.write_text("#!/bin/sh\nps -o sid= -p $$\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:/usr/bin:/bin")
    session = git_state(checkout)["commit"]
    assert int(session) not in (os.getsid(0), 0)


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    state = git_state(Path.cwd())
    assert state["dirty"] is False
    assert re.fullmatch("[0-9a-f]{40}", state["commit"])
    (checkout / "untracked").touch()
    git_state.cache_clear()
    assert git_state(Path.cwd()) == state


def test_a_changed_file_makes_it_dirty(checkout: Path) -> None:
    (checkout / "a").write_text("b")
    assert git_state(Path.cwd())["dirty"] is True


def test_a_folder_of_the_checkout_has_the_same_state(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = git_state(Path.cwd())
    (checkout / "sub").mkdir()
    monkeypatch.chdir(checkout / "sub")
    git_state.cache_clear()
    assert git_state(Path.cwd()) == state


def test_outside_a_checkout_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_state(Path.cwd()) == {}


def test_nor_before_the_first_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    assert git_state(Path.cwd()) == {}


def test_nor_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert git_state(Path.cwd()) == {}
