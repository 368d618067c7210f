"""BLEU and chrF from sacrebleu's counts of each row, so that a resample of rows needs no counting again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from harness.metrics.base import Example, FloatArray, ratio

ORDERS = 4
_BETA_SQUARED = 4.0


@lru_cache(maxsize=4)
def _bleu(lowercase: bool, tokenize: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    # With the effective order sacrebleu does not warn about sentences; the counts are the same.
    return BLEU(lowercase=lowercase, tokenize=tokenize, effective_order=True)


@lru_cache(maxsize=4)
def _chrf(word_order: int, lowercase: bool) -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=word_order, lowercase=lowercase)


def bleu_table(
    pairs: Callable[[Example], tuple[str, Sequence[str]]], lowercase: bool, tokenize: str
) -> Callable[[Sequence[Example]], FloatArray]:
    """Return the statistics function of BLEU, shape [n, 11].

    Columns: answer length, closest reference length, matched n-grams (4 orders), answered n-grams (4 orders), and n in
    every row, because smoothing goes by absolute counts.
    """

    def together(examples: Sequence[Example]) -> FloatArray:
        rows = []
        for example in examples:
            text, references = pairs(example)
            found = _bleu(lowercase, tokenize).sentence_score(text, references)
            rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals, len(examples)])
        return np.array(rows, dtype=np.float64)

    return together


def bleu_summary(means: FloatArray) -> FloatArray:
    """Corpus BLEU in [0, 1] with exponential smoothing from means of `bleu_table`, shape [..., 11] to [...]."""
    length, reference, rows = means[..., 0], means[..., 1], means[..., -1:]
    matched, answered = means[..., 2 : 2 + ORDERS], means[..., 2 + ORDERS : 2 + 2 * ORDERS]
    # The k-th order without a match counts as 1 / 2^k of a match.
    halvings = np.cumsum(matched == 0, axis=-1)
    smoothed = np.where(matched == 0, 0.5**halvings, matched * rows)
    precisions = ratio(smoothed, answered * rows)
    defined = (answered > 0).all(axis=-1) & (matched > 0).any(axis=-1)
    geometric = np.exp(np.log(np.where(precisions > 0, precisions, 1.0)).mean(axis=-1))
    brevity = np.exp(np.minimum(0.0, 1 - ratio(reference, np.where(length > 0, length, 1.0))))
    return np.where(defined, np.clip(geometric * brevity, 0, 1), 0.0)


def chrf_stats(
    pairs: Callable[[Example], tuple[str, Sequence[str]]], word_order: int, lowercase: bool
) -> Callable[[Example], Sequence[float]]:
    """Return the statistics of one row for chrF: n-grams of answer, of the best reference, and matches, per order."""

    def stats(example: Example) -> Sequence[float]:
        text, references = pairs(example)
        # The counts are what sacrebleu itself adds up over a corpus; it has no public name for them.
        (counts,) = _chrf(word_order, lowercase)._extract_corpus_statistics([text], [[one] for one in references])
        return [float(count) for count in counts]

    return stats


def chrf_summary(means: FloatArray) -> FloatArray:
    """Corpus chrF in [0, 1] from means of `chrf_stats`, shape [..., 3 x orders] to [...]."""
    answered, gold, matched = means[..., 0::3], means[..., 1::3], means[..., 2::3]
    counted = (answered > 0) & (gold > 0)
    orders = np.asarray(counted.sum(axis=-1), dtype=np.float64)
    precision = ratio(np.where(counted, ratio(matched, answered), 0.0).sum(axis=-1), orders)
    recall = ratio(np.where(counted, ratio(matched, gold), 0.0).sum(axis=-1), orders)
    return ratio((1 + _BETA_SQUARED) * precision * recall, _BETA_SQUARED * precision + recall)
