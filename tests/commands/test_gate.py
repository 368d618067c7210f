"""`harness gate`: exit codes, the text, and the JUnit file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from harness.commands.gate import text
from harness.compare.gate import Check
from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.runs import TASK, Small

ROOT = Path(__file__).parents[2]


@pytest.fixture
def asked(small: Small, loopback: Loopback) -> Small:
    """Model good is right on every row, bad on half of them."""
    loopback.answer = lambda prompt: ("yes", "no")[int(prompt.split()[2]) % 2]
    small.model("good", loopback.openai_url)
    small.bench()
    loopback.answer = lambda prompt: "yes"
    small.model("bad", loopback.openai_url)
    small.bench()
    return small


def test_a_worse_model_is_exit_code_100(asked: Small, harness: Command) -> None:
    code, out, _ = harness("gate", "bad", "--against", "good", "--margin", "1pp", "--results", str(asked.results))
    assert code == 100
    assert out.splitlines()[0].startswith(
        "failed     small  a loss beyond 0.01 is shown; bad loses to good (−0.500 accuracy, 95 % interval "
    )
    assert out.splitlines()[-1] == "0 of 1 task passed"


def test_a_better_model_is_exit_code_0(asked: Small, harness: Command) -> None:
    code, out, _ = harness("gate", "good", "--against", "bad", "--results", str(asked.results))
    assert code == 0
    assert out.splitlines()[-1] == "1 of 1 task passed"


def test_notes_on_the_scores_are_no_part_of_what_it_prints(small: Small, loopback: Loopback, harness: Command) -> None:
    small.task(
        text="title: S\ncategory: generation\nprompt: '{{ text }}'\ntarget: 'конечно, {{ label }}'\n"
        "answer: {type: text}\nmetrics: [rouge_l]\nmax_tokens: 4\n"
    )
    for name in ("a", "b"):
        small.model(name, loopback.openai_url)
    small.bench()
    _, out, err = harness("gate", "a", "--against", "b", "--results", str(small.results), "--json")
    assert json.loads(out)["model"] == "a"
    assert "rouge_l cannot score 40 of 40 right answers" in err


def test_what_cannot_be_told_is_exit_code_1(asked: Small, harness: Command, tmp_path: Path) -> None:
    code, _, err = harness("gate", "godo", "--against", "bad", "--results", str(asked.results))
    assert (code, "did you mean 'good'?" in err) == (1, True)
    code, _, err = harness("gate", "good", "--against", "bad", "--results", str(tmp_path / "nowhere"))
    assert (code, "no runs are recorded" in err) == (1, True)
    (tmp_path / "file").write_text("")
    junit = tmp_path / "file" / "gate.xml"
    code, _, err = harness("gate", "good", "--against", "bad", "--results", str(asked.results), "--junit", str(junit))
    assert (code, "cannot be written" in err) == (1, True)


def test_the_outcomes_of_several_tasks_are_in_columns() -> None:
    checks = [Check(name, "c", "error", "accuracy", trouble="b has not run it") for name in ("maths", "ag_news")]
    first, second, _ = text(checks, "a", "b").splitlines()
    assert first.index("b has not run it") == second.index("b has not run it")


def test_as_json_each_check_has_its_reason(asked: Small, harness: Command) -> None:
    code, out, _ = harness(
        "gate", "bad", "--against", "good", "--margin", "1pp", "--results", str(asked.results), "--json"
    )
    found = json.loads(out)
    assert (code, found["model"], found["against"]) == (100, "bad", "good")
    [check] = found["checks"]
    assert (check["task"], check["outcome"], check["found"]["difference"]) == ("small", "failed", -0.5)
    assert check["reason"].startswith("a loss beyond 0.01 is shown")


def test_a_wrong_option_is_exit_code_2(asked: Small, harness: Command) -> None:
    code, _, err = harness("gate", "good", "--against", "bad", "--margin", "1", "--results", str(asked.results))
    assert (code, "did you mean 1pp?" in err) == (2, True)


def test_the_junit_file_names_what_failed(asked: Small, harness: Command, tmp_path: Path) -> None:
    file = tmp_path / "ci" / "reports" / "gate.xml"
    harness("gate", "bad", "--against", "good", "--results", str(asked.results), "--junit", str(file))
    suite = ElementTree.parse(file).getroot()[0]
    assert suite.get("name") == "harness gate bad --against good"
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    assert suite[0].get("name") == "small"


@pytest.mark.parametrize(
    ("options", "code"), [([], 1), (["--undecided", "pass"], 0), (["--undecided", "fail"], 100), (["--strict"], 100)]
)
def test_what_an_undecided_task_counts_as_is_the_users_choice(
    small: Small, loopback: Loopback, harness: Command, options: list[str], code: int
) -> None:
    """Two equal models on 40 rows: a loss of a point can be neither shown nor ruled out."""
    loopback.answer = lambda prompt: "yes"
    for name in ("one", "other"):
        small.model(name, loopback.openai_url)
    small.bench()
    found, out, _ = harness(
        "gate", "one", "--against", "other", "--margin", "1pp", "--results", str(small.results), *options
    )
    assert found == code
    assert "cannot be told: a loss beyond 0.01 is neither shown nor ruled out" in out


def test_answers_to_another_prompt_are_no_verdict_unless_asked_for(
    small: Small, loopback: Loopback, harness: Command
) -> None:
    """The gate said 100 of a prompt that was edited between the two runs."""
    loopback.answer = lambda prompt: ("yes", "no")[int(prompt.split()[2]) % 2]
    small.model("before", loopback.openai_url)
    small.bench()
    small.task(text=TASK.replace("Answer with one word.", "One word."))
    loopback.answer = lambda prompt: "yes"
    small.model("after", loopback.openai_url)
    small.bench(models=("after",))
    arguments = ["gate", "after", "--against", "before", "--results", str(small.results)]
    code, out, _ = harness(*arguments)
    assert (code, "asked with different prompts or limits" in out) == (1, True)
    code, out, _ = harness(*arguments, "--across-prompts")
    assert (code, "the answers are to different prompts" in out) == (100, True)


class TestTheWorkflowOfTheDocs:
    """docs/ci.md: its steps pass, in an empty repository, where the adapter answers as well as GPT, and else do not."""

    PAGE = (ROOT / "docs" / "ci.md").read_text()

    @pytest.fixture
    def steps(self) -> list[str]:
        (block,) = re.findall(r"```yaml\n(.*?)```", self.PAGE, flags=re.DOTALL)
        workflow = YAML(typ="safe").load(block)
        lines = [step["run"] for step in workflow["jobs"]["gate"]["steps"] if "run" in step]
        assert set(workflow["jobs"]["gate"]["env"]) == {"VLLM_URL", "VLLM_BASE_MODEL", "OPENAI_API_KEY"}
        return [line for line in lines if line.startswith("harness ")]

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        """A folder with the shipped models, of which OpenAI's is on loopback, and a mirror in place of the hub."""
        folder = tmp_path / "mirror" / "fancyzhx__ag_news" / "default"
        folder.mkdir(parents=True)
        for split, texts in (("train", ["an older item"]), ("test", [f"item {number}" for number in range(1_000)])):
            rows = [{"text": text, "label": number % 4} for number, text in enumerate(texts)]
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
        models = (ROOT / "models.yaml").read_text().replace("requests_per_minute: 500", "requests_per_minute: 60000")
        (tmp_path / "models.yaml").write_text(
            models.replace("model: gpt-6.1-sol", "model: gpt\n  base_url: ${VLLM_URL}")
        )
        return tmp_path

    def run(self, step: str, repository: Path, server: Loopback) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *step.replace("--data hub", "--data mirror").split()]
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(repository), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT),
            "VLLM_URL": server.openai_url, "VLLM_BASE_MODEL": "base", "OPENAI_API_KEY": "sk-of-a-test",
        }  # fmt: skip
        return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=170)

    def test_they_pass(self, steps: list[str], repository: Path, loopback: Loopback) -> None:
        loopback.answer = right
        for step in steps:
            done = self.run(step, repository, loopback)
            assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
        assert (repository / "gate.xml").is_file()
        assert (repository / "reports" / "index.html").is_file()

    def test_the_gate_is_red_where_the_adapter_is_worse(
        self, steps: list[str], repository: Path, loopback: Loopback
    ) -> None:
        adapter, gpt, gate, _ = steps
        loopback.answer = lambda prompt: "World"
        assert self.run(adapter, repository, loopback).returncode == 0
        loopback.answer = right
        assert self.run(gpt, repository, loopback).returncode == 0
        assert self.run(gate, repository, loopback).returncode == 100


def right(prompt: str) -> str:
    """The section of an item, whose number is its last one."""
    number = int(re.findall(r"item (\d+)", prompt)[-1])
    return ("World", "Sports", "Business", "Sci/Tech")[number % 4]
