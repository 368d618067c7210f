"""`harness init` starts a project and overwrites nothing."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from harness.commands.init import command
from harness.models.entry import load_models
from harness.tasks.catalog import load_task
from harness.tasks.task import json_schema


def init(folder: Path) -> str:
    done = CliRunner().invoke(command, [str(folder)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_new_folder_gets_a_task_with_samples_a_models_file_and_a_gitignore(tmp_path: Path) -> None:
    said = init(tmp_path / "new")
    for name in ("models.yaml", "tasks/example.yaml", "tasks/samples/example.jsonl", ".gitignore"):
        assert (tmp_path / "new" / name).is_file()
        assert f"wrote {tmp_path / 'new' / name}" in said
    assert "harness bench --task example" in said


def test_its_files_are_valid_and_nothing_needs_a_key_but_what_says_so(tmp_path: Path) -> None:
    init(tmp_path)
    assert load_task(tmp_path / "tasks", "example").task.metrics[0].name == "accuracy"
    entries = load_models(tmp_path / "models.yaml", (), {})
    assert [entry.name for entry in entries if entry.ready] == ["majority", "tfidf"]
    assert (tmp_path / "tasks" / "task.schema.json").read_text().startswith('{\n  "$schema"')
    assert json_schema()["title"] == "Task"


def test_keys_and_recorded_answers_are_ignored_by_git(tmp_path: Path) -> None:
    init(tmp_path)
    assert {".env", "results/", "reports/"} <= set((tmp_path / ".gitignore").read_text().splitlines())


def test_a_file_that_exists_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("mine: {backend: baseline, method: majority}\n")
    said = init(tmp_path)
    assert f"exists, not changed: {tmp_path / 'models.yaml'}" in said
    assert (tmp_path / "models.yaml").read_text().startswith("mine:")
    assert (tmp_path / "tasks" / "example.yaml").is_file()


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(command, [str(tmp_path / "file")])
    assert done.exit_code == 2
    assert "is a file" in done.output
