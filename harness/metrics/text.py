"""Metrics of free text: exact match, ROUGE, BLEU and chrF.

A row is compared with all its references, and the best one counts. Text answers are compared as extracted; for answers
that are no text (entities, JSON) ROUGE compares the completion, without its thinking part, with the written target.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from harness.metrics.base import Example, Metric, Recipe, needs_table
from harness.metrics.corpus import bleu_summary, bleu_table, chrf_stats, chrf_summary
from harness.metrics.lsum import rouge_lsum_f
from harness.spec.task import Answer

Tokens = tuple[str, ...]
_WORD = re.compile("[a-z0-9]+")


def candidate(example: Example) -> str:
    """Return the text to be scored, "" for a row without a valid answer."""
    if example.answer is None:
        return ""
    return example.answer if isinstance(example.answer, str) else example.text


def targets(example: Example) -> Sequence[str]:
    """Return the texts that `candidate` is compared with: the right answers, extracted the same way."""
    if isinstance(example.answer, str):
        return [
            gold if isinstance(gold, str) else text for gold, text in zip(example.gold, example.references, strict=True)
        ]
    return example.references


def exact_match(answer: Answer, *, ignore_case: bool = False) -> Metric:
    """Share of rows whose answer equals a right one, spaces around it aside. Range [0, 1].

    With `ignore_case` texts are compared case-folded. Entities, JSON and label sets are compared as values.
    """

    def same(value: Any, gold: Any) -> bool:
        if isinstance(value, str) and isinstance(gold, str):
            value, gold = value.strip(), gold.strip()
            return bool(value.casefold() == gold.casefold() if ignore_case else value == gold)
        return bool(value == gold)

    def stats(example: Example) -> tuple[float]:
        return (float(example.answer is not None and any(same(example.answer, gold) for gold in example.gold)),)

    return Metric("exact_match", stats, kind="binary")


def rouge_n_f(prediction: Tokens, reference: Tokens, n: int) -> float:
    """Return the F1 of n-grams, counted with repetitions; 0 when either has none."""
    ours, theirs = _ngrams(prediction, n), _ngrams(reference, n)
    hits = (ours & theirs).total()
    return _f(hits, ours.total(), theirs.total())


def rouge_l_f(prediction: Tokens, reference: Tokens) -> float:
    """Return the F1 of the longest common subsequence of tokens; 0 when either is empty."""
    if not prediction or not reference:
        return 0.0
    from rapidfuzz.distance import LCSseq

    return _f(LCSseq.similarity(prediction, reference), len(prediction), len(reference))


def _f(hits: int, predicted: int, gold: int) -> float:
    return 2 * hits / (predicted + gold) if hits else 0.0


def _ngrams(tokens: Tokens, n: int) -> Counter[Any]:
    if n == 1:
        return Counter(tokens)
    if n == 2:
        return Counter(pairwise(tokens))
    return Counter(zip(*(tokens[start:] for start in range(n)), strict=False))


@lru_cache(maxsize=8192)
def tokens(text: str, *, stemmer: bool = False) -> Tokens:
    """Return rouge-score's tokens: lower-case runs of a-z and 0-9, Porter-stemmed above 3 letters if asked for."""
    found = _WORD.findall(text.lower())
    return tuple(_stem(token) if len(token) > 3 else token for token in found) if stemmer else tuple(found)


@lru_cache(maxsize=100_000)
def _stem(token: str) -> str:
    return str(_porter().stem(token))


@lru_cache(maxsize=1)
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer  # what rouge-score stems with; its import takes seconds

    return PorterStemmer()


def _rouge(name: str, score: Callable[[str, str], float]) -> Metric:
    """The metric whose row score is the best over references."""

    def stats(example: Example) -> tuple[float]:
        text = candidate(example)
        return (max(score(text, target) for target in targets(example)) if text else 0.0,)

    return Metric(name, stats)


