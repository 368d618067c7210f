"""The page as a file: what it says, that it says the same as the tables, and that no answer can become markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.findings import find, long_frame
from harness.report.page import page
from harness.report.page.evidence import LONGEST, clip, evidence
from harness.report.page.script_json import script_json
from harness.report.scoreboard import Scoreboard, break_even
from harness.report.words import headline, signed
from harness.score.scoring import STATUSES, ScoredRun, score_all
from harness.store.results import answered_rows, read_manifests
from tests.report.pages import FIGURES, PLANTED, ROWS, make_page, make_results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def runs(results: Path) -> list[ScoredRun]:
    return score_all(results, read_manifests(results), print)


@pytest.fixture(scope="module")
def frame(runs: list[ScoredRun]) -> pd.DataFrame:
    return long_frame(runs)


@pytest.fixture(scope="module")
def out(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    make_page(results, folder)
    return folder


@pytest.fixture(scope="module")
def html(out: Path) -> str:
    return (out / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def benchmark_runs(runs: list[ScoredRun]) -> list[ScoredRun]:
    return [run for run in runs if run.manifest.kind == "benchmark"]


class Reader(HTMLParser):
    """The page as a reader sees it: tags with their attributes, and the text inside each table or section by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._raw = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def part(html: str, start: str, end: str) -> str:
    return html[html.index(start) :].split(end, 1)[0]


def data(path: Path) -> dict[str, Any]:
    found = re.fullmatch(r'harnessRows\("([\w.-]+)",(.*)\);\n', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    assert found[1] == path.stem
    return dict(json.loads(found[2]))


def test_one_page_and_a_file_of_rows_for_each_task_and_kind(out: Path) -> None:
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        "classification.md",
        "data/colours-benchmark.js",
        "data/small-sample.js",
        "data/stories-benchmark.js",
        "index.html",
        "rows.parquet",
    ]


