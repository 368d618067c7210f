"""Rows that say the same: which prompts share 13 words in sequence with evaluated ones, or with each other.

Thirteen words are the usual size for this: T. Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from harness.tasks.prompts import question_hash
from harness.tasks.pruning import Prune, frame

SIZE = 13
ALIKE = 95
"""Similarity in percent (rapidfuzz's ratio) from which two texts with a common sequence are near duplicates."""
COMMON, NEAREST = 100, 20
_WORD = re.compile(r"\w+")


def sequences(text: str) -> frozenset[int]:
    """Return hashes of all sequences of 13 words of a text; of a shorter text that of all its words."""
    words = _WORD.findall(text.casefold())
    return frozenset(hash(tuple(words[place : place + SIZE])) for place in range(max(1, len(words) - SIZE + 1)))


@dataclass(frozen=True)
class OwnText:
    """What a prompt has of its own."""

    text: str

    @cached_property
    def sequences(self) -> frozenset[int]:
        """Hashes of its sequences of 13 words."""
        return sequences(self.text)


def own_text(prompts: Sequence[str]) -> Callable[[str], OwnText]:
    """Return a function that gives what a prompt has of its own: without what all these begin and end with."""
    shared = frame(prompts)
    return lambda prompt: OwnText(prompt.removeprefix(shared.start).removesuffix(shared.end))


class Evaluated:
    """The prompts of the evaluated rows, of which nothing may be learned.

    Args:
        prompts: As they are asked.
        others: The prompts to be judged, which show what all prompts of the task share.
        prune: What the student's prompts may be without.
    """

    def __init__(self, prompts: Sequence[str], others: Iterable[str] = (), prune: Prune | None = None) -> None:
        both = [*prompts, *others]
        # Prompts of another frame share none with these, whose own is then what they alone do not share.
        own = own_text(both if frame(both) != Prune() else prompts)
        self._asked = {question_hash(prompt) for prompt in prompts}
        if prune:
            self._asked |= {question_hash(prune(prompt)) for prompt in prompts}
        self._sequences = frozenset(one for prompt in prompts for one in own(prompt).sequences)

    def why(self, prompt: str, own: OwnText) -> str | None:
        """Return why a prompt with this text of its own may not be learned, None where it may."""
        if question_hash(prompt) in self._asked:
            return "its prompt is that of an evaluated row"
        if not self._sequences.isdisjoint(own.sequences):
            return f"it shares {SIZE} words in sequence with an evaluated row"
        return None


def near_duplicates(texts: Iterable[OwnText]) -> Iterator[int | None]:
    """Yield for each text the place of an earlier one, kept itself, that it nearly repeats; None for one to be kept.

    Compared are texts that share 13 words in sequence, each with the `NEAREST` that share most with it. A sequence that
    more than `COMMON` texts hold is boilerplate, which marks no candidate beyond the first of them.
    """
    from rapidfuzz import fuzz, process

    holders: dict[int, list[int]] = {}
    kept: dict[int, str] = {}
    for place, own in enumerate(texts):
        text, found = own.text, own.sequences
        shared = [holders[one] for one in found if one in holders]
        rare = [places for places in shared if len(places) < COMMON] or shared[:1]
        near = {holder: kept[holder] for holder, _ in Counter(chain.from_iterable(rare)).most_common(NEAREST)}
        match = process.extractOne(text, near, scorer=fuzz.ratio, score_cutoff=ALIKE)
        if match is not None:
            yield int(match[2])
            continue
        kept[place] = text
        for one in found:
            if len(places := holders.setdefault(one, [])) < COMMON:
                places.append(place)
        yield None
