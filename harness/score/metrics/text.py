"""Metrics of free text: exact match, ROUGE, BLEU and chrF.

A row is compared with all its references, and the best one counts. Text answers are compared as extracted; for answers
that are no text (entities, JSON) ROUGE compares the completion, without its thinking part, with the written target.

What decides a ROUGE score is taken from the package rouge-score: its tokens (`rouge_score.tokenize`, with the same
Porter stemmer) and its F1 (`rouge_score.scoring`). Counting n-grams and the longest common subsequence is done here,
several times as fast; the tests hold the scores to those of `rouge_score.rouge_scorer`, which imports nltk in any case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from rouge_score.scoring import fmeasure
from rouge_score.tokenize import tokenize

from harness.score.answers.structured import canonical
from harness.score.metrics.base import Example, FloatArray, Metric, best, needs_table, ratio, recipes
from harness.tasks.task import AnswerFormat, MetricSpec

Tokens = tuple[str, ...]


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


def written(example: Example) -> list[tuple[str, str]]:
    """Return the text of a row with each of its right answers as text; nothing for a row without a valid answer."""
    return [] if example.answer is None else [(candidate(example), target) for target in targets(example)]


def exact_match(answer: AnswerFormat, *, ignore_case: bool = False) -> Metric:
    """Share of rows whose answer equals a right one, spaces around it aside. Range [0, 1].

    With `ignore_case` texts are compared case-folded. Entities and label sets are compared as values, and so is JSON,
    where true is not 1, 1.0 is 1, and the order of keys does not matter.
    """

    def same(value: Any, gold: Any) -> bool:
        if answer.type == "json":
            value, gold = canonical(value), canonical(gold)
        if isinstance(value, str) and isinstance(gold, str):
            value, gold = value.strip(), gold.strip()
            return bool(value.casefold() == gold.casefold() if ignore_case else value == gold)
        return bool(value == gold)

    return best("exact_match", same, kind="binary")


def rouge_n_f(prediction: Tokens, reference: Tokens, n: int) -> float:
    """Return the F1 of n-grams, counted with repetitions; 0 when either has none."""
    ours, theirs = _ngrams(prediction, n), _ngrams(reference, n)
    return _f((ours & theirs).total(), ours.total(), theirs.total())


def _ngrams(tokens: Tokens, n: int) -> Counter[Any]:
    return Counter(zip(*(tokens[start:] for start in range(n)), strict=False))


def rouge_l_f(prediction: Tokens, reference: Tokens) -> float:
    """Return the F1 of the longest common subsequence of tokens; 0 when either is empty."""
    from rapidfuzz.distance import LCSseq

    return _f(LCSseq.similarity(prediction, reference), len(prediction), len(reference))


def rouge_lsum_f(prediction: Sequence[Sequence[str]], reference: Sequence[Sequence[str]]) -> float:
    """Return the summary-level LCS F1 of Lin (2004, section 3.2) of two lists of sentences, in [0, 1].

    For each reference sentence, the tokens on a longest common subsequence with any predicted sentence are hits. No
    token counts more often than it occurs on either side, as in ROUGE 1.5.5 and rouge-score.
    """
    ours, theirs = Counter(chain.from_iterable(prediction)), Counter(chain.from_iterable(reference))
    predicted, gold = ours.total(), theirs.total()
    others = [(sentence, _places(sentence)) for sentence in prediction]
    hits = 0
    for sentence in reference:
        matched: set[int] = set()
        for other, places in others:
            if not places.keys().isdisjoint(sentence):
                matched.update(_on_common_subsequence(sentence, other, places))
        for place in sorted(matched):
            token = sentence[place]
            if ours[token] > 0 and theirs[token] > 0:
                hits += 1
                ours[token] -= 1
                theirs[token] -= 1
    return _f(hits, predicted, gold)


def _places(sentence: Sequence[str]) -> dict[str, int]:
    """For each token, an integer with a bit set wherever it stands."""
    places: dict[str, int] = {}
    for place, token in enumerate(sentence):
        places[token] = places.get(token, 0) | 1 << place
    return places


def _on_common_subsequence(reference: Sequence[str], other: Sequence[str], places: Mapping[str, int]) -> list[int]:
    """Places in `reference` on one longest common subsequence with `other`.

    Row i of the table of common lengths is an integer whose bit j says that the length grows at j (H. Hyyrö, "Bit-
    parallel LCS-length computation revisited", 2004). Of several longest ones, which is taken moves the score; walking
    back from the ends, a step in the reference is preferred unless the other direction is longer, as in rouge-score.
    """
    full = (1 << len(other)) - 1
    flat, rows = full, [0]
    for token in reference:
        found = flat & places.get(token, 0)
        flat = ((flat + found) | (flat - found)) & full
        rows.append(full ^ flat)
    i, j = len(reference), len(other)
    taken = []
    while i > 0 and j > 0:
        before = (1 << j) - 1
        if reference[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            taken.append(i)
        elif (rows[i] & before).bit_count() > (rows[i - 1] & before).bit_count():
            j -= 1
        else:
            i -= 1
    return taken


def _f(hits: int, predicted: int, gold: int) -> float:
    return float(fmeasure(hits / predicted, hits / gold)) if hits else 0.0


@lru_cache(maxsize=8192)
def tokens(text: str, *, stemmer: bool = False) -> Tokens:
    """Return rouge-score's tokens: lower-case runs of a-z and 0-9, Porter-stemmed above 3 letters if asked for."""
    return tuple(tokenize(text, SimpleNamespace(stem=_stem) if stemmer else None))


@lru_cache(maxsize=100_000)
def _stem(token: str) -> str:
    return str(_porter().stem(token))


@lru_cache(maxsize=1)
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer  # its import takes seconds

    return PorterStemmer()


WITH_ROUGE_TOKENS = frozenset({
    "rouge_1", "rouge_2", "rouge_l", "rouge_lsum", "explanation_rouge_l", "label_and_explanation", "published_rouge",
})  # fmt: skip
"""Metrics that compare the tokens of rouge-score."""
_FEW_DROPPED = 0.05


def dropped_scripts(metrics: Iterable[MetricSpec], references: Iterable[str]) -> str | None:
    """Say that right answers are written in a script that the ROUGE metrics of a task do not see, None if they do.

    Whatever a model answers to such a row, it scores 0 or little. A twentieth of the rows is not worth a word.
    """
    named = [metric.name for metric in metrics if metric.name in WITH_ROUGE_TOKENS]
    if not named:
        return None
    found = [_mostly_dropped(text) for text in references]
    if sum(found) <= _FEW_DROPPED * len(found):
        return None
    return (
        f"{', '.join(named)} cannot score {sum(found):,} of {len(found):,} right answers, whose script ROUGE's "
        "tokenizer drops (it keeps a to z and 0 to 9); chrf reads any script"
    )


def _mostly_dropped(text: str) -> bool:
    letters = sum(char.isalpha() for char in text)
    return letters > 0 and 2 * sum("a" <= char <= "z" for char in text.lower()) < letters


def _rouge(name: str, score: Callable[[Tokens, Tokens], float], stemmer: bool) -> Metric:
    return best(name, lambda *both: score(*(tokens(text, stemmer=stemmer) for text in both)), written)


def rouge_1(answer: AnswerFormat, *, stemmer: bool = False) -> Metric:
    """Mean F1 of single words (C.-Y. Lin, ACL workshop on summarisation, 2004); tokens and F1 by rouge-score. [0, 1].

    `stemmer` is off by default, as in `evaluate` and torchmetrics; much of the literature has it on, which scores some
    points higher.
    """
    return _rouge("rouge_1", partial(rouge_n_f, n=1), stemmer)


def rouge_2(answer: AnswerFormat, *, stemmer: bool = False) -> Metric:
    """Mean F1 of word pairs; tokens and F1 by rouge-score, `stemmer` as for `rouge_1`. Range [0, 1]."""
    return _rouge("rouge_2", partial(rouge_n_f, n=2), stemmer)


def rouge_l(answer: AnswerFormat, *, stemmer: bool = False) -> Metric:
    """Mean F1 of the longest common subsequence of words: rouge-score's rougeL, tokens and F1 by it. Range [0, 1].

    Line breaks do not count. Summarisation papers mostly report `rouge_lsum` under the name ROUGE-L. `stemmer` as for
    `rouge_1`.
    """
    return _rouge("rouge_l", rouge_l_f, stemmer)


def rouge_lsum(answer: AnswerFormat, *, stemmer: bool = False) -> Metric:
    """Mean F1 of the union of sentences' common subsequences: rouge-score's rougeLsum, tokens and F1 by it. [0, 1].

    Sentences are lines: texts whose sentences are not separated by line breaks get `rouge_l`. `stemmer` as for
    `rouge_1`.
    """

    def lines(text: str) -> list[Tokens]:
        return [tokens(line, stemmer=stemmer) for line in text.split("\n") if line]

    return best("rouge_lsum", lambda text, target: rouge_lsum_f(lines(text), lines(target)), written)


def bleu(
    answer: AnswerFormat, *, lowercase: bool = False, tokenize: Literal["13a", "char", "intl", "none", "zh"] = "13a"
) -> Metric:
    """Corpus BLEU (K. Papineni et al., ACL 2002) against all references, as sacrebleu computes it. Range [0, 1].

    sacrebleu prints 100 times this. Its defaults: up to 4-grams, exponential smoothing, mixed case, tokeniser 13a.
    """

    def table(examples: Sequence[Example]) -> FloatArray:
        """Shape [n, 11]: answer length, closest reference length, matched n-grams (4 orders), answered n-grams (4
        orders), and n in every row, because smoothing goes by absolute counts.
        """
        rows = []
        for example in examples:
            found = _bleu(lowercase, tokenize).sentence_score(candidate(example), targets(example))
            rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals, len(examples)])
        return np.array(rows, dtype=np.float64)

    return Metric("bleu", needs_table, _bleu_summary, kind="corpus", stats_of_all=table)


