"""A teacher's answers as the right ones: everybody else, people included, is scored against them."""

from __future__ import annotations

import json

import pytest

from harness.compare.intervals import wilson
from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.runs import TASK
from tests.teach.conftest import EVALUATED, Taught


@pytest.fixture
def recorded(taught: Taught, loopback: Loopback) -> Taught:
    """Runs of a teacher who is wrong in 2 of 10 rows, and of a student who always says yes."""
    taught.models["gpt-4"] = {"backend": "column", "column": "said"}
    taught.model("student", loopback.openai_url)
    taught.bench()
    return taught


def arguments(taught: Taught) -> list[str]:
    return ["--results", str(taught.results), "--tasks", str(taught.folder / "tasks")]


def test_people_and_student_are_scored_against_the_teacher(recorded: Taught, harness: Command) -> None:
    code, out, err = harness("compare", "student", "human", "--truth", "gpt-4", *arguments(recorded))
    assert code == 0, err
    assert "right answers by gpt-4" in out.splitlines()[0]
    # Rows 40 to 49: yes for even numbers; the teacher is wrong in 40 and 45, so it says yes in 42, 44, 45, 46 and 48.
    assert out.splitlines()[1] == "student 0.500, human 0.800 accuracy"


def test_a_report_names_the_teacher_wherever_a_score_rests_on_it(recorded: Taught, harness: Command) -> None:
    reports = recorded.folder / "reports"
    shared = arguments(recorded)
    code, _, err = harness("report", "--truth", "gpt-4", "--out", str(reports), *shared)
    assert code == 0, err
    table = (reports / "leaderboard.csv").read_text()
    assert "gpt-4" not in {line.split(",")[1] for line in table.splitlines()}
    for name in ("leaderboard.md", "classification.md", "index.html"):
        assert "right answers by gpt-4" in (reports / name).read_text()
    found = wilson(8, EVALUATED)
    assert f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in (reports / "classification.md").read_text()
    before = (recorded.results / "small" / "student" / "run.json").read_text()
    assert "right answers by" not in before, "what is recorded stays as it is"


def test_without_it_the_right_answers_are_those_of_the_data(recorded: Taught, harness: Command) -> None:
    code, out, _ = harness("compare", "student", "gpt-4", *arguments(recorded))
    assert code == 0
    assert out.splitlines()[1] == "student 0.500, gpt-4 0.800 accuracy"


def test_rows_without_a_valid_answer_of_the_teacher_are_left_out_and_counted(
    taught: Taught, loopback: Loopback, harness: Command
) -> None:
    taught.task(text=TASK.replace("[yes, no]", "[yes, no, none]"))
    path = taught.folder / "tasks" / "samples" / "small.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    tests = [row for row in rows if row["_split"] == "test"]
    tests[0]["said"], tests[1]["said"] = "perhaps", None
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    taught.models["gpt-4"] = {"backend": "column", "column": "said"}
    taught.model("student", loopback.openai_url)
    taught.bench()
    code, out, err = harness("compare", "student", "human", "--truth", "gpt-4", *arguments(taught))
    assert code == 0
    assert f"small: 2 of {EVALUATED} rows left out, to which gpt-4 has no valid answer" in err
    assert "n = 8" in out


@pytest.mark.parametrize(
    ("truth", "message"), [("gpt4", "no run of model 'gpt4' in"), ("gpt-4", "as the right answers of the data are")]
)
def test_names_that_cannot_be_are_said(recorded: Taught, harness: Command, truth: str, message: str) -> None:
    if truth == "gpt-4":
        recorded.models["human"] = {"backend": "baseline", "method": "majority"}
        (recorded.folder / "models.yaml").write_text(json.dumps(recorded.models))
        recorded.bench()
    code, _, err = harness("compare", "student", "human", "--truth", truth, *arguments(recorded))
    assert code == 2
    assert message in err
