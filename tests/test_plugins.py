"""Plugins: the printed example, what runs code and what does not, and mistakes of their authors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import SpecError, UserError
from harness.plugins import Plugins, load_file, plugins
from harness.score.metrics.registry import build
from harness.tasks.catalog import load_task
from harness.tasks.task import MetricSpec, TextAnswer

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _none_left_over() -> Iterator[None]:
    plugins.cache_clear()
    yield
    plugins.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the page's example."""
    for language, name, text in re.findall(r"```(python|yaml)\n# (\S+)\n(.*?)```", PAGE, flags=re.DOTALL):
        assert name.endswith({"python": ".py", "yaml": ".yaml"}[language])
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ((name, rows),) = re.findall(r"are lines of `(\S+)`.*?```json\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(rows)
    return tmp_path


@pytest.fixture
def harness(project: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(project), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)

    return run


def test_the_commands_of_the_page_run_and_give_the_scores_of_the_example(harness: Run, project: Path) -> None:
    (block,) = re.findall(r"```shell\n(.*?)```", PAGE, flags=re.DOTALL)
    printed = []
    for line in block.strip().splitlines():
        done = harness(*line.split()[1:])
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    # One right, one four days off, one thirty days off, one without a date.
    assert re.search(r"^first-date +0\.250 .* +0\.500 ", printed[1], flags=re.MULTILINE)
    found = json.loads(harness("bench", "--json", "--task", "due", "--plugin", "plugins/dates.py").stdout)["results"]
    assert [(entry["metric"], entry["score"]) for entry in found] == [
        ("within_days", 0.25),
        ("within_days(days=7)", 0.5),
    ]
    assert found[0]["statuses"]["unparsed"] == 1


def test_without_the_option_nothing_is_run_and_the_message_says_what_is_missing(harness: Run, project: Path) -> None:
    (project / "plugins" / "dates.py").write_text("raise SystemExit('this code was run')")
    done = harness("bench", "--task", "due", "--data", "sample")
    assert done.returncode == 2
    assert "models.yaml:2: first-date.backend: 'first_date' is not valid" in done.stderr
    assert "name the plugin's file with --plugin" in done.stderr
    assert "this code was run" not in done.stdout + done.stderr
    (project / "models.yaml").unlink()
    done = harness("check", "due")
    assert "tasks/due.yaml:8: answer.type: 'date' is not valid" in done.stderr


def test_scores_are_computed_again_when_the_code_of_a_plugin_has_changed(harness: Run, project: Path) -> None:
    arguments = ("bench", "--json", "--task", "due", "--data", "sample", "--plugin", "plugins/dates.py")
    before = json.loads(harness(*arguments).stdout)["results"][0]["score"]
    path = project / "plugins" / "dates.py"
    path.write_text(path.read_text().replace(".days) <= days)", ".days) <= days + 100)"))
    after = json.loads(harness(*arguments).stdout)["results"][0]["score"]
    assert (before, after) == (0.25, 0.75)


def test_an_option_of_a_custom_answer_type_is_checked_like_any_other(project: Path) -> None:
    load_file(project / "plugins" / "dates.py")
    path = project / "tasks" / "due.yaml"
    path.write_text(path.read_text().replace("earliest:", "erliest:"))
    with pytest.raises(SpecError, match=r"due\.yaml:8: answer\.erliest: unknown key 'erliest'"):
        load_task(project / "tasks", "due")


def test_a_task_with_a_custom_answer_type_keeps_it_through_json(project: Path) -> None:
    load_file(project / "plugins" / "dates.py")
    task = load_task(project / "tasks", "due").task
    assert json.loads(task.model_dump_json())["answer"] == {"type": "date", "earliest": "2000-01-01"}
    assert type(task).model_validate_json(task.model_dump_json()) == task


def test_a_package_with_the_entry_point_is_found_without_an_option(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = project / "site"
    (site / "dates-1.0.dist-info").mkdir(parents=True)
    (site / "dates-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dates\nVersion: 1.0\n")
    (site / "dates-1.0.dist-info" / "entry_points.txt").write_text("[harness.plugins]\ndates = dates_plugin:register\n")
    (site / "dates_plugin.py").write_text((project / "plugins" / "dates.py").read_text())
    monkeypatch.syspath_prepend(str(site))
    assert load_task(project / "tasks", "due").task.answer.type == "date"
    assert plugins().added["backend", "first_date"].source == "plugin dates (dates_plugin:register 1.0)"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def register(plugins):\n    plugins.add_metric('accuracy', print, ['text'])", "built-in metric 'accuracy'"),
        ("x = 1", "it has no function register"),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def register(plugins):\n    raise ValueError('no')", "cannot be loaded: ValueError: no"),
        ("def (", "cannot be loaded: SyntaxError"),
    ],
)
def test_a_mistake_in_a_plugin_is_one_message_that_names_the_file(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(code)

    def use() -> None:
        load_file(tmp_path / "mine.py")
        build(MetricSpec(name="exact_match"), TextAnswer(type="text"))

    with pytest.raises(UserError, match=re.escape(message)) as found:
        use()
    assert "mine.py" in str(found.value)


@pytest.mark.parametrize("name", ["none.py", "folder"])
def test_a_plugin_that_cannot_be_read_is_one_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"plugin .*{name}: cannot be read"):
        load_file(tmp_path / name)


def test_two_plugins_cannot_add_the_same_name() -> None:
    found = Plugins(source="b")
    found.add_metric("mine", print, ["text"])
    with pytest.raises(UserError, match="b: b has added a metric 'mine' already"):
        found.add_metric("mine", print, ["text"])


def test_a_file_is_loaded_once(project: Path) -> None:
    load_file(project / "plugins" / "dates.py")
    load_file(project / "plugins" / "dates.py")
    assert len(plugins().added) == 3


def test_a_reader_that_fails_is_an_error_and_no_wrong_answer(project: Path) -> None:
    from harness.score.answers import read

    path = project / "plugins" / "dates.py"
    path.write_text(path.read_text().replace("found = DATE.findall(text)", "raise KeyError(text)", 1))
    load_file(path)
    task = load_task(project / "tasks", "due").task
    with pytest.raises(UserError, match="the reader of answer type 'date' failed: KeyError"):
        read("2026-01-01", task.answer)
