"""All answers to a task are scored by one rule: that of the task file now, or the recorded one if a user says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.score.rules import chosen_rules, current_rules, recorded_rules
from harness.score.scoring import ScoredRun, score_all
from harness.store.results import read_manifests
from tests.loopback import Loopback
from tests.runs import Small
from tests.scored import scored

EXACT = """\
title: Small
category: generation
dataset: {splits: {train: train, test: test}}
prompt: "Is {{ text }} fine? Answer with one word."
target: "{{ label }}"
answer: {type: text}
metrics: [METRIC]
max_tokens: 4
"""
IGNORING = EXACT.replace("METRIC", "exact_match: {ignore_case: true}")
STRICT = EXACT.replace("METRIC", "exact_match")


@dataclass
class Twice:
    """Two models with the same answers in capitals, the first asked while case was ignored and the second after."""

    small: Small
    said: list[str]

    def scores(self, *, recorded: bool) -> dict[str, float]:
        return {run.manifest.model: _score(run) for run in self.runs(recorded=recorded)}

    def runs(self, *, recorded: bool) -> list[ScoredRun]:
        rules = chosen_rules(self.small.folder / "tasks", recorded=recorded)
        return score_all(self.small.results, list(read_manifests(self.small.results)), self.said.append, rules)


def _score(run: ScoredRun) -> float:
    return float(run.metrics[0].summary(run.rows.stats[run.metrics[0].name].mean(axis=0)))


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


@pytest.fixture
def twice(small: Small, loopback: Loopback) -> Twice:
    loopback.answer = lambda prompt: ("YES", "NO")[int(prompt.split()[2]) % 2]
    small.model("a", loopback.openai_url)
    small.task(text=IGNORING)
    small.bench()
    small.model("b", loopback.openai_url)
    small.task(text=STRICT)
    small.bench(models=("b",))
    return Twice(small, [])


def test_identical_answers_have_identical_scores_whatever_rule_each_was_asked_under(twice: Twice) -> None:
    """It was "a 1.000, b 0.000: better, p < 0.001"."""
    assert twice.scores(recorded=False) == {"a": 0.0, "b": 0.0}
    twice.small.task(text=IGNORING)
    assert twice.scores(recorded=False) == {"a": 1.0, "b": 1.0}


def test_recorded_rules_are_those_of_the_last_run_for_all(twice: Twice) -> None:
    twice.small.task(text=IGNORING)
    assert twice.scores(recorded=True) == {"a": 0.0, "b": 0.0}


def test_saved_scores_by_one_rule_are_never_taken_for_those_by_another(twice: Twice) -> None:
    for _ in range(2):
        twice.small.task(text=STRICT)
        assert set(twice.scores(recorded=False).values()) == {0.0}
        twice.small.task(text=IGNORING)
        assert set(twice.scores(recorded=False).values()) == {1.0}


def test_the_version_of_the_rule_goes_with_the_scores(twice: Twice) -> None:
    strict = {run.manifest.spec.scoring_version for run in twice.runs(recorded=False)}
    twice.small.task(text=IGNORING)
    ignoring = {run.manifest.spec.scoring_version for run in twice.runs(recorded=False)}
    assert len(strict) == len(ignoring) == 1
    assert strict != ignoring
    assert len({run.manifest.spec.asking_version for run in twice.runs(recorded=False)}) == 1


def test_a_file_that_cannot_be_read_is_said_and_the_last_rule_holds(twice: Twice) -> None:
    twice.small.task(text=STRICT.replace("max_tokens: 4", "max_tokens: none"))
    assert twice.scores(recorded=False) == {"a": 0.0, "b": 0.0}
    assert any("scored by the rule of its last run" in line for line in twice.said)


def test_the_last_run_is_the_one_that_finished_last_in_whatever_order_they_are_read() -> None:
    early, late = (
        scored("t", name, [1.0], finished=f"2026-01-0{day}T00:00:00+00:00", task_spec={"metrics": [metric]}).manifest
        for name, day, metric in (("a", 1, "rouge_l"), ("b", 2, "exact_match"))
    )
    for runs in ([early, late], [late, early]):
        assert {run.spec.metrics[0].name for run in recorded_rules(runs, print)} == {"exact_match"}


def test_a_task_without_a_file_keeps_its_rule_and_the_others_have_those_of_theirs(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(STRICT)
    runs = [scored(task, "m", [1.0], task_spec={"metrics": ["rouge_l"]}).manifest for task in ("gone", "small")]
    said: list[str] = []
    found = current_rules(tmp_path)(runs, said.append)
    assert said == []
    assert [run.spec.metrics[0].name for run in found] == ["rouge_l", "exact_match"]
