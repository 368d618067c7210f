"""What a task's rows can show, from assumptions at first and from recorded runs when there are two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.compare import power
from harness.compare.power import DetectableDifference, _from_runs, detectable
from harness.score.scoring import score_all
from harness.store.results import Manifest, read_manifests
from harness.tasks.task import LabelAnswer, Task
from tests.loopback import Loopback
from tests.runs import ROWS, Small


def task_with(metric: str) -> Task:
    answer = {"type": "label", "labels": ["yes", "no"]}
    return Task.model_validate(
        {
            "title": "Small", "category": "classification", "prompt": "{{ text }}", "target": "{{ label }}",
            "answer": answer, "metrics": [metric], "max_tokens": 4,
        }
    )  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path, loopback: Loopback) -> list[Manifest]:
    """Two models on the 40 rows, half of them yes: one says yes to all, the other no to one row in four."""
    small = Small(tmp_path)
    small.model("sure", loopback.openai_url)
    small.model("unsure", loopback.openai_url)
    small.bench(models=("sure",))
    loopback.answer = lambda prompt: "no" if int(prompt.split()[2]) % 4 == 1 else "yes"
    small.bench(models=("unsure",))
    return list(read_manifests(small.results))


def seen(runs: list[Manifest], metric: str, results: Path, rows: int = 1000) -> DetectableDifference:
    return detectable(task_with(metric), rows, "sample", runs, results)


def test_without_runs_the_assumption_is_stated(tmp_path: Path) -> None:
    found = seen([], "accuracy", tmp_path)
    assert found.paired == power.detectable_share(1000, 0.2)
    assert found.assuming == "assumed: 20% discordant rows"


def test_without_runs_nothing_is_known_of_a_score_of_the_whole_set(tmp_path: Path) -> None:
    found = seen([], "macro_f1", tmp_path)
    assert found.paired is None
    assert found.assuming == "unknown until two models are recorded"


def test_recorded_runs_tell_how_often_models_differ(runs: list[Manifest], tmp_path: Path) -> None:
    results = tmp_path / "results"
    score_all(results, runs, print)
    found = seen(runs, "accuracy", results)
    assert found.paired == power.detectable_share(1000, 0.25)
    assert found.assuming == "25% discordant rows, as sure and unsure have"


def test_recorded_runs_tell_how_a_score_of_the_whole_set_varies(runs: list[Manifest], tmp_path: Path) -> None:
    results = tmp_path / "results"
    score_all(results, runs, print)
    with_few, with_many = seen(runs, "macro_f1", results, ROWS), seen(runs, "macro_f1", results, 100 * ROWS)
    assert with_few.metric == "macro_f1"
    assert with_few.paired is not None
    assert with_many.paired == pytest.approx(with_few.paired / 10)
    # A difference of two macro F1s on 40 rows, each between 0.33 and 0.75, is known to a tenth or two at best.
    assert 0.1 < with_few.paired < 0.5


def test_runs_that_were_never_scored_are_not_scored_for_a_plan(runs: list[Manifest], tmp_path: Path) -> None:
    assert seen(runs, "accuracy", tmp_path / "results").paired == power.detectable_share(1000, 0.2)


def test_runs_on_other_rows_are_no_measure(runs: list[Manifest], tmp_path: Path) -> None:
    results = tmp_path / "results"
    score_all(results, runs, print)
    assert detectable(task_with("accuracy"), 1000, "benchmark", runs, results).paired == power.detectable_share(
        1000, 0.2
    )
    assert seen(runs[:1], "accuracy", results).paired == power.detectable_share(1000, 0.2)


def test_rows_of_a_cluster_show_less(runs: list[Manifest], tmp_path: Path) -> None:
    """Ten rows of each document rise and fall together, so that 1,000 rows show what 100 would."""
    results = tmp_path / "results"
    apart = score_all(results, runs, print)
    whole = [replace(run.rows, clusters=np.repeat(np.arange(4), 10)) for run in apart]
    found = _from_runs(apart[0].metrics[0], 1000, *runs, *whole)
    independent = seen(runs, "accuracy", results).paired
    assert found.assuming == "scores that vary as those of sure and unsure, in clusters of 10 rows"
    assert found.paired is not None
    assert independent is not None
    assert found.paired != independent


def test_scores_by_another_answer_format_are_no_measure(runs: list[Manifest], tmp_path: Path) -> None:
    results = tmp_path / "results"
    score_all(results, runs, print)
    task = task_with("accuracy")
    other = task.model_copy(update={"answer": LabelAnswer(type="label", labels=["yes", "no", "both"])})
    assert detectable(other, 1000, "sample", runs, results).assuming == "assumed: 20% discordant rows"
