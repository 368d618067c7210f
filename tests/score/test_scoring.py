"""What a run's answers cost and took, and what is said of metrics by which nothing can be judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UserError
from harness.models.entry import Price
from harness.models.prices import Priced, busy_seconds
from harness.report.findings import long_frame
from harness.rows.evaluation import EvaluationRow
from harness.score import scoring
from harness.score.metrics.base import Example, Metric, needs_table
from harness.score.metrics.registry import build_all
from harness.score.scoring import score_all, score_rows, score_run
from harness.store.results import Manifest, Response, read_manifests, write_manifest, write_rows
from harness.tasks.task import Task
from tests.loopback import Loopback
from tests.runs import ROWS, Small


def answer(end: float, seconds: float | None) -> Response:
    at = datetime.fromtimestamp(1_000_000 + end, UTC).isoformat(timespec="milliseconds")
    return Response("k", "r", "ok", "yes", latency_s=seconds, at=at)


@pytest.mark.parametrize(
    ("spans", "busy"),
    [
        ([], 0),
        ([(10, 4)], 4),
        ([(10, 4), (12, 4)], 6),  # two at once are served in the same time
        ([(10, 8), (6, 1)], 8),
        ([(100, 4), (10, 4)], 8),  # from two runs, whatever lies between them
        ([(10, 4), (12, None)], None),
    ],
)
def test_a_server_is_busy_while_an_answer_is_on_its_way(
    spans: list[tuple[float, float | None]], busy: float | None
) -> None:
    found = busy_seconds(answer(*span) for span in spans)
    assert found == (None if busy is None else pytest.approx(busy))


def rerun(small: Small, priced: Priced | None) -> float | None:
    """What the recorded run costs at this price."""
    (manifest,) = read_manifests(small.results)
    write_manifest(small.results, replaced(manifest, price=priced))
    (manifest,) = read_manifests(small.results)
    return score_run(small.results, manifest).usd


def replaced(manifest: Manifest, **changes: Any) -> Manifest:
    return manifest.model_copy(update=changes)


def test_a_run_costs_what_its_manifest_says(tmp_path: Path, loopback: Loopback) -> None:
    small = Small(tmp_path)
    small.model("m", loopback.openai_url, price={"input": 10, "output": 100})
    small.bench()
    (manifest,) = read_manifests(small.results)
    assert manifest.price == Priced("models file", Price(input=10, output=100))
    run = score_run(small.results, manifest)
    assert run.input_tokens is not None
    assert run.usd == pytest.approx((10 * run.input_tokens + 100 * ROWS) / 1e6)
    assert rerun(small, Priced("models file", Price(input=5, output=50))) == pytest.approx(run.usd / 2)
    assert rerun(small, None) is None
    assert rerun(small, Priced("gpu_per_hour", per_hour=0)) == 0
    hours = rerun(small, Priced("gpu_per_hour", per_hour=3600))
    assert hours is not None
    assert max(run.latencies) <= hours <= sum(run.latencies) + 1e-3  # times of arrival are kept in milliseconds


def test_the_cost_of_answers_without_token_counts_is_not_known(tmp_path: Path, loopback: Loopback) -> None:
    small = Small(tmp_path)
    small.model("m", loopback.openai_url, price={"input": 10, "output": 100})
    small.bench()
    log = small.results / "small" / "m" / "responses.jsonl"
    first, *rest = log.read_text().splitlines(keepends=True)
    log.write_text(first.replace('"output_tokens": 1, ', "") + "".join(rest))
    (manifest,) = read_manifests(small.results)
    assert score_run(small.results, manifest).usd is None


def test_rows_are_scored_alike_in_pieces_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task.model_validate(
        {
            "title": "T", "category": "classification", "prompt": "p", "target": "t", "max_tokens": 4,
            "answer": {"type": "label", "labels": ["yes", "no"]}, "metrics": ["accuracy", "macro_f1"],
        }
    )  # fmt: skip
    metrics = build_all(task.metrics, task.answer)
    rows = [EvaluationRow(f"{n}", "p", (("yes", "no")[n % 2],), {}) for n in range(25)]
    answered = [(row, (replace(answer(1, 1), completion=("yes", "no", "?")[n % 3]),)) for n, row in enumerate(rows)]
    whole = score_rows(task, metrics, answered)
    monkeypatch.setattr(scoring, "PIECE", 10)
    pieces = score_rows(task, metrics, answered)
    assert (pieces.ids, pieces.statuses) == (whole.ids, whole.statuses)
    assert all(np.array_equal(pieces.stats[metric.name], whole.stats[metric.name]) for metric in metrics)


def test_a_metric_that_gives_no_finite_number_is_named_with_its_row() -> None:
    """One NaN of a metric of one's own ended bench, compare, gate and report with a traceback."""
    odd = Metric("odd", lambda example: [math.nan if example.answer == "b" else 1.0])
    task = Task.model_validate(
        {
            "title": "T", "category": "classification", "prompt": "{{ x }}", "target": "{{ y }}", "max_tokens": 4,
            "answer": {"type": "text"}, "metrics": ["exact_match"],
        }
    )  # fmt: skip
    rows = [EvaluationRow(f"row-{text}", text, (text,), {}) for text in "ab"]
    answered = ((row, (replace(answer(1, 1), completion=row.prompt),)) for row in rows)
    with pytest.raises(UserError, match="metric 'odd' gives nan for row 'row-b': a row's score must be a finite"):
        score_rows(task, [odd], answered)


