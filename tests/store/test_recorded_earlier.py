"""Results that an earlier version recorded are read, scored, compared, exported and reported with the same figures.

What was recorded, and what that version made of it, is in `recorded_earlier/`.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harness.ask.run import BenchOptions
from harness.cli import main
from harness.compare.deciding_rows import deciding_rows
from harness.compare.paired import ModelPair, compare_models
from harness.compare.standings import standings
from harness.plan.plan import plan
from harness.report.export import export
from harness.report.findings import long_frame
from harness.score.scoring import ScoredRun, score_all
from harness.store.results import read_manifests

RECORDED = Path(__file__).parent / "recorded_earlier"
FIGURES: dict[str, Any] = json.loads((RECORDED / "figures.json").read_text(encoding="utf-8"))
APPROXIMATELY = 1e-9
FITTED_ANEW = {("moods", "tfidf")}
"""Task and model, where a free model is fitted in another way since, so that its answers are other ones."""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A copy of what was recorded, because scores are kept beside the answers."""
    return shutil.copytree(RECORDED / "results", tmp_path / "results")


@pytest.fixture
def runs(results: Path) -> list[ScoredRun]:
    said: list[str] = []
    found = score_all(results, read_manifests(results), said.append)
    assert said == []
    return found


def same(found: Any, expected: Any) -> bool:
    """Whether two figures are the same; None stands for a figure that is not known, which may be NaN."""
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=APPROXIMATELY, abs=APPROXIMATELY))
    return bool(found == expected or (expected is None and found != found))


def test_every_score_and_status(runs: list[ScoredRun]) -> None:
    """Intervals are those of the statistics that read it: they may be computed in a better way, and hold the score."""
    found = {(row["task"], row["model"], row["metric"]): row for row in long_frame(runs).to_dict("records")}
    assert len(found) == len(FIGURES["scores"])
    for expected in FIGURES["scores"]:
        row = found[expected["task"], expected["model"], expected["metric"]]
        kept = expected.keys() - {"low", "high"}
        assert {name: row[name] for name in kept if not same(row[name], expected[name])} == {}
        assert row["low"] <= row["score"] <= row["high"]
    assert any(expected["failed"] for expected in FIGURES["scores"])
    assert any(expected["unparsed"] for expected in FIGURES["scores"])


def test_a_second_reading_takes_the_scores_from_their_cache(results: Path, runs: list[ScoredRun]) -> None:
    assert len(list(results.glob("*/*/scores-sample.npz"))) == len(runs)
    again = score_all(results, read_manifests(results), lambda line: None)
    assert long_frame(again).equals(long_frame(runs))


def test_a_cache_that_was_cut_or_garbled_is_made_again(results: Path, runs: list[ScoredRun]) -> None:
    """Cut anywhere, as a power loss may, or with bytes that are not its own."""
    expected = long_frame(runs)
    cache = next(results.glob("*/*/scores-sample.npz"))
    whole = cache.read_bytes()
    middle = len(whole) // 2
    for content in (
        *(whole[:end] for end in range(0, len(whole), 97)),
        whole[:middle] + b"\0" * 40 + whole[middle + 40 :],
    ):
        cache.write_bytes(content)
        assert long_frame(score_all(results, read_manifests(results), lambda line: None)).equals(expected)


@pytest.mark.parametrize("comparison", list(FIGURES["comparisons"]))
def test_nothing_is_told_from_a_run_that_lost_rows(runs: list[ScoredRun], comparison: str) -> None:
    """The earlier version compared them: one row in ten or twelve of the tuned model's has no answer."""
    a, b, task = comparison.split()
    pair: ModelPair = compare_models(runs, a, b)
    assert task not in pair.tasks
    assert "rows have no answer" in pair.apart[task]


@pytest.mark.parametrize("task", list(FIGURES["deciding_rows"]))
def test_the_rows_that_decide_a_comparison(results: Path, runs: list[ScoredRun], task: str) -> None:
    of = {(run.manifest.task, run.manifest.model): run for run in runs}
    found = deciding_rows(results, of[task, "tuned"], of[task, "majority"])
    expected = FIGURES["deciding_rows"][task]
    assert len(found) == len(expected) > 0
    for row, wanted in zip(found, expected, strict=True):
        assert {name: getattr(row, name) for name in wanted if not same(getattr(row, name), wanted[name])} == {}


def test_the_standings_of_the_complete_runs(runs: list[ScoredRun]) -> None:
    found = standings(runs)
    assert found.reference == "tfidf", "the earlier version had the tuned model, whose runs are incomplete"
    for one in found.models:
        expected = FIGURES["standings"][one.model]
        if one.model == "tuned":
            assert one.macro is None
            assert one.mean_rank is None
            continue
        assert one.macro is not None
        assert one.macro.value == pytest.approx(expected["macro"][0])
        assert same(one.usd, expected["usd"])


def test_every_exported_row(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    assert export(results, (), (), out) == len(FIGURES["exported"])
    for row, expected in zip(pq.read_table(out).to_pylist(), FIGURES["exported"], strict=True):
        assert {name: row[name] for name in expected if not same(row[name], expected[name])} == {}


def test_the_report(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["harness", "report", "--results", str(results), "--out", str(tmp_path / "report")]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    with (tmp_path / "report" / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        found = {(row["task"], row["model"], row["metric"]): row for row in csv.DictReader(file)}
    assert len(found) == len(FIGURES["scores"])
    for expected in FIGURES["scores"]:
        row = found[expected["task"], expected["model"], expected["metric"]]
        assert [float(row[name]) for name in ("score", "n")] == pytest.approx(
            [expected[name] for name in ("score", "n")], abs=1e-6
        )


def test_what_was_answered_is_not_asked_again(results: Path) -> None:
    options = BenchOptions((), (), RECORDED / "models.yaml", RECORDED / "tasks", results, "sample")
    found = {(pair.task, pair.model): pair for pair in plan(options, lambda line: None).pairs}
    for expected in FIGURES["scores"]:
        pair = found[expected["task"], expected["model"]]
        kept = 0 if (pair.task, pair.model) in FITTED_ANEW else expected["n"] - expected["failed"]
        assert (pair.answered, pair.ask) == (kept, expected["n"] - kept)
    fewer = plan(replace(options, rows=5), lambda line: None)
    assert all(pair.rows == 5 and pair.ask <= 1 for pair in fewer.pairs if (pair.task, pair.model) not in FITTED_ANEW)
