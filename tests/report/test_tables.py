"""Tables as text, against golden text; what stands in a table and what must not."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from harness.report.markdown import Section, latex, markdown
from harness.report.published import Published
from harness.report.tables import bench_table, csv, labels_only, leaderboard
from harness.report.words import ABSENT, number
from tests.report.conftest import MODELS, SCORES, SECTIONS, standings_of

GOLDEN = Path(__file__).parent / "golden"


def tables(text: str) -> list[str]:
    """The runs of lines of a Markdown text that are tables."""
    return re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)


def test_bench_table(benchmark: pd.DataFrame) -> None:
    jigsaw = benchmark[benchmark["task"] == "jigsaw"]
    text = bench_table(jigsaw, {"jigsaw": "mistral-7b-lora is better than tfidf."})
    assert text == (GOLDEN / "bench.txt").read_text(encoding="utf-8")


def test_bench_table_shows_only_the_problems_there_are(benchmark: pd.DataFrame, sample: pd.DataFrame) -> None:
    assert "failed" in bench_table(benchmark)
    assert "refused" not in bench_table(benchmark)
    assert not {"failed", "unparsed", "answered"} & set(bench_table(sample).split())


def test_bench_table_of_two_tasks_has_a_block_each(benchmark: pd.DataFrame) -> None:
    first, second = bench_table(benchmark).split("\n\n")
    assert first.startswith("e2e_nlg: Restaurant Descriptions (E2E), benchmark (mirror), asked 1a2b3c4d, scored ")
    assert second.startswith("jigsaw: Toxicity Detection (Jigsaw), benchmark (mirror), asked 1a2b3c4d, scored ")


def test_models_stand_best_first_also_when_less_is_better(benchmark: pd.DataFrame) -> None:
    jigsaw = benchmark[benchmark["task"] == "jigsaw"]
    places = [bench_table(jigsaw).index(model) for model in ("mistral-7b-lora", "tfidf", "gpt-4")]
    assert places == sorted(places)
    places = [
        bench_table(jigsaw.assign(higher_is_better=False)).index(model)
        for model in ("gpt-4", "tfidf", "mistral-7b-lora")
    ]
    assert places == sorted(places)


LABELS_ONLY = "mistral-7b-lora: no answer but one of the task's labels was allowed (decode: labels)."


@pytest.fixture
def constrained(benchmark: pd.DataFrame) -> pd.DataFrame:
    """The benchmark whose adapter ran with `decode: labels`, which on e2e_nlg, without labels, changed nothing."""
    adapter_on_labels = (benchmark["model"] == "mistral-7b-lora") & (benchmark["task"] == "jigsaw")
    return benchmark.assign(labels_only=adapter_on_labels)


def test_below_a_table_stands_who_was_allowed_labels_only(constrained: pd.DataFrame) -> None:
    jigsaw = constrained[constrained["task"] == "jigsaw"]
    *table, note, verdict = bench_table(jigsaw, {"jigsaw": "It leads."}).splitlines()
    assert [*table, verdict] == bench_table(jigsaw.assign(labels_only=False), {"jigsaw": "It leads."}).splitlines()
    assert note == LABELS_ONLY


def test_nothing_is_said_of_a_task_without_labels(constrained: pd.DataFrame) -> None:
    e2e_nlg, jigsaw = bench_table(constrained).split("\n\n")
    assert LABELS_ONLY in jigsaw
    assert "decode: labels" not in e2e_nlg


def test_over_several_tasks_the_note_names_those_it_is_about(constrained: pd.DataFrame) -> None:
    both = constrained.assign(labels_only=constrained["labels_only"] | (constrained["model"] == "tfidf"))
    assert labels_only(constrained) == LABELS_ONLY.replace(":", " on jigsaw:", 1)
    assert labels_only(both).startswith("mistral-7b-lora on jigsaw; tfidf on e2e_nlg, jigsaw: no answer but ")


def test_every_markdown_table_with_such_a_score_has_the_note(
    constrained: pd.DataFrame, published: dict[str, list[Published]]
) -> None:
    parts = re.split("^##+ ", markdown(constrained, published, SECTIONS), flags=re.MULTILINE)
    noted = [part.split("\n")[0] for part in parts if "(decode: labels)" in part]
    assert noted == ["Benchmark runs", "Beside published figures", "jigsaw: Toxicity Detection (Jigsaw)"]


def test_the_csv_says_of_each_score_whether_labels_only_were_allowed(constrained: pd.DataFrame) -> None:
    back = pd.read_csv(io.StringIO(csv(constrained)))
    assert set(back.loc[back["labels_only"], ["task", "model"]].agg(" ".join, axis=1)) == {"jigsaw mistral-7b-lora"}


def test_leaderboard_is_models_by_tasks_on_the_main_metric(benchmark: pd.DataFrame) -> None:
    wide = leaderboard(benchmark, MODELS)
    assert list(wide.columns) == ["e2e_nlg", "jigsaw"]
    assert list(wide.index) == ["mistral-7b-lora", "tfidf", "gpt-4"]
    assert wide.loc["tfidf"].to_dict() == {"e2e_nlg": 0.41, "jigsaw": 0.912}
    assert wide["e2e_nlg"].isna().to_dict() == {"mistral-7b-lora": False, "tfidf": False, "gpt-4": True}


def test_markdown(benchmark: pd.DataFrame, sample: pd.DataFrame, published: dict[str, list[Published]]) -> None:
    said = {"jigsaw": "mistral-7b-lora is better than tfidf."}
    sections = SECTIONS | {"benchmark": replace(SECTIONS["benchmark"], verdicts=said)}
    text = markdown(pd.concat([benchmark, sample]), published, sections)
    assert text == (GOLDEN / "leaderboard.md").read_text(encoding="utf-8")


def test_sample_and_benchmark_scores_never_share_a_table(
    benchmark: pd.DataFrame, sample: pd.DataFrame, published: dict[str, list[Published]]
) -> None:
    both = pd.concat([benchmark, sample])
    with pytest.raises(ValueError, match="must not share"):
        leaderboard(both, MODELS)
    with pytest.raises(ValueError, match="must not share"):
        csv(both)
    benchmark_part, sample_part = markdown(both, published, SECTIONS).split("## Sample runs: not a benchmark")
    assert "0.625" in sample_part
    assert "0.625" not in benchmark_part
    assert not any("0.912" in table or "published" in table for table in tables(sample_part))
    assert all("0.500" not in table for table in tables(benchmark_part))
    assert bench_table(both).count("jigsaw: Toxicity Detection (Jigsaw), ") == 2


def test_a_published_figure_says_its_metric_and_whether_it_is_ours(
    benchmark: pd.DataFrame, published: dict[str, list[Published]]
) -> None:
    beside = next(t for t in tables(markdown(benchmark, published, SECTIONS)) if "published: gpt-4 (paper)" in t)
    assert "0.754 accuracy |" in beside
    assert "0.540 bleurt ≠" in beside
    assert "phi-2-lora" not in beside


def test_markdown_of_no_runs_says_so(benchmark: pd.DataFrame) -> None:
    assert "No runs are recorded." in markdown(benchmark.head(0), {})


def test_a_bar_in_a_name_does_not_end_a_cell(benchmark: pd.DataFrame) -> None:
    text = markdown(
        benchmark.replace("tfidf", "tf|idf"),
        {},
        {"benchmark": Section(standings_of({name.replace("tfidf", "tf|idf"): 0.9 for name in SCORES}, "gpt-4"))},
    )
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in tables(text)[0].splitlines()}
    assert len(widths) == 1


def test_csv_reads_back_and_does_not_depend_on_the_order_of_rows(benchmark: pd.DataFrame) -> None:
    text = csv(benchmark)
    assert text == csv(benchmark.sample(frac=1, random_state=3))
    back = pd.read_csv(io.StringIO(text))
    assert list(back.columns) == list(benchmark.columns)
    assert sorted(back["score"]) == sorted(benchmark["score"])
    assert "431220" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.91249, "0.912"), (None, ABSENT), (float("nan"), ABSENT), (pd.NA, ABSENT), (0, "0.000")]
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_incomplete_run_is_marked_wherever_its_score_stands(benchmark: pd.DataFrame) -> None:
    """leaderboard.md, .csv and .tex showed its score as any other."""
    broken = benchmark.assign(
        incomplete=benchmark["model"].map(lambda m: "700 of 1,000 rows have no answer" if m == "tfidf" else "")
    )
    note = "is incomplete (700 of 1,000 rows have no answer): no verdict, no rank."
    assert f"tfidf {note}" in bench_table(broken[broken["task"] == "jigsaw"])
    text = markdown(broken, {}, {"benchmark": SECTIONS["benchmark"]})
    assert "0.410 †" in text
    assert f"† tfidf on jigsaw {note} tfidf on e2e_nlg {note}" in text
    assert "700 of 1,000 rows have no answer" in csv(broken)
    assert "0.410 †" in latex(broken, MODELS)
