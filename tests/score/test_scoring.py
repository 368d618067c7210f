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
from harness.score.metrics.sandbox import Program
from harness.score.scoring import (
    RowScores,
    Status,
    _load,
    _metrics,
    _notes,
    _program,
    _save,
    available,
    incomplete,
    numbered,
    reading_of,
    saved_scores,
    score_all,
    score_rows,
    score_run,
)
from harness.store.results import (
    Manifest,
    Response,
    ResponseLog,
    ResponseStatus,
    read_manifests,
    response_key,
    rows_path,
    write_manifest,
    write_rows,
)
from harness.tasks.task import CodeAnswer, Task
from tests.loopback import Loopback
from tests.runs import ROWS, Small
from tests.scored import ACCURACY, OVERLAP, scored


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


def test_the_value_that_is_no_finite_number_is_named() -> None:
    odd = Metric("odd", lambda example: [1.0, -math.inf])
    with pytest.raises(UserError, match="metric 'odd' gives -inf for row 'a'"):
        score_rows(OVERALL, [odd], [(EvaluationRow("a", "a", ("a",), {}), said("a"))])


def test_a_lost_row_taken_as_right_has_the_first_of_several_right_answers() -> None:
    """As text and as what is read from it; its program, where the answer is code."""
    task = number_task()
    seen: list[Example] = []
    spy = Metric("spy", lambda example: [float(seen.append(example) is None)])
    row = EvaluationRow("r", "p", ("12", "13"), {"x": 1})
    score_rows(task, [spy], [(row, (None,))])
    lost, whole = seen
    assert (lost.answer, lost.text, lost.gold) == (None, "", whole.gold)
    assert (whole.text, whole.answer) == ("12", whole.gold[0])
    assert whole.gold[0] != whole.gold[1]
    assert whole.fields == {"x": 1}


CODE = CodeAnswer(type="code", program="{{ completion }}\n{{ test }}\ncheck()")


def test_an_answer_of_code_is_the_program_before_the_tests() -> None:
    task = OVERALL.model_copy(update={"answer": CODE})
    seen: list[Example] = []
    spy = Metric("spy", lambda example: [float(seen.append(example) is None)])
    row = EvaluationRow("r", "p", ("x = 1",), {"test": "def check(): assert x"})
    score_rows(task, [spy], [(row, said("x = 2")), (row, said(None))])
    given, lost, whole = (example.fields.get("program") for example in seen)
    assert given == Program("x = 2", "\ndef check(): assert x\ncheck()")
    assert lost is None
    assert whole == Program("x = 1", "\ndef check(): assert x\ncheck()")


@pytest.mark.parametrize(
    ("template", "program"),
    [
        ("{{ completion }}\nassert f()", Program("f", "\nassert f()")),
        ("assert {{ completion }}() == 1", Program("assert f() == 1")),  # stands inside a statement
        ("{{ completion }} {{ completion }}", Program("f f", "")),
        ("assert True", Program("", "assert True")),  # which does not use it
        ("f = {{ completion }}\n\0", Program("f = f\n\0")),
    ],
)
def test_a_program_is_parted_where_its_tests_are_statements(template: str, program: Program) -> None:
    row = EvaluationRow("r", "p", ("f",), {})
    """The rest of a statement may look like one: of `assert f() == 1` it is `() == 1`, which any answer passed."""
    assert _program(CODE.model_copy(update={"program": template}), row, "f") == program


MARKED = number_task(after="####")


@pytest.mark.parametrize(
    ("task", "status", "completion", "expected"),
    [
        (number_task(), "ok", "12", ("ok", 12)),
        (number_task(), "ok", "none", ("unparsed", None)),
        (number_task(), "truncated", "it is 12", ("truncated", None)),
        (number_task(), "truncated", "it is 12 or", ("ok", 12)),
        (number_task(), "refused", "12", ("refused", None)),
        (number_task(), "truncated_prompt", "12", ("truncated", 12)),
        (number_task(), "truncated_prompt", "none", ("truncated", None)),
        (number_task(), "failed", "12", ("failed", None)),
        (MARKED, "truncated", "it is 12 or", ("truncated", None)),
        (MARKED, "truncated", "#### 12 or", ("ok", 12)),
        (MARKED, "ok", "#### 12", ("ok", 12)),
        (OVERALL, "truncated", "half a", ("truncated", "half a")),
        (OVERALL, "truncated_prompt", "a text", ("truncated", "a text")),
    ],
)
def test_what_becomes_of_a_response(
    task: Task, status: ResponseStatus, completion: str, expected: tuple[Status, Any]
) -> None:
    found = reading_of(task, Response("k", "r", status, completion), None)
    assert (found[0], found[2]) == expected
    assert found[1] == ("" if status == "failed" else completion)
    assert reading_of(task, None, None) == ("failed", "", None)


