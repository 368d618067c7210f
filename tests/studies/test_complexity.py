"""How complex a task is, from its rows."""

from __future__ import annotations

import zlib

import pytest
from rouge_score.rouge_scorer import RougeScorer

from harness.studies.complexity import measure

ROWS = [("the cat sat on the mat", "the cat"), ("a dog ran home", "no"), ("a bird", "no")]


def test_lengths_are_in_words() -> None:
    found = measure(ROWS)
    assert found["Input length mean"] == pytest.approx(4.0)
    assert found["Output length mean"] == pytest.approx(4 / 3)
    assert found["Example length p95"] == pytest.approx(7.7)
    assert found["Input length std"] == pytest.approx((8 / 3) ** 0.5)


def test_the_overlap_is_rouge_l() -> None:
    scorer = RougeScorer(["rougeL"])
    expected = [scorer.score(given, output)["rougeL"].fmeasure for given, output in ROWS]
    assert measure(ROWS)["I/O rougeL similarity mean"] == pytest.approx(sum(expected) / 3)


def test_compressibility_is_that_of_zlib() -> None:
    row = ("word " * 200, "word")
    whole = f"{row[0]} {row[1]}".encode()
    assert measure([row])["Example compressibility mean"] == len(zlib.compress(whole)) / len(whole) < 0.1


def test_outputs_that_repeat_have_little_entropy() -> None:
    assert measure([("x", "yes")] * 4)["Output entropy"] == 0
    assert measure([("x", "yes")] * 4)["Repeated outputs"] == 1
    varied = measure([("x", text) for text in "abcd"])
    assert (varied["Output entropy"], varied["Repeated outputs"]) == (2, 0)
    assert measure(ROWS)["Repeated outputs"] == pytest.approx(2 / 3)


def test_a_task_without_rows_has_none() -> None:
    with pytest.raises(ValueError, match="without rows"):
        measure([])
