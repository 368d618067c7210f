"""The ROUGE-L of image captions, which data-to-text work reports too; it differs from rouge-score's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from harness.score.metrics.base import Example, Metric, recipes
from harness.score.metrics.text import candidate, targets
from harness.tasks.task import AnswerFormat

BETA = 1.2
"""Recall counts this many times as much as precision."""
_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "(", ")", "[", "]", "{", "}", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)


def rouge_l_coco(answer: AnswerFormat) -> Metric:
    """Mean ROUGE-L of the COCO caption evaluation: F with beta 1.2 over several references at once. Range [0, 1].

    Precision and recall of the longest common subsequence are each the best over all references, which need not be the
    same one, and F = (1 + beta²) P R / (R + beta² P). Texts are lower-cased and split as in the Penn Treebank, without
    punctuation. The original's tokenizer is a Java program; nltk's stands for it here, and the two differ in rare cases
    such as abbreviations. Source: X. Chen et al., arXiv 1504.00325, 2015, and its code, coco-caption.
    """

    def stats(example: Example) -> tuple[float]:
        ours = caption_tokens(candidate(example))
        golds = [caption_tokens(target) for target in targets(example)]
        return (rouge_l_over_references(ours, golds),)

    return Metric("rouge_l_coco", stats)


def rouge_l_over_references(ours: tuple[str, ...], golds: list[tuple[str, ...]]) -> float:
    """Return COCO's ROUGE-L of the tokens of an answer and of its references, in [0, 1]; 0 where either has none."""
    from rapidfuzz.distance import LCSseq

    common = [(LCSseq.similarity(ours, gold), len(gold)) for gold in golds if gold]
    if not ours or not common:
        return 0.0
    precision = max(hits for hits, _ in common) / len(ours)
    recall = max(hits / length for hits, length in common)
    if precision == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


@lru_cache(maxsize=8192)
def caption_tokens(text: str) -> tuple[str, ...]:
    """Return the lower-case words of a text, split as in the Penn Treebank, without punctuation."""
    words = (word.lower() for word in _treebank().tokenize(text.replace("\n", " ")))
    bare = (word if word in _PUNCTUATION or word.count(".") > 1 else word.removesuffix(".") for word in words)
    return tuple(word for word in bare if word and word not in _PUNCTUATION)


@lru_cache(maxsize=1)
def _treebank() -> Any:
    from nltk.tokenize.treebank import TreebankWordTokenizer  # its import takes seconds

    return TreebankWordTokenizer()


RECIPES = recipes({"text"}, rouge_l_coco)
