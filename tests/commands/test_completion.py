"""What a shell offers to complete, by the protocol of each shell and in a real bash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty project with a `harness` on its path, a task and a model of its own, and a recorded run."""
    for name in ("tasks/mine.yaml", "results/jigsaw/tfidf/run.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "models.yaml").write_text("own-model: {backend: openai, api_key: ${KEY}}\nother: {}\n")
    (tmp_path / "harness").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harness "$@"\n')
    (tmp_path / "harness").chmod(0o755)
    return tmp_path


def ask(folder: Path, *command: str, **environment: str) -> str:
    base = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env={**base, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("shell", "begun", "offered"),
    [("bash", "3", "plain,mine\n"), ("zsh", "3", "plain\nmine\n_\n"), ("fish", "mi", "plain,mine")],
)
def test_each_shell_is_offered_names_in_its_own_form(folder: Path, shell: str, begun: str, offered: str) -> None:
    words = "harness bench --task mi" if shell != "fish" else "harness bench --task"
    found = ask(folder, "harness", _HARNESS_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=begun)
    assert found.strip() == offered.strip()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_to_source(folder: Path, shell: str) -> None:
    assert f"_HARNESS_COMPLETE={shell}_complete" in ask(folder, "harness", _HARNESS_COMPLETE=f"{shell}_source")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("harness ben", {"bench"}),
        ("harness bench --task min", {"mine"}),
        ("harness bench --model o", {"own-model", "other"}),
        ("harness check gsm", {"gsm8k"}),
        ("harness compare tf", {"tfidf"}),
        ("harness forget jig", {"jigsaw"}),
        ("harness export --model tf", {"tfidf"}),
        ("harness bench --tasks none --task j", set()),
    ],
)
def test_names_are_those_of_the_folder(folder: Path, line: str, offered: set[str]) -> None:
    count = str(len(line.split()) - 1)
    found = ask(folder, "harness", _HARNESS_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=count)
    assert {entry.partition(",")[2] for entry in found.split()} == offered


def test_a_plugin_on_the_line_is_not_run_by_completion(folder: Path) -> None:
    (folder / "mine.py").write_text("open('run', 'w')")
    line = "harness bench --plugin mine.py --task mi"
    found = ask(folder, "harness", _HARNESS_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD="5")
    assert found.strip() == "plain,mine"
    assert not (folder / "run").exists()


def test_a_real_bash_completes(folder: Path) -> None:
    program = """
        eval "$(_HARNESS_COMPLETE=bash_source harness)"
        COMP_WORDS=(harness bench --task mi)
        COMP_CWORD=3
        _harness_completion harness
        echo "${COMPREPLY[@]}"
    """
    assert ask(folder, "bash", "-c", program).strip() == "mine"