def test_rows_of_a_task_that_has_gone_do_not_stay(results: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gone-benchmark.js").write_text("old")
    make_page(results, tmp_path)
    assert not (tmp_path / "data" / "gone-benchmark.js").exists()


def test_the_page_needs_no_network(html: str) -> None:
    tags = Reader(html).tags
    assert [attributes["src"] for _, attributes in tags if "src" in attributes] == []
    links = {attributes["href"] for tag, attributes in tags if tag in ("a", "link")}
    assert all(link is not None and link.startswith(("#", "data:", "plots/verdict")) for link in links)
    assert "@import" not in html
    assert not re.search(r"url\((?!\"data:|#)", html)


def test_the_scores_are_those_of_the_csv(html: str, frame: pd.DataFrame) -> None:
    for kind in ("benchmark", "sample"):
        table = part(html, f'id="board-{kind}"', "</table>")
        shown = {}
        for row in table.split("<tr ")[1:]:
            task = re.search(r'data-value="(\w+)"', row)
            assert task
            for model, value, cell in re.findall(r'data-model="([\w-]+)" data-value="([^"]+)"(.*?)</td>', row):
                assert f"{float(value):.3f}" in cell
                shown[task[1], model] = float(value)
        main = frame[frame["is_main"] & (frame["kind"] == kind)]
        assert shown == {(row.task, row.model): pytest.approx(row.score) for row in main.itertuples()}


def test_benchmark_and_sample_scores_stand_apart_and_samples_are_marked(html: str) -> None:
    benchmark = part(html, 'data-kind="benchmark"', "</section>")
    sample = part(html, 'data-kind="sample"', "</section>")
    assert "small" not in Reader(benchmark).words.split()
    assert "colours" not in Reader(sample).words.split()
    assert "not a benchmark" not in benchmark
    assert "Sample rows, not a benchmark." in sample
    assert "Sample rows, not a benchmark." in part(html, 'id="task-small-sample"', "</article>")
    assert html.index('data-kind="benchmark"') < html.index('data-kind="sample"')


def test_the_sentence_on_top_sets_the_adapter_against_the_most_expensive_model(html: str) -> None:
    verdict = part(html, '<p class="verdict">', "</p>")
    assert verdict.endswith(
        "tuned and gpt are separable on 0 of 2 tasks, at 0.012 USD against 0.900 USD per 1,000 rows."
    )


def test_below_the_sentence_stands_by_how_much_and_how_sure_that_is(html: str) -> None:
    words = Reader(part(html, '<p class="verdict">', "<h3>Models</h3>")).words
    assert re.search(
        r"Its mean score over the 2 tasks of both is \d+\.\d points higher: 0\.\d{3} against 0\.\d{3} "
        r"\(95 % interval \+[\d.]+ to \+[\d.]+\)",
        words,
    )


def test_every_choice_of_two_models_is_in_the_page(html: str, benchmark_runs: list[ScoredRun]) -> None:
    """What the page shows of any two models is what the board says of them, whichever is the reference."""
    board = Scoreboard(benchmark_runs)
    shown = part(html, 'data-kind="benchmark"', "<h3>Models</h3>")
    chosen = [(board.subject, board.reference), *re.findall(r'<template data-a="(\w+)" data-b="(\w+)">', shown)]
    assert sorted(chosen) == sorted((a, b) for a in board.models for b in board.models if a != b)
    duels = re.split(r"<template data-a=", shown)
    for (a, b), text in zip(chosen, duels, strict=True):
        assert headline(board, a, b) in Reader(text).words
        figures = re.findall(
            r'<span class="figures"><b>(\S) (\S+)</b> <span class="reaches">(\S+) to (\S+)</span>', text
        )
        found = [(line.found.verdict, *line.gain) for line in board.duel(a or "", b).lines if line.gain]
        assert [numbers for _, *numbers in figures] == [[signed(value, 1) for value in line[1:]] for line in found]
        marks = {"better": "▲", "worse": "▼", "within the margin": "=", "not separable": "~", "cannot be told": "?"}
        assert [mark for mark, *_ in figures] == [marks[verdict] for verdict, *_ in found]
        turned = board.duel(b, a or "").lines
        assert {line.task: line.found.p for line in turned} == {
            line.task: line.found.p for line in board.duel(a or "", b).lines
        }


def test_a_signature_says_what_a_score_rests_on(html: str, frame: pd.DataFrame, runs: list[ScoredRun]) -> None:
    run = next(r for r in runs if (r.manifest.task, r.manifest.model) == ("colours", "tuned"))
    row = next(r for r in frame.itertuples() if (r.task, r.model, r.is_main) == ("colours", "tuned", True))
    m = run.manifest
    said = (
        f"accuracy {row.score:.3f} [{row.low:.3f}, {row.high:.3f}]|task:colours|model:tuned|rows:{m.source}, {m.rows}|"
        f"n:{ROWS}|seed:{m.seed}|prompt:{m.prompt_hash}|asked:{m.spec.asking_version}|scored:{m.spec.scoring_version}|"
        f"version:{m.versions['lora-leaderboard']}"
    )
    assert said in Reader(part(html, 'id="task-colours-benchmark"', "</article>")).words


def test_a_tasks_sentence_is_its_tables_corrected_verdict(html: str, benchmark_runs: list[ScoredRun]) -> None:
    against = Scoreboard(benchmark_runs).against("tuned")
    for task, found in against.items():
        words = Reader(part(html, f'id="task-{task}-benchmark"', "</article>")).words
        assert found.verdict == "not separable"  # 60 rows, corrected for all models and both tasks
        assert f"tuned and gpt are not separable ({signed(found.difference)}" in words
        assert f"{found.p} corrected for {found.comparisons} comparisons, n = 60" in words


def test_with_one_model_there_is_no_verdict(benchmark_runs: list[ScoredRun]) -> None:
    alone = Scoreboard([run for run in benchmark_runs if run.manifest.model == "tuned"])
    assert headline(alone) == "Only tuned was asked; a comparison needs two models."


def test_the_verdict_on_a_single_task_has_its_numbers(benchmark_runs: list[ScoredRun]) -> None:
    chosen = [
        run for run in benchmark_runs if run.manifest.task == "colours" and run.manifest.model in ("gpt", "plain")
    ]
    said = headline(Scoreboard(chosen))
    assert said.startswith("plain loses to gpt on colours (−0.667 accuracy, 95 % interval −0.")
    assert said.endswith("n = 60).")


def test_without_a_price_the_best_baseline_is_the_reference(benchmark_runs: list[ScoredRun]) -> None:
    board = Scoreboard([run for run in benchmark_runs if run.manifest.model in ("majority", "tfidf", "plain")])
    assert board.reference in ("majority", "tfidf")
    assert board.standings.why == "the best baseline"
    assert board.subject == "plain"
    assert headline(board).startswith(f"plain loses to {board.reference} on 2 of 2 tasks")


def test_models_asked_different_rows_are_not_compared(benchmark_runs: list[ScoredRun]) -> None:
    gpt, tuned = (
        next(run for run in benchmark_runs if (run.manifest.task, run.manifest.model) == ("colours", model))
        for model in ("gpt", "tuned")
    )
    other = replace(tuned, rows=replace(tuned.rows, ids=tuple(reversed(tuned.rows.ids))))
    assert headline(Scoreboard([gpt, other])) == (
        "Nothing can be told: tuned and gpt were asked different rows; run bench again for both."
    )


def test_ties_with_the_best_are_marked_and_clear_losers_are_not(html: str, benchmark_runs: list[ScoredRun]) -> None:
    board = Scoreboard(benchmark_runs)
    assert {model for model in board.models if board.is_tied("colours", model)} == {"gpt"}
    row = next(row for row in part(html, 'id="board-benchmark"', "</table>").split("<tr ") if "#task/colours/" in row)
    cells = dict(re.findall(r'<td[^>]*data-model="(\w+)"[^>]*>(.*?)</td>', row))
    assert "★" in cells["tuned"]
    assert {model for model, cell in cells.items() if "≈" in cell} == {"gpt"}
    assert "▼" in cells["plain"]


def test_every_view_says_where_its_numbers_come_from(html: str, runs: list[ScoredRun]) -> None:
    for run in runs:
        m = run.manifest
        words = Reader(part(html, f'id="task-{m.task}-{m.kind}"', "</article>")).words
        for fact in (m.source, f"{m.n:,}", m.prompt_hash, m.settings, m.task_sha256, m.rows, m.started, m.finished):
            assert fact in words
        assert json.dumps(m.model_settings) in words
        assert all(f"{name} {version}" in words for name, version in m.versions.items())
    overview = Reader(part(html, 'id="overview"', '<article class="view')).words
    assert f"answers {sum(run.manifest.n for run in runs):,}" in overview
    assert runs[0].manifest.finished[:10] in overview


def test_below_the_scores_stands_who_was_allowed_labels_only(
    html: str, results: Path, runs: list[ScoredRun], tmp_path: Path
) -> None:
    settings = {"backend": "local", "model": "base", "decode": "labels"}
    constrained = [
        replace(run, manifest=run.manifest.model_copy(update={"model_settings": settings}))
        if (run.manifest.model, run.manifest.kind) == ("plain", "benchmark")
        else run
        for run in runs
    ]
    page(find(results, constrained), long_frame(constrained), {}, tmp_path, {})
    made = (tmp_path / "index.html").read_text(encoding="utf-8")
    note = "plain on colours: no answer but one of the task's labels was allowed (decode: labels)."
    board = part(made, 'id="board-benchmark"', "<h3>Cost")
    assert note in Reader(board).words
    assert note.replace(" on colours", "") in Reader(part(made, 'id="task-colours-benchmark"', "Against ")).words
    assert "(decode: labels)" not in part(made, 'id="task-stories-benchmark"', "</article>")
    assert "(decode: labels)" not in html


def test_planted_markup_stays_text_in_the_page(html: str, out: Path) -> None:
    scripts = [attributes for tag, attributes in Reader(html).tags if tag == "script"]
    assert scripts == [{}]
    assert not any(tag == "img" for tag, _ in Reader(html).tags)
    assert "window.planted" in Reader(html).words  # the note on a published figure, as text
    for path in (out / "data").iterdir():
        assert not set(path.read_text(encoding="utf-8")) & set("<>&\u2028\u2029")


def test_planted_markup_reaches_the_row_browser_unchanged(out: Path) -> None:
    rows = data(out / "data" / "colours-benchmark.js")
    tuned = next(model for model in rows["models"] if model["name"] == "tuned")
    assert tuned["answer"].count(PLANTED) == 1
    assert sum(PLANTED in prompt for prompt in rows["prompts"]) == 1
    assert sum("<img src=x onerror=" in (error or "") for error in tuned["error"]) == 1


def test_rows_hold_what_was_asked_answered_and_scored(out: Path, runs: list[ScoredRun]) -> None:
    rows = data(out / "data" / "colours-benchmark.js")
    assert len(rows["ids"]) == ROWS
    texts = [rows["prefix"] + prompt + rows["suffix"] for prompt in rows["prompts"]]
    assert all(text.startswith("Which colour has thing number ") for text in texts)
    assert rows["prefix"]
    assert rows["statuses"] == list(STATUSES)
    for model in rows["models"]:
        run = next(r for r in runs if (r.manifest.task, r.manifest.model) == ("colours", model["name"]))
        assert model["binary"] is True
        assert sum(model["score"]) == run.rows.stats["accuracy"].sum()
        counted = {status: model["status"].count(i) for i, status in enumerate(STATUSES)}
        assert counted == run.rows.counts()
        right = [read in references for read, references in zip(model["read"], rows["references"], strict=True)]
        assert [float(one) for one in right] == model["score"]


def test_per_label_reports_and_confusion_counts_hold_every_row(out: Path) -> None:
    for model in data(out / "data" / "colours-benchmark.js")["models"]:
        assert sum(count for _, _, count in model["confusion"]) == ROWS
        assert sum(support for *_, support in model["classes"]) == ROWS
        hits = sum(count for gold, answer, count in model["confusion"] if gold == answer)
        assert hits == sum(model["score"])
        lost = sum(count for _, answer, count in model["confusion"] if answer == -1)
        assert lost == sum(status != STATUSES.index("ok") for status in model["status"])


def test_texts_have_no_labels_but_scores(out: Path) -> None:
    for model in data(out / "data" / "stories-benchmark.js")["models"]:
        assert "confusion" not in model
        assert model["metric"] == "rouge_l"
        assert model["binary"] is False
        assert all(0 <= score <= 1 for score in model["score"])


def test_a_row_that_a_model_was_not_asked_is_none_not_wrong(results: Path, benchmark_runs: list[ScoredRun]) -> None:
    chosen = {run.manifest.model: run for run in benchmark_runs if run.manifest.task == "colours"}
    first, second = chosen["gpt"], chosen["tuned"]
    fewer = replace(
        second,
        rows=replace(
            second.rows,
            ids=second.rows.ids[1:],
            statuses=second.rows.statuses[1:],
            stats={name: values[1:] for name, values in second.rows.stats.items()},
        ),
    )
    found = evidence([first, fewer], [list(answered_rows(results, run.manifest)) for run in (first, fewer)])
    assert found["models"][1]["status"][0] is None
    assert found["models"][1]["score"][0] is None
    assert None not in found["models"][0]["status"]


def test_slices_of_the_task_are_on_its_view(html: str) -> None:
    words = Reader(part(html, 'id="task-colours-benchmark"', "</article>")).words
    assert "shelf lower 30" in words
    assert "input length" in words


def test_published_figures_stand_beside_measured_ones(html: str) -> None:
    table = Reader(part(html, '<table class="published">', "</table>")).words
    assert "0.750 accuracy" in table
    assert "0.700 rouge ≠" in table
    assert len(FIGURES["colours"]) == 2
    assert "published" not in part(html, 'data-kind="sample"', "</section>").lower().replace("published beside", "")


def test_a_single_file_holds_the_rows(results: Path, tmp_path: Path) -> None:
    written = make_page(results, tmp_path, single_file=True)
    assert written == [tmp_path / "index.html"]
    text = written[0].read_text(encoding="utf-8")
    rows = json.loads(part(text, 'id="rows-colours-benchmark">', "</script>").split(">", 1)[1])
    assert len(rows["ids"]) == ROWS
    types = [attributes.get("type") for tag, attributes in Reader(text).tags if tag == "script"]
    assert types == ["application/json"] * 3 + [None]


def test_without_runs_the_page_says_so(frame: pd.DataFrame, tmp_path: Path) -> None:
    page([], frame.head(0), {}, tmp_path, {})
    assert "No runs are recorded." in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_cost_against_quality(benchmark_runs: list[ScoredRun]) -> None:
    offers = {offer.model: offer for offer in Scoreboard(benchmark_runs).offers}
    assert offers["gpt"].usd == pytest.approx(1000 * (20 * 30 + 5 * 60) / 1e6)
    assert offers["plain"].usd is None
    assert offers["majority"].usd == 0
    assert offers["tuned"].frontier
    assert not offers["gpt"].frontier
    assert break_even(1.8, offers["gpt"].usd or 0) == pytest.approx(2000)


def test_the_page_shows_the_plots_and_draws_nothing_itself(html: str, results: Path) -> None:
    pictures = re.findall(
        r'<svg class="plot" role="img" aria-labelledby="(\w+-title) (\w+-desc)" .*?</svg>', html, re.DOTALL
    )
    assert len(pictures) == html.count("<svg ")
    overview = part(html, 'data-kind="benchmark"', "</section>")
    for title in ("Mean score against cost", "Lift of tuned over plain"):
        assert f">{title}</title>" in overview
    for task, kind in (("colours", "benchmark"), ("stories", "benchmark"), ("small", "sample")):
        assert f">{task}: " in part(html, f'id="task-{task}-{kind}"', "</figure>")
    file = (results.parent / "plots" / "colours.svg").read_text(encoding="utf-8")
    shown = part(html, 'id="task-colours-benchmark"', "</figure>")
    drawn = Reader(re.sub("<metadata>.*</metadata>", "", file, flags=re.DOTALL)).text
    assert {text.strip() for text in drawn} <= {text.strip() for text in Reader(shown).text}


def test_an_embedded_plot_takes_the_colours_of_the_page(html: str) -> None:
    for picture in re.findall(r"<svg .*?</svg>", html, re.DOTALL):
        assert "currentColor" in picture
        assert "#ffffff" not in picture
        assert "<style" not in picture
        assert "<metadata" not in picture


def test_ids_occur_once_and_what_a_plot_refers_to_is_there(html: str) -> None:
    ids = [attributes["id"] for _, attributes in Reader(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for picture in re.findall(r"<svg .*?</svg>", html, re.DOTALL):
        assert set(re.findall(r'(?:url\(|xlink:href=")#([\w-]+)', picture)) <= set(ids)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_in_a_script_reads_back_and_cannot_end_it(value: Any) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_what_is_no_number_is_null_in_a_script() -> None:
    assert script_json({"a": [float("nan"), 1.5], "b": float("inf")}) == '{"a":[null,1.5],"b":null}'


def test_a_long_text_keeps_its_ends_and_says_what_is_missing() -> None:
    text = "a" * LONGEST + "b" * LONGEST
    shown = clip(text)
    assert shown.startswith("a")
    assert shown.endswith("b")
    assert f"{LONGEST:,} characters are left out" in shown
    assert clip("short") == "short"