def chrf(answer: AnswerFormat, *, word_order: int = 0, lowercase: bool = False) -> Metric:
    """Corpus chrF (M. Popović, WMT 2015) against the best reference of each row, as sacrebleu does. Range [0, 1].

    sacrebleu prints 100 times this. Characters up to 6-grams, beta 2; `word_order: 2` is chrF++.
    """

    def stats(example: Example) -> list[float]:
        """N-grams of the answer, of the best reference, and matches, for each order."""
        # The counts are what sacrebleu itself adds up over a corpus; it has no public name for them.
        (counts,) = _chrf(word_order, lowercase)._extract_corpus_statistics(
            [candidate(example)], [[target] for target in targets(example)]
        )
        return [float(count) for count in counts]

    return Metric("chrf", stats, _chrf_summary, kind="corpus")


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


def _bleu_summary(means: FloatArray) -> FloatArray:
    """Corpus BLEU in [0, 1] with exponential smoothing, shape [..., 11] to [...]."""
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


def _chrf_summary(means: FloatArray) -> FloatArray:
    """Corpus chrF in [0, 1], shape [..., 3 x orders] to [...]."""
    answered, gold, matched = means[..., 0::3], means[..., 1::3], means[..., 2::3]
    counted = (answered > 0) & (gold > 0)
    orders = np.asarray(counted.sum(axis=-1), dtype=np.float64)
    precision = ratio(np.where(counted, ratio(matched, answered), 0.0).sum(axis=-1), orders)
    recall = ratio(np.where(counted, ratio(matched, gold), 0.0).sum(axis=-1), orders)
    return ratio((1 + _BETA_SQUARED) * precision * recall, _BETA_SQUARED * precision + recall)


_TEXT = {"text", "regex", "sql", "code"}
_WRITTEN = {*_TEXT, "json", "entities", "label_and_explanation"}
RECIPES = {
    **recipes(_TEXT, bleu, chrf),
    **recipes({*_TEXT, "label", "json", "entities", "number"}, exact_match),
    **recipes({*_WRITTEN, "label"}, rouge_1, rouge_l, rouge_lsum),
    **recipes(_WRITTEN, rouge_2),
}
