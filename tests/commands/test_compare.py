"""`harness compare` on recorded answers, against golden text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.store.results import read_manifests, write_manifest
from tests.commands.conftest import Command
from tests.loopback import FAULTS, Loopback
from tests.runs import TASK, Small

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def asked(small: Small, loopback: Loopback) -> Small:
    """Model a is right on every row, b on every row but each fifth; one answer is no label, one never came."""

    def right(prompt: str) -> str:
        return ("yes", "no")[int(prompt.split()[2]) % 2]

    loopback.answer = right
    small.model("a", loopback.openai_url)
    small.bench()
    small.model("b", loopback.openai_url)
    wrong = {"yes": "no", "no": "yes"}
    loopback.answer = lambda prompt: (
        "I\x1b[31m cannot say" if " 10 " in prompt else wrong[right(prompt)] if " 5 " in prompt else right(prompt)
    )
    loopback.plan = lambda prompt, attempt: FAULTS["invalid"] if prompt.startswith("Is row 15 ") else None
    small.bench(max_failures=0.05)
    return small


def test_two_models_side_by_side(asked: Small, harness: Command) -> None:
    code, out, err = harness("compare", "a", "b", "--results", str(asked.results))
    assert (code, err) == (0, "")
    assert out == (GOLDEN / "compare.txt").read_text(encoding="utf-8")


def test_the_other_way_round_the_signs_turn(asked: Small, harness: Command) -> None:
    _, out, _ = harness("compare", "b", "a", "--results", str(asked.results), "--task", "small")
    assert "b and a are not separable (−0.075 accuracy," in out
    assert out.count(": b −1.000") == 3


@pytest.mark.parametrize(("constrained", "said"), [("a", 1), ("b", 1), ("ab", 0)])
def test_of_a_run_with_labels_only_against_another_it_is_said(
    asked: Small, harness: Command, constrained: str, said: int
) -> None:
    for run in list(read_manifests(asked.results)):
        if run.model in constrained:
            settings = run.model_settings | {"decode": "labels"}
            write_manifest(asked.results, run.model_copy(update={"model_settings": settings}))
    _, out, _ = harness("compare", "a", "b", "--results", str(asked.results))
    note = f"{constrained}: no answer but one of the task's labels was allowed (decode: labels)"
    assert out.splitlines().count(note) == out.count("(decode: labels)") == said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "c"], "no run of model 'c'"),
        (["a", "a"], "'a' is named twice: a comparison needs two models"),
        (["a", "b", "--task", "smal"], "did you mean 'small'?"),
        (["a", "b", "--kind", "benchmark"], "a and b were not asked one task together"),
    ],
)
def test_mistakes(asked: Small, harness: Command, arguments: list[str], message: str) -> None:
    code, out, err = harness("compare", *arguments, "--results", str(asked.results))
    assert (code, out) == (2, "")
    assert message in err


def test_all_answers_are_scored_by_the_task_file_as_it_is_now(
    small: Small, loopback: Loopback, harness: Command
) -> None:
    """Identical answers, read with an alias when a ran and without when b ran: "a is better", exit code 0."""
    loopback.answer = lambda prompt: "aye"
    small.model("a", loopback.openai_url)
    small.task(text=TASK.replace("labels: [yes, no]", "labels: [yes, no], aliases: {aye: yes}"))
    small.bench()
    small.task(text=TASK)
    small.model("b", loopback.openai_url)
    small.bench(models=("b",))
    where = ["compare", "a", "b", "--results", str(small.results), "--tasks", str(small.folder / "tasks")]
    code, out, _ = harness(*where)
    assert code == 0
    assert "a 0.000, b 0.000 accuracy" in out
    assert "a and b are not separable (+0.000 accuracy" in out
    small.task(text=TASK.replace("labels: [yes, no]", "labels: [yes, no], aliases: {aye: yes}"))
    assert "a 0.500, b 0.500 accuracy" in harness(*where)[1]
    assert "a 0.000, b 0.000 accuracy" in harness(*where, "--recorded-rules")[1]


def test_a_pick_is_confirmed_on_fresh_rows(asked: Small, harness: Command, tmp_path: Path) -> None:
    code, out, _ = harness("compare", "a", "b", "--results", str(asked.results), "--confirm", str(asked.results))
    assert code == 0
    assert "On fresh rows:\n  small: nothing can be told: every row was asked before" in out


def test_of_several_tasks_the_verdicts_come_first_and_rows_when_asked_for(asked: Small, harness: Command) -> None:
    asked.task("again")
    asked.bench(tasks=("again",), max_failures=0.05)
    where = ["compare", "a", "b", "--results", str(asked.results), "--tasks", str(asked.folder / "tasks")]
    code, out, _ = harness(*where)
    assert code == 0
    assert "  row " not in out
    verdicts, rows = harness(*where, "--rows", "2")[1].split("again: no row is scored differently")
    assert verdicts.rstrip() == out.rstrip()
    assert rows.count("  row ") == 2


def test_json_is_one_document_with_the_sentence_that_is_printed(asked: Small, harness: Command) -> None:
    where = ["compare", "a", "b", "--results", str(asked.results)]
    code, out, err = harness(*where, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)["tasks"]["small"]
    assert (found["n"], found["verdict"], found["scores"]) == (40, "not separable", {"a": 1.0, "b": 0.925})
    assert found["sentence"] + "." in harness(*where)[1]
    assert [row["input"] for row in json.loads(out)["rows"]["small"]] == ["15", "10", "5"]
    assert len(json.loads(harness(*where, "--json", "--rows", "1")[1])["rows"]["small"]) == 1


@pytest.fixture
def seeds(asked: Small, loopback: Loopback) -> Small:
    """Two training runs of one model beside a and b: wrong on each fourth row or each third; one row never came."""
    for number, every in ((1, 4), (2, 3)):
        asked.model(f"lora-{number}", loopback.openai_url)
        loopback.answer = lambda prompt, every=every: ("yes", "no")[
            (int(prompt.split()[2]) + (int(prompt.split()[2]) % every == 0)) % 2
        ]
        asked.bench(models=(f"lora-{number}",), max_failures=0.05)
    return asked


def test_several_training_runs_are_compared_as_one_model(seeds: Small, harness: Command) -> None:
    where = ["compare", "lora-{1..2}", "a", "--results", str(seeds.results)]
    code, out, err = harness(*where)
    assert (code, err) == (0, "")
    assert "n = 40 (2 runs)" in out
    assert "lora-{1..2}: 0.725, 0.650 accuracy; standard deviation between 2 runs 0.053" in out
    assert "a: 1.000 accuracy; a single run: what another one would score is not in the interval" in out
    found = json.loads(harness(*where, "--json")[1])["tasks"]["small"]
    assert found["scores"] == {"lora-1": 0.725, "lora-2": 0.65, "a": 1.0}
    assert found["difference"] == pytest.approx(-0.3125)
    assert found["sentence"] + "." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lora-{1..3}", "a"], "no run of model 'lora-3'"),
        (["lora-{1..2}", "lora-2"], "'lora-2' is named twice"),
        (["lora-{1..2}", "a", "--rows", "3"], "--confirm and --rows are for two single runs"),
    ],
)
def test_mistakes_with_several_runs(seeds: Small, harness: Command, arguments: list[str], message: str) -> None:
    code, out, err = harness("compare", *arguments, "--results", str(seeds.results))
    assert (code, out) == (2, "")
    assert message in err