TABLE = {"header": ["a"], "rows": [["1"]], "types": ["real"]}


@pytest.mark.parametrize("judged", [0, 3])
def test_rows_that_cannot_be_judged_are_no_wrong_answers(tmp_path: Path, loopback: Loopback, judged: int) -> None:
    small = Small(tmp_path)
    loopback.answer = lambda prompt: "SELECT 1"
    small.model("m", loopback.openai_url)
    small.bench()
    (manifest,) = read_manifests(small.results)
    spec = Task.model_validate(
        {
            **manifest.spec.model_dump(mode="json"),
            "answer": {"type": "sql"},
            "metrics": ["sql_set_match", "execution_accuracy"],
        }
    )
    prompts = [f"Is row {number} fine? Answer with one word." for number in range(ROWS)]
    rows = [
        EvaluationRow(f"{n}", prompt, ("SELECT 1",), {"table": TABLE if n < judged else None})
        for n, prompt in enumerate(prompts)
    ]
    manifest = replaced(manifest, spec=spec, rows=write_rows(small.results, "small", rows))
    said: list[str] = []
    frame = long_frame(score_all(small.results, [manifest], said.append)).set_index("metric")
    assert frame.loc["sql_set_match", "score"] == 1
    assert frame.loc["sql_set_match", "n"] == ROWS
    if judged:
        assert (frame.loc["execution_accuracy", "score"], frame.loc["execution_accuracy", "n"]) == (1, judged)
        assert said == []
    else:
        assert list(frame.index) == ["sql_set_match"]
        assert said == [f"no execution_accuracy of m on small: none of its {ROWS} rows can be scored by it"]


def test_thinking_between_a_models_own_markers_is_no_part_of_its_answers(tmp_path: Path, loopback: Loopback) -> None:
    small = Small(tmp_path)
    loopback.answer = lambda prompt: "{{no, wait}}yes"
    small.model("m", loopback.openai_url)
    small.bench()
    (manifest,) = read_manifests(small.results)
    assert score_run(small.results, manifest).rows.counts()["unparsed"] == ROWS
    asked = len(loopback.received)
    small.model("m", loopback.openai_url, thinking={"open": "{{", "close": "}}"})
    small.bench()
    (manifest,) = read_manifests(small.results)
    assert score_run(small.results, manifest).rows.counts()["ok"] == ROWS
    assert len(loopback.received) == asked  # how an answer is read does not change what is asked


def number_task(**answer: Any) -> Task:
    return Task.model_validate(
        {
            "title": "T", "category": "math", "prompt": "p", "target": "t", "max_tokens": 4,
            "answer": {"type": "number", **answer}, "metrics": ["number_match"],
        }
    )  # fmt: skip


@pytest.mark.parametrize(("completion", "status"), [("12", "truncated"), ("12 apples and", "ok")])
def test_a_number_that_an_answer_was_cut_off_in_is_no_number(completion: str, status: str) -> None:
    task = number_task()
    row = EvaluationRow("1", "p", ("12",), {})
    cut = replace(answer(1, 1), completion=completion, status="truncated")
    assert score_rows(task, build_all(task.metrics, task.answer), [(row, (cut,))]).statuses == (status,)


def test_a_right_answer_that_is_not_understood_is_named_with_its_row() -> None:
    task = number_task()
    row = EvaluationRow("seven", "p", ("about 12",), {})
    with pytest.raises(UserError, match="row seven: a right answer is not a valid number"):
        score_rows(task, build_all(task.metrics, task.answer), [(row, (answer(1, 1),))])


def test_a_row_without_an_answer_also_has_the_statistics_of_the_right_one() -> None:
    """What a server lost may have been right: a verdict has to hold in both cases."""
    rows = [EvaluationRow(str(i), f"prompt {i}", ("yes",), {}) for i in range(3)]
    answers = [Response("k0", "0", "ok", "no"), Response("k1", "1", "failed"), None]
    task = Task.model_validate(
        {
            "title": "t", "category": "classification", "prompt": "{{ a }}", "target": "{{ b }}",
            "answer": {"type": "label", "labels": ["yes", "no"]}, "metrics": ["accuracy", "macro_f1"], "max_tokens": 4,
        }
    )  # fmt: skip
    found = score_rows(task, build_all(task.metrics, task.answer), zip(rows, ((one,) for one in answers), strict=True))
    assert found.unanswered == 2
    assert found.stats["accuracy"][:, 0].tolist() == [0.0, 0.0, 0.0]
    assert found.right["accuracy"][:, 0].tolist() == [0.0, 1.0, 1.0]
    assert found.right["macro_f1"][1].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]