def _rouge_n(name: str, n: int, stemmer: bool) -> Metric:
    return _rouge(
        name, lambda text, target: rouge_n_f(tokens(text, stemmer=stemmer), tokens(target, stemmer=stemmer), n)
    )


def rouge_1(answer: Answer, *, stemmer: bool = False) -> Metric:
    """Mean F1 of single words (C.-Y. Lin, Text Summarization Branches Out, 2004), as rouge-score computes it. [0, 1].

    `stemmer` is off by default, as in `evaluate` and torchmetrics; much of the literature has it on, which scores some
    points higher.
    """
    return _rouge_n("rouge_1", 1, stemmer)


def rouge_2(answer: Answer, *, stemmer: bool = False) -> Metric:
    """Mean F1 of word pairs, as rouge-score computes it; `stemmer` as for `rouge_1`. Range [0, 1]."""
    return _rouge_n("rouge_2", 2, stemmer)


def rouge_l(answer: Answer, *, stemmer: bool = False) -> Metric:
    """Mean F1 of the longest common subsequence of words, as rouge-score's rougeL; line breaks do not count. [0, 1].

    Summarisation papers mostly report `rouge_lsum` under the name ROUGE-L. `stemmer` as for `rouge_1`.
    """
    return _rouge(
        "rouge_l", lambda text, target: rouge_l_f(tokens(text, stemmer=stemmer), tokens(target, stemmer=stemmer))
    )


def rouge_lsum(answer: Answer, *, stemmer: bool = False) -> Metric:
    """Mean F1 of the union of the sentences' common subsequences, as rouge-score's rougeLsum. Range [0, 1].

    Sentences are lines: texts whose sentences are not separated by line breaks get `rouge_l`. `stemmer` as for
    `rouge_1`.
    """

    def lines(text: str) -> list[Tokens]:
        return [tokens(line, stemmer=stemmer) for line in text.split("\n") if line]

    return _rouge("rouge_lsum", lambda text, target: rouge_lsum_f(lines(text), lines(target)))


def bleu(
    answer: Answer, *, lowercase: bool = False, tokenize: Literal["13a", "char", "intl", "none", "zh"] = "13a"
) -> Metric:
    """Corpus BLEU (K. Papineni et al., ACL 2002) against all references, as sacrebleu computes it. Range [0, 1].

    sacrebleu prints 100 times this. Its defaults: up to 4-grams, exponential smoothing, mixed case, tokeniser 13a.
    """
    table = bleu_table(_compared, lowercase, tokenize)
    return Metric("bleu", needs_table, bleu_summary, kind="corpus", together=table)


def chrf(answer: Answer, *, word_order: int = 0, lowercase: bool = False) -> Metric:
    """Corpus chrF (M. Popović, WMT 2015) against the best reference of each row, as sacrebleu does. Range [0, 1].

    sacrebleu prints 100 times this. Characters up to 6-grams, beta 2; `word_order: 2` is chrF++.
    """
    return Metric("chrf", chrf_stats(_compared, word_order, lowercase), chrf_summary, kind="corpus")


def _compared(example: Example) -> tuple[str, Sequence[str]]:
    return candidate(example), targets(example)


_WRITTEN = frozenset({"text", "regex", "sql", "code", "json", "entities", "label", "label_and_explanation"})
_TEXT = frozenset({"text", "regex", "sql", "code"})
RECIPES = {
    "bleu": Recipe(bleu, _TEXT),
    "chrf": Recipe(chrf, _TEXT),
    "exact_match": Recipe(
        exact_match, frozenset({"text", "regex", "sql", "code", "label", "json", "entities", "number"})
    ),
    "rouge_1": Recipe(rouge_1, _WRITTEN),
    "rouge_2": Recipe(rouge_2, _WRITTEN - {"label"}),
    "rouge_l": Recipe(rouge_l, _WRITTEN),
    "rouge_lsum": Recipe(rouge_lsum, _WRITTEN),
}
