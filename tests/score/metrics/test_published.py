"""What the original code computes, with its leniency, and where ours reads more strictly."""

from __future__ import annotations

import math

import pytest

from harness.errors import UserError
from tests.score.metrics.rows import example, metric, score, spec

YES_NO = spec("label", labels=["yes", "no"], positive="yes")
SENTIMENT = spec("label", labels=["positive", "negative"])
INFERENCE = spec("label", labels=["entailment", "neutral", "contradiction"])
LETTERS = spec("label", labels=["A", "B", "C", "D"], pick="first")
CLASSES = spec("label", labels=["Company", "Office Holder", "Natural Place"])
REASONS = spec("label", labels=["pay bill", "replace card"])
NUMBER = spec("number")
SCALE = spec("number", minimum=0, maximum=5, pick="first")


@pytest.mark.parametrize(
    ("answer", "completion", "gold", "published", "strict"),
    [
        (YES_NO, "yes", "yes", 1, 1),
        (YES_NO, "unknown", "no", 1, 0),
        (YES_NO, "10", "yes", 1, 0),
        (YES_NO, "no, not one", "no", 1, 1),
        (YES_NO, "nothing", "yes", 0, 0),
        (YES_NO, "maybe", "no", 0, 0),
        (YES_NO, "", "no", 0, 0),
        (SENTIMENT, "Positive!", "positive", 1, 1),
        (SENTIMENT, "not negative, i.e. positive", "negative", 1, 0),
    ],
)
def test_binary_accuracy_flex_reads_substrings_in_a_fixed_order(
    answer: object, completion: str, gold: str, published: float, strict: float
) -> None:
    assert score("published_binary_accuracy_flex", answer, [completion], [gold]) == published  # type: ignore[arg-type]
    assert score("accuracy", answer, [completion], [gold]) == strict  # type: ignore[arg-type]


@pytest.mark.parametrize("completion", ["0 1 2", "entailment neutral contradiction", "neutral", "1", "Class 1."])
def test_mnli_is_right_when_the_right_label_occurs_anywhere(completion: str) -> None:
    assert score("published_mnli_accuracy", INFERENCE, [completion], ["neutral"]) == 1
    assert score("published_mnli_accuracy", INFERENCE, ["contradiction", "2", ""], ["neutral"] * 3) == 0


def test_naming_all_labels_is_right_in_the_original_and_unparsed_here() -> None:
    everything = "entailment neutral contradiction"
    assert score("accuracy", INFERENCE, [everything], ["neutral"]) == 0
    both = "pay bill replace card"
    assert score("published_customer_support_accuracy", REASONS, [both, "PAY BILL"], ["replace card", "pay bill"]) == 1
    assert score("accuracy", REASONS, [both], ["replace card"]) == 0


def test_mrpc_finds_ones_anywhere_and_zeros_only_alone() -> None:
    assert score("published_mrpc_accuracy", YES_NO, ["yes", "Yes.", "1", "no 1"], ["yes"] * 4) == 1
    assert score("published_mrpc_accuracy", YES_NO, ["no"], ["no"]) == 1
    assert score("published_mrpc_accuracy", YES_NO, ["No.", "0", "1"], ["no"] * 3) == 0
    with pytest.raises(UserError, match=r"answer\.positive"):
        metric("published_mrpc_accuracy", SENTIMENT)


def test_hellaswag_finds_the_letter_or_its_digit_anywhere() -> None:
    assert score("published_hellaswag_accuracy", LETTERS, ["B", "(B)", "1", "A or B", "0123"], ["B"] * 5) == 1
    assert score("published_hellaswag_accuracy", LETTERS, ["A Bat", "2", ""], ["B"] * 3) == 0


def test_mmlu_takes_the_first_letter_or_number() -> None:
    assert score("published_mmlu_accuracy", LETTERS, ["B", "B) x", "2", "It is 2, not 3"], ["B"] * 4) == 1
    assert score("published_mmlu_accuracy", LETTERS, ["A or B", "1", "", "?"], ["B"] * 4) == 0


@pytest.mark.parametrize(
    ("completion", "value"), [("5", 1), ("4.0", 0.8), ("0", 0), ("1000", 0), ("-3", 0), ("nan", 0), ("", 0), ("x", 0)]
)
def test_stsb_stays_between_0_and_1(completion: str, value: float) -> None:
    for name in ("published_stsb", "closeness"):
        found = score(name, SCALE, [completion], ["5.0"])
        assert found == pytest.approx(value)
        assert math.isfinite(found)


def test_gsm8k_takes_the_last_number_whatever_it_is() -> None:
    gold = "3 + 4 = <<3+4=7>>7\n#### 7"
    completions = ["#### 7", "#### 7\nThat is 3 more.", "1,007", "so 7.0", ""]
    found = [score("published_gsm8k_regex", NUMBER, [one], [gold]) for one in completions]
    assert found == [1, 0, 0, 1, 0]
    assert score("number_match", NUMBER, [completions[1]], [gold]) == 1


def test_dbpedia_names_the_class_of_a_number_counted_from_one() -> None:
    completions = ["2", "Office Holder", "office", "1", "7", "", "\N{SUPERSCRIPT TWO}"]
    found = [score("published_dbpedia", CLASSES, [one], ["Office Holder"]) for one in completions]
    assert found == pytest.approx([1, 1, 2 / 3, 0, 0, 0, 0])


def test_rouge_averages_over_references_where_ours_takes_the_best() -> None:
    row = example(spec("text"), "a b", "a b", "c d")
    assert metric("published_rouge", spec("text")).score([row]) == 0.5
    assert metric("rouge_l", spec("text")).score([row]) == 1


def test_rouge_reads_the_completion_even_where_no_answer_is_found() -> None:
    answer = spec("entities", types=["person"])
    assert score("published_rouge", answer, ["person Ann"], ['{"person": ["Ann"]}']) == 1
    assert score("entity_f1", answer, ["person Ann"], ['{"person": ["Ann"]}']) == 0


def test_rows_without_a_completion_stay_in_the_denominator() -> None:
    assert score("published_rouge", spec("text"), ["a", ""], ["a", "a"]) == 0.5
