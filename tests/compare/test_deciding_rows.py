"""The rows that decide a comparison: the largest differences first, with what both models said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.compare.deciding_rows import deciding_rows, row_differences
from harness.rows.evaluation import EvaluationRow
from harness.score.metrics.base import Metric, ratio
from harness.score.scoring import ScoredRun
from harness.store.results import Response, ResponseLog, response_key, write_rows
from tests.scored import ACCURACY, OVERLAP, right, scored, unused

F1 = Metric("f1", unused, lambda means: ratio(2 * means[..., 0], 2 * means[..., 0] + means[..., 1]), kind="corpus")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path


def asked(results: Path, metric: Metric = OVERLAP, **models: list[float]) -> list[ScoredRun]:
    """Runs of these models whose answers are recorded: `<model> on <row>`, and none from b to row 2."""
    n = len(next(iter(models.values())))
    rows = tuple(EvaluationRow(f"{i:04}", f"prompt {i}", (f"reference {i}",), {}) for i in range(n))
    fingerprint = write_rows(results, "news", rows)
    runs = [scored("news", model, scores, metric, rows=fingerprint) for model, scores in models.items()]
    for run in runs:
        with ResponseLog(results / "news" / run.manifest.model) as log:
            for i, row in enumerate(rows):
                status = "failed" if run.manifest.model == "b" and i == 2 else "ok"
                key = response_key(run.manifest.settings, row.prompt)
                log.append(Response(key, row.id, status, f"<think>hm</think>{run.manifest.model} on {i}"))
    return runs


def test_the_largest_differences_come_first(results: Path) -> None:
    a, b = asked(results, a=[0.5, 0.9, 1.0, 0.2], b=[0.5, 0.4, 0.0, 0.5])
    found = deciding_rows(results, a, b)
    assert [row.row for row in found] == ["0002", "0001", "0003"]
    assert [row.difference for row in found] == pytest.approx([1.0, 0.5, -0.3])
    assert [row.row for row in deciding_rows(results, a, b, most=1)] == ["0002"]


def test_a_row_comes_with_prompt_reference_and_answers_without_thinking(results: Path) -> None:
    a, b = asked(results, a=[0.5, 0.9, 1.0], b=[0.5, 0.4, 0.0])
    lost, other = deciding_rows(results, a, b)
    assert (other.prompt, other.references) == ("prompt 1", ("reference 1",))
    assert (other.answer_a, other.answer_b) == ("a on 1", "b on 1")
    assert (lost.answer_a, lost.answer_b) == ("a on 2", None)


def test_equal_differences_come_in_the_order_of_their_ids(results: Path) -> None:
    a, b = asked(results, ACCURACY, a=[1, 0, 1, 1], b=[0, 1, 1, 0])
    assert [(row.row, row.difference) for row in deciding_rows(results, a, b)] == [
        ("0000", 1),
        ("0001", -1),
        ("0003", 1),
    ]


def test_models_that_score_alike_have_no_deciding_rows(results: Path) -> None:
    a, b = asked(results, a=[0.5, 0.1, 0.2], b=[0.5, 0.1, 0.2])
    assert deciding_rows(results, a, b) == []


def test_other_rows_cannot_be_set_side_by_side(results: Path) -> None:
    with pytest.raises(ValueError, match="not asked the same rows"):
        deciding_rows(results, scored("news", "a", right(0.5, 4)), scored("news", "b", right(0.5, 5)))


def test_a_score_of_the_whole_set_names_the_rows_that_move_it() -> None:
    """Against the score computed again without each row."""
    rng = np.random.default_rng(4)
    a, b = (rng.integers(0, 2, (30, 2)).astype(np.float64) for _ in "ab")
    b[:5] = a[:5]
    found = row_differences(F1, a, b)

    def gap(keep: np.ndarray) -> float:
        return float(F1.summary(a[keep].mean(axis=0)) - F1.summary(b[keep].mean(axis=0)))

    everything = np.ones(30, dtype=bool)
    for i in range(30):
        without = everything.copy()
        without[i] = False
        expected = 0.0 if (a[i] == b[i]).all() else gap(everything) - gap(without)
        assert found[i] == pytest.approx(expected)
