"""What a teacher writes where the data lacks it: learned on training rows, a named reference on evaluated ones."""

from __future__ import annotations

import json

import pytest

from harness.errors import SpecError, UserError
from harness.rows.origin import locate
from harness.rows.training import load
from harness.tasks.catalog import load_task
from harness.tasks.prompts import Prompts
from tests.commands.conftest import Command
from tests.loopback import Loopback
from tests.teach.conftest import EVALUATED, LEARNED, Taught

TASK = """\
title: Small, explained
category: classification
dataset: {splits: {train: train, test: test}}
prompt: "Is {{ text }} fine? Answer and explain."
target: "{{ label }}\\nExplanation: {{ why }}"
teacher:
  answer: why
  prompt: "{{ text }} is {{ 'fine' if label == 'yes' else 'bad' }}. Why?"
answer: {type: label_and_explanation, labels: [yes, no]}
metrics: [label_accuracy, explanation_rouge_l]
max_tokens: 40
"""


@pytest.fixture
def explained(taught: Taught, loopback: Loopback) -> Taught:
    """A task whose data has labels without explanations, a teacher and a student."""
    taught.task(text=TASK)
    taught.model("gpt", loopback.openai_url)
    taught.model("student", loopback.openai_url)
    loopback.answer = lambda prompt: "It is\nso." if prompt.endswith("Why?") else "yes\nExplanation: It is so."
    return taught


def collect(explained: Taught, harness: Command, *more: str, expected: int = 0) -> str:
    code, out, err = harness("collect", "small", "--teacher", "gpt", *explained.arguments(), *more)
    assert code == expected, out + err
    return out + err


def test_the_teacher_is_shown_the_label_and_the_student_the_question(
    explained: Taught, loopback: Loopback, harness: Command
) -> None:
    out = collect(explained, harness)
    assert "against the right answers" not in out, "there are none to compare it with"
    assert len(loopback.asked) == LEARNED
    assert {prompt.split(" is ")[1] for prompt in loopback.asked} == {"fine. Why?", "bad. Why?"}
    for line in explained.lines("gpt"):
        label, text = str(line["prediction"]).split("\n")
        assert text == "Explanation: It is so.", "on one line"
        assert line["reference"] == [f"{label}\nExplanation:"]
        assert line["written"] == "It is so."
        assert str(line["prompt"]).endswith("fine? Answer and explain.")
        assert line["request"]["messages"][0]["content"].endswith("Why?")  # type: ignore[index]


def test_a_student_learns_labels_of_the_data_with_explanations_of_the_teacher(
    explained: Taught, harness: Command
) -> None:
    collect(explained, harness)
    collect(explained, harness, "--split", "test")
    out = explained.folder / "student"
    arguments = explained.arguments()[:2] + explained.arguments()[-2:]
    source = ("--from", str(explained.teacher("gpt")), "--agree", "human")
    code, said, err = harness("distill", "small", *source, "--out", str(out), "--validation", "0", *arguments)
    assert code == 0, err
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert len(rows) == LEARNED, said
    assert {row["completion"].strip() for row in rows} == {
        f"{label}\nExplanation: It is so." for label in ("yes", "no")
    }
    chats = [json.loads(line) for line in (out / "chat" / "train.jsonl").read_text().splitlines()]
    assert chats[0]["messages"][0]["content"] == rows[0]["prompt"]


def test_without_a_teacher_nothing_is_scored_or_learned(explained: Taught) -> None:
    with pytest.raises(UserError, match=r"harness collect small --teacher MODEL --split test"):
        explained.bench(tasks=("small",), models=("student",))
    file = load_task(explained.folder / "tasks", "small")
    with pytest.raises(UserError, match="no column 'why', which a teacher writes"):
        load(file, Prompts(file), locate(file, "sample"))


def test_scores_name_the_teacher_whose_explanations_they_rest_on(
    explained: Taught, loopback: Loopback, harness: Command
) -> None:
    unanswered: list[str] = []

    def answer(prompt: str) -> str:
        if not prompt.endswith("Why?"):
            return "yes\nExplanation: It is so."
        if not unanswered:
            unanswered.append(prompt)
        return "" if prompt == unanswered[0] else "It is so."

    loopback.answer = answer
    collect(explained, harness, "--split", "test")
    (run,) = explained.bench(tasks=("small",), models=("student",))
    assert run.n == EVALUATED - 1, "the row to which the teacher wrote nothing has no right answer"
    assert run.source == f"sample (n={EVALUATED - 1}), right answers by gpt"
    assert run.spec.title == "Small, explained, why by gpt"
    code, out, _ = harness("bench", *explained.arguments(), "--task", "small", "--model", "student")
    assert code == 0
    assert "right answers by gpt" in out
    out_folder = explained.folder / "reports"
    assert harness("report", "--results", str(explained.results), "--out", str(out_folder))[0] == 0
    assert "right answers by gpt" in (out_folder / "leaderboard.csv").read_text()


def test_right_answers_of_two_teachers_are_never_mixed(explained: Taught, loopback: Loopback, harness: Command) -> None:
    explained.model("other", loopback.openai_url)
    collect(explained, harness, "--split", "test")
    assert harness("collect", "small", "--teacher", "other", "--split", "test", *explained.arguments())[0] == 0
    with pytest.raises(UserError, match=r"several teachers \(gpt, other\)"):
        explained.bench(tasks=("small",), models=("student",))


def test_where_the_data_has_the_column_it_is_a_task_like_any_other(
    explained: Taught, loopback: Loopback, harness: Command
) -> None:
    path = explained.folder / "tasks" / "samples" / "small.jsonl"
    rows = [json.loads(line) | {"why": "It is so."} for line in path.read_text().splitlines()]
    explained.rows([dict(row) for row in rows])
    explained.task(text=TASK)
    (run,) = explained.bench(tasks=("small",), models=("student",))
    assert (run.n, run.source) == (EVALUATED, f"sample (n={EVALUATED})")
    collect(explained, harness)
    assert all(prompt.endswith("Answer and explain.") for prompt in loopback.asked)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("answer: why", "answer: wy", "the target shows no 'wy' .did you mean 'why'"),
        ("{{ text }} is", "{{ why }} is", "a prompt shows 'why'"),
        ("'bad' }}. Why?", "'bad'. Why?", "template line 1"),
    ],
)
def test_a_wrong_block_is_named_with_its_line(explained: Taught, old: str, new: str, message: str) -> None:
    explained.task(text=TASK.replace(old, new))
    with pytest.raises(SpecError, match=message) as found:
        Prompts(load_task(explained.folder / "tasks", "small"))
    assert "small.yaml:" in str(found.value)
