"""Standings, slices and the LaTeX table as text, against golden text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harness.compare.intervals import wilson
from harness.compare.slices import Slice
from harness.compare.standings import standings
from harness.report.markdown import latex, slices_markdown, standings_markdown
from tests.report.conftest import MODELS
from tests.scored import ERROR, right, scored

GOLDEN = Path(__file__).parent / "golden"


def test_standings_of_three_models() -> None:
    found = standings(
        [
            scored("news", "big", right(0.80), usd=4.0),
            scored("news", "tuned", right(0.90), usd=0.1, base="small"),
            scored("news", "small", right(0.40)),
            scored("maths", "big", right(0.70), usd=4.0),
            scored("maths", "tuned", right(0.70), usd=0.1, base="small"),
            scored("maths", "small", right(0.30)),
            scored("extra", "big", right(0.90), usd=4.0),
            scored("extra", "tuned", right(0.50), usd=0.1, ids=[f"x{i}" for i in range(400)]),
        ]
    )
    assert standings_markdown(found) == (GOLDEN / "standings.md").read_text(encoding="utf-8").rstrip("\n")


def test_columns_without_anything_to_say_are_left_out() -> None:
    runs = [scored("dates", "a", right(0.5), ERROR), scored("dates", "b", right(0.6), ERROR)]
    text = standings_markdown(standings(runs))
    assert "lift" not in text
    assert "USD" not in text
    assert "There is no mean score: their metric has no highest value or counts errors." in text


def test_slices_say_when_there_are_too_few_rows() -> None:
    text = slices_markdown(
        [
            Slice("jailbreaking", "0", 970, {"a": wilson(800, 970), "b": wilson(700, 970)}),
            Slice("jailbreaking", "1 | more", 29, {"a": wilson(20, 29), "b": wilson(9, 29)}),
            Slice("jailbreaking", "", 30, {"a": wilson(20, 30)}),
        ]
    )
    assert text == (GOLDEN / "slices.md").read_text(encoding="utf-8").rstrip("\n")


def test_slices_of_an_incomplete_run_are_marked() -> None:
    """b lost 40 of 100 rows and its slice stood there like any other."""
    part = Slice("topic", "x", 100, {"a": wilson(80, 100), "b": wilson(56, 100)})
    line = slices_markdown([part], {"b": " †"}).splitlines()[-3]
    assert line.count("†") == 1
    assert line.rstrip(" |").endswith("†")


def test_latex(benchmark: pd.DataFrame) -> None:
    odd = benchmark.replace("tfidf", "tf_idf & 100 %")
    assert latex(odd, ("mistral-7b-lora", "tf_idf & 100 %", "gpt-4")) == (GOLDEN / "leaderboard.tex").read_text(
        encoding="utf-8"
    )


def test_latex_says_below_the_table_who_was_allowed_labels_only(benchmark: pd.DataFrame) -> None:
    constrained = benchmark.assign(labels_only=benchmark["model"] == "tfidf")
    note = "tfidf on e2e\\_nlg, jigsaw: no answer but one of the task's labels was allowed (decode: labels)."
    assert latex(constrained, MODELS) == f"{latex(benchmark, MODELS)}\n{{\\footnotesize {note}\\par}}\n"


def test_latex_never_mixes_kinds_of_rows(benchmark: pd.DataFrame, sample: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="must not share a table"):
        latex(pd.concat([benchmark, sample]), MODELS)
