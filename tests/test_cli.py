"""The command line as scripts see it: exit codes, streams, JSON documents."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from harness.cli import COMMANDS, app

ROOT = Path(__file__).parents[1]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def harness(tmp_path: Path) -> Run:
    """Runs `python -m harness` in the project's folder with results in a folder of the test's own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        base = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
            **environment,
        }
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(command, cwd=ROOT, env=base, capture_output=True, text=True, timeout=120)

    return run


def test_bench_prints_a_table_that_says_where_the_rows_come_from(harness: Run, tmp_path: Path) -> None:
    done = harness("bench", "--task", "jigsaw", "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("sample (n=24)")
    assert "majority" in done.stdout
    assert "tfidf" in done.stdout
    assert "95 % interval" in done.stdout


def test_bench_json_is_one_document_alone_on_stdout(harness: Run, tmp_path: Path) -> None:
    done = harness("bench", "--task", "jigsaw", "--model", "majority", "--json", "--results", str(tmp_path / "results"))
    results = json.loads(done.stdout)["results"]
    assert [entry["metric"] for entry in results][:2] == ["accuracy", "macro_f1"]
    assert set(results[0]) == {
        "task", "model", "metric", "score", "low", "high", "n", "statuses", "source", "p50_s", "p95_s",
        "input_tokens", "output_tokens", "usd", "asking_version", "scoring_version", "incomplete", "reason", "rests_on",
    }  # fmt: skip
    assert results[0]["score"] == 0.5
    assert results[0]["n"] == sum(results[0]["statuses"].values()) == 24
    assert results[0]["low"] < 0.5 < results[0]["high"]


def test_a_second_run_asks_nothing(harness: Run, tmp_path: Path) -> None:
    arguments = ("bench", "--task", "jigsaw", "--model", "majority", "--results", str(tmp_path))
    harness(*arguments)
    before = (tmp_path / "jigsaw" / "majority" / "responses.jsonl").read_text()
    again = harness(*arguments)
    assert again.returncode == 0
    assert (tmp_path / "jigsaw" / "majority" / "responses.jsonl").read_text() == before


def test_rows_without_an_answer_end_with_exit_code_3(harness: Run, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(json.dumps({"row": "none", "completion": "yes"}) + "\n")
    models = tmp_path / "models.yaml"
    models.write_text(f"old: {{backend: recorded, path: {tmp_path}/answers.jsonl}}\n")
    done = harness("bench", "--task", "jigsaw", "--models", str(models), "--json", "--results", str(tmp_path / "r"))
    assert done.returncode == 3
    assert json.loads(done.stdout)["results"][0]["statuses"]["failed"] == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bench", "--task", "jigsw"), "no task 'jigsw' in tasks (did you mean 'jigsaw'?)"),
        (("bench", "--model", "gpt6.1"), "no model 'gpt6.1' in models.yaml (did you mean 'gpt-6.1'?)"),
        (("bench", "--model", "gpt-6.1"), "model 'gpt-6.1' needs OPENAI_API_KEY"),
        (("bench", "--task", "jigsaw", "--data", "/nowhere"), "/nowhere: no such folder"),
        (("bench", "--tasks", "/nowhere"), "/nowhere: no task files"),
        (("bench", "--rows", "0"), "0 is not in the range"),
        (("preview", "jigsaw", "--row", "x"), "no row 'x'"),
        (("score", "jigsaw", "--predictions", "/nowhere"), "/nowhere: no such file"),
        (("report", "--results", "/nowhere"), "no runs are recorded here"),
        (("bnch",), "no command 'bnch' (did you mean 'bench'?)"),
        (("mirror", "jigsaw", "--to", "/tmp/unused"), "kaggle"),
    ],
)
def test_a_users_mistake_is_one_clear_message_and_exit_code_2(
    harness: Run, arguments: tuple[str, ...], message: str
) -> None:
    done = harness(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_tasks_and_models_are_lists_of_named_objects(harness: Run) -> None:
    tasks = json.loads(harness("tasks", "--json").stdout)
    models = json.loads(harness("models", "--json").stdout)
    assert {"jigsaw", "toxic_chat", "ag_news", "gsm8k", "e2e_nlg", "conllpp"} <= {task["name"] for task in tasks}
    assert {"majority", "tfidf", "gpt-6.1", "mistral-7b-lora"} <= {model["name"] for model in models}


def test_preview_shows_what_would_be_sent_without_the_key(harness: Run) -> None:
    done = harness("preview", "jigsaw", "--model", "gpt-6.1", OPENAI_API_KEY="sk-planted")
    body = json.loads(done.stdout)
    assert body["model"] == "gpt-6.1-sol"
    assert body["messages"][0]["content"].endswith("Toxic (yes or no):")
    assert "sk-planted" not in done.stdout + done.stderr


def test_score_reads_predictions_made_elsewhere(harness: Run, tmp_path: Path) -> None:
    lines = [
        {"prediction": "So 3 + 4 = 7.\n#### 7", "reference": "#### 7"},
        {"prediction": "no idea", "reference": "#### 8", "id": "b"},
        {"prediction": "1,234 apples", "reference": {"question": "?", "answer": "#### 1234"}},
        {"prediction": None, "reference": "#### 1"},
    ]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scored = json.loads(harness("score", "gsm8k", "--predictions", str(path), "--json").stdout)
    assert scored["n"] == 4
    assert scored["metrics"]["number_match"] == 0.5
    assert scored["statuses"] == {"ok": 2, "unparsed": 1, "truncated": 0, "refused": 0, "failed": 1}


def test_score_names_the_line_of_a_bad_prediction(harness: Run, tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"prediction": "yes", "reference": "yes"}\n{"prediction": "no"}\n')
    done = harness("score", "jigsaw", "--predictions", str(path))
    assert done.returncode == 2
    assert f"{path}:2: missing key 'reference'" in done.stderr


def test_check_finds_everything_at_once(harness: Run, tmp_path: Path) -> None:
    text = (ROOT / "tasks" / "jigsaw.yaml").read_text()
    broken = text.replace("{{ comment_text }}", "{{ coment_text }}").replace("accuracy, macro_f1", "acuracy, macro_f1")
    (tmp_path / "jigsaw.yaml").write_text(broken)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "jigsaw.jsonl").write_text((ROOT / "tasks" / "samples" / "jigsaw.jsonl").read_text())
    done = harness("check", "jigsaw", "--tasks", str(tmp_path), "--data", "sample")
    assert done.returncode == 2
    assert "no column 'coment_text' in the rows (did you mean 'comment_text'?)" in done.stderr
    assert "unknown metric 'acuracy' (did you mean 'accuracy'?)" in done.stderr


