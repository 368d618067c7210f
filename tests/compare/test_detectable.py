"""What a task's rows can show, from assumptions at first and from recorded runs when there are two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.compare import power
from harness.compare.intervals import jackknife
from harness.compare.power import DetectableDifference, _from_runs, detectable
from harness.score.metrics.base import FloatArray, Metric
from harness.score.scoring import score_all
from harness.store.results import Manifest, read_manifests
from harness.tasks.task import LabelAnswer, Task
from tests.loopback import Loopback
from tests.runs import ROWS, Small
from tests.scored import ACCURACY, OVERLAP, right, scored


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


class TestFromTwoRuns:
    """What the rows of two recorded runs say of the next two models."""

    def found(self, a: FloatArray, b: FloatArray, metric: Metric = OVERLAP, **changes: Any) -> DetectableDifference:
        one, other = scored("t", "a", a, metric, **changes), scored("t", "b", b, metric)
        return _from_runs(metric, 900, one.manifest, other.manifest, one.rows, other.rows)

    def test_scores_that_vary(self) -> None:
        a, b = np.random.default_rng(0).random((2, 100))
        found = self.found(a, b)
        assert (found.metric, found.rows) == ("rouge_l", 900)
        error = (a - b).std(ddof=1) / 10 * np.sqrt(100 / 900)
        assert found.paired == pytest.approx(power.detectable_by_error(error))
        assert found.assuming == "scores that vary as those of a and b"

    def test_scores_that_never_differ_say_nothing(self) -> None:
        same = np.full(100, 0.5)
        assert self.found(same, same).paired is None
        # But right and wrong rows are assumed to.
        assert self.found(same, same, ACCURACY).paired == power.detectable_share(900, 0.2)

    @pytest.mark.parametrize("changes", [{"model_settings": {"samples": 2}}, {"clusters": np.arange(100)}])
    def test_means_of_samples_and_clusters_are_no_right_and_wrong_rows(self, changes: dict[str, Any]) -> None:
        a, b = right(0.6, 100), right(0.2, 100, wrong_first=True)
        assert self.found(a, b, ACCURACY).assuming == "80% discordant rows, as a and b have"
        assert self.found(a, b, ACCURACY, **changes).assuming.startswith("scores that vary as those of a and b")

    def test_clusters_are_left_out_as_a_whole(self) -> None:
        """Five rows each, of which both runs know."""
        a, b = np.random.default_rng(1).random((2, 100))
        groups = np.arange(100) // 5
        one, other = (scored("t", name, rows, OVERLAP, clusters=groups) for name, rows in (("a", a), ("b", b)))
        found = _from_runs(OVERLAP, 400, one.manifest, other.manifest, one.rows, other.rows)
        sums = (a - b).reshape(20, 5).sum(axis=1)
        left = np.array([np.delete(sums, i).sum() / 95 for i in range(20)])
        assert found.paired == pytest.approx(power.detectable_by_error(jackknife(left) / 2))
        assert found.assuming == "scores that vary as those of a and b, in clusters of 5 rows"


def test_the_two_runs_that_finished_last_on_the_same_rows_count(runs: list[Manifest], tmp_path: Path) -> None:
    """Not a baseline, nor one that its server left incomplete."""
    results = tmp_path / "results"
    score_all(results, runs, print)

    def at(run: Manifest, day: int, **changes: Any) -> Manifest:
        return run.model_copy(update={"finished": f"2026-01-{day:02}T00:00:00+00:00", **changes})

    sure, unsure = sorted(runs, key=lambda run: run.model)
    for days in ((1, 2), (2, 1)):
        found = seen([at(sure, days[0]), at(unsure, days[1])], "accuracy", results)
        first, second = ("sure", "unsure") if days == (1, 2) else ("unsure", "sure")
        assert found.assuming == f"25% discordant rows, as {first} and {second} have"
    baseline = at(unsure, 3, model_settings={"backend": "baseline"})
    assert seen([at(sure, 1), baseline], "accuracy", results).assuming == "assumed: 20% discordant rows"


@pytest.mark.parametrize(
    ("metric", "span", "assuming"),
    [
        ("accuracy", 1, "assumed: 20% discordant rows"),
        ("rouge_l", 1, "assumed: 20% discordant rows, as if rows were right or wrong"),
        ("bleu", None, "unknown until two models are recorded"),
    ],
)
def test_what_is_assumed_is_a_share_of_the_scale(
    metric: str, span: float | None, assuming: str, tmp_path: Path
) -> None:
    answer = {"type": "text"} if metric != "accuracy" else {"type": "label", "labels": ["yes", "no"]}
    task = Task.model_validate(task_with("accuracy").model_dump(mode="json") | {"answer": answer, "metrics": [metric]})
    found = detectable(task, 1000, "sample", [], tmp_path)
    assert (found.paired, found.assuming) == (span and power.detectable_share(1000), assuming)
    assert detectable(task, 3, "sample", [], tmp_path).paired is None


def test_of_two_sets_of_rows_those_of_the_last_run_count(tmp_path: Path, loopback: Loopback) -> None:
    """Whichever was asked first."""
    small = Small(tmp_path)
    for names, rows in ((("a", "b"), None), (("c", "d"), 20)):
        for name in names:
            small.model(name, loopback.openai_url)
        small.bench(models=names, rows=rows)
    runs = {run.model: run for run in read_manifests(small.results)}
    score_all(small.results, runs.values(), print)
    for days, last in (({"a": 1, "b": 9, "c": 2, "d": 3}, "a and b"), ({"a": 2, "b": 3, "c": 1, "d": 9}, "c and d")):
        dated = [runs[name].model_copy(update={"finished": f"2026-01-0{day}"}) for name, day in days.items()]
        assert seen(dated, "accuracy", small.results).assuming == f"20% discordant rows, as {last} have"