class TestRowScores:
    ROWS = RowScores(
        ("a", "b", "c", "d"),
        ("ok", "failed", "unparsed", "ok"),
        {"accuracy": np.array([[1.0], [0.0], [0.0], [1.0]])},
        {"accuracy": np.array([[1.0], [1.0], [0.0], [1.0]])},
        np.array([0, 1, 0, 2]),
        {"accuracy": 0.25},
    )

    def test_are_chosen_by_their_places(self) -> None:
        found = self.ROWS.chosen([3, 1])
        assert (found.ids, found.statuses, found.within) == (("d", "b"), ("ok", "failed"), {"accuracy": 0.25})
        assert (found.stats["accuracy"].tolist(), found.right["accuracy"].tolist()) == ([[1], [0]], [[1], [1]])
        assert found.clusters is not None
        assert found.clusters.tolist() == [0, 1]
        assert replace(self.ROWS, clusters=None).chosen([0]).clusters is None

    def test_are_counted_by_status(self) -> None:
        assert self.ROWS.counts() == {"ok": 2, "unparsed": 1, "truncated": 0, "refused": 0, "failed": 1}
        assert self.ROWS.unanswered == 1
        assert self.ROWS.answered().tolist() == [True, False, False, True]
        assert self.ROWS.of_each(ACCURACY) == [1, 0, 0, 1]

    @pytest.mark.parametrize("rows", [ROWS, replace(ROWS, clusters=None, within={})])
    def test_are_saved_and_loaded_for_what_they_were_made_of(self, rows: RowScores, tmp_path: Path) -> None:
        path = tmp_path / "scores.npz"
        assert _load(path, "state", (ACCURACY,)) is None
        _save(path, "state", rows)
        found = _load(path, "state", (ACCURACY,))
        assert found is not None
        assert (found.ids, found.statuses, found.within) == (rows.ids, rows.statuses, rows.within)
        assert np.array_equal(found.stats["accuracy"], rows.stats["accuracy"])
        assert np.array_equal(found.right["accuracy"], rows.right["accuracy"])
        assert (found.clusters is None) == (rows.clusters is None)
        assert found.clusters is None or rows.clusters is None or np.array_equal(found.clusters, rows.clusters)
        assert _load(path, "another state", (ACCURACY,)) is None
        assert _load(path, "state", (ACCURACY, OVERLAP)) is None
        path.write_bytes(path.read_bytes()[:200])
        assert _load(path, "state", (ACCURACY,)) is None

    def test_are_loaded_without_right_answers_where_none_was_lost(self, tmp_path: Path) -> None:
        _save(tmp_path / "s.npz", "state", replace(self.ROWS, statuses=("ok",) * 4, right={}))
        found = _load(tmp_path / "s.npz", "state", (ACCURACY,))
        assert found is not None
        assert found.right == {}


@pytest.mark.parametrize(
    ("lost", "manifest", "said"),
    [
        (0, True, ""),
        (1, False, ""),
        (1, True, "1 of 1,200 rows have no answer"),
        (1199, False, ""),
        (1200, False, "1,200 of 1,200 rows have no answer"),
    ],
)
def test_a_run_is_incomplete_where_it_was_allowed_no_more_or_nothing_is_answered(
    lost: int, manifest: bool, said: str
) -> None:
    run = scored("t", "m", [0.0] * 1200, failed=lost, incomplete=manifest)
    assert incomplete(run.manifest, run.rows) == run.incomplete == said


def test_values_are_numbered_as_they_first_appear() -> None:
    assert numbered("baab").tolist() == [0, 1, 1, 0]
    assert numbered([]).dtype == np.int64


def test_a_metric_by_which_no_row_can_be_scored_is_not_available() -> None:
    judged, other = Metric("judged", lambda example: [0.0, 0.0], scorable=1), Metric("other", lambda example: [0.0])
    rows = score_rows(OVERALL, [judged, other], [(EvaluationRow("a", "a", ("a",), {}), said("a"))])
    assert available([judged, other], rows) == (other,)
    with pytest.raises(UserError, match="no row can be scored by judged"):
        available([judged], rows)


def test_scores_that_were_never_saved_are_not_looked_for_in_rows(tmp_path: Path, loopback: Loopback) -> None:
    small = Small(tmp_path)
    small.model("m", loopback.openai_url)
    small.bench()
    (manifest,) = read_manifests(small.results)
    cache = small.results / "small" / "m" / "scores-sample.npz"
    run = score_run(small.results, manifest)
    assert cache.is_file()
    found = saved_scores(small.results, manifest)
    assert found is not None
    assert [metric.name for metric in found[0]] == ["accuracy", "macro_f1"]
    assert np.array_equal(found[1].stats["accuracy"], run.rows.stats["accuracy"])
    cache.unlink()
    rows_path(small.results, "small", manifest.rows).unlink()
    assert saved_scores(small.results, manifest) is None


