"""Slices: by the columns a task names and by the length of its input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.compare.intervals import wilson
from harness.compare.slices import LENGTH, Slice, slices
from harness.rows.evaluation import EvaluationRow
from harness.score.scoring import ScoredRun
from harness.store.results import write_rows
from tests.scored import right, scored


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path


def runs(
    results: Path, values: list[object], lengths: list[int] | None = None, **models: np.ndarray
) -> list[ScoredRun]:
    """Runs on rows with these values of the column `topic`, prompts of these lengths."""
    rows = tuple(
        EvaluationRow(f"{i:04}", "x" * (lengths[i] if lengths else 10), ("yes",), {"topic": value})
        for i, value in enumerate(values)
    )
    fingerprint = write_rows(results, "news", rows)
    made = [scored("news", model, scores, rows=fingerprint) for model, scores in models.items()]
    spec = made[0].manifest.spec.model_copy(update={"slices": ["topic"]})
    return [
        ScoredRun(run.manifest.model_copy(update={"spec": spec}), *(getattr(run, name) for name in run.__slots__[1:]))
        for run in made
    ]


def by_value(found: list[Slice], column: str = "topic") -> dict[str, Slice]:
    return {part.value: part for part in found if part.column == column}


def test_each_value_has_its_rows_and_each_models_score(results: Path) -> None:
    values: list[object] = [1] * 300 + [0] * 100
    found = by_value(slices(results, runs(results, values, a=right(0.75), b=right(0.25))))
    assert list(found) == ["0", "1"]
    assert (found["1"].n, found["0"].n) == (300, 100)
    assert found["1"].scores == {"a": wilson(300, 300), "b": wilson(100, 300)}
    assert found["0"].scores == {"a": wilson(0, 100), "b": wilson(0, 100)}


def test_fewer_than_30_rows_are_few(results: Path) -> None:
    values: list[object] = ["rare"] * 29 + ["common"] * 30
    found = by_value(slices(results, runs(results, values, a=right(0.5, 59))))
    assert {value: part.few for value, part in found.items()} == {"common": False, "rare": True}


def test_many_values_leave_the_most_frequent_and_the_rest(results: Path) -> None:
    values: list[object] = [f"v{i:02}" for i in range(20) for _ in range(40 - i)]
    found = by_value(slices(results, runs(results, values, a=right(0.5, len(values)))))
    assert list(found) == [*(f"v{i:02}" for i in range(11)), "other values (9)"]
    assert found["other values (9)"].n == sum(40 - i for i in range(11, 20))
    assert sum(part.n for part in found.values()) == len(values)


def test_numbers_are_listed_in_order_and_text_on_one_line(results: Path) -> None:
    values: list[object] = [10, 9, "two\nlines", None, ["a", "b"]]
    found = by_value(slices(results, runs(results, values, a=right(0.5, 5))))
    assert list(found)[:2] == ["9", "10"]
    assert {"two lines", "(no value)", "['a', 'b']"} < set(found)


def test_digits_that_are_no_numbers_are_text_and_every_value_has_its_own_rows(results: Path) -> None:
    values: list[object] = ["\u2460 general", "\u00b2", "\u0663", "-2", "1.5 km", "1,000", "a", "a\0", None, "None", ""]
    found = by_value(slices(results, runs(results, values, a=right(0.5, len(values)))))
    assert list(found)[:3] == ["-2", "1.5 km", "1,000"]
    others = {"\u2460 general", "\u00b2", "\u0663", "a", "a\0", "(no value)", "None", "(empty)"}
    assert set(list(found)[3:]) == others
    assert {part.n for part in found.values()} == {1}


def test_digits_that_are_no_number_are_text(results: Path) -> None:
    values: list[object] = ["\N{CIRCLED DIGIT ONE}", "\N{SUPERSCRIPT TWO}", "10", "9", "\N{CIRCLED DIGIT ONE}"]
    found = by_value(slices(results, runs(results, values, a=right(0.5, 5))))
    assert list(found) == ["9", "10", "\N{SUPERSCRIPT TWO}", "\N{CIRCLED DIGIT ONE}"]


def test_input_length_is_cut_at_its_quartiles(results: Path) -> None:
    lengths = list(range(1, 401))
    found = by_value(slices(results, runs(results, [0] * 400, lengths, a=right(0.5))), LENGTH)
    assert {value: part.n for value, part in found.items()} == {
        "1 to 100 characters": 100,
        "101 to 200 characters": 100,
        "201 to 300 characters": 100,
        "301 to 400 characters": 100,
    }
    assert [part.scores["a"].value for part in found.values()] == [1, 1, 0, 0]


def test_equal_lengths_share_a_slice(results: Path) -> None:
    found = by_value(slices(results, runs(results, [0] * 40, [1200] * 40, a=right(0.5, 40))), LENGTH)
    assert {value: part.n for value, part in found.items()} == {"1,200 characters": 40}


def test_models_on_other_rows_are_left_out(results: Path) -> None:
    same = runs(results, [0] * 40, a=right(0.5, 40), b=right(0.5, 40))
    (other,) = runs(results, [1] * 50, c=right(0.5, 50))
    assert all(set(part.scores) == {"a", "b"} for part in slices(results, [*same, other]))


def test_no_runs_have_no_slices(results: Path) -> None:
    assert slices(results, []) == []