def test_report_is_rebuilt_from_results_alone(harness: Run, tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    harness("bench", "--task", "jigsaw", "--task", "gsm8k", "--results", str(results))
    done = harness("report", "--results", str(results), "--out", str(out))
    assert done.returncode == 0, done.stderr
    text = (out / "leaderboard.md").read_text()
    assert "## Sample runs" in text
    assert "## Benchmark runs" not in text
    assert (out / "plots" / "jigsaw-sample.svg").is_file()


def test_help_is_quick_to_import_because_nothing_heavy_is_loaded() -> None:
    probe = (
        "import sys, harness.cli as c; c.app(['--help'], standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    heavy = {"numpy", "pandas", "pydantic", "httpx", "datasets", "matplotlib", "jinja2", "rich", "asyncio"}
    assert not heavy & set(done.stderr.split())


def test_a_dry_run_prints_the_plan_and_writes_nothing(harness: Run, tmp_path: Path) -> None:
    arguments = ("--task", "jigsaw", "--model", "gpt-6.1", "--results", str(tmp_path / "results"))
    dry = harness("bench", *arguments, "--dry-run", OPENAI_API_KEY="sk-planted")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout == harness("plan", *arguments, OPENAI_API_KEY="sk-planted").stdout
    assert "gpt-6.1" in dry.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_takes_nan_or_infinity_for_a_number(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    for option in command.params:
        if isinstance(option.type, click.types.FloatParamType):
            for value in ("nan", "inf"):
                with pytest.raises(click.BadParameter):
                    option.type.convert(value, option, None)
