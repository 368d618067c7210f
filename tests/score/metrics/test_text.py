"""Text metrics agree with rouge-score and sacrebleu."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.score.metrics.base import Example
from tests.score.metrics.rows import example, metric, score, spec

TEXT = spec("text")
WORDS = ["the", "cat", "sat", "on", "a", "mat", "Running", "runs,", "dogs", "don't", "U.S.", "3.5%", "naïve", "\n"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=25).map(" ".join).filter(str.strip)
NAMES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL", "rouge_lsum": "rougeLsum"}


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "stemmed"])
def scorer(request: pytest.FixtureRequest) -> tuple[object, bool]:
    """The package's own scorer, and whether it stems."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(NAMES.values()), use_stemmer=request.param), request.param


@settings(max_examples=40)
@given(text=texts, references=st.lists(texts, min_size=1, max_size=3))
def test_rouge_is_that_of_rouge_score(scorer: tuple[object, bool], text: str, references: list[str]) -> None:
    theirs, stemmer = scorer
    expected = theirs.score_multi([one.strip() for one in references], text.strip())  # type: ignore[attr-defined]
    row = example(TEXT, text, *references)
    for name, their_name in NAMES.items():
        ours = metric(name, TEXT, stemmer=stemmer).score([row])
        assert ours == pytest.approx(expected[their_name].fmeasure, abs=1e-15)


def test_rouge_lsum_of_long_summaries_is_that_of_rouge_score(scorer: tuple[object, bool]) -> None:
    theirs, stemmer = scorer
    rng = random.Random(3)
    words = [f"w{number}" for number in range(40)]
    for _ in range(20):
        gold, text = ("\n".join(" ".join(rng.choices(words, k=12)) for _ in range(rng.randint(1, 6))) for _ in "ab")
        expected = theirs.score(gold, text)["rougeLsum"].fmeasure  # type: ignore[attr-defined]
        assert score("rouge_lsum", TEXT, [text], [gold], stemmer=stemmer) == pytest.approx(expected, abs=1e-15)


def test_rouge_l_and_rouge_lsum_differ_by_line_breaks() -> None:
    gold, text = "one two\nthree four", "three four\none two"
    assert score("rouge_l", TEXT, [text], [gold]) == 0.5
    assert score("rouge_lsum", TEXT, [text], [gold]) == 1


def test_stemming_is_off_unless_asked_for() -> None:
    assert score("rouge_1", TEXT, ["walked"], ["walking"]) == 0
    assert score("rouge_1", TEXT, ["walked"], ["walking"], stemmer=True) == 1


def test_rouge_without_stemming_does_without_nltk() -> None:
    """Its import takes seconds, which only who asks for stems should pay."""
    code = """
import sys
from harness.score.metrics.base import Example
from harness.score.metrics.text import rouge_1, rouge_lsum
row = Example("a cat", "a cat", ("the cat",), ("the cat",))
assert rouge_1(None).score([row]) == rouge_lsum(None).score([row]) == 0.5
assert "nltk" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_rouge_l_of_known_texts() -> None:
    # The values that torchmetrics documents and computes for these pairs.
    assert score("rouge_l", TEXT, ["My name is John"], ["Is your name John"]) == pytest.approx(0.5)
    assert score("rouge_1", TEXT, ["My name is John"], ["Is your name John"]) == pytest.approx(0.75)
    assert score("rouge_2", TEXT, ["My name is John"], ["Is your name John"]) == 0


def test_rouge_of_structured_answers_compares_what_is_written() -> None:
    answer = spec("entities", types=["person"])
    assert score("rouge_l", answer, ['{"person": ["Ann Lee"]}'], ['{"person": ["Ann Poe"]}']) == pytest.approx(2 / 3)
    assert score("rouge_l", answer, ["Ann Lee"], ['{"person": ["Ann Lee"]}']) == 0  # no valid answer


@settings(max_examples=40)
@given(st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_bleu_and_chrf_are_those_of_sacrebleu(rows: list[tuple[str, list[str]]]) -> None:
    answered = [example(TEXT, text, *references) for text, references in rows]
    hypotheses = [row.answer for row in answered]
    most = max(len(row.references) for row in answered)
    streams = [[row.gold[n] if n < len(row.gold) else None for row in answered] for n in range(most)]
    bleu = sacrebleu.corpus_bleu(hypotheses, streams, force=True).score
    assert metric("bleu", TEXT).score(answered) == pytest.approx(bleu / 100, abs=1e-9)
    lowered = sacrebleu.corpus_bleu(hypotheses, streams, force=True, lowercase=True, tokenize="char").score
    assert metric("bleu", TEXT, lowercase=True, tokenize="char").score(answered) == pytest.approx(
        lowered / 100, abs=1e-9
    )
    chrf = sacrebleu.corpus_chrf(hypotheses, streams).score
    assert metric("chrf", TEXT).score(answered) == pytest.approx(chrf / 100, abs=1e-9)
    plus = sacrebleu.corpus_chrf(hypotheses, streams, word_order=2).score
    assert metric("chrf", TEXT, word_order=2).score(answered) == pytest.approx(plus / 100, abs=1e-9)


def test_an_empty_answer_counts_as_an_empty_text_in_bleu_and_chrf() -> None:
    gold = ["the cat sat on the mat today"] * 2
    bleu = sacrebleu.corpus_bleu([gold[0], ""], [gold]).score
    assert score("bleu", TEXT, [gold[0], ""], gold) == pytest.approx(bleu / 100)
    assert score("chrf", TEXT, ["", ""], gold) == 0


def test_exact_match_ignores_outer_space_only() -> None:
    assert score("exact_match", TEXT, [" a b ", "A b", "a  b"], ["a b"] * 3) == pytest.approx(1 / 3)
    assert score("exact_match", TEXT, ["A b"], ["a b"], ignore_case=True) == 1


def test_exact_match_compares_json_as_json_has_it() -> None:
    assert score("exact_match", spec("json"), ['{"a": 1, "b": 2}'], ["{'b': 2, 'a': 1}"]) == 1
    assert (
        score("exact_match", spec("json"), ['{"a": 1}', "[0]", '"1"', '" x"'], ['{"a": true}', "[false]", "1", '"x"'])
        == 0
    )
    assert score("exact_match", spec("json"), ['{"a": 1.0}', '"X"'], ['{"a": 1}', '"x"'], ignore_case=True) == 1


@given(texts, texts)
def test_rouge_is_symmetric(one: str, other: str) -> None:
    for name in ("rouge_1", "rouge_2", "rouge_l"):
        assert score(name, TEXT, [one], [other]) == pytest.approx(score(name, TEXT, [other], [one]), abs=1e-12)


def test_the_best_reference_counts() -> None:
    row = Example("a b", "a b", ("c d", "a b"), ("c d", "a b"))
    assert metric("rouge_l", TEXT).score([row]) == 1
