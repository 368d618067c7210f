"""A model asked several times for each row: what is asked and paid, kept, scored and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.compare.paired import compare_runs
from harness.models.entry import OpenAIModel
from harness.plan.plan import plan
from harness.report.export import export
from harness.score.scoring import score_all, score_run
from harness.store.results import Response, answered_rows, completions, read_manifests, read_responses
from tests.loopback import Loopback
from tests.runs import ROWS, TASK, Small

PRICE = {"input": 10, "output": 100}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def by_turn(*answers: str) -> Callable[[str], str]:
    """A server's answers: the first to a prompt asked for the first time, the next when it is asked again."""
    asked: Counter[str] = Counter()

    def answer(prompt: str) -> str:
        asked[prompt] += 1
        return answers[(asked[prompt] - 1) % len(answers)]

    return answer


def sampled(small: Small, loopback: Loopback, samples: int, *answers: str) -> None:
    loopback.answer = by_turn(*answers)
    small.model("m", loopback.openai_url, samples=samples, temperature=0.7, price=PRICE)
    small.bench()


def test_each_row_is_asked_as_often_as_the_entry_says_and_each_answer_is_paid(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, samples=3, temperature=0.7, price=PRICE)
    (planned,) = plan(small.options, lambda line: None).pairs
    sampled(small, loopback, 3, "yes", "yes", "no")
    assert set(loopback.asked.values()) == {3}
    assert planned.ask == 3 * ROWS == len(list(read_responses(small.results / "small" / "m")))
    (manifest,) = read_manifests(small.results)
    run = score_run(small.results, manifest)
    assert (manifest.n, manifest.samples, len(run.rows.ids)) == (ROWS, 3, ROWS)
    assert run.output_tokens == 3 * ROWS
    assert run.usd == pytest.approx((10 * (run.input_tokens or 0) + 100 * 3 * ROWS) / 1e6)


def test_more_samples_later_ask_only_what_is_new(small: Small, loopback: Loopback) -> None:
    sampled(small, loopback, 2, "yes")
    small.model("m", loopback.openai_url, samples=5, temperature=0.7)
    small.bench()
    assert set(loopback.asked.values()) == {5}
    small.bench()
    assert set(loopback.asked.values()) == {5}


def test_a_row_scores_the_mean_of_its_answers(small: Small, loopback: Loopback) -> None:
    sampled(small, loopback, 4, "yes", "no", "yes", "yes")
    (manifest,) = read_manifests(small.results)
    said: list[str] = []
    (run,) = score_all(small.results, [manifest], said.append)
    scores = run.rows.stats["accuracy"][:, 0]
    assert Counter(scores.tolist()) == {0.75: ROWS // 2, 0.25: ROWS // 2}  # half of the rows have the answer yes
    # Of four answers one is another: a variance of 3/16 * 4/3 in each row. Between rows it is that of the scores less
    # what of it comes from the answers: 1/16 * n / (n - 1) - 1/4 / 4.
    assert run.rows.within["accuracy"] == pytest.approx(0.25)
    between = np.sqrt(max(0.0, 0.0625 * ROWS / (ROWS - 1) - 0.0625))
    assert said == [
        f"m on small: 4 answers to each row; accuracy varies with a standard deviation of 0.5 between the answers to a "
        f"row, {between:.3g} between rows"
    ]
    again = score_run(small.results, manifest)  # from its cache
    assert again.rows.within == run.rows.within
    assert np.array_equal(again.rows.stats["accuracy"], run.rows.stats["accuracy"])


def test_a_missing_answer_counts_as_a_wrong_one(small: Small, loopback: Loopback) -> None:
    sampled(small, loopback, 2, "yes")
    log = small.results / "small" / "m" / "responses.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[1:]))
    (manifest,) = read_manifests(small.results)
    run = score_run(small.results, manifest)
    assert run.rows.unanswered == 1
    assert sum(run.rows.stats["accuracy"][:, 0]) in (ROWS / 2, ROWS / 2 - 0.5)


def test_sampled_and_single_answers_are_compared_by_the_mean_difference(small: Small, loopback: Loopback) -> None:
    """McNemar's test counts rows that are right or wrong; a mean of answers is neither."""
    sampled(small, loopback, 4, "yes", "no", "yes", "yes")
    small.model("single", loopback.openai_url)
    loopback.answer = lambda prompt: "yes"
    small.bench(models=("single",))
    runs = {
        run.manifest.model: run for run in score_all(small.results, read_manifests(small.results), lambda line: None)
    }
    one, other = compare_runs([(runs["single"], runs["m"]), (runs["m"], runs["single"])])
    assert one.difference == pytest.approx(0.0, abs=1e-9)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=0.02)
    assert one.low < -0.02 < 0.02 < one.high


def test_pass_at_k_needs_k_answers(small: Small, loopback: Loopback) -> None:
    code = TASK.replace("{type: label, labels: [yes, no]}", "{type: code, program: '{{ completion }}'}")
    small.task(
        text=code.replace("[accuracy, macro_f1]", "[pass_at_1, {pass_at_k: {k: 2}}]").replace('"{{ label }}"', "pass")
    )
    sampled(small, loopback, 2, "assert False", "pass")
    (manifest,) = read_manifests(small.results)
    run = score_run(small.results, manifest)
    assert {name: set(stats[:, 0].tolist()) for name, stats in run.rows.stats.items()} == {
        "pass_at_1": {0.5},
        "pass_at_2": {1.0},
    }
    small.model("m", loopback.openai_url)
    small.bench()
    (manifest,) = read_manifests(small.results)
    run = score_run(small.results, manifest)
    assert [metric.name for metric in run.metrics] == ["pass_at_1"]
    assert run.unavailable == ("pass_at_2",)


def test_an_export_has_a_line_for_each_answer(small: Small, loopback: Loopback, tmp_path: Path) -> None:
    sampled(small, loopback, 2, "yes", "no")
    assert export(small.results, (), (), tmp_path / "all.parquet") == 2 * ROWS
    lines = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [(line["sample"], line["score_accuracy"]) for line in lines[:2]] == [(0, 0.5), (1, 0.5)]
    assert {line["completion"] for line in lines} == {"yes", "no"}


def test_all_answers_to_a_row_are_shown() -> None:
    answers = (Response("a", "r", "ok", "yes"), None, Response("b", "r", "failed"), Response("c", "r", "ok", "no"))
    assert completions(answers) == "[answer 1 of 4] yes\n[answer 4 of 4] no"
    assert completions(answers[:1]) == "yes"
    assert completions(answers[1:2]) is completions(answers[1:3]) is None


def test_answers_at_temperature_0_are_one_answer() -> None:
    entry = {"backend": "openai", "model": "m", "samples": 3}
    with pytest.raises(ValueError, match="3 answers at temperature 0 are 3 times the same one: set temperature"):
        OpenAIModel(**entry)
    assert OpenAIModel(**entry, temperature=0.1).samples == 3
    assert OpenAIModel(**entry, omit=["temperature"]).samples == 3  # the server's own, which is not 0


def test_results_without_samples_are_read_as_one_answer_to_each_row(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    small.bench()
    (manifest,) = read_manifests(small.results)
    assert manifest.samples == 1
    assert all(len(answers) == 1 for _, answers in answered_rows(small.results, manifest))