def test_rows_of_one_cluster_have_one_number() -> None:
    rows = [EvaluationRow(str(i), f"prompt {i}", ("yes",), {}, cluster=name) for i, name in enumerate("abab")]
    task = Task.model_validate(
        {
            "title": "t", "category": "classification", "prompt": "{{ a }}", "target": "{{ b }}",
            "answer": {"type": "text"}, "metrics": ["exact_match"], "max_tokens": 4, "evaluation": {"cluster": "page"},
        }
    )  # fmt: skip
    found = score_rows(task, build_all(task.metrics, task.answer), [(row, (None,)) for row in rows])
    assert found.clusters is not None
    assert found.clusters.tolist() == [0, 1, 0, 1]
    assert found.chosen([1, 3, 0]).clusters.tolist() == [0, 0, 1]  # type: ignore[union-attr]


def test_an_answer_that_is_recorded_otherwise_is_scored_again(tmp_path: Path, loopback: Loopback) -> None:
    """Same rows, keys and statuses, another text: a cache of the scores by anything less would show the old ones."""
    small = Small(tmp_path)
    small.model("m", loopback.openai_url)
    small.bench()
    (manifest,) = read_manifests(small.results)
    score = score_run(small.results, manifest).rows.stats["accuracy"].sum()
    log = small.results / "small" / "m" / "responses.jsonl"
    recorded = log.read_text()
    assert recorded.count('"completion": "yes"') == ROWS
    log.write_text(recorded.replace('"completion": "yes"', '"completion": "no"', 1))
    again = score_run(small.results, manifest).rows.stats["accuracy"].sum()
    assert abs(again - score) == 1


OVERALL = Task.model_validate(
    {
        "title": "T", "category": "classification", "prompt": "{{ x }}", "target": "{{ y }}", "max_tokens": 4,
        "answer": {"type": "text"}, "metrics": ["exact_match"],
    }
)  # fmt: skip


def said(text: str | None) -> tuple[Response]:
    """What a model answered to a row; None: it has failed."""
    return (Response(text or "k", "r", "ok" if text else "failed", text or ""),)


def test_of_several_rows_without_a_finite_score_the_first_is_named_with_its_value() -> None:
    odd = Metric("odd", lambda example: [{"a": 1.0, "b": math.nan, "c": math.inf}[str(example.answer)]])
    answered = ((EvaluationRow(f"row-{text}", text, (text,), {}), said(text)) for text in "abc")
    with pytest.raises(UserError, match="metric 'odd' gives nan for row 'row-b'"):
        score_rows(OVERALL, [odd], answered)


def test_where_rows_depend_on_each_other_a_lost_answer_that_was_right_changes_them_all() -> None:
    """Say a rank among the answers: it is found again with the right answer in place of the lost one."""

    def ranks(examples: Sequence[Example]) -> np.ndarray[Any, Any]:
        texts = sorted(example.text for example in examples)
        return np.array([[float(texts.index(example.text))] for example in examples])

    rank = Metric("rank", needs_table, kind="corpus", stats_of_all=ranks, high=math.inf)
    rows = [EvaluationRow(text, text, (text,), {}) for text in "abc"]
    found = score_rows(OVERALL, [rank], zip(rows, (said("b"), said("c"), said(None)), strict=True))
    assert found.stats["rank"][:, 0].tolist() == [1, 2, 0]
    assert found.right["rank"][:, 0].tolist() == [0, 1, 1]
    assert found.of_each(rank) == [None] * 3


def test_a_row_that_cannot_be_scored_has_no_score_of_its_own() -> None:
    judged = Metric("judged", lambda example: [example.text == "b", example.text != "c"], scorable=1)
    answered = ((EvaluationRow(text, text, (text,), {}), said(text)) for text in "abc")
    assert score_rows(OVERALL, [judged], answered).of_each(judged) == [0.0, 1.0, None]


def test_a_metric_that_sees_no_letter_of_the_right_answers_is_said(tmp_path: Path, loopback: Loopback) -> None:
    small = Small(tmp_path)
    small.task(
        text="title: S\ncategory: generation\nprompt: '{{ text }}'\ntarget: 'конечно, {{ label }}'\n"
        "answer: {type: text}\nmetrics: [rouge_l]\nmax_tokens: 4\n"
    )
    small.model("m", loopback.openai_url)
    small.bench()
    lines: list[str] = []
    score_all(small.results, read_manifests(small.results), lines.append)
    [line] = lines
    assert line.startswith("small: rouge_l cannot score 40 of 40 right answers")
