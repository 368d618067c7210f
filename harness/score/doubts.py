"""What makes a run's answers doubtful: rows that failed and why, another model's answers, prompts that were cut."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from harness.models.content import same_model
from harness.store.results import Response

# What differs from row to row in a message: numbers, and names of requests.
_OWN = re.compile(r"\b(?=\w*\d)[\w-]+\b")


@dataclass(frozen=True, slots=True)
class Doubts:
    """Counts of doubtful rows.

    Attributes:
        failures: How many rows failed for each reason, with an example of its message; the most frequent first.
        others: How many rows were answered by a model of another name than the one asked for, by that name.
        cut: Rows whose prompt the server has cut.
        said: A hash of all completions in the order of the rows; equal ones are equal byte for byte.
    """

    failures: tuple[tuple[int, str], ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    cut: int = 0
    said: str = ""


@dataclass(slots=True)
class Doubter:
    """Counts as a run's responses pass by; `asked` is the name that was asked for, "" where there is none."""

    asked: str
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    cut: int = 0

    def see(self, response: Response | None) -> None:
        """Count a row's response."""
        if response is None:
            return
        if response.status == "failed":
            message = response.error or "no reason was recorded"
            kind = _OWN.sub("…", message)
            self.failures[kind] += 1
            self.examples.setdefault(kind, message)
        elif response.model and self.asked and not same_model(self.asked, response.model):
            self.others[response.model] += 1
        self.cut += response.status == "truncated_prompt"

    def found(self, said: str) -> Doubts:
        """What was seen of a run with this hash of its completions."""
        failures = tuple((count, self.examples[kind]) for kind, count in self.failures.most_common())
        return Doubts(failures, tuple(self.others.most_common()), self.cut, said)
