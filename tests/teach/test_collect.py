"""Collecting a teacher's answers: which rows, what is kept of each, and that nothing is asked or paid for twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.ask.run import BenchOptions
from harness.errors import UserError
from harness.teach.collect import Collected, collect
from tests.commands.conftest import Command
from tests.loopback import FAULTS, Loopback
from tests.runs import TASK
from tests.teach.conftest import EVALUATED, LEARNED, Taught

ROOT = Path(__file__).parents[2]


def options(taught: Taught, teacher: str = "m", **changes: Any) -> BenchOptions:
    return replace(taught.options, tasks=("small",), models=(teacher,), **changes)


def collected(taught: Taught, teacher: str = "m", rows: int | None = None, **how: Any) -> Collected:
    return collect(options(taught, teacher, rows=rows), lambda line: None, **how)


def ids(taught: Taught, name: str = "m") -> list[object]:
    return [line["id"] for line in taught.lines(name)]


def test_the_first_rows_are_the_first_of_more_and_only_new_ones_are_asked(taught: Taught, loopback: Loopback) -> None:
    taught.model("m", loopback.openai_url)
    collected(taught, rows=10)
    first = ids(taught)
    assert len(first) == sum(loopback.asked.values()) == 10
    collected(taught, rows=30)
    assert ids(taught)[:10] == first
    assert sum(loopback.asked.values()) == 30
    collected(taught)
    assert len(ids(taught)) == LEARNED
    assert set(loopback.asked.values()) == {1}


def test_the_order_does_not_depend_on_the_file(taught: Taught, loopback: Loopback) -> None:
    taught.model("m", loopback.openai_url)
    collected(taught, rows=12)
    first = ids(taught)
    path = taught.folder / "tasks" / "samples" / "small.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    collected(taught, rows=12)
    assert ids(taught) == first
    assert sum(loopback.asked.values()) == 12


def test_no_evaluated_row_is_asked(taught: Taught, loopback: Loopback) -> None:
    path = taught.folder / "tasks" / "samples" / "small.jsonl"
    evaluated = [json.loads(line) for line in path.read_text().splitlines() if '"test"' in line]
    with path.open("a") as file:  # the prompt of an evaluated row, with another right answer
        file.write(json.dumps(evaluated[0] | {"label": "yes", "_split": "train"}) + "\n")
        file.write(json.dumps(evaluated[0] | {"label": "no", "_split": "train"}) + "\n")
    taught.model("m", loopback.openai_url)
    taught.bench()
    before = set(loopback.asked)
    collected(taught)
    assert not before & (set(loopback.asked) - before)
    prompts = {line["prompt"] for line in taught.lines()}
    assert not prompts & before


def test_what_is_kept_of_a_row(taught: Taught, loopback: Loopback) -> None:
    taught.task(text=TASK + "slices: [group]\nsystem: Be brief.\n")
    taught.model("m", loopback.openai_url)
    loopback.answer = lambda prompt: "<think>hm</think> Yes."
    done = collected(taught, rows=1)
    (line,) = taught.lines()
    assert [message["role"] for message in line["request"]["messages"]] == ["system", "user"]  # type: ignore[index]
    assert line["prompt"] == f"Be brief.\n\n{line['request']['messages'][1]['content']}"  # type: ignore[index]
    assert line["prediction"] == " Yes.", "without the thinking"
    assert (line["reading"], line["status"]) == ("yes", "ok")
    assert line["reference"] in (["yes"], ["no"])
    assert set(line["slices"]) == {"group"}  # type: ignore[call-overload]
    assert line["usage"]["output_tokens"] == 2  # type: ignore[index]
    assert done.folder == taught.teacher()
    assert done.run.n == 1


def test_refused_cut_and_unreadable_answers_are_kept_and_counted(
    taught: Taught, loopback: Loopback, harness: Command
) -> None:
    kinds = ["yes", "maybe", "cut", "refused", "failed"]
    choice: dict[str, Any] = {"message": {"content": "ye"}, "finish_reason": "length"}
    bodies = {"cut": choice, "refused": choice | {"message": {"content": "No."}, "finish_reason": "content_filter"}}
    order: dict[str, str] = {}

    def plan(prompt: str, attempt: int) -> Any:
        kind = order.setdefault(prompt, kinds[len(order) % len(kinds)])
        if kind == "failed":
            return FAULTS["invalid"]
        return replace(FAULTS["empty"], body=json.dumps({"choices": [bodies[kind]]})) if kind in bodies else None

    loopback.plan, loopback.answer = plan, lambda prompt: order[prompt]
    taught.model("m", loopback.openai_url, concurrency=1)
    code, out, _ = harness("collect", "small", "--teacher", "m", *taught.arguments(), "--json")
    assert code == 3
    document = json.loads(out)
    assert document["n"] == LEARNED
    assert document["statuses"] == [{"ok": 8, "unparsed": 8, "truncated": 8, "refused": 8, "failed": 8}]
    assert Counter(str(line["status"]) for line in taught.lines()) == {
        "ok": 16, "truncated": 8, "refused": 8, "failed": 8,
    }  # fmt: skip
    assert all((line["reading"] is None) == (line["prediction"] != "yes") for line in taught.lines())


def test_a_teacher_that_answers_nothing_ends_with_code_3(taught: Taught, loopback: Loopback, harness: Command) -> None:
    loopback.plan = lambda prompt, attempt: FAULTS["unauthorized"]
    taught.model("m", loopback.openai_url)
    code, out, _ = harness("collect", "small", "--teacher", "m", *taught.arguments())
    assert code == 3
    assert "wrong key" in out


def test_repeats_are_answers_of_their_own(taught: Taught, loopback: Loopback) -> None:
    taught.model("m", loopback.openai_url)
    collected(taught, rows=5, repeat=3, temperature=0.7)
    assert sum(loopback.asked.values()) == 15
    assert {request.body["temperature"] for request in loopback.received} == {0.7}
    assert Counter(line["repeat"] for line in taught.lines()) == {1: 5, 2: 5, 3: 5}
    collected(taught, rows=5, repeat=4, temperature=0.7)
    assert sum(loopback.asked.values()) == 20
    with pytest.raises(UserError, match="--temperature above 0"):
        collected(taught, repeat=2)


def test_teachers_are_no_models_of_a_report(taught: Taught, loopback: Loopback, harness: Command) -> None:
    taught.model("m", loopback.openai_url)
    collected(taught, rows=5)
    code, _, err = harness("report", "--results", str(taught.results), "--out", str(taught.folder / "reports"))
    assert code == 2
    assert "no runs are recorded here" in err


def test_a_column_of_the_data_is_a_teacher_and_costs_nothing(taught: Taught, harness: Command) -> None:
    taught.model("m", "http://localhost:1/v1")
    arguments = ("collect", "small", "--teacher", "column:said", *taught.arguments(), "--max-usd", "0")
    code, out, _ = harness(*arguments)
    assert code == 0
    lines = taught.lines("column-said")
    assert len(lines) == LEARNED
    right = [[line["prediction"]] == line["reference"] for line in lines]
    assert right.count(False) == LEARNED / 5
    assert "accuracy                     0.800 [" in out
    assert "| kappa" not in out
    assert "kappa" in out
    code, _, err = harness("collect", "small", "--teacher", "column:sad", *taught.arguments())
    assert code == 2
    assert "the rows have no column 'sad' (did you mean 'said'?)" in err


def test_a_column_can_be_benched_beside_other_models(taught: Taught) -> None:
    taught.models["person"] = {"backend": "column", "column": "said"}
    (taught.folder / "models.yaml").write_text(json.dumps(taught.models))
    (run,) = taught.bench()
    assert (run.model, run.n, run.asked) == ("person", EVALUATED, EVALUATED)


def test_a_recorded_model_is_a_teacher(taught: Taught, loopback: Loopback) -> None:
    taught.model("m", loopback.openai_url)
    collected(taught, rows=5)
    recorded = taught.teacher() / "responses.jsonl"
    taught.models["old"] = {"backend": "recorded", "path": str(recorded)}
    taught.model("m", loopback.openai_url)
    collected(taught, "old", rows=5)
    assert [line["prediction"] for line in taught.lines("old")] == ["yes"] * 5


def test_answers_on_evaluated_rows_are_kept_apart(taught: Taught, loopback: Loopback) -> None:
    taught.model("m", loopback.openai_url)
    done = collected(taught, split="test")
    assert done.folder == taught.teacher("m/evaluated")
    assert len(taught.lines("m/evaluated")) == EVALUATED
    assert not (taught.teacher() / "answers.jsonl").exists()
    collected(taught, "m", split="validation")
    assert len(taught.lines()) == 4


def test_answers_on_one_split_stay_when_another_is_collected(taught: Taught, loopback: Loopback) -> None:
    taught.model("m", loopback.openai_url)
    collected(taught, rows=10)
    collected(taught, split="validation")
    collected(taught, rows=5)
    assert Counter(line["split"] for line in taught.lines()) == {"train": 5, "validation": 4}
    task = taught.folder / "tasks" / "small.yaml"
    task.write_text(task.read_text().replace("{{ text }}", "Now: {{ text }}"))
    collected(taught, rows=5)
    assert Counter(line["split"] for line in taught.lines()) == {"train": 5}, "those to another prompt are not mixed in"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--teacher", "n"), "no model 'n' in"),
        (("--teacher", "often"), "is no teacher"),
        (("--teacher", "m", "--split", "trian"), "no rows of split 'trian' (did you mean 'train'?)"),
        (("--teacher", "m", "--rows", "0"), "0 is not in the range"),
        (("--teacher", "column:said", "--temperature", "1"), "takes no temperature"),
        (("--teacher", "m", "--max-usd", "1"), "--max-usd cannot count _teacher/m, whose price is not known"),
    ],
)
def test_mistakes_are_said_before_anything_is_asked(
    taught: Taught, loopback: Loopback, harness: Command, arguments: tuple[str, ...], message: str
) -> None:
    taught.models["often"] = {"backend": "baseline", "method": "majority"}
    taught.model("m", loopback.openai_url)
    code, _, err = harness("collect", "small", *arguments, *taught.arguments())
    assert code == 2
    assert message in err
    assert not loopback.asked


def test_the_cap_on_spending_holds_and_what_was_answered_is_kept(
    taught: Taught, loopback: Loopback, harness: Command
) -> None:
    taught.model("m", loopback.openai_url, price={"input": 0, "output": 1000}, concurrency=1)
    arguments = ("collect", "small", "--teacher", "m", *taught.arguments())
    code, out, _ = harness(*arguments, "--max-usd", "0.01")
    assert code == 3
    assert "raise --max-usd" in out
    answered = sum(line["status"] == "ok" for line in taught.lines())
    assert 0 < answered == sum(loopback.asked.values()) <= 10
    assert harness(*arguments)[0] == 0
    assert sum(loopback.asked.values()) == LEARNED


@pytest.fixture
def slow() -> Iterator[Loopback]:
    with Loopback(latency=0.03) as running:
        yield running


def test_kill_9_loses_no_answer_and_pays_for_none_twice(taught: Taught, slow: Loopback) -> None:
    taught.model("m", slow.openai_url, concurrency=2)
    command = [sys.executable, "-m", "harness", "collect", "small", "--teacher", "m", *taught.arguments()]
    path = taught.teacher() / "responses.jsonl"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    for goal in (5, 20):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and not (path.is_file() and path.read_bytes().count(b"\n") >= goal):
                time.sleep(0.005)
            process.kill()
        assert not (taught.teacher() / "answers.jsonl").exists()
    kept = path.read_bytes().count(b"\n")
    assert kept < LEARNED
    collected(taught)
    assert [line["status"] for line in taught.lines()] == ["ok"] * LEARNED
    # Only what was on its way when the process was killed is asked again.
    assert sum(slow.asked.values()) <= LEARNED + 2 * 2
