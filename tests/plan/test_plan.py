"""What a plan says against what the same bench then does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.models.entry import OpenAIModel
from harness.models.tokens import CHAT_FRAME, Tokenizer, approximate
from harness.plan.plan import (
    NOTHING,
    History,
    PairEstimate,
    PastAnswers,
    Plan,
    _latency,
    _measure,
    _minutes,
    _pooled,
    plan,
)
from harness.rows.evaluation import EvaluationRow
from harness.store.results import Response, ResponseLog, read_responses, write_manifest
from tests.loopback import Loopback
from tests.runs import ROWS, TASK, Small
from tests.scored import scored


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(tmp_path)


def planned(small: Small, **changes: Any) -> Plan:
    return plan(replace(small.options, **changes), lambda line: None)


def only(found: Plan) -> PairEstimate:
    (pair,) = found.pairs
    return pair


def test_a_plan_asks_nothing_and_writes_nothing(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    before = sorted(small.folder.rglob("*"))
    pair = only(planned(small))
    assert (pair.rows, pair.answered, pair.ask) == (ROWS, 0, ROWS)
    assert not loopback.asked
    assert sorted(small.folder.rglob("*")) == before


def test_tokens_are_those_of_the_prompts_in_their_frame(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    pair = only(planned(small))
    prompts = [f"Is row {number} fine? Answer with one word." for number in range(ROWS)]
    assert pair.input_tokens == pytest.approx(sum(map(approximate, prompts)) + CHAT_FRAME * ROWS, abs=1)
    assert pair.output_tokens == ROWS
    assert pair.output_by == "the length of the right answers"


def test_without_right_answers_each_answer_may_be_as_long_as_allowed(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    pair = only(planned(small, tasks=("ifeval",), tasks_folder=Path(__file__).parents[2] / "tasks", data="sample"))
    assert pair.output_tokens == pair.rows * 1024
    assert pair.output_by == "its max_tokens, as there are no right answers to measure"


def test_the_price_is_that_of_the_models_file(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, price={"input": 10, "output": 100})
    pair = only(planned(small))
    assert pair.usd == pytest.approx((10 * pair.input_tokens + 100 * pair.output_tokens) / 1e6)
    assert pair.usd_most == pytest.approx((10 * pair.input_tokens + 100 * ROWS * 4) / 1e6)


def test_a_model_without_a_price_is_named_and_adds_nothing(small: Small, loopback: Loopback) -> None:
    small.model("paid", loopback.openai_url, price={"input": 10, "output": 100})
    small.model("mystery", loopback.openai_url)
    found = planned(small)
    assert [pair.usd is None for pair in found.pairs] == [False, True]
    assert found.unpriced == ("mystery",)
    assert found.totals()["usd"] == found.pairs[0].usd


def test_what_is_answered_is_not_planned_again(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, price={"input": 10, "output": 100})
    small.bench(rows=15)
    pair = only(planned(small))
    assert (pair.answered, pair.ask) == (15, ROWS - 15)
    asked = sum(loopback.asked.values())
    small.bench()
    assert sum(loopback.asked.values()) - asked == pair.ask
    done = only(planned(small))
    assert (done.ask, done.input_tokens, done.output_tokens, done.usd, done.minutes) == (0, 0, 0, 0, 0)


def test_another_temperature_makes_another_answer(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    small.bench()
    small.model("m", loopback.openai_url, temperature=1)
    assert only(planned(small)).ask == ROWS


def test_equal_prompts_are_asked_once(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    task = TASK.replace("Is {{ text }} fine?", "Is {{ text[:5] }} fine?").replace("{{ label }}", "{{ text }}")
    task = task.replace("{type: label, labels: [yes, no]}", "{type: text}").replace("accuracy, macro_f1", "exact_match")
    small.task(text=task)
    pair = only(planned(small))
    assert pair.rows == ROWS
    assert pair.ask == 10
    small.bench()
    assert sum(loopback.asked.values()) == pair.ask


def test_answers_on_record_say_how_long_the_next_will_be(small: Small, loopback: Loopback) -> None:
    loopback.answer = lambda prompt: "yes it is"
    small.model("m", loopback.openai_url)
    small.bench(rows=10)
    small.model("other", loopback.openai_url)
    own, other = planned(small).pairs
    assert (own.output_tokens, own.output_by) == (3 * (ROWS - 10), "its own answers")
    assert (other.output_tokens, other.output_by) == (3 * ROWS, "answers of m")


def test_no_answer_is_planned_longer_than_it_may_be(small: Small, loopback: Loopback) -> None:
    loopback.answer = lambda prompt: "one two three four five six seven"
    small.model("m", loopback.openai_url)
    small.bench(rows=10)
    assert only(planned(small)).output_tokens == 4 * (ROWS - 10)


def test_a_model_that_thinks_is_planned_at_its_limit_until_it_has_answered(small: Small, loopback: Loopback) -> None:
    small.model("plain", loopback.openai_url)
    small.model("thinker", loopback.openai_url, max_tokens=1000)
    small.bench(models=("plain",))
    thinker = planned(small, models=("thinker",))
    assert only(thinker).output_tokens == 1000 * ROWS
    small.task("second")
    small.bench(models=("thinker",), tasks=("second",))
    pair = only(planned(small, models=("thinker",), tasks=("small",)))
    assert (pair.output_tokens, pair.output_by) == (ROWS, "its answers to other tasks")


def test_minutes_follow_the_rate_or_the_latency(small: Small, loopback: Loopback) -> None:
    small.model("slow", loopback.openai_url, requests_per_minute=20)
    assert only(planned(small)).minutes == pytest.approx(ROWS / 20)
    small.model("slow", loopback.openai_url, concurrency=2)
    assert only(planned(small)).minutes == pytest.approx(ROWS * (1 + 0.02) / 2 / 60)
    answers = small.results / "small" / "slow"
    loopback.latency = 0.1
    small.bench(rows=10)
    mean = sum(line.latency_s or 0 for line in read_responses(answers)) / 10
    assert only(planned(small)).minutes == pytest.approx((ROWS - 10) * mean / 2 / 60)


def test_models_of_one_endpoint_wait_for_each_other_and_others_do_not(small: Small, loopback: Loopback) -> None:
    small.model("a", loopback.openai_url, requests_per_minute=40)
    small.model("b", loopback.openai_url, requests_per_minute=20)
    small.model("c", f"{loopback.openai_url}/elsewhere", requests_per_minute=10)
    found = planned(small)
    assert [pair.minutes for pair in found.pairs] == pytest.approx([2, 2, 4])
    assert found.minutes == pytest.approx(4)
    assert planned(small, models=("a", "b")).minutes == pytest.approx(4)


def test_a_batch_may_take_a_day(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, batch=True)
    assert only(planned(small)).minutes == 24 * 60


def test_a_server_of_ones_own_costs_its_hours(small: Small, loopback: Loopback) -> None:
    small.model("own", loopback.openai_url, gpu_per_hour=3, tokens_per_second=1)
    pair = only(planned(small))
    assert pair.minutes == pytest.approx((pair.input_tokens + pair.output_tokens) / 60)
    assert pair.usd == pytest.approx(3 * pair.minutes / 60)
    assert pair.price_by == "gpu_per_hour"


def test_a_price_and_a_gpu_are_one_too_many(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url, api_key="planted", price={"input": 1, "output": 1}, gpu_per_hour=3)
    with pytest.raises(UserError, match="a price for its tokens or a gpu_per_hour, not both") as raised:
        planned(small)
    assert "planted" not in str(raised.value)


def test_a_named_model_is_planned_before_its_key_and_address_are_set(small: Small, loopback: Loopback) -> None:
    small.model("keyless", loopback.openai_url, api_key="${SOME_KEY}")
    small.model("nowhere", "${SOME_ADDRESS}")
    small.model("ready", loopback.openai_url)
    everything = planned(small)
    assert [pair.model for pair in everything.pairs] == ["ready"]
    assert "keyless (SOME_KEY), nowhere (SOME_ADDRESS)" in everything.notes[0]
    named = planned(small, models=("keyless", "nowhere"))
    assert [pair.ask for pair in named.pairs] == [ROWS, ROWS]
    assert named.notes[0] == "keyless needs SOME_KEY before it can be asked"


def test_a_models_answers_count_also_while_its_key_is_not_set(
    small: Small, loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.model("m", loopback.openai_url, api_key="${SOME_KEY}")
    monkeypatch.setenv("SOME_KEY", "secret")
    small.bench()
    monkeypatch.delenv("SOME_KEY")
    assert only(planned(small, models=("m",))).ask == 0


def test_a_run_in_progress_is_no_obstacle(small: Small, loopback: Loopback) -> None:
    small.model("m", loopback.openai_url)
    with ResponseLog(small.results / "small" / "m"):
        assert only(planned(small)).ask == ROWS


def test_baselines_cost_nothing(small: Small) -> None:
    small.models["majority"] = {"backend": "baseline", "method": "majority"}
    small.model("m", "http://localhost:1/v1")
    samples = small.folder / "tasks" / "samples" / "small.jsonl"
    samples.write_text(samples.read_text() + '{"text": "trained", "label": "yes", "_split": "train"}\n')
    baseline, _ = planned(small).pairs
    assert (baseline.ask, baseline.usd, baseline.minutes, baseline.input_tokens) == (ROWS, 0, 0, 0)


def test_a_model_that_cannot_be_asked_is_named_once_with_its_tasks(small: Small, loopback: Loopback) -> None:
    small.task("second")
    small.models["old"] = {"backend": "recorded", "path": "nowhere.jsonl"}
    small.model("m", loopback.openai_url)
    found = planned(small)
    assert [pair.model for pair in found.pairs] == ["m", "m"]
    (note,) = found.notes
    assert note.startswith("old is left out, because nowhere.jsonl: cannot read the recorded answers")
    assert note.endswith(": second, small")


def test_totals_are_the_sums_of_the_pairs(small: Small, loopback: Loopback) -> None:
    small.task("second")
    small.model("a", loopback.openai_url, price={"input": 1, "output": 2})
    small.model("b", loopback.openai_url, price={"input": 3, "output": 4})
    small.bench(tasks=("small",), models=("a",))
    found = planned(small)
    totals = found.totals()
    assert len(found.pairs) == 4
    assert (totals["rows"], totals["answered"], totals["ask"]) == (4 * ROWS, ROWS, 3 * ROWS)
    for name in ("input_tokens", "output_tokens", "usd", "usd_most"):
        assert totals[name] == pytest.approx(sum(getattr(pair, name) for pair in found.pairs))


def test_without_a_model_that_can_be_asked_there_is_no_plan(small: Small) -> None:
    small.model("nowhere", "${SOME_ADDRESS}")
    with pytest.raises(UserError, match="no model can be asked: none has its key and address set"):
        planned(small)


def test_what_a_task_can_show_is_of_its_own_runs(small: Small, loopback: Loopback) -> None:
    small.task("second")
    for name in ("a", "b"):
        small.model(name, loopback.openai_url)
    small.bench(tasks=("second",))
    loopback.answer = lambda prompt: "no"
    small.bench(tasks=("small",), models=("a",))
    found = planned(small)
    assert {name: one.assuming for name, one in found.tasks.items()} == dict.fromkeys(
        ("small", "second"), "assumed: 20% discordant rows"
    )


def test_what_is_not_asked_by_tokens_costs_nothing_at_most(small: Small) -> None:
    small.models["majority"] = {"backend": "baseline", "method": "majority"}
    small.model("m", "http://localhost:1/v1")
    samples = small.folder / "tasks" / "samples" / "small.jsonl"
    samples.write_text(samples.read_text() + '{"text": "trained", "label": "yes", "_split": "train"}\n')
    baseline, _ = planned(small).pairs
    assert (baseline.usd_most, baseline.output_tokens) == (0, 0)
    assert (baseline.input_by, baseline.output_by, baseline.price_by, baseline.minutes_by) == ("", "", "", "")


def test_tokens_of_a_character_are_those_of_the_first_prompts() -> None:
    """And of the first right answer, at least one token each."""
    words = Tokenizer("words", lambda text: len(text.split()))
    rows = [EvaluationRow(f"{n}", "a bc", ("x y z", "x"), {}) for n in range(60)]
    rows += [EvaluationRow(f"{n}", "abcdefgh", ("",), {}) for n in range(40)]
    rows += [EvaluationRow("beyond", "a " * 5000, ("x " * 500,), {})]
    found = _measure(words, rows, shows_answer=True)
    assert found.per_character == (60 * 2 + 40) / (60 * 4 + 40 * 8)
    assert found.target == (60 * 3 + 40 * 1) / 100
    assert _measure(words, rows, shows_answer=False).target is None
    assert _measure(words, [EvaluationRow("r", "", ("x",), {})], shows_answer=True).per_character == 0


def past(answers: int, tokens: float | None, seconds: float | None) -> PastAnswers:
    return PastAnswers(frozenset(), answers, tokens, seconds)


def test_several_answers_count_each_the_same_and_only_what_is_known() -> None:
    found = _pooled([past(1, 10.0, None), past(3, 2.0, 4.0), past(4, None, 8.0), NOTHING])
    assert found == past(8, (10 + 3 * 2) / 4, (3 * 4 + 4 * 8) / 7)
    assert _pooled([NOTHING]) == past(0, None, None)


def test_seconds_are_its_own_answers_its_others_or_assumed() -> None:
    own, other = past(1, 1.0, 3.0), past(1, 1.0, 5.0)
    assert _latency(own, other, 50) == (3.0, "its own answers")
    assert _latency(NOTHING, other, 50) == (5.0, "its answers to other tasks")
    assert _latency(NOTHING, NOTHING, 50) == (2.0, "an assumed 1 s and 0.02 s a token of the answer")


@pytest.mark.parametrize(
    ("ask", "limits", "throughput", "minutes"),
    [
        (120, (10, None), None, 120 * 3 / 10 / 60),
        (120, (10, 60.0), None, 2),
        (120, (10, 240.0), None, 120 * 3 / 10 / 60),
        (4, (10, None), None, 3 / 60),  # no more at once than there are
        (120, (10, None), 10.0, 6000 / 10 / 60),
        (0, (10, 60.0), None, 0),
    ],
)
def test_minutes_are_the_longest_of_three(
    ask: int, limits: tuple[int, float | None], throughput: float | None, minutes: float
) -> None:
    model = OpenAIModel(backend="openai", model="m", tokens_per_second=throughput)
    assert _minutes(model, ask, 6000, 3.0, limits) == pytest.approx(minutes)


class TestHistory:
    @pytest.fixture
    def results(self, tmp_path: Path) -> Path:
        answers = {
            ("t", "m"): [("ok", 4, 1.0), ("truncated", 8, None), ("failed", 100, 50.0)],
            ("t", "thinker"): [("ok", 500, 1.0)],
            ("t", "majority"): [("ok", 1, 1.0)],
            ("t", "other"): [("ok", 3, 2.0)],
            ("t", "silent"): [("failed", 3, 2.0)],
            ("u", "m"): [("ok", 20, 9.0)],
            ("v", "m"): [("ok", 40, None), ("ok", 60, None)],
        }
        for (task, model), lines in answers.items():
            settings: dict[str, Any] = {"backend": "baseline" if model == "majority" else "openai"}
            settings |= {"max_tokens": 900} if model == "thinker" else {}
            write_manifest(tmp_path, scored(task, model, [1.0], rows="0" * 16, model_settings=settings).manifest)
            with ResponseLog(tmp_path / task / model) as log:
                for n, (status, tokens, seconds) in enumerate(lines):
                    log.append(Response(f"k{n}", "r", status, "a b", output_tokens=tokens, latency_s=seconds))  # type: ignore[arg-type]
        return tmp_path

    def test_of_a_pair_is_what_it_has_answered(self, results: Path) -> None:
        history = History(results)
        assert history.of("t", "m") == PastAnswers(frozenset({"k0", "k1"}), 2, 6.0, 1.0)
        assert history.of("v", "m").latency_s is None
        assert history.of("t", "silent") == history.of("t", "nobody") == NOTHING

    def test_elsewhere_is_what_it_has_answered_of_other_tasks(self, results: Path) -> None:
        assert History(results).elsewhere("t", "m") == past(3, (20 + 40 + 60) / 3, 9.0)
        assert History(results).elsewhere("t", "other") == past(0, None, None)

    def test_others_are_those_served_that_do_not_think_first(self, results: Path) -> None:
        assert History(results).others("t", "m") == (past(1, 3.0, 2.0), ["other"])
        assert History(results).others("t", "other") == (past(2, 6.0, 1.0), ["m"])
        assert History(results).others("u", "m") == (past(0, None, None), [])

    def test_without_counts_tokens_are_approximated(self, tmp_path: Path) -> None:
        with ResponseLog(tmp_path / "t" / "m") as log:
            log.append(Response("k", "r", "ok", "yes it is"))
            log.append(Response("l", "r", "ok", "", output_tokens=0))
        assert History(tmp_path).of("t", "m").output_tokens == approximate("yes it is") / 2
