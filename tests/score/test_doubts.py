"""What is counted of answers that are doubtful."""

from __future__ import annotations

from harness.score.doubts import Doubter, Doubts
from harness.store.results import Response


def test_only_answers_of_a_model_of_another_name_are_another_models() -> None:
    doubter = Doubter("gpt-4o")
    for model in ("gpt-4o", "gpt-4o", "gpt-3.5-turbo", None):
        doubter.see(Response("k", "r", "ok", "yes", model=model))
    doubter.see(None)
    assert doubter.found("hash") == Doubts(others=(("gpt-3.5-turbo", 1),), said="hash")


def test_where_no_name_was_asked_for_any_will_do() -> None:
    doubter = Doubter("")
    doubter.see(Response("k", "r", "ok", "yes", model="mistral"))
    assert doubter.found("") == Doubts()


def test_failures_are_grouped_by_their_reason_without_numbers_and_cut_prompts_are_counted() -> None:
    doubter = Doubter("")
    for error in ("HTTP 500: request 12 failed", "HTTP 500: request 7 failed", "reset", ""):
        doubter.see(Response("k", "r", "failed", error=error))
    doubter.see(Response("k", "r", "truncated_prompt", "yes"))
    found = doubter.found("")
    assert found.failures == ((2, "HTTP 500: request 12 failed"), (1, "reset"), (1, "no reason was recorded"))
    assert (found.cut, Doubts().cut) == (1, 0)
