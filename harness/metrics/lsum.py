"""ROUGE-Lsum of tokenised sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain


def rouge_lsum_f(prediction: Sequence[Sequence[str]], reference: Sequence[Sequence[str]]) -> float:
    """Return the summary-level LCS F1 of Lin (2004, section 3.2) of two lists of sentences, in [0, 1].

    For each reference sentence, the tokens on a longest common subsequence with any predicted sentence are hits. No
    token counts more often than it occurs on either side, as in ROUGE 1.5.5 and rouge-score.
    """
    ours, theirs = Counter(chain.from_iterable(prediction)), Counter(chain.from_iterable(reference))
    total = ours.total() + theirs.total()
    if not (ours and theirs):
        return 0.0
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
    return 2 * hits / total


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