def test_a_run_without_an_answer_has_no_score_and_says_why_it_was_stopped(tmp_path: Path) -> None:
    rows = write_rows(tmp_path, "t", [EvaluationRow("r", "prompt", ("yes",), {})])
    run = scored("t", "m", [0.0], rows=rows).manifest
    with pytest.raises(UserError, match=r"^it has answered no row$"):
        score_run(tmp_path, run)
    with pytest.raises(UserError, match=r"^it has answered no row \(key refused\)$"):
        score_run(tmp_path, replaced(run, stopped="key refused"))


def test_a_run_has_the_times_and_tokens_of_what_was_answered(tmp_path: Path) -> None:
    """Of each answer once, though two rows share it; nothing is known where no answer says it."""
    rows = write_rows(tmp_path, "t", [EvaluationRow(str(n), f"p{n % 3}", ("yes",), {}) for n in range(4)])
    run = replaced(scored("t", "m", [0.0] * 4).manifest, rows=rows)
    keys = [response_key(run.settings, f"p{n}") for n in range(3)]
    folder = tmp_path / "t" / "m"
    folder.mkdir(parents=True)
    lines = [
        Response(keys[0], "0", "ok", "yes", input_tokens=5, output_tokens=2, latency_s=0.5, ttft_s=0.1, tpot_s=0.01),
        Response(keys[1], "1", "truncated", "y" * 300, input_tokens=7),
        Response(keys[2], "2", "failed", latency_s=9.0, input_tokens=100),
    ]
    with ResponseLog(folder) as log:
        for one in lines:
            log.append(one)
    found = score_run(tmp_path, run)
    assert (found.input_tokens, found.output_tokens) == (12, 2)
    assert [one.tolist() for one in (found.latencies, found.ttft, found.tpot)] == [[0.5], [0.1], [0.01]]
    assert found.rows.statuses == ("ok", "truncated", "failed", "ok")
    assert found.rows.unanswered == 1


def test_notes_name_how_much_sampled_answers_vary_and_clusters_that_were_not_stored() -> None:
    run = scored(
        "t", "m", [0.0, 1.0, 0.5, 0.5], model_settings={"samples": 2}, task_spec={"evaluation": {"cluster": "page"}}
    )
    run = replace(run, rows=replace(run.rows, within={"accuracy": 0.04}), unavailable=("rouge_l",))
    between = (np.var([0, 1, 0.5, 0.5], ddof=1) - 0.02) ** 0.5
    first, second, third = _notes(run)
    assert first == "no rouge_l of m on t: none of its 4 rows can be scored by it"
    assert second.endswith(f"a standard deviation of 0.2 between the answers to a row, {between:.3g} between rows")
    assert third.startswith("m on t: its rows were stored without evaluation.cluster")
    assert list(_notes(scored("t", "m", [1.0]))) == []


@pytest.mark.parametrize(("scores", "between"), [([0.5], "0"), ([0.0, 1.0], "0.707"), ([0.5, 0.5], "0")])
def test_of_one_row_there_is_no_deviation_between_rows(scores: list[float], between: str) -> None:
    run = scored("t", "m", scores, model_settings={"samples": 2})
    (line,) = _notes(replace(run, rows=replace(run.rows, within={"accuracy": 1e-9})))
    assert line.endswith(f", {between} between rows")


def test_each_run_knows_all_models_of_its_task_on_its_kind_of_rows(tmp_path: Path, loopback: Loopback) -> None:
    small = Small(tmp_path)
    small.task("second")
    for name in ("a", "b", "c"):
        small.model(name, loopback.openai_url)
    small.bench(tasks=("small",), models=("a", "b"))
    small.bench(tasks=("second",), models=("b", "c"))
    runs = list(read_manifests(small.results))
    (found,) = score_all(small.results, [run for run in runs if (run.task, run.model) == ("small", "a")], print)
    assert found.rivals == {"a", "b"}


def test_the_mean_of_several_answers_is_neither_right_nor_wrong() -> None:
    """And what needs more answers than there are does not score the run."""
    spec = {"answer": {"type": "text"}, "metrics": ["exact_match", "rouge_l"]}
    for samples, kinds in ((1, ["binary", "mean"]), (2, ["mean", "mean"])):
        manifest = scored("t", "m", [1.0], task_spec=spec, model_settings={"samples": samples}).manifest
        metrics, short = _metrics(manifest)
        assert ([metric.kind for metric in metrics], short) == (kinds, [])
    code = {"answer": CODE.model_dump(), "metrics": ["pass_at_1", {"pass_at_k": {"k": 3}}]}
    metrics, short = _metrics(scored("t", "m", [1.0], task_spec=code, model_settings={"samples": 2}).manifest)
    assert ([metric.name for metric in metrics], short) == (["pass_at_1"], ["pass_at_3"])
    alone = {**code, "metrics": [{"pass_at_k": {"k": 3}}]}
    with pytest.raises(UserError, match="pass_at_3 needs 3 answers to each row: set the model's `samples`"):
        _metrics(scored("t", "m", [1.0], task_spec=alone, model_settings={"samples": 2}).manifest)
